"""The MLflow store: its address, creation and lock, and the error sentence if it fails."""

import hashlib
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from actgrad.config.composing import composed
from actgrad.config.schema import Tracking
from actgrad.errors import UserError
from actgrad.files import UNFINISHED, exclusive_lock

LONGEST_WAIT = 60.0
"""Seconds to wait for another process that uses the same store."""
LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
"""The tables and columns in which MLflow keeps the locations of files."""


def configured(dataset: str) -> Tracking:
    """The store, and the MLflow experiment of a dataset's study, as conf/ and the user's own conf/local set them."""
    return composed([f"data.name={dataset}", "run_dir=unused"]).tracking.of_study()


def address(tracking: Tracking) -> str:
    """The address of the store: MLFLOW_TRACKING_URI, or else what the configuration says."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri
    patient = uri.startswith("sqlite:///") and "?" not in uri
    return f"{uri}?timeout={LONGEST_WAIT:g}" if patient else uri  # by default, SQLite gives up after 5 seconds when many processes write


def use(tracking: Tracking) -> str:
    """Make MLflow use a store from now on, and return its address.

    A server's address may hold a name and a password. MLflow prints the address, so it gets these two in environment variables.
    """
    uri = address(tracking)
    if held := re.match("(https?://)([^/?#]*)@", uri):
        name, _, password = held[2].partition(":")
        os.environ |= {"MLFLOW_TRACKING_USERNAME": unquote(name), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
        uri = held[1] + uri[held.end() :]
    mlflow.set_tracking_uri(uri)
    return uri


@contextmanager
def using(tracking: Tracking) -> Iterator[str]:
    """Make MLflow use a store from now on, and yield its address.

    Raises:
        UserError: if the store fails inside this context.
    """
    uri = use(tracking)
    try:
        yield uri
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(
            "store-failed",
            f"the MLflow store {without_password(uri)} cannot be used ({reason(error)}); "
            "fix that and start the same command again, the store keeps what it holds",
        ) from None


@contextmanager
def exclusive(uri: str) -> Iterator[None]:
    """Hold the lock of a store, and make the store if it does not exist.

    So no other process of this machine makes tables, MLflow experiments or duplicate MLflow runs at the same time.
    """
    store = local(uri)
    name = store or Path(tempfile.gettempdir(), f"actgrad-{hashlib.sha256(f'{Path.home()} {uri}'.encode()).hexdigest()[:16]}")
    with exclusive_lock(name.with_name(f"{name.name}.lock"), "uses the MLflow store", LONGEST_WAIT):
        if store and absent(uri):
            _make(store)
        yield


def experiment(uri: str, name: str) -> str:
    """The id of an MLflow experiment, which is made if it does not exist. The caller must hold `exclusive(uri)`.

    In a store with a relative path, MLflow's absolute file paths are made relative to the project's root, so that the project can be
    moved.

    Raises:
        UserError: if it was deleted, with the command that brings it back.
    """
    existing = mlflow.get_experiment_by_name(name)
    if existing and existing.lifecycle_stage == "deleted":
        command = f"MLFLOW_TRACKING_URI='{without_password(uri)}' python -m mlflow experiments restore --experiment-id {existing.experiment_id}"
        raise UserError(
            "experiment-deleted",
            f"the MLflow experiment {name} was deleted; bring it back with {command}, or name another in conf/tracking/mlflow.yaml",
        )
    if existing is None:
        _make_experiment(name)
    found = mlflow.set_experiment(name).experiment_id
    if (store := local(uri)) and not store.is_absolute():
        _relative_files(store)
    return found


def _make_experiment(name: str) -> None:
    """Make an MLflow experiment. set_experiment would print a line, and would fail if another machine made the experiment at the same
    moment."""
    try:
        mlflow.MlflowClient().create_experiment(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _relative_files(store: Path) -> None:
    """Make a store's file paths relative to the working folder, also after the project was moved or copied."""
    with closing(sqlite3.connect(store, timeout=LONGEST_WAIT)) as db, db:
        places = dict(db.execute("SELECT experiment_id, artifact_location FROM experiments"))
        made_in = (places.get(0) or "").removesuffix("mlruns/0")  # the store's folder when it was made; empty if already relative
        for root in {f"{Path.cwd()}/", made_in}:
            if root.startswith("/") and any(place.startswith(root) for place in places.values()):
                for table, column in LOCATIONS:
                    begins = f"substr({column}, 1, ?) = ?"  # not LIKE, which has wildcards
                    db.execute(f"UPDATE {table} SET {column} = substr({column}, ?) WHERE {begins}", (len(root) + 1, len(root), root))


def _make(store: Path) -> None:
    """Make a local store in one step, because MLflow cannot use a store whose tables were only partly made."""
    unfinished = store.with_name(f".{store.name}{UNFINISHED}")
    for leftover in store.parent.glob(f"{unfinished.name}*"):  # from a killed process, because this one holds the lock
        leftover.unlink()
    SqlAlchemyStore(f"sqlite:///{unfinished}", "./mlruns").engine.dispose()
    unfinished.replace(store)


def local(uri: str) -> Path | None:
    """The file of a local store; None for a server."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def absent(uri: str) -> bool:
    """Whether a local store does not exist yet. MLflow would make it, even to read from it."""
    store = local(uri)
    return store is not None and not store.exists()


def without_password(text: str) -> str:
    """A text without the names and passwords in its addresses. A password may contain a slash or @."""
    return re.sub(r"(//)\S*@|(password=)[^&\s]*", r"\1\2", text)


def reason(error: Exception) -> str:
    """The first line of an error, without a password."""
    return without_password(next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__))[:300]
