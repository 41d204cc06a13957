"""The MLflow experiment of a dataset is made without a word, by whichever process comes first."""

from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from actgrad.tracking import store


@pytest.fixture
def uri(tmp_path, monkeypatch) -> str:
    """The address of a store, which is made."""
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    with store.exclusive(uri):
        assert Path("mlflow.db").is_file()
    yield uri
    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)


def test_an_experiment_is_made_once_and_used(uri):
    first = store.experiment(uri, "digits")
    assert store.experiment(uri, "digits") == first
    assert mlflow.MlflowClient().get_experiment(first).name == "digits"
    with mlflow.start_run() as run:
        assert run.info.experiment_id == first


def test_one_that_another_machine_makes_at_the_same_moment_is_used(uri, monkeypatch):
    """MLflow's own set_experiment returns it, and goes on to use the one before."""
    client = mlflow.MlflowClient
    create = client.create_experiment

    def created_twice(self, name: str, *more: object) -> str:
        create(self, name, *more)
        return create(self, name, *more)

    monkeypatch.setattr(client, "create_experiment", created_twice)
    found = store.experiment(uri, "digits")
    with mlflow.start_run() as run:
        assert run.info.experiment_id == found


def test_another_error_of_the_store_is_raised(uri, monkeypatch):
    def fails(*_: object) -> str:
        raise MlflowException("no room")

    monkeypatch.setattr(mlflow.MlflowClient, "create_experiment", fails)
    with pytest.raises(MlflowException, match="no room"):
        store.experiment(uri, "digits")


def test_the_first_training_prints_nothing_of_mlflow(script):
    assert script("download.py", "data=digits").returncode == 0
    done = script("train.py", "data=digits", "recipe.epochs=1", "recipe.steps_per_execution=1")
    assert (done.returncode, done.stderr) == (0, "")
