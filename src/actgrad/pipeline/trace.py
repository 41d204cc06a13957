"""Where a result comes from: everything that is recorded of it, derived again."""

import functools
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import yaml

from actgrad import files
from actgrad import git as repository
from actgrad.config import schema as config
from actgrad.config.schema import Config
from actgrad.data import storage as datasets
from actgrad.errors import UserError
from actgrad.networks import lenet5
from actgrad.pipeline import dvc as pipeline
from actgrad.results import fingerprint as provenance
from actgrad.results import run as results
from actgrad.results.run import CellResult
from actgrad.tracking import store as tracking
from actgrad.tracking.store import Recorded
from actgrad.training import loop as training

WIDTH = len("validation_split of the run")
ABSENT, SAME = "none", "as in the files"


@dataclass(frozen=True)
class Check:
    """One statement on where a result comes from: what is recorded, and what was derived again.

    Attributes:
        field: its name.
        recorded: None if nothing is.
        derived: None if it cannot be, for the reason in `source`.
        source: what it was derived from.
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
    """Derive again all that is recorded of a cell: from its run to commit, dvc.lock, data, configuration and weights, and back.

    Args:
        folder: of the cell's files.
        run: its MLflow run; None if the store has none.

    Raises:
        UserError: if a file of the cell cannot be read; what does not need it has been yielded before.
    """
    stage = _stage(folder)
    if stage is None:
        yield Check("dvc.lock", None, None, "not what dvc.lock lists now: a run by hand, or of an earlier configuration or code")
    else:
        yield Check("dvc.lock", "as listed", _changes(stage, datasets.path(folder.parts[1])) or "as listed", f"dvc status {stage}")
    for name in results.FILES if run else ():
        here = files.sha256(folder / name) if (folder / name).is_file() else ABSENT
        yield Check(name, files.sha256(run.files[name]) if name in run.files else ABSENT, here, f"the run's file, and {folder / name}")

    result = CellResult.read(folder)
    metrics, cell = result.metrics, _configuration(folder)
    data = datasets.path(cell.data.name)
    data_sha256 = files.sha256(data) if data.is_file() else None
    yield Check("data_sha256", metrics["data_sha256"], data_sha256, f"{data}" if data_sha256 else f"{data} is not here: dvc pull, or src/download.py")
    fingerprint = provenance.fingerprint(cell.deciding(), metrics["data_sha256"], metrics["code_sha256"], metrics["environment"])
    yield Check("fingerprint", metrics["fingerprint"], fingerprint, "config.yaml, and data_sha256, code_sha256 and environment of metrics.json")
    if run is None:
        yield Check("run", None, None, "the store has no run of it: python src/publish.py adds one")
        return
    yield from _code(metrics["code_sha256"], run)
    for name, value in tracking.cell_tags(result, folder).items():
        yield Check(f"{name} of the run", run.tags.get(name, ABSENT), value, str(folder))
    expected = sorted((name, step, value) for (name, step), value in tracking.cell_metrics(result).items())
    differing = {name for name, *_ in set(expected) ^ set(run.metrics)}
    if not differing and len(run.metrics) != len(expected):
        differing = {"some are there twice"}
    yield Check("metrics of the run", SAME, f"others: {', '.join(sorted(differing))}" if differing else SAME, str(folder))
    if run.model is None:
        yield Check("weights_sha256", metrics["weights_sha256"], None, "the run has no model, as one that was published")
    elif data_sha256 != metrics["data_sha256"]:
        yield Check("weights_sha256", metrics["weights_sha256"], None, "the dataset, which says how large the network is, is not here")
    else:
        yield Check("weights_sha256", metrics["weights_sha256"], weights_sha256(run.model, cell), "the model that the run logged")


def _code(code_sha256: str, run: Recorded) -> Iterator[Check]:
    commit = run.tags.get("git_commit")
    if commit is None:
        yield Check("code_sha256", code_sha256, None, "its run names no commit: it was not trained in a git repository, or not published from one")
        return
    patch = run.files[tracking.PATCH].read_bytes() if tracking.PATCH in run.files else b""
    unknown = f"no such commit here, or {tracking.PATCH} does not fit it" if patch else "no such commit here"
    found = repository.code_sha256(commit, patch) or unknown
    yield Check("code_sha256", code_sha256, found, f"git commit {commit}{f' and {tracking.PATCH}' * bool(patch)}")
    yield Check("git_dirty", run.tags.get("git_dirty", ABSENT), str(bool(patch)).lower(), f"{tracking.PATCH} of the run")


def _configuration(folder: Path) -> Config:
    path = folder / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())})") from None
    nowhere = {"run_dir": "", "tracking": {"enabled": False, "uri": "", "experiment": ""}}
    return config.parse(Config, values | nowhere if isinstance(values, dict) else values, f"{path}: ")


def of_cell(key: str, folder: Path) -> Iterator[Check]:
    """The checks of a cell that is in runs/, by its key; `folder` is for copies of its run's files.

    Raises:
        UserError: if there is no such cell.
    """
    cell = Path("runs", key)
    if not (cell / "metrics.json").is_file():
        raise UserError(f"runs/{key} has no cell; a key is <dataset>/<activation>-<seed> or <dataset>/<experiment>/<activation>-<seed>")
    metrics = CellResult.read(cell).metrics
    dataset, *experiment, _ = metrics["key"].split("/")
    store = tracking.configured(dataset, *experiment)
    run = tracking.run_of(store, metrics["key"], metrics["fingerprint"])
    yield from checks(cell, run and tracking.recorded(store, run, folder))


def of_run(run_id: str, folder: Path) -> Iterator[Check]:
    """The checks of a cell by its run, against the files that the run was made from, or its own copies of them if they have gone.

    Raises:
        UserError: if there is no such run, or it is not whole.
    """
    run = tracking.recorded(tracking.configured("any"), run_id, folder)
    of_pipeline = Path("runs", run.tags["key"])
    fingerprint = run.tags.get("fingerprint", ABSENT)
    written = [path for path in (run.run_dir, of_pipeline) if path and results.finished(path, fingerprint)]
    if run.run_dir and run.run_dir not in written and run.tags.get("superseded") != "true":
        there = run.run_dir.is_dir()
        yield Check("run_dir", fingerprint, _made_as(run.run_dir) if there else None, f"{run.run_dir}{'' if there else ', which is not here'}")
    if not written and not set(results.FILES) <= set(run.files):
        raise UserError(f"run {run_id} of {run.tags['key']} is not whole: the cell was not finished, or python src/publish.py is to complete its run")
    yield from checks(written[0] if written else folder, run)


def _made_as(folder: Path) -> str:
    """The fingerprint of the cell in a folder, or what keeps it from being one."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return "no metrics.json that can be read"
    missing = results.missing(folder)
    return f"{', '.join(missing)} missing" if missing else str(metrics.get("fingerprint"))


