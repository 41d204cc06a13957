"""MLflow has the same content as the files, and a failing store does not stop a training."""

import dataclasses
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException

from actgrad.config.schema import Tracking
from actgrad.errors import UserError
from actgrad.files import sha256
from actgrad.results.fingerprint import CORE_SHA256
from actgrad.results.run import FILES
from actgrad.tracking import contents, live, metrics, store
from actgrad.training.epochs import Epoch
from conftest import LAYERS, ROOT, SITES, refuses
from tracked_runs import all_runs, runs_of, track, track_all, tracking_lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with its own store, with two tracked runs of tanh and one of relu."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("tracked")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def tracked(folder, run_config, few_digits):
    return track_all(run_config, few_digits, folder)


@pytest.fixture
def client(tracked, folder) -> mlflow.MlflowClient:
    assert tracked
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    return mlflow.MlflowClient()


@pytest.fixture
def run(client) -> mlflow.entities.Run:
    (found,) = runs_of(client, "digits/tanh/baseline-0")
    return found


def history(client, run, name: str) -> dict[int, float]:
    return {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}


def test_metrics_of_epochs_are_those_of_the_history(client, run, tracked):
    rows = tracked["tanh", 0].history
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert history(client, run, name) == dict(zip(rows["step"], rows[name], strict=True))
    last = tracked["tanh", 0].metrics["last"]
    assert history(client, run, "test/accuracy") == {20: last["test/accuracy"]}
    assert history(client, run, "test/loss") == {20: last["test/loss"]}


def test_gradient_norms_and_probe_are_those_of_the_files(client, run, tracked):
    steps = tracked["tanh", 0].steps
    for layer in LAYERS:
        of_layer = steps[steps["layer"] == layer]
        assert history(client, run, f"grad_norm/{layer}") == dict(zip(of_layer["step"], of_layer["grad_norm"].astype(float), strict=True))
        ratio = (of_layer["update_norm"] / of_layer["weight_norm"]).astype(float)
        assert history(client, run, f"update_ratio/{layer}") == dict(zip(of_layer["step"], ratio, strict=True))
    probes = tracked["tanh", 0].probes
    assert sorted(history(client, run, "dead/conv1_activation")) == [0, 1, 2, 4, 8, 10, 20]
    for name in ("preact_grad_rms", "dead", "newly_dead", "revived", "saturated"):
        for layer in (*SITES, "output"):
            rows = probes[(probes["layer"] == layer) & probes[name].notna()]
            assert history(client, run, f"{name}/{layer}") == dict(zip(rows["step"], rows[name].astype(float), strict=True))


def test_a_run_has_no_more_metrics_than_a_page_can_hold(run):
    assert len(run.data.metrics) == 39


def test_long_trainings_are_thinned_to_fifty_points_with_both_ends():
    steps = metrics.thinned(1960)
    assert (len(steps), steps[0], steps[-1]) == (50, 1, 1960)
    assert set(np.diff(steps)) <= {39, 40}
    assert metrics.thinned(20) == list(range(1, 21))


def test_params_are_the_whole_configuration(run, folder, run_config):
    config = run_config("activation=tanh", f"tracking.uri=sqlite:///{folder}/mlflow.db")
    whole = config.model_dump(exclude={"condition": {"activations", "seeds"}, "activation": {"conditions"}})
    named = {"activation": "tanh", "condition": "baseline", "model": "lenet5"}
    assert run.data.params == {key: str(value) for key, value in contents.flat(whole).items()} | named
    assert yaml.safe_load((folder / "tanh-0" / "config.yaml").read_text()) == config.deciding()
    assert run.data.params["recipe.learning_rate"] == "0.001"
    assert run.data.params["activation.config.activation"] == "tanh"
    assert run.data.params["condition.name"] == "baseline"


