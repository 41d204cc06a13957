"""A dataset's cells trained again in a copy, and compared with the committed ones, byte for byte."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from actgrad import git as repository
from actgrad.config import schema as config
from actgrad.config.schema import Study
from actgrad.errors import UserError
from actgrad.results import run as results

WORDS = IDENTICAL, WITHIN, DIFFERENT, UNKNOWN = "identical", "within tolerance", "different", "not compared"
TOLERANCE = 0.05
"""How much an accuracy may differ on another CPU, with another number of threads or other packages; docs/reproducibility.md has what was measured."""


@dataclass(frozen=True)
class Verdict:
    """How a cell that was trained again compares with the committed one: one of WORDS, and in what it differs."""

    key: str
    word: str
    differences: str = ""


def verify(copy: Path, dataset: str, threads: int | None) -> list[str]:
    """Clone the last commit into `copy`, train a dataset's cells and make its report there with an empty DVC cache and a store of
    its own, and print how each compares with the committed one.

    Args:
        threads: of each cell, instead of the recipe's.

    Returns:
        What is different: keys of cells, and `dvc.lock` or the report if nothing in the environment explains it.

    Raises:
        UserError: if there is no commit to clone, or a cell cannot be trained.
    """
    commit = repository.commit()
    if commit is None:
        raise UserError("there is no commit to verify: verify.py trains the last commit of a git repository again; git init, and commit your results")
    cloned = subprocess.run(["git", "clone", "--quiet", str(repository.PROJECT), str(copy)], capture_output=True, text=True)
    if cloned.returncode:
        raise UserError(f"the last commit cannot be cloned ({cloned.stderr.strip()}); verify.py needs the project at the root of its repository")
    study = config.study(copy / "params.yaml")
    if dataset not in study.datasets:
        raise UserError(f"data={dataset} is not in the params.yaml of the last commit, whose datasets are {', '.join(study.datasets)}")
    if not (copy / results.recipe_path(dataset)).is_file():
        raise UserError(f"the last commit has no results of {dataset}; train it with dvc repro report@{dataset}, and commit them")
    print(f"commit {commit[:12]}, without what you have not committed, is trained again in {copy}", flush=True)
    committed = Committed(copy, dataset, study)
    if threads:
        for path in (copy / "conf" / "recipe").glob("*.yaml"):
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"threads": threads}, sort_keys=False))
    _run(copy, "src/sweep.py", f"data={dataset}")
    _run(copy, "-m", "dvc", "repro", "--quiet", f"report@{dataset}")
    verdicts = list(committed.compared())
    print(f"\n{dataset} at commit {commit}, trained again:\n")
    for verdict in verdicts:
        print(f"  {verdict.key:<{max(len(one.key) for one in verdicts)}}  {verdict.word}{verdict.differences and ': '}{verdict.differences}")
    counts = Counter(verdict.word for verdict in verdicts)
    print(f"\n{len(verdicts)} cells: " + ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word] or word != UNKNOWN))
    different = [verdict.key for verdict in verdicts if verdict.word == DIFFERENT]
    for what, differing in (("dvc.lock", committed.lock_differs()), (f"reports/{dataset}", committed.report_differs())):
        print(f"{what}: {f'{len(differing)} entries differ ({differing[0]} among them)' if differing else IDENTICAL}")
        different += [what] if differing and counts[IDENTICAL] == len(verdicts) else []
    return different


def _run(copy: Path, *command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=copy, env=os.environ | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}, check=False)
    if done.returncode:
        raise UserError(f"python {' '.join(command)} failed in a copy of the last commit, see above")


def compare(before: Mapping[str, Any], after: Mapping[str, Any], same_bytes: bool, environment: Mapping[str, tuple[str, str]]) -> Verdict:
    """Two trainings of a cell, by their metrics.json and by whether all their files are the same.

    A difference is excused by another environment only, as long as no accuracy moves by more than TOLERANCE.

    Args:
        environment: what differs of the environment, as `environment_differences` gives it.
    """
    if same_bytes and before == after:
        return Verdict(after["key"], IDENTICAL)
    named = [name for name in ("status", "data_sha256", "code_sha256", "weights_sha256") if before[name] != after[name]]
    moved = {name: abs(value - after["last"][name]) for name, value in before["last"].items() if name in after["last"]}
    accuracies = [difference for name, difference in moved.items() if name.endswith("accuracy")]
    largest = max(moved, key=moved.get, default=None)
    excused = environment and not {"status", "data_sha256", "code_sha256"} & set(named) and all(one <= TOLERANCE for one in accuracies)
    differences = [*named, *(f"{name} {was} -> {now}" for name, (was, now) in environment.items())]
    if largest is not None and moved[largest] > 0:
        differences.append(f"{largest} by {moved[largest]:.2g}, the most of all")
    return Verdict(after["key"], WITHIN if excused else DIFFERENT, ", ".join(differences) or "files")


def environment_differences(before: Mapping[str, Any], after: Mapping[str, Any], threads: tuple[int, int]) -> dict[str, tuple[str, str]]:
    """Name -> (before, after) of what differs in two cells' environment, the recipe's number of threads among it."""
    names = [*before["environment"], *(name for name in after["environment"] if name not in before["environment"])]
    differing = {name: (before["environment"].get(name, "none"), after["environment"].get(name, "none")) for name in names}
    differing["threads"] = (str(threads[0]), str(threads[1]))
    return {name: pair for name, pair in differing.items() if pair[0] != pair[1]}


class Committed:
    """What the last commit says of a dataset's cells; to be read before they are trained again in its copy."""

    def __init__(self, copy: Path, dataset: str, study: Study):
        self._copy, self._dataset = copy, dataset
        self._lock, self._threads = self._stages(), self._recipe_threads()
        self._report = _md5s(copy / "reports" / dataset)
        self._cells: dict[Path, tuple[dict[str, Any], dict[str, str]] | None] = {}
        for experiment, cells in config.cells(study, copy / "conf").items():
            of_study = f"{dataset}/{experiment}" if experiment else dataset
            folders = [results.folder(of_study, activation, seed) for activation in cells.activations for seed in cells.seeds]
            self._cells |= dict(self._of_experiment(folders) if experiment else self._of_study(folders))

    def _of_study(self, folders: Sequence[Path]) -> Iterator[tuple[Path, tuple[dict[str, Any], dict[str, str]]]]:
        """Each cell's metrics.json, which is in git, and the md5 of each of its files, which are in dvc.lock."""
        outs = self._outs(self._lock)
        for folder in folders:
            if not (self._copy / folder / "metrics.json").is_file():
                raise UserError(f"the last commit has no result of {folder}; train it with dvc repro report@{self._dataset}, and commit it")
            yield folder, (_metrics(self._copy / folder), {name: outs.get(str(folder / name), "") for name in results.FILES})

    def _of_experiment(self, folders: Sequence[Path]) -> Iterator[tuple[Path, tuple[dict[str, Any], dict[str, str]] | None]]:
        """The same of an experiment's cells, of which dvc.lock has one md5 alone: from this work tree, if its files are the committed ones."""
        experiment = folders[0].parent
        here = repository.PROJECT / experiment
        committed = here.is_dir() and _dvc_md5(here) == self._outs(self._lock).get(str(experiment))
        for folder in folders:
            cell = repository.PROJECT / folder
            yield folder, (_metrics(cell), _md5s(cell)) if committed else None

    def compared(self) -> Iterator[Verdict]:
        """Each cell, now that it has been trained again in the copy."""
        before_outs, after_outs = self._outs(self._lock), self._outs(self._stages())
        threads, elsewhere = (self._threads, self._recipe_threads()), {}
        for folder, before in self._cells.items():
            after = _metrics(self._copy / folder)
            if before is not None:
                environment = environment_differences(before[0], after, threads)
                elsewhere |= environment
                yield compare(before[0], after, _md5s(self._copy / folder) == before[1], environment)
            elif before_outs.get(str(folder.parent)) == after_outs.get(str(folder.parent)):
                yield Verdict(after["key"], IDENTICAL)
            else:
                there = "its experiment has another checksum, and the committed files are not here: dvc pull them, and verify again"
                yield Verdict(after["key"], UNKNOWN if elsewhere else DIFFERENT, there)

    def lock_differs(self) -> list[str]:
        """Stages of the dataset whose entry in dvc.lock is not the committed one."""
        return _differing(self._lock, self._stages())

    def report_differs(self) -> list[str]:
        """Files of the report that are not the committed ones."""
        return _differing(self._report, _md5s(self._copy / "reports" / self._dataset))

    def _stages(self) -> dict[str, Any]:
        stages = yaml.safe_load((self._copy / "dvc.lock").read_text())["stages"]
        return {name: stage for name, stage in stages.items() if name.partition("@")[2].split("-")[0] == self._dataset}

    def _recipe_threads(self) -> int:
        return yaml.safe_load((self._copy / results.recipe_path(self._dataset)).read_text())["threads"]

    @staticmethod
    def _outs(stages: Mapping[str, Any]) -> dict[str, str]:
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())}


def _metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _md5s(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def _dvc_md5(folder: Path) -> str:
    """The checksum that dvc.lock has of a folder: of the list of its files with their md5s, as DVC keeps it in its cache."""
    listed = [{"md5": md5, "relpath": name} for name, md5 in sorted(_md5s(folder).items())]
    return hashlib.md5(json.dumps(listed).encode()).hexdigest() + ".dir"