def reported(keys: Iterable[str], runs: Iterable[str]) -> list[str]:
    """Print the checks of cells and of runs; returns which do not hold, a sentence each."""
    named = [(of_cell, key) for key in keys] + [(of_run, run) for run in runs]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for n, (find, name) in enumerate(named):
            print(name, flush=True)
            if fields := _report(find(name, Path(folder, str(n)))):
                wrong.append(f"{name}: {', '.join(fields)} {'does' if len(fields) == 1 else 'do'} not hold")
    print(f"{len(named) - len(wrong)} of {len(named)} hold; a dash marks what cannot be derived here, for the reason beside it")
    return wrong


def _report(found: Iterable[Check]) -> list[str]:
    """Print the checks of one, and return the fields that do not hold."""
    wrong = []
    for check in found:
        mark = {True: "ok", False: "WRONG", None: "-"}[check.holds]
        said = check.recorded if check.holds is not False else f"recorded: {check.recorded}; found: {check.derived}"
        print(f"  {mark:<5} {check.field:<{WIDTH}}  {said or ''}{' ' if said else ''}({check.source})", flush=True)
        wrong += [check.field] if check.holds is False else []
    return wrong


@functools.cache  # an experiment's cells have one stage
def _changes(stage: str, data: Path) -> str:
    """What of a stage is not as dvc.lock lists it, as far as it can be compared; the dataset has a check of its own."""
    told = json.loads(pipeline.dvc("status", "--json", stage)).get(stage, [])
    found = {path: state for one in told if isinstance(one, dict) for of_kind in one.values() for path, state in of_kind.items()}
    absent = {(str(data), "deleted")}
    return ", ".join(f"{path} ({state})" for path, state in found.items() if state != "not in cache" and (path, state) not in absent)


def _stage(folder: Path) -> str | None:
    """The stage of the pipeline that makes a folder; None for one outside runs/."""
    match folder.parts:
        case ("runs", dataset, cell):
            return f"train@{dataset}-{cell}"
        case ("runs", dataset, experiment, _):
            return f"experiment@{dataset}-{experiment}"
    return None


def weights_sha256(model: Path, cell: Config) -> str:
    """The checksum of a saved network's weights.

    They alone are read from its file: a saved model can hold code, which is not run.
    """
    dataset = datasets.load(cell.data)
    network = lenet5.build(cell, dataset.images["train"], len(dataset.class_names))
    try:
        network.load_weights(model)
    except (*files.DAMAGED, IndexError) as error:
        return f"no weights that fit ({' '.join(str(error).split())[:80]})"
    return training.weights_sha256(keras.Model(network.input, network.get_layer("output").output))