def test_tags_say_what_ran(run, folder, tracked, few_digits):
    result = tracked["tanh", 0]
    expected = {
        "key": "digits/tanh/baseline-0",
        "dataset": "digits",
        "condition": "baseline",
        "activation": "tanh",
        "model": "lenet5",
        "seed": "0",
        "fingerprint": result.metrics["fingerprint"],
        "status": "finished",
        "validation_split": "val",
        "data_sha256": few_digits.sha256,
        "core_sha256": CORE_SHA256,
        "config_sha256": sha256(folder / "tanh-0" / "config.yaml"),
        "weights_sha256": result.metrics["weights_sha256"],
        "complete": contents.complete_tag(sha256(folder / "tanh-0" / "metrics.json")),
        "device": "CPU",
    }
    own = {name: value for name, value in run.data.tags.items() if not name.startswith(("mlflow.", "git_"))}
    assert own == expected
    assert run.info.run_name == "tanh-0 · baseline"
    assert run.info.status == "FINISHED"


def test_each_run_has_one_mlflow_run_and_nothing_gathers_them(client, run):
    found = client.search_runs([run.info.experiment_id], f"attributes.start_time <= {run.info.start_time + 10**6}")
    assert {one.info.run_name for one in found} >= {"relu-0 · baseline", "tanh-0 · baseline", "tanh-1 · baseline"}
    assert not any("mlflow.parentRunId" in one.data.tags or "key" not in one.data.tags for one in found)


def test_the_dataset_is_an_input_of_the_run(run, few_digits):
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", few_digits.sha256[:36])


def test_artifacts_are_the_files(client, run, folder):
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert names >= set(FILES)
    for name in FILES:
        assert (folder / "tanh-0" / name).read_bytes() == Path(client.download_artifacts(run.info.run_id, name)).read_bytes()


def test_the_model_takes_raw_pixels_and_answers_as_the_network_did(client, run, tracked, few_digits):
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.status == "READY"
    assert logged.tags == {name: run.data.tags[name] for name in ("mlflow.source.name", "mlflow.source.type", "mlflow.user")}
    assert logged.params == run.data.params
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 8, 8, 1)
    probabilities = model.predict(few_digits.images["test"].astype(np.float32))
    accuracy = np.mean(probabilities.argmax(axis=1) == few_digits.labels["test"])
    assert accuracy == pytest.approx(tracked["tanh", 0].metrics["last"]["test/accuracy"], abs=1e-6)


