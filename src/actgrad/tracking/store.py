"""MLflow runs: one per cell, under one parent per activation, in one experiment per dataset."""

import functools
import hashlib
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import keras
import numpy as np
import tensorflow as tf

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A server that does not answer is given up after seconds; MLflow's own defaults hold a training up for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModel, LoggedModelStatus, Metric, Param
from mlflow.entities import Run as Entity
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from omegaconf import OmegaConf
from sqlalchemy.exc import SQLAlchemyError

from actgrad import files
from actgrad import git as repository
from actgrad.analysis import tables
from actgrad.analysis.statistics import estimate
from actgrad.config.schema import CONF, Config, Tracking, parse
from actgrad.data.storage import Dataset
from actgrad.errors import UserError
from actgrad.files import sha256
from actgrad.pipeline import checkpoints
from actgrad.report import figures as plots
from actgrad.results import run as results
from actgrad.results.run import LAYERS, CellResult
from actgrad.training.loop import Epoch

GRADIENT_POINTS = 200
BATCH = 1000
LIVE, LONGEST_WAIT = 2.0, 60.0
"""Seconds: between two writes to the store while a cell trains; for another process that uses the same store."""
FIGURES = {"learning_curves.png": plots.cell_learning_curves, "gradient_norms.png": plots.cell_gradient_norms}
PATCH = "git_diff.patch"
"""The file of a run that holds what differed from its commit."""
logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # else it prints the traceback of what is said here in one sentence


class Run:
    """The run of one cell: logs each epoch as it ends, and everything else when the cell is finished.

    A cell whose training was interrupted, or that is trained again as it was, goes on with the run that it has: the one of its
    fingerprint. What that run holds is not logged twice. A store that fails costs the run, never the training: the first
    failure is reported on stderr and ends the logging.
    """

    def __init__(self, config: Config, dataset: Dataset, steps: int, fingerprint: str):
        self._config, self._dataset, self._fingerprint = config, dataset, fingerprint
        self._logged: set[tuple[str, int]] = set()
        self._gradient_steps = set(thinned(steps))
        self._alive = config.tracking.enabled
        self._waiting: dict[tuple[str, int], float] = {}
        self._logged_at = 0.0
        self._attempt(self._start)

    def resumed(self, epochs: Sequence[Epoch]) -> None:
        for epoch in epochs:
            self.epoch_finished(epoch)

    def epoch_finished(self, epoch: Epoch) -> None:
        self._queue(epoch_metrics(epoch, self._gradient_steps))
        if time.monotonic() - self._logged_at > LIVE:
            self._attempt(self._log)

    def finished(self, result: CellResult, folder: Path, network: keras.Model) -> None:
        self._attempt(lambda: self._finish(result, folder, network))

    def ended(self, status: str) -> None:
        """The training did not finish: FAILED, or KILLED if it was told to stop."""
        self._attempt(self._log)
        self._attempt(lambda: mlflow.end_run(status))

    def _attempt(self, action: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            action()
        except Exception as error:  # whatever the store or the way to it does
            self._alive = False
            with suppress(Exception):  # the next cell of this process is to start a run of its own
                mlflow.end_run("FAILED")
            sys.stderr.write(
                f"tracking: {self._config.key} is no longer logged to MLflow ({_reason(error)}); its training goes on, "
                "and what is missing can be added with python src/publish.py\n"
            )

    def _start(self) -> None:
        config = self._config
        with alone(_use(config.tracking)):
            experiment = mlflow.set_experiment(config.tracking.experiment).experiment_id
            if before := _find(experiment, f"tags.fingerprint = '{self._fingerprint}' and tags.key = '{config.key}'"):
                run = mlflow.start_run(run_id=before)
                self._logged = logged_steps(before)
            else:
                parent = _parent(experiment, config.activation.name)
                run = mlflow.start_run(run_name=config.key, parent_run_id=parent, tags={"fingerprint": self._fingerprint, "key": config.key})
            if not run.inputs or not run.inputs.dataset_inputs:
                source = CodeDatasetSource({"source": config.data.source})
                mlflow.log_input(MetaDataset(source, name=config.data.name, digest=self._dataset.sha256[:36]), context="training")
        if not run.data.params:  # else they are those of the training that is taken up
            mlflow.log_params(params(config))
        device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        mlflow.set_tags(_beginning(config.deciding(), self._dataset.validation_split, self._dataset.sha256) | {"device": device})
        if "git_commit" not in run.data.tags:  # else it began at that commit, with this very code
            self._log_commit()

    def _log_commit(self) -> None:
        if (commit := repository.commit()) is None or (patch := repository.difference()) is None:
            return
        if patch:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, PATCH).write_bytes(patch)
                mlflow.log_artifact(str(Path(folder, PATCH)))
        mlflow.set_tags({"git_commit": commit, "git_dirty": str(bool(patch)).lower()})  # last: they say that it has been logged

    def _finish(self, result: CellResult, folder: Path, network: keras.Model) -> None:
        self._log()
        run = mlflow.get_run(mlflow.active_run().info.run_id)
        _complete(run, result, folder, self._logged)
        if not _model(run):
            log_model(network, self._dataset.images["test"][:2].astype(np.float32))
        mlflow.end_run("FINISHED" if result.metrics["status"] == "finished" else "FAILED")

    def _queue(self, metrics: dict[tuple[str, int], float]) -> None:
        self._waiting |= {at: value for at, value in metrics.items() if at not in self._logged}
        self._logged |= set(metrics)

    def _log(self) -> None:
        _log(mlflow.active_run().info.run_id, self._waiting)
        self._waiting, self._logged_at = {}, time.monotonic()


