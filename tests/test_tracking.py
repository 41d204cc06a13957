"""What is in MLflow is what is in the files; a store that fails costs no training."""

import dataclasses
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from actgrad.config.schema import Tracking
from actgrad.errors import UserError
from actgrad.files import sha256
from actgrad.results import fingerprint as provenance
from actgrad.results import run as results
from actgrad.results.run import LAYERS, CellResult
from actgrad.tracking import store as tracking
from actgrad.training import loop as training
from conftest import ROOT


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A folder with a store of its own, in which two cells of tanh and one of relu have been tracked."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("tracked")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder
        mlflow.set_tracking_uri(None)


def track(configuration, dataset, folder) -> CellResult:
    with tracking.logged(configuration, dataset, 20, provenance.fingerprint(configuration.deciding(), dataset.sha256)) as run:
        result, network = training.train(configuration, dataset, [run])
        result.write(folder)
        run.finished(result, folder, network)
    return result


@pytest.fixture(scope="module")
def tracked(store, cell, few_digits):
    return {
        key: track(cell(f"activation={key[0]}", f"seed={key[1]}"), few_digits, store / f"{key[0]}-{key[1]}")
        for key in (("tanh", 0), ("tanh", 1), ("relu", 0))
    }


@pytest.fixture
def client(tracked, store) -> mlflow.MlflowClient:
    assert tracked
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    return mlflow.MlflowClient()


@pytest.fixture
def run(client) -> mlflow.entities.Run:
    experiment = client.get_experiment_by_name("digits")
    (found,) = client.search_runs([experiment.experiment_id], "tags.key = 'digits/tanh-0'")
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
    gradients = tracked["tanh", 0].gradients
    for layer in LAYERS:
        assert history(client, run, f"grad_norm/{layer}") == dict(zip(gradients["step"], gradients[layer].astype(float), strict=True))
    probe = tracked["tanh", 0].probe
    for name in ("delta_rms", "dead", "saturated"):
        for layer in LAYERS:
            rows = probe[(probe["layer"] == layer) & probe[name].notna()]
            assert history(client, run, f"{name}/{layer}") == dict(zip(rows["step"], rows[name].astype(float), strict=True))


def test_a_run_has_no_more_metrics_than_a_page_can_hold(run):
    assert len(run.data.metrics) == 32


def test_long_trainings_are_thinned_to_two_hundred_points_with_both_ends():
    steps = tracking.thinned(1960)
    assert (len(steps), steps[0], steps[-1]) == (200, 1, 1960)
    assert set(np.diff(steps)) <= {9, 10}
    assert tracking.thinned(20) == list(range(1, 21))


def test_params_are_the_whole_configuration(run, store, cell):
    configuration = cell("activation=tanh")
    assert run.data.params == {key: str(value) for key, value in tracking.flat(configuration.model_dump()).items()}
    assert yaml.safe_load((store / "tanh-0" / "config.yaml").read_text()) == configuration.deciding()
    assert run.data.params["recipe.learning_rate"] == "0.001"
    assert run.data.params["activation.config.activation"] == "tanh"


def test_tags_say_what_ran(run, store, tracked, few_digits):
    expected = {
        "kind": "cell",
        "key": "digits/tanh-0",
        "dataset": "digits",
        "activation": "tanh",
        "seed": "0",
        "recipe": "digits",
        "status": "finished",
        "validation_split": "val",
        "data_sha256": few_digits.sha256,
        "config_sha256": sha256(store / "tanh-0" / "config.yaml"),
        "weights_sha256": tracked["tanh", 0].metrics["weights_sha256"],
    }
    assert {name: run.data.tags.get(name) for name in expected} == expected
    assert run.info.run_name == "digits/tanh-0"
    assert run.info.status == "FINISHED"


def test_cells_are_children_of_one_run_per_activation(client, run):
    parents = client.search_runs([run.info.experiment_id], "tags.kind = 'activation'")
    assert sorted(parent.info.run_name for parent in parents) == ["relu", "tanh"]
    cells = client.search_runs([run.info.experiment_id], "tags.kind = 'cell'")
    of = {parent.info.run_id: parent.info.run_name for parent in parents}
    assert sorted((cell.info.run_name, of[cell.data.tags["mlflow.parentRunId"]]) for cell in cells) == [
        ("digits/relu-0", "relu"),
        ("digits/tanh-0", "tanh"),
        ("digits/tanh-1", "tanh"),
    ]


