"""Measure what the pipeline costs on the digits, in a copy of the project with an empty cache and its own MLflow store.

1. A study from nothing: `dvc repro report@digits`, compared with a loop that starts plain_keras.py once for each training. A training that
   two conditions share counts once in the loop too. The loop has the same epochs, batch size and activation; it measures, tests and keeps
   nothing. Half of it runs before dvc repro and half after, so that a machine that slows down affects both alike.
2. `dvc repro` with nothing to do: for this study, and for one with many more runs, which are copies of trained ones under other seeds.
3. One more run in a process that trains several: its cost beyond its epochs. For comparison, the cost of a new process of plain_keras.py
   beyond its epochs: import, network and compiling. Both are differences between processes with more runs, or with longer ones.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from measuring import PLAIN, rounded, run, write

from actgrad.config import composing, loading
from actgrad.config.schema import Config, Study, parse
from actgrad.console import run_script, script_parser
from actgrad.data import storage
from actgrad.errors import UserError
from actgrad.files import PROJECT, sha256
from actgrad.pipeline import composed
from actgrad.pipeline.environment import environment
from actgrad.results.fingerprint import CORE_SHA256
from actgrad.results.run import RunResult

EXAMPLE = "  python benchmarks/pipeline_time.py --conditions baseline --activations sigmoid tanh relu --seeds 0 1\n"
TIMES, STARTS = 5, 3
"""Number of measurements of `dvc repro` with nothing to do, and of a plain script's start; medians are used."""
FEW, MORE, LONGER = 2, 6, 8
"""Runs of the first process, additional runs of the others, and additional epochs of each run of the last one."""
ONE_PROCESS = "# @package _global_\ndefaults:\n  - override /hydra/launcher: joblib\nhydra: {launcher: {n_jobs: 1}}\n"


def main() -> None:
    whole, parser = loading.study(PROJECT / "params.yaml"), script_parser(__doc__, EXAMPLE)
    for name in ("conditions", "activations", "seeds"):
        kind = type(getattr(whole, name)[0])
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=getattr(whole, name), help="of the study; default: those of params.yaml")
    parser.add_argument("--runs", metavar="N", type=int, default=1000, help="of the larger study; default: %(default)s")
    arguments = vars(parser.parse_args())
    many = arguments.pop("runs")
    study = parse(Study, {"datasets": ["digits"], **arguments}, "--")
    with tempfile.TemporaryDirectory(prefix="actgrad-bench-") as name:
        copy, data = Path(name, "copy"), Path(name, "digits.npz")
        storage.prepare(loading.data_config("digits", []), data)
        copy_project(copy, study)
        found = from_nothing(copy, study, data) | {"nothing_to_do_s": nothing_to_do(copy)} | with_many_runs(copy, study, many)
        found |= further_run(copy, data)
    answers = {
        f"digits from nothing (trainings: {found['trainings']}), dvc repro to plain scripts in a loop": f"{found['repro_to_plain']:.2f}",
        f"dvc repro with nothing to do (runs: {found['runs']})": f"{found['nothing_to_do_s']:.1f} s",
        f"dvc repro with nothing to do (runs: {found['many_runs']:,})": f"{found['many_nothing_to_do_s']:.1f} s",
        "a further run of a process, beyond its epochs": f"{found['further_run_s']:.1f} s",
        "a new process of plain Keras, beyond its epochs": f"{found['plain_start_s']:.1f} s",
    }
    write({"study": study.model_dump(), **found}, answers)


