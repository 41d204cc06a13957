"""The first process silently makes the MLflow experiment of a dataset."""

from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.exceptions import MlflowException

from actgrad.config.loading import Listed
from actgrad.tracking import experiments, store, views
from actgrad.tracking.metrics import of_layer
from made_up_runs import made_up


@pytest.fixture
def uri(tmp_path, monkeypatch) -> str:
    """Make a store, and return its address."""
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


@pytest.mark.slow
def test_its_views_are_of_the_runs_that_params_yaml_lists_for_the_dataset(uri, monkeypatch):
    run = made_up("relu", 1, 0.9)
    study = {"datasets": [run.dataset], "conditions": ["baseline", "he"], "activations": ["relu", "tanh"], "seeds": [0, 1]}
    Path("params.yaml").write_text(yaml.safe_dump(study | {"only": {run.dataset: {"conditions": ["baseline"], "seeds": [1]}}}))
    seen, of_study = [], views.of_study
    monkeypatch.setattr(views, "of_study", lambda listed, layers: seen.append(listed) or of_study(listed, layers))
    found = store.experiment(uri, run.dataset)
    experiments.present_study(found, run)
    assert seen == [{"baseline": Listed(["relu", "tanh"], [1])}]
    assert any(name.startswith(views.TAG) for name in mlflow.MlflowClient().get_experiment(found).tags)


@pytest.mark.slow
def test_the_first_training_prints_nothing_of_mlflow(script):
    assert script("download.py", "data=digits").returncode == 0
    done = script("train.py", "data=digits", "recipe.epochs=1", "recipe.steps_per_execution=1")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_name_of_any_layer_makes_a_metric_that_mlflow_takes(uri):
    """A layer that is used twice has a # in the name of its second site: such runs were no longer logged."""
    name = of_layer("dead", "re_lu_2#2 ü")
    assert name == "dead/re_lu_2.2 ."
    client = mlflow.MlflowClient()
    client.log_metric(client.create_run(store.experiment(uri, "digits")).info.run_id, name, 1.0)