def _log(run_id: str, metrics: Mapping[tuple[str, int], float]) -> None:
    """Log values by metric name and step."""
    now = int(time.time() * 1000)
    entries = [Metric(name, value, now, step) for (name, step), value in metrics.items()]
    for start in range(0, len(entries), BATCH):
        mlflow.MlflowClient().log_batch(run_id, entries[start : start + BATCH])


@contextmanager
def logged(config: Config, dataset: Dataset, steps: int, fingerprint: str) -> Iterator[Run]:
    """A Run that is marked as failed, or as killed, if the training within ends in an exception, or in an interruption."""
    run = Run(config, dataset, steps, fingerprint)
    try:
        yield run
    except BaseException as error:
        run.ended("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise


def log_model(network: keras.Model, example: np.ndarray) -> None:
    """Log the network with signature and input example; a layer that is not Keras' own is logged with the code of its module."""
    own = {type(layer) for layer in network.layers if not type(layer).__module__.startswith("keras.")}
    mlflow.tensorflow.log_model(
        network,
        name="model",
        custom_objects={layer.__name__: layer for layer in own},
        code_paths=sorted({_code(layer) for layer in own}) or None,
        signature=infer_signature(example, network(example).numpy()),
        input_example=example,
        pip_requirements=[f"keras=={keras.__version__}", f"tensorflow=={tf.__version__}"],
    )


def _code(layer: type[keras.layers.Layer]) -> str:
    """The file or folder of the top-level module that a class comes from."""
    module = sys.modules[layer.__module__.partition(".")[0]]
    return next(iter(getattr(module, "__path__", ())), module.__file__)


def epoch_metrics(epoch: Epoch, gradient_steps: set[int]) -> dict[tuple[str, int], float]:
    """(metric name, optimizer step) -> value of all that one epoch measured, gradient norms at the given steps only."""
    metrics = {(name, epoch.step): value for name, value in epoch.history.items()}
    rows = epoch.gradients[epoch.gradients["step"].isin(gradient_steps)]
    for layer in LAYERS:
        metrics |= {(results.grad_norm(layer), int(step)): float(norm) for step, norm in zip(rows["step"], rows[layer], strict=True)}
    probed = epoch.probe.melt("layer", results.PROBED, var_name="name").dropna()
    metrics |= {(f"{row.name}/{row.layer}", epoch.step): float(row.value) for row in probed.itertuples(index=False)}
    return metrics


def thinned(steps: int) -> list[int]:
    """At most GRADIENT_POINTS of the steps 1 … steps, at even distances, both ends among them."""
    return np.unique(np.linspace(1, steps, min(steps, GRADIENT_POINTS)).round().astype(int)).tolist()


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Nested mappings as one, with dotted keys."""
    items: dict[str, object] = {}
    for key, value in values.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return items


def params(config: Config) -> dict[str, object]:
    """Dotted key -> value of a whole configuration, as its run holds it: without the password that an address in it may hold."""
    return {name: _shown(value) if name == "tracking.uri" else value for name, value in flat(config.model_dump()).items()}


def local(uri: str) -> Path | None:
    """The file of a store that is one."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """No other process of this machine makes tables, experiments, parents or doubles in the store meanwhile."""
    store = local(uri)
    name = store or Path(tempfile.gettempdir(), f"actgrad-{hashlib.sha256(f'{Path.home()} {uri}'.encode()).hexdigest()[:16]}")
    with files.alone(name.with_name(f"{name.name}.lock"), "uses the MLflow store", LONGEST_WAIT):
        if _unmade(uri):
            _make(store)
        yield


def _make(store: Path) -> None:
    """Make a local store in one step: MLflow cannot go on with one whose making was interrupted."""
    unfinished = store.with_name(f".{store.name}{files.UNFINISHED}")
    for leftover in store.parent.glob(f"{unfinished.name}*"):  # of a process that was killed, for no other is here
        leftover.unlink()
    SqlAlchemyStore(f"sqlite:///{unfinished}", "./mlruns").engine.dispose()
    unfinished.replace(store)


def _find(experiment: str, query: str) -> str | None:
    """The id of the newest run of a query."""
    found = mlflow.MlflowClient().search_runs([experiment], query, max_results=1)
    return found[0].info.run_id if found else None


def logged_values(run_id: str) -> list[tuple[str, int, float]]:
    """(metric name, step, value) of all that a run has."""
    client = mlflow.MlflowClient()
    return [(name, one.step, one.value) for name in client.get_run(run_id).data.metrics for one in client.get_metric_history(run_id, name)]


def logged_steps(run_id: str) -> set[tuple[str, int]]:
    """(metric name, step) of every value that a run has."""
    return {(name, step) for name, step, _ in logged_values(run_id)}


def _parent(experiment: str, activation: str) -> str:
    """The id of the run that gathers the cells of an activation, made when it is not there yet."""
    if found := _find(experiment, f"tags.kind = 'activation' and tags.activation = '{activation}'"):
        return found
    client = mlflow.MlflowClient()
    run = client.create_run(experiment, run_name=activation, tags={"kind": "activation", "activation": activation})
    client.set_terminated(run.info.run_id)
    return run.info.run_id


# --- bringing a store in line with runs/


def publish(tracking: Tracking, cells: Mapping[str, Sequence[tuple[CellResult, Path]]]) -> int:
    """Bring one MLflow experiment in line with the cells of a study or of an experiment, by activation, each with its folder.

    As often as you like, and several at once: what is there stays, what is missing is added, a second run of the same cell
    is removed, a run of another configuration, data or code is tagged as superseded, and the runs of the activations get
    mean and interval over seeds. The trained model is not among the files, and cannot be added.

    Returns:
        How many runs were made or completed.
    """
    changed = 0
    with using(tracking) as uri:
        with alone(uri):
            experiment = mlflow.set_experiment(tracking.experiment).experiment_id
            parents = {activation: _parent(experiment, activation) for activation in cells}
        for activation, of_activation in cells.items():
            for result, folder in of_activation:
                # one cell at a time, so that trainings that start meanwhile need not wait long
                with checkpoints.one_run(result.metrics["fingerprint"]), alone(uri):
                    changed += _publish_cell(experiment, parents[activation], result, folder)
            with alone(uri):
                _aggregate(parents[activation], [result for result, _ in of_activation])
    return changed


def _publish_cell(experiment: str, parent: str, result: CellResult, folder: Path) -> bool:
    client, values = mlflow.MlflowClient(), tables.configuration(result)
    runs = client.search_runs([experiment], f"tags.kind = 'cell' and tags.key = '{result.key}'")
    same = [run for run in runs if run.data.tags.get("fingerprint") == result.metrics["fingerprint"]]
    for run in runs:
        if run not in same and run.data.tags.get("superseded") != "true":
            client.set_tag(run.info.run_id, "superseded", "true")
    same.sort(key=lambda run: run.info.status == "FINISHED", reverse=True)  # the most complete first; else the newest
    for double in same[1:]:
        client.delete_run(double.info.run_id)
    run = same[0] if same else client.create_run(experiment, run_name=result.key, tags={MLFLOW_PARENT_RUN_ID: parent})
    run_id = run.info.run_id
    changed = _complete(run, result, folder, logged_steps(run_id))
    if run.data.tags.get("superseded") != "false":
        client.set_tag(run_id, "superseded", "false")
    if "git_commit" not in run.data.tags and (commit := _commit_of(folder, result)):
        client.set_tag(run_id, "git_commit", commit)
        client.set_tag(run_id, "git_dirty", "false")
    if not run.data.params:
        client.log_batch(run_id, params=[Param(name, str(value)) for name, value in flat(values).items()])
    status = "FINISHED" if result.metrics["status"] == "finished" else "FAILED"
    if run.info.status != status:
        client.set_terminated(run_id, status)
    return changed


def _complete(run: Entity, result: CellResult, folder: Path, logged: Set[tuple[str, int]]) -> bool:
    """Give a run what it lacks of a cell's tags, metrics (but those in `logged`), files and figures; returns whether it lacked any of the
    metrics or files."""
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    for name, value in cell_tags(result, folder).items():
        if run.data.tags.get(name) != value:
            client.set_tag(run_id, name, value)
    missing = {at: value for at, value in cell_metrics(result).items() if at not in logged}
    _log(run_id, missing)
    present = _file_names(run_id)
    lacking = [name for name in results.FILES if name not in present]
    for name in lacking:
        client.log_artifact(run_id, str(folder / name))
    for name, draw in FIGURES.items():
        if name not in present:
            client.log_figure(run_id, plots.laid_out(draw(result)), name)
    return bool(missing or lacking)


def _commit_of(folder: Path, result: CellResult) -> str | None:
    """The commit that holds a published result, if it holds the code that made it too."""
    held = repository.commit_of(folder / "metrics.json") or repository.commit_of(Path("dvc.lock"))
    return held if held and _code_sha256(held) == result.metrics["code_sha256"] else None


_code_sha256 = functools.cache(repository.code_sha256)


def cell_tags(result: CellResult, folder: Path) -> dict[str, str]:
    """Tag -> value of all that a finished cell's files say of it."""
    metrics = result.metrics
    return _beginning(tables.configuration(result), metrics["validation_split"], metrics["data_sha256"]) | {
        "key": result.key,
        "fingerprint": metrics["fingerprint"],
        "status": metrics["status"],
        "config_sha256": sha256(folder / "config.yaml"),
        "weights_sha256": metrics["weights_sha256"],
    }


def _beginning(configuration: Mapping[str, Any], validation_split: str, data_sha256: str) -> dict[str, str]:
    """Those of a cell's tags that are known before it is trained."""
    names = {group: configuration[group]["name"] for group in ("activation", "recipe")}
    return names | {
        "kind": "cell",
        "dataset": configuration["data"]["name"],
        "experiment": configuration["experiment"],
        "seed": str(configuration["seed"]),
        "validation_split": validation_split,
        "data_sha256": data_sha256,
    }


def cell_metrics(result: CellResult) -> dict[tuple[str, int], float]:
    """(metric name, optimizer step) -> value of all that a run of this cell holds, whether it was logged live or is published.

    Raises:
        UserError: if its history has an epoch twice.
    """
    if result.history["epoch"].duplicated().any():
        raise UserError(f"history.csv of {result.key} is damaged: it has an epoch twice; remove the cell's folder, and train it again")
    history, metrics = result.history.set_index("epoch"), result.metrics
    planned = metrics["steps"] if history.empty else int(history["step"].iloc[0]) * tables.configuration(result)["recipe"]["epochs"]
    chosen, last, values = set(thinned(planned)), 0, {}
    for number, probe in result.probe.groupby("epoch"):
        step = int(probe["step"].iloc[0])
        of_epoch = result.gradients[result.gradients["step"].between(last + 1, step)]
        measured = history.loc[number, list(results.HISTORY)].to_dict() if number in history.index else {}
        values |= epoch_metrics(Epoch(int(number), step, measured, of_epoch, probe), chosen)
        last = step
    rest = Epoch(0, last, {}, result.gradients[result.gradients["step"] > last], result.probe[:0])  # of an epoch that diverged
    values |= epoch_metrics(rest, chosen)
    return values | {(name, metrics["steps"]): metrics["last"][name] for name in results.TEST if name in metrics["last"]}


def _aggregate(parent: str, cells: Sequence[CellResult]) -> None:
    """Mean and interval over seeds of the last epoch, and the mean of the best, as metrics of an activation's run."""
    client, finished = mlflow.MlflowClient(), [cell.metrics for cell in cells if cell.metrics["last"]]
    found: dict[str, float] = {"seeds": float(len(finished))}
    for name in (*results.HISTORY, *results.TEST):
        if values := [metrics["last"][name] for metrics in finished if name in metrics["last"]]:
            mean = estimate(values)
            found |= {name: mean.value} | {f"{name}_{end}": value for end, value in (("low", mean.low), ("high", mean.high)) if value is not None}
    if finished:
        for name in ("epoch", results.VAL_ACCURACY):
            found[f"best/{name}"] = float(np.mean([metrics["best"][name] for metrics in finished]))
    before = client.get_run(parent).data.metrics
    _log(parent, {(name, 0): value for name, value in found.items() if before.get(name) != value})


# --- reading a store


@dataclass(frozen=True)
class Recorded:
    """What an MLflow run holds of a cell.

    Attributes:
        tags: its tags.
        metrics: (metric name, step, value) of each.
        files: name -> a local copy of its file.
        model: the trained network as a .keras file; None if none was logged.
        run_dir: where the cell's files were written; None for a run that was published.
    """

    tags: Mapping[str, str]
    metrics: Sequence[tuple[str, int, float]]
    files: Mapping[str, Path]
    model: Path | None
    run_dir: Path | None


def run_of(tracking: Tracking, key: str, fingerprint: str) -> str | None:
    """The id of the newest run of a cell with this fingerprint; None if the store has none."""
    with using(tracking) as uri:
        if _unmade(uri):
            return None
        experiment = mlflow.get_experiment_by_name(tracking.experiment)
        return experiment and _find(experiment.experiment_id, f"tags.fingerprint = '{fingerprint}' and tags.key = '{key}'")


def recorded(tracking: Tracking, run_id: str, folder: Path) -> Recorded:
    """A run of a cell, its files copied into a folder.

    Raises:
        UserError: if there is no such run, or it is not one of a cell.
    """
    with using(tracking) as uri:
        if _unmade(uri):
            raise UserError(f"{local(uri)} does not exist, so it has no run {run_id}; python src/publish.py makes it")
        client = mlflow.MlflowClient()
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(f"{_shown(uri)} has no run {run_id}; the id of a run stands on its page in MLflow") from None
        if run.data.tags.get("kind") != "cell":
            raise UserError(f"run {run_id} is that of an activation; give the id of one below it, which is one training")
        copies = {name: Path(client.download_artifacts(run_id, name, str(folder))) for name in _file_names(run_id) if name in (*results.FILES, PATCH)}
        logged = _model(run)
        model = logged and mlflow.artifacts.download_artifacts(f"{logged.artifact_location}/data/model.keras", dst_path=str(folder))
        run_dir = run.data.params.get("run_dir")
        return Recorded(run.data.tags, logged_values(run_id), copies, model and Path(model), run_dir and Path(run_dir))


def _model(run: Entity) -> LoggedModel | None:
    """The model of a run, if it has been logged whole."""
    models = [mlflow.get_logged_model(output.model_id) for output in (run.outputs.model_outputs if run.outputs else [])]
    return next((model for model in models if model.status == LoggedModelStatus.READY), None)


def _file_names(run_id: str) -> set[str]:
    return {file.path for file in mlflow.MlflowClient().list_artifacts(run_id)}


@contextmanager
def using(tracking: Tracking) -> Iterator[str]:
    """The address of a store, which is the one that MLflow uses from now on.

    Raises:
        UserError: if it cannot be used meanwhile.
    """
    uri = _use(tracking)
    try:
        yield uri
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(
            f"the MLflow store {_shown(uri)} cannot be used ({_reason(error)}); mend that and start the same command again, what it holds stays"
        ) from None


def _use(tracking: Tracking) -> str:
    """Have MLflow use a store from now on, and return its address.

    The name and password that a server's address may hold reach MLflow by the environment instead, because MLflow prints the address.
    """
    uri = address(tracking)
    if held := re.match("(https?://)([^/?#]*)@", uri):
        name, _, password = held[2].partition(":")
        os.environ |= {"MLFLOW_TRACKING_USERNAME": unquote(name), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
        uri = held[1] + uri[held.end() :]
    mlflow.set_tracking_uri(uri)
    return uri


def _unmade(uri: str) -> bool:
    """Whether a local store is not there yet: MLflow would make it, to read from it."""
    store = local(uri)
    return store is not None and not store.exists()


def address(tracking: Tracking) -> str:
    """Of the MLflow store: MLFLOW_TRACKING_URI, or what the configuration says."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri
    patient = uri.startswith("sqlite:///") and "?" not in uri
    return f"{uri}?timeout={LONGEST_WAIT:g}" if patient else uri  # else SQLite gives up after 5 seconds when many write at once


def _shown(text: str) -> str:
    """A text without the name and password that an address in it may hold; a password may hold a slash, or another @."""
    return re.sub(r"(//)\S*@|(password=)[^&\s]*", r"\1\2", text)


def _reason(error: Exception) -> str:
    return _shown(next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__))[:300]


def configured(dataset: str, experiment: str | None = None) -> Tracking:
    """Where conf/ has the runs of a dataset's study, or of one of its experiments, logged."""
    values = OmegaConf.load(CONF / "tracking" / "mlflow.yaml")
    if experiment:
        values = OmegaConf.merge(values, OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").get("tracking", {}))
    whole = OmegaConf.create({"data": {"name": dataset}, "tracking": values})
    return parse(Tracking, OmegaConf.to_container(whole, resolve=True)["tracking"])