def test_the_dataset_is_an_input_of_the_run(run, few_digits):
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", few_digits.sha256[:36])


def test_artifacts_are_the_files_and_two_figures(client, run, store):
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert names >= {*results.FILES, "learning_curves.png", "gradient_norms.png"}
    for name in results.FILES:
        assert (store / "tanh-0" / name).read_bytes() == Path(client.download_artifacts(run.info.run_id, name)).read_bytes()


def test_the_model_takes_raw_pixels_and_answers_as_the_network_did(run, tracked, few_digits):
    (output,) = run.outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 8, 8, 1)
    assert model.metadata.saved_input_example_info is not None
    probabilities = model.predict(few_digits.images["test"].astype(np.float32))
    accuracy = np.mean(probabilities.argmax(axis=1) == few_digits.labels["test"])
    assert accuracy == pytest.approx(tracked["tanh", 0].metrics["last"]["test/accuracy"], abs=1e-6)


def test_a_model_with_a_layer_that_keras_lacks_loads_where_this_project_is_not(client, cell, few_digits, store, tmp_path):
    assert client
    result = track(cell("activation=maxout", "recipe.epochs=1"), few_digits, tmp_path / "cell")
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.key = 'digits/maxout-0'")
    assert run.data.tags["weights_sha256"] == result.metrics["weights_sha256"]
    np.savez(tmp_path / "test.npz", images=few_digits.images["test"].astype(np.float32), labels=few_digits.labels["test"])
    code = (
        f"import mlflow, numpy as np; mlflow.set_tracking_uri('sqlite:///{store}/mlflow.db'); f = np.load('test.npz');"
        f"p = mlflow.pyfunc.load_model('models:/{run.outputs.model_outputs[0].model_id}').predict(f['images']);"
        "print((p.argmax(axis=1) == f['labels']).mean())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(result.metrics["last"]["test/accuracy"], abs=1e-6)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/no/such/folder/mlflow.db"])
def test_a_store_that_is_down_costs_no_training(cell, few_digits, tmp_path, monkeypatch, capsys, uri, trained):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
    result = track(cell("activation=tanh"), few_digits, tmp_path / "cell")
    assert result.metrics == trained[1].metrics
    assert (tmp_path / "cell" / "metrics.json").is_file()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tracking: ")]
    assert len(said) == 1
    assert "digits/tanh-0 is no longer logged to MLflow" in said[0]


def test_a_store_that_breaks_in_mid_training_costs_no_training_and_not_the_next_run(cell, few_digits, tmp_path, monkeypatch, capsys, trained):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    class Breaker:
        def epoch_finished(self, epoch):
            if epoch.number == 1:
                with sqlite3.connect(tmp_path / "mlflow.db") as store:
                    store.execute("DROP TABLE metrics")

    configuration = cell("activation=tanh")
    with tracking.logged(configuration, few_digits, 20, "g") as run:
        result, network = training.train(configuration, few_digits, [Breaker(), run])
        result.write(tmp_path / "cell")
        run.finished(result, tmp_path / "cell", network)
    assert result.metrics == trained[1].metrics
    assert capsys.readouterr().err.count("digits/tanh-0 is no longer logged to MLflow") == 1
    assert mlflow.active_run() is None


def test_a_password_in_the_address_is_not_among_the_params(cell):
    logged = tracking.params(cell("tracking.uri='https://alice:hush@host:5000/mlflow'"))
    assert logged["tracking.uri"] == "https://host:5000/mlflow"
    assert "hush" not in str(logged)


def test_a_password_in_the_address_reaches_mlflow_by_the_environment_and_is_not_printed(monkeypatch):
    for name in ("URI", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")  # so that it is as before when the test is over
    with tracking.using(Tracking(enabled=True, uri="http://alice:hu%40sh%2F@host:5000/mlflow", experiment="e")) as uri:
        assert uri == mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://host:5000/mlflow"
        assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("alice", "hu@sh/")
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    "address", ["http://alice:hush@host", "http://alice:@hu/sh@host", "postgresql://alice:hu/sh@host/db", "postgresql://host/db?password=hush"]
)
def test_no_error_message_has_the_password_of_an_address(monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError) as refused, tracking.using(Tracking(enabled=True, uri="", experiment="e")):
        raise OSError(f"no way to {address}/api")
    mlflow.set_tracking_uri(None)
    assert "host" in str(refused.value)
    assert not any(part in str(refused.value) for part in ("hush", "hu/", "sh@"))


