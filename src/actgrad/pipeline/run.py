"""Make the files of one run from its configuration: train and track it, and continue it after an interruption."""

import functools
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from actgrad.config.schema import Config
from actgrad.console import warn
from actgrad.data import storage
from actgrad.data.storage import Dataset
from actgrad.errors import UserError
from actgrad.files import new_folder
from actgrad.networks.own_code import is_own, located
from actgrad.pipeline import checkpoints
from actgrad.pipeline.checkpoints import Checkpoint
from actgrad.pipeline.environment import accepted, environment
from actgrad.pipeline.keras_process import load_core, load_keras, load_own_code
from actgrad.results import run as results
from actgrad.results.fingerprint import CORE_SHA256, fingerprint, own_code_paths
from actgrad.results.run import RunResult
from actgrad.training.names import TEST_ACCURACY, VAL_ACCURACY

if TYPE_CHECKING:
    from actgrad.training.epochs import Measured


COMPARED = "ACTGRAD_COMPARED_DATASET"
"""Environment variable of a run: sha256 of a dataset file that the parent process has already compared with its source."""


def without_comparing(dataset_sha256: str) -> list[str]:
    """Overrides of train.py, so that its jobs do not compare a dataset file of this sha256 with its source again."""
    return [f"+hydra.job.env_set.{COMPARED}='{dataset_sha256}'"]  # in quotes, because 1e9… would be a number


def complete(config: Config, may_replace: bool = True) -> float:
    """Train, track and write one run, unless it is finished. Returns its last validation accuracy; NaN if it diverged.

    If a run of the study has the same values as another one of its activation and seed, that run's files are copied, even if they were made on
    another type of processor: two conditions that do not differ must not have different results.

    Args:
        may_replace: whether the folder may hold a run of the same key that was trained with other values, data or code.

    Raises:
        UserError: if its dataset, its folder or a value of its configuration cannot be used, or if the folder holds another run.
    """
    dataset = storage.load(config.data, os.environ.get(COMPARED))
    folder = new_folder(config.run_dir, "run_dir")
    checkpoint = Checkpoint(checkpoints.path(folder), fingerprint(config.deciding(), dataset.sha256, CORE_SHA256, environment()))
    with checkpoint.exclusive():
        _check_whose(folder, config, checkpoint.fingerprint, may_replace)
        before = results.identity_of(folder)
        metrics = results.finished(folder, checkpoint.fingerprint)
        if metrics is not None and metrics["key"] == config.key and not checkpoint.exists():  # a checkpoint is removed last, when all else is done
            print(f"{config.key}: {metrics['status']} before, with the same configuration, data and code; results in {folder}")
            _say_link(config, metrics)
        elif config.run and (twin := _twin(folder, config, dataset.sha256)):
            metrics = _copied(config, twin, folder)
            checkpoint.remove()
            print(f"{config.key}: has the values of {twin.name}, and shares its training; results in {folder}")
        else:
            metrics = _trained(config, dataset, folder, checkpoint, before)
            accuracy = metrics["last"].get(TEST_ACCURACY)
            print(f"{config.key}: {metrics['status']}, {'' if accuracy is None else f'test accuracy {100 * accuracy:.1f} %, '}results in {folder}")
    return metrics["last"].get(VAL_ACCURACY, math.nan)


def _check_whose(folder: Path, config: Config, fingerprint: str, may_replace: bool) -> None:
    """Raise UserError if a run by hand would replace other files, or a run that must stay. Runs of the study may replace anything."""
    if config.run:
        return
    others = [path.name for path in sorted(folder.glob("*")) if path.name not in results.FILES and path.name[0] not in ".~" and "=" not in path.name]
    if others:  # a subfolder with = or ~ in its name is a run with other values
        raise UserError("run-folder-taken", f"run_dir={folder} holds {others[0]}, which is no file of a run; name a new folder with run_dir=PATH")
    held = results.identity_of(folder)
    if held in (None, (config.key, fingerprint)):
        return
    if held[0] != config.key:
        raise UserError(
            "run-folder-taken", f"{folder} holds the run {held[0]}; name another folder for {config.key} with run_dir=PATH, or remove this one"
        )
    if not may_replace:
        raise UserError(
            "run-folder-taken",
            f"{folder} holds {config.key} with other values, data or code; name another folder with run_dir=PATH, or remove this one",
        )
    sys.stderr.write(f"{config.key}: replaces the run in {folder}, which had other values, data or code\n")