@pytest.mark.slow
def test_a_model_with_a_layer_that_keras_lacks_loads_where_this_project_is_not(client, run_config, few_digits, folder, tmp_path):
    result = track(run_config("activation=maxout", "recipe.epochs=1"), few_digits, tmp_path / "run")
    (run,) = runs_of(client, "digits/maxout/baseline-0")
    assert run.data.tags["weights_sha256"] == result.metrics["weights_sha256"]
    np.savez(tmp_path / "test.npz", images=few_digits.images["test"].astype(np.float32), labels=few_digits.labels["test"])
    code = (
        f"import mlflow, numpy as np; mlflow.set_tracking_uri('sqlite:///{folder}/mlflow.db'); f = np.load('test.npz');"
        f"p = mlflow.pyfunc.load_model('models:/{run.outputs.model_outputs[0].model_id}').predict(f['images']);"
        "print((p.argmax(axis=1) == f['labels']).mean())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(result.metrics["last"]["test/accuracy"], abs=1e-6)


@pytest.mark.slow
def test_a_layer_of_a_package_without_init_file_is_logged_with_its_code(run_config, few_digits, tmp_path, monkeypatch, client):
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg" / "acts.py").write_text(
        "import keras\nclass Snake(keras.layers.Layer):\n    def call(self, z):\n        return z + keras.ops.sin(z) ** 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = run_config("activation=relu", "activation.name=snake", "activation.layer=my_pkg.acts.Snake", "recipe.epochs=1")
    track(config, few_digits, tmp_path / "run")
    (run,) = runs_of(client, "digits/snake/baseline-0")
    assert run.info.status == "FINISHED"


# --- a store that fails, and passwords


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/no/such/folder/mlflow.db"])
@pytest.mark.slow
def test_a_store_that_is_down_costs_no_training(run_config, few_digits, tmp_path, monkeypatch, capsys, uri, trained):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
    result = track(run_config("activation=tanh"), few_digits, tmp_path / "run")
    assert result.metrics["weights_sha256"] == trained[1].metrics["weights_sha256"]
    assert (tmp_path / "run" / "metrics.json").is_file()
    (said,) = tracking_lines(capsys)
    assert "digits/tanh/baseline-0 is no longer logged to MLflow" in said


@pytest.mark.slow
def test_a_store_that_breaks_in_mid_training_costs_no_training_and_not_the_next_run(run_config, few_digits, tmp_path, monkeypatch, capsys, trained):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    class Breaker:
        def epoch_finished(self, epoch):
            if epoch.number == 1:
                with closing(sqlite3.connect(tmp_path / "mlflow.db")) as db, db:
                    db.execute("DROP TABLE metrics")

    result = track(run_config("activation=tanh"), few_digits, tmp_path / "run", [Breaker()])
    assert result.metrics["weights_sha256"] == trained[1].metrics["weights_sha256"]
    assert capsys.readouterr().err.count("digits/tanh/baseline-0 is no longer logged to MLflow") == 1
    assert mlflow.active_run() is None


def test_code_of_the_users_own_that_ends_the_mlflow_run_costs_no_training(run_config, few_digits, tmp_path, monkeypatch, capsys):
    class Ender:
        def epoch_finished(self, _):
            mlflow.end_run()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    track(run_config("activation=tanh", "recipe.epochs=1"), few_digits, tmp_path / "run", [Ender()])
    (said,) = tracking_lines(capsys)
    assert "no longer logged to MLflow (its MLflow run was ended by other code)" in said


def test_a_server_that_knows_no_logged_models_has_a_finished_run_without_one(run_config, few_digits, tmp_path, monkeypatch, capsys):
    """As one of MLflow 2 answers."""

    def unknown(*_, **__):
        raise MlflowException("API request to endpoint /api/2.0/mlflow/logged-models failed with error code 404 != 200")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(mlflow.MlflowClient, "_create_logged_model", unknown)
    result = track(run_config("activation=tanh", "recipe.epochs=1"), few_digits, tmp_path / "run")
    (said,) = tracking_lines(capsys)
    assert said.startswith("tracking: the trained model of digits/tanh/baseline-0 is not in MLflow (API request to endpoint")
    (run,) = runs_of(mlflow.MlflowClient(), "digits/tanh/baseline-0")
    assert (run.info.status, run.data.tags["complete"]) == ("FINISHED", contents.complete_tag(sha256(tmp_path / "run" / "metrics.json")))
    assert run.data.metrics["test/accuracy"] == result.metrics["last"]["test/accuracy"]


def test_a_password_in_the_address_is_not_among_the_params(run_config):
    logged = contents.live_params(run_config("tracking.uri='https://alice:hush@host:5000/mlflow'"))
    assert logged["tracking.uri"] == "https://host:5000/mlflow"
    assert "hush" not in str(logged)


def test_a_password_in_the_address_reaches_mlflow_by_the_environment_and_is_not_printed(monkeypatch):
    for name in ("URI", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")  # so that it is as before when the test is over
    with store.using(Tracking(enabled=True, uri="http://alice:hu%40sh%2F@host:5000/mlflow", experiment="e")) as uri:
        assert uri == mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://host:5000/mlflow"
        assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("alice", "hu@sh/")
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    "address", ["http://alice:hush@host", "http://alice:@hu/sh@host", "postgresql://alice:hu/sh@host/db", "postgresql://host/db?password=hush"]
)
def test_no_error_message_has_the_password_of_an_address(monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError) as refused, store.using(Tracking(enabled=True, uri="", experiment="e")):
        raise OSError(f"no way to {address}/api")
    mlflow.set_tracking_uri(None)
    assert "host" in str(refused.value)
    assert not any(part in str(refused.value) for part in ("hush", "hu/", "sh@"))


# --- live


@pytest.mark.slow
def test_runs_that_start_together_in_a_new_store_share_it_and_its_mlflow_experiment(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
from actgrad.config.composing import composed
from actgrad.pipeline.keras_process import load_keras
load_keras()
from actgrad.data.dataset import Dataset
from actgrad.tracking import live
with live.logged(composed(["data=digits", "run_dir=x", "seed=" + sys.argv[1]]), Dataset({{"val": [0]}}, {{}}, []), 1, "f"):
    pass
"""
    start = [sys.executable, "-c", code]
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}  # set by set_tracking_uri
    starting = [subprocess.Popen([*start, str(seed)], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) for seed in range(4)]
    said = [one.communicate()[1] for one in starting]
    assert not any("tracking:" in text or "Traceback" in text for text in said), said
    runs = all_runs(mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"))
    assert sorted(run.info.run_name for run in runs) == [f"relu-{seed} · baseline" for seed in range(4)]


def test_a_training_that_fails_leaves_a_failed_mlflow_run(client, run_config, few_digits):
    with pytest.raises(ZeroDivisionError), live.logged(run_config("activation=elu"), few_digits, 20, "h"):
        raise ZeroDivisionError
    (failed,) = runs_of(client, "digits/elu/baseline-0")
    assert failed.info.status == "FAILED"


@pytest.mark.slow
def test_nothing_is_logged_when_tracking_is_off(run_config, few_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = run_config("tracking.enabled=false")
    live.copied(config, track(config, few_digits, tmp_path / "run"), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_epoch_metrics_skip_what_was_not_measured(monkeypatch):
    monkeypatch.setattr(metrics, "STEP_POINTS", 2)
    norms = {"grad_norm": [1.0, 2.0] * len(LAYERS), "update_norm": 3.0, "weight_norm": 6.0}
    steps = pd.DataFrame({"step": [1, 2] * len(LAYERS), "layer": np.repeat(LAYERS, 2), **norms})
    counts = {"dead": [3, None], "newly_dead": [2, None], "revived": [0, None], "saturated": [0.5, None]}
    layers = {"layer": ["conv1", "output"], "hidden": [True, False]}
    probes = pd.DataFrame({"epoch": 1, "step": 2, **layers, "preact_grad_rms": [0.1, 0.2], **counts})
    logged = metrics.epoch_metrics(Epoch(1, 2, {"val/loss": 0.3}, steps, probes), 20)
    first = {(f"grad_norm/{layer}", 1): 1.0 for layer in LAYERS} | {(f"update_ratio/{layer}", 1): 0.5 for layer in LAYERS}
    assert logged == {("val/loss", 2): 0.3} | first | {
        ("preact_grad_rms/conv1", 2): 0.1,
        ("preact_grad_rms/output", 2): 0.2,
        ("dead/conv1", 2): 3.0,
        ("dead/total", 2): 3.0,
        ("newly_dead/conv1", 2): 2.0,
        ("revived/conv1", 2): 0.0,
        ("saturated/conv1", 2): 0.5,
    }


def test_a_history_with_an_epoch_twice_is_damaged(trained):
    _, result, _ = trained
    twice = dataclasses.replace(result, history=pd.concat([result.history, result.history.tail(1)]))
    with refuses("damaged-result", "digits/tanh/baseline-0"):
        metrics.run_metrics(twice)


def test_make_ui_on_a_port_that_is_taken_fails_before_it_names_links_to_anothers_pages(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ready").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = ["make", "--no-print-directory", "ui", f"PORT={port}"]  # make test, too, is a make, which names folders
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: port {port} is not free: is make ui running already? Use its page, or name another port,")
