"""Saved views, descriptions and links of MLflow experiments."""

import hashlib
from collections.abc import Sequence

import mlflow

from actgrad.config import loading
from actgrad.config.schema import Tracking
from actgrad.console import warn
from actgrad.errors import UserError
from actgrad.results.run import RunResult
from actgrad.tracking import descriptions, views
from actgrad.tracking.contents import DESCRIPTION
from actgrad.tracking.metrics import Layers
from actgrad.tracking.store import absent, local, reason, using, without_password
from actgrad.tracking.views import View

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's own tag of an experiment of model training."""
WRITTEN = "actgrad.description"
"""Tag: checksum of the description that this code wrote last. A different description is the user's, and is kept."""
UI = "http://127.0.0.1:5000"
"""Address at which `make ui` shows a local store."""


def present_study(experiment: str, result: RunResult) -> None:
    """Give the MLflow experiment of a study its views and description.

    Args:
        experiment: its id.
        result: a run of the study. Views show its layers if it is of the study's first condition, or if there are no views yet.
    """
    try:
        listed = loading.listed(loading.study(), result.dataset)
    except UserError:  # there is no params.yaml
        listed = {result.condition: loading.Listed([result.activation_name], [result.seed])}
    shown = views.of_study(listed, Layers.of(result))
    said = descriptions.of_study(result.dataset, shown, experiment)
    _present(experiment, shown, said, only_missing=result.condition != next(iter(listed)))


def present_by_hand(experiment: str, result: RunResult) -> None:
    """Give the MLflow experiment of runs by hand its view, which shows the layers of the newest run, and its description."""
    shown = views.by_hand(Layers.of(result))
    _present(experiment, shown, descriptions.by_hand(result.dataset, shown, experiment))


def present_search(experiment: str, dataset: str) -> None:
    """Give the MLflow experiment of a search for learning rates its view and description."""
    shown = views.of_search()
    _present(experiment, shown, descriptions.of_search(dataset, shown, experiment))


def _present(experiment: str, shown: Sequence[View], description: str, only_missing: bool = False) -> None:
    """Set the tags of an MLflow experiment that are missing or wrong. If the store fails, print one sentence."""
    client = mlflow.MlflowClient()
    try:
        tags = client.get_experiment(experiment).tags
        wanted = dict(views.tag(view, tags.get(views.TAG + view.id)) for view in shown)
        if only_missing:
            wanted = {name: tags.get(name, value) for name, value in wanted.items()}
        if tags.get(WRITTEN) == _checksum(tags.get(DESCRIPTION, "")) or DESCRIPTION not in tags:
            wanted |= {DESCRIPTION: description, WRITTEN: _checksum(description)}
        for name, value in (wanted | KIND).items():
            if tags.get(name) != value:
                client.set_experiment_tag(experiment, name, value)
        for name in tags:
            if name.startswith(views.TAG + views.OWN) and name not in wanted:
                client.delete_experiment_tag(experiment, name)
    except Exception as error:  # the store may raise anything; the runs are there
        warn(f"tracking: the saved views of MLflow are not all written ({reason(error)}); the runs are there", "have no saved views in MLflow")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- links


def address(uri: str) -> str:
    """The address of a store's web pages; for a local store, the address of `make ui`."""
    return UI if local(uri) or not uri.startswith("http") else without_password(uri).rstrip("/")


def run_link(uri: str, experiment: str, run_id: str) -> str:
    """Link to the page of an MLflow run."""
    return f"{address(uri)}/#/experiments/{experiment}/runs/{run_id}?{views.TRAINING}"


def link(tracking: Tracking, at: str | None = None) -> str | None:
    """Link to the page that compares the activations of a study.

    Args:
        tracking: its store and MLflow experiment.
        at: the address of the server; default: the store's.

    Returns:
        None if the store has no such experiment.

    Raises:
        UserError: if the store fails.
    """
    with using(tracking) as uri:
        found = None if absent(uri) else mlflow.get_experiment_by_name(tracking.experiment)
        return f"{at or address(uri)}/{views.link(found.experiment_id, views.FIRST)}" if found else None
