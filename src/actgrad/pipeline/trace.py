"""Check where a result comes from, by deriving again everything that is recorded of it."""

import functools
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from actgrad import files, git
from actgrad.config import loading
from actgrad.config.schema import Config, parse
from actgrad.data import storage
from actgrad.errors import UserError
from actgrad.networks.build import build
from actgrad.pipeline import records
from actgrad.pipeline.dvc import dvc
from actgrad.results import paths
from actgrad.results import run as results
from actgrad.results.fingerprint import core_sha256, fingerprint
from actgrad.results.run import RunResult
from actgrad.tracking import contents, reading, store
from actgrad.tracking.metrics import run_metrics
from actgrad.tracking.reading import Recorded
from actgrad.training.loop import weights_sha256

WIDTH = len("activation.csv of the MLflow run")
ABSENT, SAME = "none", "as in the files"


@dataclass(frozen=True)
class Check:
    """One check of a result's origin: a recorded value, and the same value derived again.

    Attributes:
        field: name of the value.
        recorded: None if nothing is recorded.
        derived: None if it cannot be derived, for the reason in `source`.
        source: what the value was derived from.
    """

    field: str
    recorded: str | None
    derived: str | None
    source: str

    @property
    def holds(self) -> bool | None:
        """None if there is nothing to compare."""
        return None if self.recorded is None or self.derived is None else self.recorded == self.derived


def checks(folder: Path, run: Recorded | None) -> Iterator[Check]:
    """Derive again everything that is recorded of a run: MLflow run, commit, dvc.lock, data, configuration and weights.

    Args:
        folder: of the run's files.
        run: its MLflow run; None if the store has none.

    Raises:
        UserError: if a file of the run cannot be read. Checks that do not need it are yielded first.
    """
    yield from _pipeline(folder)
    copies = run.files if run else {}
    for name in results.FILES if run else ():
        yield Check(f"{name} of the MLflow run", files.sha256(copies[name]) if name in copies else ABSENT, _sha256(folder / name), f"{folder / name}")
    metrics = _metrics(folder)
    listed = metrics.get("files", {})
    found = {name: _sha256(folder / name) for name in results.FILES[:-1]}
    for name, sha256 in found.items():
        yield Check(name, listed.get(name, ABSENT), sha256, f"{folder / 'metrics.json'}")
    if listed != found:
        return  # the content of changed files tells nothing more

    result = RunResult.read(folder)
    config = _configuration(folder, result)
    data = storage.path(result.dataset)
    data_sha256 = files.sha256(data) if data.is_file() else None
    yield Check("data_sha256", metrics["data_sha256"], data_sha256, f"{data}" if data_sha256 else f"{data} is not here: dvc pull, or src/download.py")
    derived = fingerprint(config.deciding(), metrics["data_sha256"], metrics["core_sha256"], metrics["environment"])
    yield Check("fingerprint", metrics["fingerprint"], derived, "config.yaml, and data_sha256, core_sha256 and environment of metrics.json")
    if run is None:
        yield Check("MLflow run", None, None, "the store has no MLflow run of it: python src/publish.py adds one")
        return
    yield from _core(metrics["core_sha256"], run)
    for name, value in contents.finished_tags(result).items():
        yield Check(f"{name} of the MLflow run", run.tags.get(name, ABSENT), value, str(folder))
    expected = sorted((name, step, value) for (name, step), value in run_metrics(result).items())
    differing = {name for name, *_ in set(expected) ^ set(run.metrics)}
    if not differing and len(run.metrics) != len(expected):
        differing = {"some are there twice"}
    yield Check("metrics of the MLflow run", SAME, f"others: {', '.join(sorted(differing))}" if differing else SAME, str(folder))
    if run.model is None:
        yield Check("weights_sha256", metrics["weights_sha256"], None, "the MLflow run has no model, as one that was published")
    elif data_sha256 is None or data_sha256 != metrics["data_sha256"]:
        yield Check("weights_sha256", metrics["weights_sha256"], None, "the dataset, which says how large the network is, is not here")
    else:
        saved = saved_weights_sha256(run.model, config, data_sha256)
        yield Check("weights_sha256", metrics["weights_sha256"], saved, "the model that the MLflow run logged")


def _pipeline(folder: Path) -> Iterator[Check]:
    """Check a folder of the pipeline against dvc.lock and the table in git."""
    match folder.parts:
        case (paths.RUNS.name, dataset, activation, name):
            stage = f"train@{dataset}-{activation}"
            yield Check("dvc.lock", "as listed", _changes(stage, storage.path(dataset)) or "as listed", f"dvc status {stage}")
            rows = {row["run"]: row for row in records.read(dataset, activation).to_dict("records")}
            recorded = rows[name]["files_sha256"] if name in rows else ABSENT
            yield Check("metrics.json", recorded, _sha256(folder / "metrics.json"), str(paths.record_path(dataset, activation)))
        case _:
            yield Check("dvc.lock", None, None, "not in the pipeline: a run by hand")


def _sha256(path: Path) -> str:
    return files.sha256(path) if path.is_file() else ABSENT


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError("damaged-result", f"{path} cannot be read ({error}); train the run again") from None


def _core(recorded: str, run: Recorded) -> Iterator[Check]:
    commit = run.tags.get("git_commit")
    if commit is None:
        yield Check(
            "core_sha256", recorded, None, "its MLflow run names no commit: it was not trained in a git repository, or not published from one"
        )
        return
    patch = run.files[contents.PATCH].read_bytes() if contents.PATCH in run.files else b""
    with git.source(commit, patch) as folder:
        try:
            found = core_sha256(folder / "src" / "actgrad") if folder else None
        except FileNotFoundError:  # a commit with other modules
            found = None
    unknown = f"no such commit here, or {contents.PATCH} does not fit it" if patch else "no such commit here"
    yield Check("core_sha256", recorded, found or unknown, f"git commit {commit}{f' and {contents.PATCH}' * bool(patch)}")
    yield Check("git_dirty", run.tags.get("git_dirty", ABSENT), str(bool(patch)).lower(), f"{contents.PATCH} of the MLflow run")