def test_cells_that_start_together_in_a_new_store_share_it_and_their_parent(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "src")!r})
from hydra import compose, initialize_config_dir
from actgrad.config import schema as config
from actgrad.console import load_keras
load_keras()
from actgrad.data import storage as datasets
from actgrad.tracking import store as tracking
with initialize_config_dir({str(ROOT / "conf")!r}, version_base="1.3"):
    cell = config.cell_config(compose("config", ["data=digits", "run_dir=x", "seed=" + sys.argv[1]]))
with tracking.logged(cell, datasets.Dataset({{"val": [0]}}, {{}}, []), 1, "f"):
    pass
"""
    start = [sys.executable, "-c", code]
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}  # which set_tracking_uri has set
    cells = [subprocess.Popen([*start, str(seed)], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) for seed in range(4)]
    said = [cell.communicate()[1] for cell in cells]
    assert not any("tracking:" in text or "Traceback" in text for text in said), said
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    (parent,) = [run.info.run_id for run in runs if run.data.tags["kind"] == "activation"]
    assert [run.data.tags["mlflow.parentRunId"] for run in runs if run.data.tags["kind"] == "cell"] == [parent] * 4


def test_a_layer_of_a_package_without_init_file_is_logged_with_its_code(cell, few_digits, tmp_path, monkeypatch, client):
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg" / "acts.py").write_text(
        "import keras\nclass Snake(keras.layers.Layer):\n    def call(self, z):\n        return z + keras.ops.sin(z) ** 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    track(cell("activation=relu", "activation.name=snake", "activation.layer=my_pkg.acts.Snake", "recipe.epochs=1"), few_digits, tmp_path / "cell")
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.key = 'digits/snake-0'")
    assert run.info.status == "FINISHED"


def everything(client: mlflow.MlflowClient) -> dict:
    """What a store says, but for times and ids: (kind, name) -> status, metrics with their steps, params, tags and files."""
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
            values = {name: sorted((one.step, one.value) for one in history) for name, history in histories.items()}
            tags = {name: value for name, value in run.data.tags.items() if not name.startswith(("mlflow.", "git", "device"))}
            files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
            key = (experiment.name, run.data.tags["kind"], run.info.run_name)
            assert key not in found
            found[key] = (
                run.info.status,
                values,
                {n: v for n, v in run.data.params.items() if not n.startswith(("run_dir", "tracking"))},
                tags,
                files,
            )
    return found


@pytest.fixture
def folder_of_cells(tracked, tmp_path, monkeypatch) -> Path:
    """A project's folder with the files of the tracked cells of tanh and relu, and no store."""
    for (name, seed), result in tracked.items():
        result.write(tmp_path / "runs" / "digits" / f"{name}-{seed}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which set_tracking_uri has set
    return tmp_path


def publish(folder: Path) -> int:
    cells = {name: [(CellResult.read(path), path) for path in sorted((folder / "runs" / "digits").glob(f"{name}-*"))] for name in ("tanh", "relu")}
    return tracking.publish(Tracking(enabled=True, uri=f"sqlite:///{folder}/mlflow.db", experiment="digits"), cells)


def test_a_deleted_store_is_published_anew_and_a_second_time_changes_nothing(tracked, store, folder_of_cells):
    live = everything(mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db"))
    assert publish(folder_of_cells) == 3
    after = mlflow.MlflowClient(f"sqlite:///{folder_of_cells}/mlflow.db")
    published = everything(after)
    for (name, seed), _ in tracked.items():
        key = ("digits", "cell", f"digits/{name}-{seed}")
        assert published[key][:3] == live[key][:3]
        assert published[key][3] == live[key][3] | {"superseded": "false"}
        assert set(published[key][4]) == set(live[key][4]) - {"model", tracking.PATCH}
    assert publish(folder_of_cells) == 0
    assert everything(after) == published


def test_parents_hold_mean_and_interval_over_seeds(tracked, folder_of_cells):
    publish(folder_of_cells)
    found = everything(mlflow.MlflowClient(f"sqlite:///{folder_of_cells}/mlflow.db"))
    values = [tracked[("tanh", seed)].metrics["last"]["test/accuracy"] for seed in (0, 1)]
    metrics = found[("digits", "activation", "tanh")][1]
    assert metrics["test/accuracy"] == [(0, pytest.approx(np.mean(values)))]
    assert metrics["test/accuracy_low"][0][1] < min(values) < max(values) < metrics["test/accuracy_high"][0][1]
    assert metrics["seeds"] == [(0, 2.0)]
    assert "test/accuracy_low" not in found[("digits", "activation", "relu")][1]


def test_doubles_half_logged_and_superseded_runs_are_put_right(folder_of_cells):
    publish(folder_of_cells)
    client = mlflow.MlflowClient(f"sqlite:///{folder_of_cells}/mlflow.db")
    before = everything(client)
    experiment = client.get_experiment_by_name("digits").experiment_id
    (whole,) = client.search_runs([experiment], "tags.key = 'digits/relu-0'")
    double = client.create_run(experiment, run_name="digits/relu-0", tags={n: v for n, v in whole.data.tags.items() if not n.startswith("mlflow.")})
    client.delete_run(whole.info.run_id)
    client.log_metric(double.info.run_id, "train/loss", 0.5, step=10**6)
    other = client.create_run(experiment, run_name="old", tags={"kind": "cell", "key": "digits/relu-0", "fingerprint": "of other code"})
    again = client.create_run(
        experiment, run_name="digits/relu-0", tags={"kind": "cell", "key": "digits/relu-0", "fingerprint": whole.data.tags["fingerprint"]}
    )
    assert publish(folder_of_cells) == 1
    assert client.get_run(other.info.run_id).data.tags["superseded"] == "true"
    left = [run.info.run_id for run in client.search_runs([experiment], "tags.key = 'digits/relu-0' and tags.superseded = 'false'")]
    assert len(left) == 1 and left[0] in (double.info.run_id, again.info.run_id)
    client.delete_run(other.info.run_id)
    after = everything(client)
    assert set(after) == set(before)
    assert after[("digits", "cell", "digits/relu-0")][0] == "FINISHED"


def test_two_that_publish_at_once_make_no_doubles(folder_of_cells):
    (folder_of_cells / "params.yaml").write_text("datasets: [digits]\nactivations: [tanh, relu]\nseeds: [0, 1]\nrecipe: default\n")
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    both = [
        subprocess.Popen([sys.executable, ROOT / "src" / "publish.py"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sorted(out for out, _ in said) == [f"digits: 3 of 4 cells, {changed} runs made or completed\n" for changed in (0, 3)]
    assert len(everything(mlflow.MlflowClient(f"sqlite:///{folder_of_cells}/mlflow.db"))) == 5


def test_the_names_of_mlflow_s_experiments_are_those_that_training_uses(cell):
    assert tracking.configured("digits").experiment == cell("data=digits").tracking.experiment
    for name in ("he", "tuned"):
        assert tracking.configured("digits", name).experiment == cell("data=digits", f"experiment={name}").tracking.experiment


def test_a_training_that_fails_leaves_a_failed_run(client, run, cell, few_digits):
    with pytest.raises(ZeroDivisionError), tracking.logged(cell("activation=elu"), few_digits, 20, "h"):
        raise ZeroDivisionError
    (failed,) = client.search_runs([run.info.experiment_id], "tags.key = 'digits/elu-0'")
    assert failed.info.status == "FAILED"


def test_nothing_is_logged_when_tracking_is_off(cell, few_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    track(cell("tracking.enabled=false"), few_digits, tmp_path / "cell")
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_a_history_with_an_epoch_twice_is_damaged(trained):
    _, result, _ = trained
    twice = dataclasses.replace(result, history=pd.concat([result.history, result.history.tail(1)]))
    with pytest.raises(UserError, match="digits/tanh-0 is damaged: it has an epoch twice"):
        tracking.cell_metrics(twice)


def test_epoch_metrics_skip_what_was_not_measured():
    gradients = pd.DataFrame({"step": [1, 2], **{layer: [1.0, 2.0] for layer in LAYERS}})
    counts = {"dead": [3, None], "died": [2, None], "revived": [0, None], "saturated": [0.5, None]}
    probe = pd.DataFrame({"layer": ["conv1", "output"], "delta_rms": [0.1, 0.2], **counts})
    logged = tracking.epoch_metrics(training.Epoch(1, 2, {"val/loss": 0.3}, gradients, probe), {2})
    assert logged == {("val/loss", 2): 0.3} | {(f"grad_norm/{layer}", 2): 2.0 for layer in LAYERS} | {
        ("delta_rms/conv1", 2): 0.1,
        ("delta_rms/output", 2): 0.2,
        ("dead/conv1", 2): 3.0,
        ("died/conv1", 2): 2.0,
        ("revived/conv1", 2): 0.0,
        ("saturated/conv1", 2): 0.5,
    }
