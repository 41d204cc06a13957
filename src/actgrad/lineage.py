"""Where a result comes from: everything that is recorded of it, derived again."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import yaml

from actgrad import config, datasets, files, lenet5, pipeline, provenance, repository, results, tracking, training
from actgrad.config import Config, Tracking
from actgrad.errors import UserError
from actgrad.results import CellResult
from actgrad.tracking import Recorded

WIDTH = len("weights_sha256 of the run")


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
    """
    result = CellResult.read(folder)
    metrics, text = result.metrics, (folder / "config.yaml").read_text()
    values = yaml.safe_load(text)
    tags = run.tags if run else {}
    stage = _stage(folder, values)

    if stage is None:
        yield Check("dvc.lock", None, None, "a run by hand: dvc.lock has no entry for it")
    else:
        changed = json.loads(pipeline.dvc("status", "--json", stage)).get(stage, [])
        what = "; ".join(f"{kind}: {', '.join(map(str, found))}" for one in changed if isinstance(one, dict) for kind, found in one.items())
        yield Check("dvc.lock", "unchanged", what or "unchanged", f"dvc status {stage}")
    data = datasets.path(values["data"]["name"])
    data_sha256 = files.sha256(data) if data.is_file() else None
    yield Check("data_sha256", metrics["data_sha256"], data_sha256, f"{data}" if data_sha256 else f"{data} is not here: dvc pull, or src/download.py")
    fingerprint = provenance.fingerprint(values, metrics["data_sha256"], metrics["code_sha256"], metrics["environment"])
    yield Check("fingerprint", metrics["fingerprint"], fingerprint, "config.yaml, and data_sha256, code_sha256 and environment of metrics.json")
    if run is None:
        yield Check("run", None, None, "the store has no run of it: python src/publish.py adds one")
        return
    patch = run.files[tracking.PATCH].read_text() if tracking.PATCH in run.files else ""
    commit = tags.get("git_commit")
    code = repository.code_sha256(commit, patch) if commit else None
    source = f"git commit {commit}{' and ' + tracking.PATCH if patch else ''}" if commit else "its run names no commit"
    yield Check("code_sha256", metrics["code_sha256"], code or (commit and "no such commit"), source)
    yield Check("git_dirty", tags.get("git_dirty"), str(bool(patch)).lower(), f"{tracking.PATCH} of the run")
    yield Check("config_sha256", tags.get("config_sha256"), hashlib.sha256(text.encode()).hexdigest(), f"{folder}/config.yaml")
    for name in ("data_sha256", "fingerprint", "weights_sha256", "status", "key"):
        yield Check(f"{name} of the run", tags.get(name), metrics[name], f"{folder}/metrics.json")
    weights = weights_sha256(run.model, values) if run.model else None
    yield Check("weights_sha256", metrics["weights_sha256"], weights, "the model that the run logged" if run.model else "the run has no model")
    for name in results.FILES:
        here = files.sha256(folder / name)
        yield Check(name, files.sha256(run.files[name]) if name in run.files else "none", here, f"the run's file, and {folder}/{name}")
    differing = {name for (name, step), value in tracking.cell_metrics(result).items() if run.metrics.get((name, step)) != value}
    yield Check("metrics of the run", "as in the files", f"others: {', '.join(sorted(differing))}" if differing else "as in the files", f"{folder}")


def of_cell(key: str, folder: Path) -> Iterator[Check]:
    """The checks of a cell that is in runs/, by its key; `folder` is for copies of its run's files.

    Raises:
        UserError: if there is no such cell.
    """
    cell = Path("runs", key)
    if not (cell / "metrics.json").is_file():
        raise UserError(
            f"{key} is not the key of a cell in runs/; one is <dataset>/<activation>-<seed> or <dataset>/<experiment>/<activation>-<seed>"
        )
    metrics = CellResult.read(cell).metrics
    store = _store(key)
    run = tracking.run_of(store, key, metrics["fingerprint"])
    yield from checks(cell, run and tracking.recorded(store, run, folder))


def of_run(run_id: str, folder: Path) -> Iterator[Check]:
    """The checks of a cell by its run, against the files that the run was made from, or its own copies of them if they have gone."""
    run = tracking.recorded(tracking.configured("any"), run_id, folder)
    of_pipeline = Path("runs", run.tags["key"])
    written = [path for path in (run.run_dir, of_pipeline) if path and (path / "metrics.json").is_file()]
    same = [path for path in written if CellResult.read(path).metrics["fingerprint"] == run.tags.get("fingerprint")]
    if not same and set(run.files) < set(results.FILES):
        raise UserError(f"run {run_id} of {run.tags['key']} is not whole: the cell was not finished, or python src/publish.py is to complete its run")
    yield from checks(same[0] if same else folder, run)


def _store(key: str) -> Tracking:
    dataset, *experiment, _ = key.split("/")
    return tracking.configured(dataset, *experiment)


def report(found: Iterable[Check]) -> list[str]:
    """Print checks, and return the fields that do not hold."""
    wrong = []
    for check in found:
        mark = {True: "ok", False: "WRONG", None: "-"}[check.holds]
        said = check.recorded if check.holds is not False else f"{check.recorded} is recorded, {check.derived} is found"
        print(f"  {mark:<5} {check.field:<{WIDTH}}  {said or ''}{' ' if said else ''}({check.source})", flush=True)
        wrong += [check.field] if check.holds is False else []
    return wrong


def _stage(folder: Path, values: Mapping[str, Any]) -> str | None:
    """The stage of the pipeline that makes a folder; None for a run by hand."""
    dataset, experiment = values["data"]["name"], values["experiment"]
    if experiment == config.NO_EXPERIMENT:
        activation, seed = values["activation"]["name"], values["seed"]
        return f"train@{dataset}-{activation}-{seed}" if folder == results.folder(dataset, activation, seed) else None
    return f"experiment@{dataset}-{experiment}" if folder.parent == Path("runs", dataset, experiment) else None


def weights_sha256(model: Path, values: Mapping[str, Any]) -> str:
    """The checksum of a saved network's weights.

    They alone are read from its file: a saved model can hold code, which is not run.
    """
    cell = Config.model_validate({**values, "run_dir": "", "tracking": {"enabled": False, "uri": "", "experiment": ""}})
    dataset = datasets.load(cell.data)
    network = lenet5.build(cell, dataset.images["train"], len(dataset.class_names))
    network.load_weights(model)
    return training.weights_sha256(keras.Model(network.input, network.get_layer("output").output))