def _configuration(folder: Path, result: RunResult) -> Config:
    path = folder / "config.yaml"
    try:
        values = yaml.safe_load(result.config)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError("damaged-result", f"{path} is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, Mapping):
        raise UserError("damaged-result", f"{path} holds no KEY: VALUE")
    elsewhere = {"run_dir": str(folder), "tracking": {"enabled": False, "uri": "", "experiment": ""}, "condition": {"name": result.condition}}
    data = loading.data_config(result.dataset, []).model_dump()
    return parse(Config, {**values, **elsewhere, "data": data}, f"{path}: ")


def of_run(key: str, folder: Path) -> Iterator[Check]:
    """The checks of a run in runs/, by its key. Files of its MLflow run are copied to `folder`.

    Raises:
        UserError: if there is no such run.
    """
    parts = key.split("/")
    of_key = paths.RUNS.joinpath(*parts)
    if len(parts) != 3 or not (of_key / "metrics.json").is_file():
        raise UserError("unknown-run", f"{of_key} has no run; a key is <dataset>/<activation>/<condition>-<seed>, such as digits/relu/baseline-0")
    metrics = _metrics(of_key)
    if metrics.get("key") != key:
        raise UserError("misplaced-file", f"{of_key} holds the run {metrics.get('key')}; train {key} again with dvc repro")
    tracking = store.configured(parts[0])
    run = reading.run_of(tracking, key, metrics["fingerprint"])
    yield from checks(of_key, reading.recorded(tracking, run, folder) if run else None)


def of_mlflow_run(run_id: str, folder: Path) -> Iterator[Check]:
    """The checks of an MLflow run against the files that it was made from, or against its own copies if those are gone.

    Raises:
        UserError: if there is no such MLflow run, or it is incomplete.
    """
    run = reading.recorded(store.configured("any"), run_id, folder)
    of_pipeline = paths.RUNS / run.tags["key"]
    wanted = run.tags.get("fingerprint", ABSENT)
    written = [path for path in (run.run_dir, of_pipeline) if path and results.finished(path, wanted)]
    if run.run_dir and run.run_dir not in written and run.tags.get("superseded") != "true":
        there = run.run_dir.is_dir()
        yield Check("run_dir", wanted, _made_as(run.run_dir) if there else None, f"{run.run_dir}{'' if there else ', which is not here'}")
    if not written and not set(results.FILES) <= set(run.files):
        raise UserError(
            "unfinished-mlflow-run",
            f"MLflow run {run_id} of {run.tags['key']} is not whole: the run was not finished, or python src/publish.py is to complete it",
        )
    yield from checks(written[0] if written else folder, run)


def _made_as(folder: Path) -> str:
    """The fingerprint of the run in a folder, or the reason why there is none."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return "no metrics.json that can be read"
    missing = results.missing(folder)
    return f"{', '.join(missing)} missing" if missing else str(metrics.get("fingerprint"))


def reported(keys: Iterable[str], mlflow_runs: Iterable[str]) -> list[str]:
    """Print the checks of runs and MLflow runs. Returns a sentence for each run or MLflow run that fails."""
    named = [(of_run, key) for key in keys] + [(of_mlflow_run, run) for run in mlflow_runs]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for n, (find, name) in enumerate(named):
            print(name, flush=True)
            if fields := _report(find(name, Path(folder, str(n)))):
                wrong.append(f"{name}: {', '.join(fields)} {'does' if len(fields) == 1 else 'do'} not hold")
    print(f'{len(named) - len(wrong)} of {len(named)} passed. "-" = could not be checked (reason beside it)')
    return wrong


def _report(found: Iterable[Check]) -> list[str]:
    """Print the checks of one run, and return the fields that fail."""
    wrong = []
    for check in found:
        mark = {True: "ok", False: "WRONG", None: "-"}[check.holds]
        said = check.recorded if check.holds is not False else f"recorded: {check.recorded}; found: {check.derived}"
        print(f"  {mark:<5} {check.field:<{WIDTH}}  {said or ''}{' ' if said else ''}({check.source})", flush=True)
        wrong += [check.field] if check.holds is False else []
    return wrong


@functools.cache  # the runs of an activation have one stage
def _changes(stage: str, data: Path) -> str:
    """Differences between a stage and dvc.lock, as far as they can be compared. The dataset has its own check."""
    told = json.loads(dvc("status", "--json", stage)).get(stage, [])
    found = {path: state for one in told if isinstance(one, dict) for of_kind in one.values() for path, state in of_kind.items()}
    absent = {(str(data), "deleted")}
    changed = [f"{path} ({state})" for path, state in found.items() if state != "not in cache" and (path, state) not in absent]
    return ", ".join([*changed, *(one for one in told if isinstance(one, str))])  # a string: the command itself has changed


def saved_weights_sha256(model: Path, config: Config, data_sha256: str) -> str:
    """The checksum of a saved network's weights.

    Only the weights are read from its file. Code that a saved model may contain is not run.

    Args:
        data_sha256: of the run's dataset file. A file with this sha256 is not compared with its source.
    """
    dataset = storage.load(config.data, data_sha256)
    network = build(config, dataset.images["train"], len(dataset.class_names)).with_probabilities()
    try:
        network.load_weights(model)
    except (*files.DAMAGED, IndexError) as error:
        return f"no weights that fit ({' '.join(str(error).split())[:80]})"
    return weights_sha256(network)
