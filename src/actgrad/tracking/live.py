"""Log a run to MLflow while it trains."""

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import keras
import mlflow
import numpy as np
import tensorflow as tf
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model, infer_signature
from mlflow.utils.autologging_utils import disable_autologging

from actgrad import git
from actgrad.config.schema import Config
from actgrad.console import warn
from actgrad.data.dataset import Dataset
from actgrad.results.run import RunResult
from actgrad.tracking import contents, experiments, means, publish, store
from actgrad.tracking.contents import PATCH, SUPERSEDED, live_params, mlflow_status, of_pipeline, run_name, starting_tags, tracking_of
from actgrad.tracking.metrics import by_rate, epoch_metrics
from actgrad.tracking.reading import file_names, find, logged_steps, model_of
from actgrad.tracking.store import exclusive, reason, use
from actgrad.training.batches import validation_split
from actgrad.training.epochs import Epoch

NOT_LOGGED = "were not logged to MLflow, or not wholly (python src/publish.py adds what is missing)"
INTERVAL = 2.0
"""Seconds between two writes to the store while a run trains."""


class LiveRun:
    """Logs each epoch of a run as it ends, and everything else when the run is finished.

    If a training was interrupted, or the same run is trained again, the MLflow run with its key and fingerprint is continued.
    Nothing is logged twice. If the store fails, logging ends with one sentence on stderr, and the training
    goes on.
    """

    def __init__(self, config: Config, dataset: Dataset, steps: int, fingerprint: str):
        self._config, self._dataset, self._steps, self._fingerprint = config, dataset, steps, fingerprint
        self._logged: set[tuple[str, int]] = set()
        self._waiting: dict[tuple[str, int], float] = {}
        self._logged_at = 0.0
        self._alive = config.tracking.enabled
        self._attempt(self._start)

    def resumed(self, epochs: Sequence[Epoch]) -> None:
        for epoch in epochs:
            self.epoch_finished(epoch)

    def epoch_finished(self, epoch: Epoch) -> None:
        metrics = epoch_metrics(epoch, self._steps)
        self._waiting |= {at: value for at, value in metrics.items() if at not in self._logged}
        self._logged |= set(metrics)
        if time.monotonic() - self._logged_at > INTERVAL:
            self._attempt(self._log)

    def finished(self, result: RunResult, folder: Path, network: keras.Model) -> None:
        self._attempt(lambda: self._finish(result, folder, network))

    def ended(self, status: str) -> None:
        """The training did not finish. Its MLflow status is FAILED, or KILLED if it was interrupted."""
        self._attempt(self._log)
        self._attempt(lambda: mlflow.end_run(status))

    def _attempt(self, action: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            action()
        except Exception as error:  # the store or the network may raise anything
            self._alive = False
            with suppress(Exception):  # so that the next run of this process starts its own MLflow run
                mlflow.end_run("FAILED")
            listed = of_pipeline(self._config.run_dir)
            later = "what is missing can be added with python src/publish.py" if listed else "its files will have all that it measures"
            warn(f"tracking: {self._config.key} is no longer logged to MLflow ({reason(error)}); its training goes on, and {later}", NOT_LOGGED)

    def _start(self) -> None:
        config = self._config
        tags = starting_tags(config.key, config.model.build, self._fingerprint, validation_split(self._dataset.images), self._dataset.sha256)
        tags |= contents.SOURCE | {"device": "GPU" if tf.config.list_physical_devices("GPU") else "CPU"}
        if of_pipeline(config.run_dir):
            tags |= {SUPERSEDED: "false"}
        tracking = tracking_of(config)
        uri = use(tracking)
        with exclusive(uri):
            experiment = store.experiment(uri, tracking.experiment)
            if before := find(experiment, config.key, self._fingerprint):
                run = mlflow.start_run(run_id=before)
                mlflow.set_tags(tags)
                self._logged = logged_steps(before)
            else:
                run = mlflow.start_run(run_name=tracking.name or run_name(config.key), tags=tags)
            if not run.inputs or not run.inputs.dataset_inputs:
                publish.log_dataset(run.info.run_id, config.data.name, config.data.source, self._dataset.sha256)
        if not run.data.params:  # else it continues a training and has them
            mlflow.log_params(live_params(config))
        if "git_commit" not in run.data.tags:  # else it began at that commit, with the same core
            _log_commit()
        if not of_pipeline(config.run_dir):
            print(f"{config.key}: in MLflow as {run.info.run_name}: {experiments.run_link(uri, experiment, run.info.run_id)}", flush=True)

    def _log(self) -> None:
        publish.log_metrics(_run_id(), self._waiting)
        self._waiting, self._logged_at = {}, time.monotonic()

    def _finish(self, result: RunResult, folder: Path, network: keras.Model) -> None:
        self._log()
        run = mlflow.get_run(_run_id())
        run_id, experiment = run.info.run_id, run.info.experiment_id
        publish.complete(run, result, folder, self._logged, file_names(run_id))
        self._log_model(run, network)
        mlflow.end_run(mlflow_status(result.metrics))
        if of_pipeline(self._config.run_dir):
            publish.supersede_others(experiment, result.key, self._fingerprint)
            experiments.present_study(experiment, result)
        elif self._config.test:
            means.log(self._config, experiment)
            experiments.present_by_hand(experiment, result)
        else:
            publish.log_metrics(run_id, by_rate(result))
            experiments.present_search(experiment, result.dataset)

    def _log_model(self, run: Run, network: keras.Model) -> None:
        """Log the network unless it is there. If the store cannot keep it, print one sentence on stderr."""
        try:
            if not model_of(run):
                log_model(run, network, self._dataset.images["test"][:2].astype(np.float32))
        except Exception as error:  # the store or a user's network may raise anything
            said = f"tracking: the trained model of {self._config.key} is not in MLflow ({reason(error)}); all else of its run is there"
            warn(said, "were logged to MLflow without their model")


@contextmanager
def logged(config: Config, dataset: Dataset, steps: int, fingerprint: str) -> Iterator[LiveRun]:
    """A LiveRun for the training inside this context. It is marked as failed after an exception, or as killed after an interruption.

    MLflow's autologging is off meanwhile, because the user's own code may have switched it on.
    """
    with disable_autologging():
        run = LiveRun(config, dataset, steps, fingerprint)
        try:
            yield run
        except BaseException as error:
            run.ended("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise


def copied(config: Config, result: RunResult, folder: Path) -> None:
    """Log a run that was copied from a run of another condition with the same values. The caller holds one_mlflow_run(fingerprint).

    If the store fails, one sentence on stderr says so.
    """
    if not config.tracking.enabled:
        return
    try:
        publish.publish_run(tracking_of(config), result, folder)
    except Exception as error:  # the store or the network may raise anything
        warn(f"tracking: {config.key} is not logged to MLflow ({reason(error)}); python src/publish.py can add it", NOT_LOGGED)


def log_model(run: Run, network: keras.Model, example: np.ndarray) -> None:
    """Log the network with its signature, and with the code of layers that are not Keras' own.

    mlflow.tensorflow.log_model would also read all metrics of the run, a third of its time, to give the model those of step 0.
    """
    own = {type(layer) for layer in network._flatten_layers() if not type(layer).__module__.startswith("keras.")}
    tags = {name: value for name, value in run.data.tags.items() if name.startswith(("mlflow.source.", "mlflow.user"))}
    client = mlflow.MlflowClient()
    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id, tags=tags, params=run.data.params)
    client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    status = LoggedModelStatus.FAILED
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "model"))
            mlflow.tensorflow.save_model(
                network,
                path,
                mlflow_model=Model(logged.artifact_location, run.info.run_id, model_uuid=logged.model_id, model_id=logged.model_id),
                custom_objects={layer.__name__: layer for layer in own},
                code_paths=sorted({_code(layer) for layer in own}) or None,
                signature=infer_signature(example, network(example).numpy()),
                pip_requirements=[f"keras=={keras.__version__}", f"tensorflow=={tf.__version__}"],
            )
            client.log_model_artifacts(logged.model_id, path)
        status = LoggedModelStatus.READY
    finally:
        client.finalize_logged_model(logged.model_id, status)


def _code(layer: type[keras.layers.Layer]) -> str:
    """The file or folder of the top-level module that a class comes from."""
    module = sys.modules[layer.__module__.partition(".")[0]]
    return next(iter(getattr(module, "__path__", ())), None) or str(module.__file__)


def _run_id() -> str:
    if run := mlflow.active_run():
        return run.info.run_id
    raise RuntimeError("its MLflow run was ended by other code")


@functools.cache  # edits during training do not change the imported code
def _checked_out() -> tuple[str | None, bytes | None]:
    return git.commit(), git.difference()


def _log_commit() -> None:
    """Log the commit that is checked out, and the difference from it."""
    commit, patch = _checked_out()
    if commit is None or patch is None:
        return
    if patch:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, PATCH).write_bytes(patch)
            mlflow.log_artifact(str(Path(folder, PATCH)))
    mlflow.set_tags({"git_commit": commit, "git_dirty": str(bool(patch)).lower()})  # last, because they say that the difference has been logged
