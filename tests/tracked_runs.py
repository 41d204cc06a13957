"""Helpers that train, track and publish runs for tests of MLflow."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import mlflow

from actgrad.config.schema import Config, Tracking
from actgrad.data.dataset import Dataset
from actgrad.pipeline.environment import environment
from actgrad.pipeline.run import result_of
from actgrad.results.fingerprint import CORE_SHA256, fingerprint
from actgrad.results.run import RunResult
from actgrad.tracking import contents, live, publish
from actgrad.training import loop

TRAINED = (("tanh", 0), ("tanh", 1), ("relu", 0))


def track(config: Config, dataset: Dataset, folder: Path, observers: Sequence[object] = ()) -> RunResult:
    """Train a run of 20 steps, tracked, as the pipeline does."""
    of_this = fingerprint(config.deciding(), dataset.sha256, CORE_SHA256, environment())
    with live.logged(config, dataset, 20, of_this) as live_run:
        measured, network = loop.train(config, dataset, [*observers, live_run])
        result = result_of(config, measured, dataset.sha256, of_this)
        result = dataclasses.replace(result, metrics=result.write(folder))
        live_run.finished(result, folder, network)
    return result


def track_all(run_config: Callable[..., Config], dataset: Dataset, folder: Path) -> dict[tuple[str, int], RunResult]:
    """Train the runs of TRAINED, tracked in a store of this folder."""
    uri = f"tracking.uri=sqlite:///{folder}/mlflow.db"  # absolute, because MLflow keeps connections by address
    return {(name, seed): track(run_config(f"activation={name}", f"seed={seed}", uri), dataset, folder / f"{name}-{seed}") for name, seed in TRAINED}


def runs_of(client: mlflow.MlflowClient, key: str) -> list[mlflow.entities.Run]:
    """The MLflow runs of a run, the newest first."""
    return [run for run in all_runs(client) if run.data.tags["key"] == key]


def all_runs(client: mlflow.MlflowClient) -> list[mlflow.entities.Run]:
    """All MLflow runs of runs, in any MLflow experiment, the newest first."""
    return [run for run in client.search_runs([one.experiment_id for one in client.search_experiments()]) if "key" in run.data.tags]


def everything(client: mlflow.MlflowClient) -> dict:
    """The content of a store without times and ids: name -> status, metrics with their steps, params, tags and files."""
    found = {}
    for run in all_runs(client):
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        values = {name: sorted((one.step, one.value) for one in history) for name, history in histories.items()}
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith(("mlflow.", "git", "device"))}
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        assert run.info.run_name not in found
        found[run.info.run_name] = (run.info.status, values, run.data.params, tags, files)
    return found


class Published:
    """A folder with runs/ and a store; runs are published from there."""

    def __init__(self, folder: Path):
        self.tracking = Tracking(enabled=True, uri=f"sqlite:///{folder}/mlflow.db", experiment="digits")
        self.client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")

    def publish(self, *runs: tuple[str, int], not_here: Sequence[str] = ()) -> int:
        """Publish these runs, or all tracked runs, as they are in runs/."""
        folders = [Path("runs", "digits", name, f"baseline-{seed}") for name, seed in runs or TRAINED]
        return publish.publish(self.tracking, folders, not_here)

    def superseded(self) -> dict[str, list[str]]:
        """Run name -> the tag `superseded` of its MLflow runs, the newest first."""
        found: dict[str, list[str]] = {}
        for run in all_runs(self.client):
            found.setdefault(run.info.run_name, []).append(run.data.tags.get("superseded", "not tagged"))
        return found

    def make(self, key: str, fingerprint: str, **params: str) -> str:
        """Make an MLflow run with only these properties, and return its id."""
        (any_run, *_) = all_runs(self.client)
        tags = {"key": key, "fingerprint": fingerprint}
        run_id = self.client.create_run(any_run.info.experiment_id, run_name=contents.run_name(key), tags=tags).info.run_id
        for name, value in params.items():
            self.client.log_param(run_id, name, value)
        return run_id


def tracking_lines(capsys) -> list[str]:
    """The lines about MLflow on stderr."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("tracking: ")]
