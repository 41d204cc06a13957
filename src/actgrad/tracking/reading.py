"""Read MLflow runs back from the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException

from actgrad.config.schema import Config, Tracking
from actgrad.errors import UserError
from actgrad.results.run import FILES
from actgrad.tracking.contents import PATCH, tracking_of
from actgrad.tracking.experiments import run_link
from actgrad.tracking.store import absent, local, using, without_password


@dataclass(frozen=True)
class Recorded:
    """The content of a run's MLflow run.

    Attributes:
        tags: its tags.
        metrics: (metric name, step, value) of each value.
        files: name -> a local copy of its file.
        model: the trained network as a .keras file; None if none was logged.
        run_dir: the folder with the files of the run; None if the MLflow run does not say.
    """

    tags: Mapping[str, str]
    metrics: Sequence[tuple[str, int, float]]
    files: Mapping[str, Path]
    model: Path | None
    run_dir: Path | None


def run_of(tracking: Tracking, key: str, fingerprint: str) -> str | None:
    """The id of the newest MLflow run of a run with this fingerprint; None if the store has none."""
    with using(tracking) as uri:
        if absent(uri):
            return None
        experiment = mlflow.get_experiment_by_name(tracking.experiment)
        return find(experiment.experiment_id, key, fingerprint) if experiment else None


def link_of(config: Config, fingerprint: str) -> str | None:
    """Link to the newest MLflow run of a run with this fingerprint; None if the store has none, or fails."""
    tracking = tracking_of(config)
    try:
        with using(tracking) as uri:
            experiment = None if absent(uri) else mlflow.get_experiment_by_name(tracking.experiment)
            if experiment is None:
                return None
            run = find(experiment.experiment_id, config.key, fingerprint)
            return run_link(uri, experiment.experiment_id, run) if run else None
    except UserError:
        return None


def recorded(tracking: Tracking, run_id: str, folder: Path) -> Recorded:
    """The content of an MLflow run, with its files copied into a folder.

    Raises:
        UserError: if there is no such MLflow run, or it does not belong to this project.
    """
    with using(tracking) as uri:
        if absent(uri):
            raise UserError("unknown-mlflow-run", f"{local(uri)} does not exist, so it has no run {run_id}; python src/publish.py makes it")
        client = mlflow.MlflowClient()
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError("unknown-mlflow-run", f"{without_password(uri)} has no run {run_id}; MLflow shows the id of a run on its page") from None
        if "key" not in run.data.tags:
            raise UserError("foreign-mlflow-run", f"MLflow run {run_id} is not of this project: it has no tag `key`; give the id of one that has")
        copies = {name: Path(client.download_artifacts(run_id, name, str(folder))) for name in file_names(run_id) if name in (*FILES, PATCH)}
        logged = model_of(run)
        model = mlflow.artifacts.download_artifacts(f"{logged.artifact_location}/data/model.keras", dst_path=str(folder)) if logged else None
        run_dir = run.data.params.get("run_dir")
        return Recorded(run.data.tags, logged_values(run_id), copies, Path(model) if model else None, Path(run_dir) if run_dir else None)


def find(experiment: str, key: str, fingerprint: str) -> str | None:
    """The id of the newest MLflow run of a run with this fingerprint, in an MLflow experiment."""
    found = mlflow.MlflowClient().search_runs([experiment], f"tags.fingerprint = '{fingerprint}' and tags.key = '{key}'", max_results=1)
    return found[0].info.run_id if found else None


def logged_values(run_id: str) -> list[tuple[str, int, float]]:
    """(metric name, step, value) of every value in an MLflow run."""
    client = mlflow.MlflowClient()
    return [(name, one.step, one.value) for name in client.get_run(run_id).data.metrics for one in client.get_metric_history(run_id, name)]


def logged_steps(run_id: str) -> set[tuple[str, int]]:
    """(metric name, step) of every value in an MLflow run."""
    return {(name, step) for name, step, _ in logged_values(run_id)}


def file_names(run_id: str) -> set[str]:
    """Names of the files in an MLflow run."""
    return {file.path for file in mlflow.MlflowClient().list_artifacts(run_id)}


def model_of(run: Run) -> LoggedModel | None:
    """The model of an MLflow run, if it was logged completely."""
    models = [mlflow.get_logged_model(output.model_id) for output in (run.outputs.model_outputs if run.outputs else [])]
    return next((model for model in models if model.status == LoggedModelStatus.READY), None)