def copy_project(folder: Path, study: Study) -> None:
    """Copy the project's files that git has or would add, without results, into a new repository."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ":!runs", ":!reports", ":!dvc.lock"]
    for name in subprocess.run(listed, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.strip("\0").split("\0"):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    (folder / ".dvc" / "config.local").write_text("[cache]\n    dir = cache\n")  # not a cache that the user's settings share
    list_runs(folder, study)
    for command in ("init --quiet", "add --all", "-c user.name=benchmark -c user.email=benchmark@localhost commit --quiet --message start"):
        run(["git", *command.split()], folder)


def list_runs(folder: Path, study: Study) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(study.model_dump()))


def from_nothing(copy: Path, study: Study, data: Path) -> dict[str, Any]:
    runs = all_runs(study)
    trainings = {json.dumps(one.deciding(), sort_keys=True): one for one in runs}  # runs with the same values share one
    scripts = [plain_script(data, one) for one in trainings.values()]
    run([sys.executable, "-c", "import keras"], copy)  # read from the disk once, for both
    loop = seconds_of(scripts[::2], copy)
    repro = seconds_of([["dvc", "repro", "report@digits"]], copy)
    loop += seconds_of(scripts[1::2], copy)
    seconds = {"repro_s": rounded(repro), "plain_loop_s": rounded(loop), "repro_to_plain": rounded(repro / loop)}
    return {"runs": len(runs), "trainings": len(trainings), **seconds}


def all_runs(study: Study) -> list[Config]:
    found = []
    for condition, listed in loading.listed(study, "digits").items():
        for activation in listed.activations:
            one = composing.composed(["data=digits", f"activation={activation}", f"condition={condition}", "run_dir=unused"])
            found += [one.model_copy(update={"seed": seed}) for seed in listed.seeds]
    return found


def plain_script(data: Path, config: Config) -> list[str]:
    return [*PLAIN, str(data), str(config.recipe.epochs), str(config.recipe.batch_size), config.activation.name]


def seconds_of(commands: Sequence[Sequence[str]], folder: Path) -> float:
    return sum(run(command, folder)[0] for command in commands)


def nothing_to_do(copy: Path) -> float | None:
    times = [seconds_of([["dvc", "repro"]], copy) for _ in range(1 + TIMES)]
    return rounded(np.median(times[1:]))  # the first time, DVC reads files that it remembers afterwards


def with_many_runs(copy: Path, study: Study, at_least: int) -> dict[str, Any]:
    """Give the study more seeds, whose runs are copies.

    Raises:
        UserError: if a stage trains instead of accepting the copies as finished runs.
    """
    larger = study.model_copy(update={"seeds": list(range(-(-at_least // len(study.activations))))})
    list_runs(copy, larger)
    with chdir(copy):
        data_sha256 = sha256(storage.path("digits"))
        for activation in larger.activations:
            composed.write("digits", activation, larger)
            trained: dict[str, RunResult] = {}
            for one in sorted(composed.read("digits", activation).runs, key=lambda one: not one.folder.exists()):
                if one.folder.exists():
                    trained[one.condition] = RunResult.read(one.folder)
                    continue
                own = {"key": one.key, "fingerprint": one.fingerprint(data_sha256, CORE_SHA256, environment())}
                config, like = yaml.safe_dump({"seed": one.seed, **one.values}, sort_keys=False), trained[one.condition]
                dataclasses.replace(like, config=config, metrics=like.metrics | own).write(one.folder)
    seconds, printed = run(["dvc", "repro"], copy)
    if printed.count(" 0 of them trained now") != len(larger.activations):
        raise UserError(
            "nothing-measured",
            "dvc repro did not take copied runs for finished ones; compare with_many_runs with what decides that in results/run.py",
        )
    return {"many_runs": len(all_runs(larger)), "many_report_s": rounded(seconds), "many_nothing_to_do_s": nothing_to_do(copy)}


def further_run(copy: Path, data: Path) -> dict[str, Any]:
    (copy / "conf" / "local").mkdir()
    (copy / "conf" / "local" / "default.yaml").write_text(ONE_PROCESS)
    few, more = train(copy, 10_000, FEW, 1), train(copy, 20_000, FEW + MORE, 1)
    epoch = (train(copy, 30_000, FEW + MORE, 1 + LONGER) - more) / ((FEW + MORE) * LONGER)
    batch = composing.composed(["data=digits", "run_dir=unused"]).recipe.batch_size
    scripts = [[[*PLAIN, str(data), str(epochs), str(batch)]] for epochs in (1, 1 + LONGER)]
    short, long = np.array([[seconds_of(script, copy) for script in scripts] for _ in range(STARTS)]).T
    plain_start = np.median(short - (long - short) / LONGER)
    return {"further_run_s": rounded((more - few) / MORE - epoch), "epoch_s": rounded(epoch), "plain_start_s": rounded(plain_start)}


def train(copy: Path, first_seed: int, runs: int, epochs: int) -> float:
    """Seconds of a stage that trains so many new runs of ReLU in one process."""
    recipe = copy / "conf" / "recipe" / "digits.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | {"epochs": epochs}))
    seeds = list(range(first_seed, first_seed + runs))
    list_runs(copy, Study(datasets=["digits"], conditions=["baseline"], activations=["relu"], seeds=seeds))
    return seconds_of([["python", "src/study.py", "data=digits", "activation=relu"]], copy)


if __name__ == "__main__":
    run_script(main)