def _twin(folder: Path, config: Config, data_sha256: str) -> Path | None:
    """A finished run of the same activation that has these values and data under another condition."""
    for other in sorted(folder.parent.iterdir()):
        if other != folder and results.finished(other, fingerprint(config.deciding(), data_sha256, CORE_SHA256, accepted(other))):
            return other
    return None


def _copied(config: Config, twin: Path, folder: Path) -> dict[str, Any]:
    load_keras()
    from actgrad.tracking import live

    metrics = results.copy(twin, folder, config.key)
    live.copied(config, RunResult.read(folder), folder)
    return metrics


def _say_link(config: Config, metrics: dict[str, Any]) -> None:
    """Print the link to MLflow's page of a run by hand, if the store has it."""
    if config.run or not config.tracking.enabled:
        return
    from actgrad.tracking import reading

    if link := reading.link_of(config, metrics["fingerprint"]):
        print(f"{config.key}: in MLflow: {link}")


def _trained(config: Config, dataset: Dataset, folder: Path, checkpoint: Checkpoint, before: tuple[str, str] | None) -> dict[str, Any]:
    load_core()
    from actgrad.pipeline.progress import Progress
    from actgrad.tracking.live import logged
    from actgrad.training import determinism, loop
    from actgrad.training.batches import steps_per_epoch

    determinism.start(config.seed, config.recipe.threads)  # before the user's code, which may compute as it is imported
    load_own_code(own_code_paths(config.deciding()))  # here, because refused and finished runs do not need it
    given: list[str] = []
    builder = _noting_initializers(config.model.build, given) if is_own(config.model.build) else None
    steps = steps_per_epoch(config, dataset) * config.recipe.epochs
    progress = Progress(config, steps)
    with logged(config, dataset, steps, checkpoint.fingerprint) as live_run:
        try:
            measured, network = loop.train(config, dataset, [progress, live_run], progress.callbacks, checkpoint, builder)
        except SystemExit as error:
            raise UserError(
                "own-code-failed", f"code of your own ended the training of {config.key} by SystemExit({error.code}); let it raise another error"
            ) from None
        result = result_of(config, measured, dataset.sha256, checkpoint.fingerprint)
        if (now := results.identity_of(folder)) not in (None, before):  # another clone, whose locks are not in this one
            raise UserError(
                "run-folder-taken", f"another process wrote the run {now[0]} into {folder} meanwhile; name another folder with run_dir=PATH"
            )
        metrics = result.write(folder)
        live_run.finished(replace(result, metrics=metrics), folder, network)
    checkpoint.remove()
    if builder and not given:
        what = "so recipe.kernel_initializer changes nothing; write kernel_initializer=initializer(NAME) in its layers, unless you mean it"
        warn(f"{config.key}: the network of {config.model.build} does not use its initializer, {what}", "have networks without their initializer")
    if cut_off := without_gradient(measured.steps):
        what = "what comes after them lets none pass, as a step function or stop_gradient; mend the activation or the network, unless you mean it"
        warn(f"{config.key}: no gradient reaches {', '.join(cut_off)}: {what}", "have layers that no gradient reaches")
    return metrics


def _noting_initializers(path: str, given: list[str]) -> Callable[..., Any] | None:
    """The user's builder at a dotted path, which appends to `given` the layers that it asks an initializer for. None if there is no builder:
    it is refused when it is built.
    """
    builder = located("model.build", path)
    if not callable(builder):
        return None

    @functools.wraps(builder)
    def noting(input_shape: Any, classes: int, activation: Any, initializer: Callable[[str], Any], **values: Any) -> Any:
        def noted(layer: str) -> Any:
            given.append(layer)
            return initializer(layer)

        return builder(input_shape, classes, activation, noted, **values)

    return noting


def without_gradient(steps: pd.DataFrame) -> list[str]:
    """The layers whose gradient was exactly 0 at every step of a training, in the order of the network."""
    largest = steps.groupby("layer", sort=False)["grad_norm"].max()
    return largest.index[largest == 0].tolist()


def result_of(config: Config, measured: "Measured", data_sha256: str, fingerprint: str) -> RunResult:
    """The measurements, with configuration, checksums and environment."""
    return RunResult(
        config=yaml.safe_dump(config.deciding(), sort_keys=False),
        history=measured.history,
        steps=measured.steps,
        probes=measured.probes,
        activation=measured.activation,
        metrics={
            "key": config.key,
            **measured.metrics,
            "data_sha256": data_sha256,
            "fingerprint": fingerprint,
            "core_sha256": CORE_SHA256,
            "environment": environment(),
        },
    )
