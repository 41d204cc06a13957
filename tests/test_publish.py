"""A publish brings MLflow in line with runs/: it adds, completes, and tags what is superseded."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.exceptions import MlflowException

from actgrad import git
from actgrad.config import loading
from actgrad.files import sha256
from actgrad.results.fingerprint import CORE_SHA256
from actgrad.results.locks import one_mlflow_run
from actgrad.results.run import RunResult, copy
from actgrad.tracking import contents, experiments, live, metrics, publish, store, views
from conftest import ROOT, as_project, refuses, sentence
from tracked_runs import Published, all_runs, everything, runs_of, track, track_all, tracking_lines


@pytest.fixture(scope="module")
def tracked_store(tmp_path_factory):
    """A folder with a store in which runs are tracked."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("tracked")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def tracked(tracked_store, run_config, few_digits):
    return track_all(run_config, few_digits, tracked_store)


@pytest.fixture
def published(tracked, tmp_path, monkeypatch) -> Published:
    """The files of the tracked runs, without a store."""
    for (name, seed), result in tracked.items():
        result.write(tmp_path / "runs" / "digits" / name / f"baseline-{seed}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # set by set_tracking_uri
    return Published(tmp_path)


def edited(name: str, **changed: object) -> None:
    """Change metrics of a run in runs/."""
    path = Path("runs", "digits", *name.split("/"))
    result = RunResult.read(path)
    dataclasses.replace(result, metrics=result.metrics | changed).write(path)


@pytest.mark.slow
def test_a_deleted_store_is_published_anew_and_a_second_time_changes_nothing(tracked_store, published):
    logged = everything(mlflow.MlflowClient(f"sqlite:///{tracked_store}/mlflow.db"))
    assert published.publish() == 3
    now = everything(published.client)
    assert len(now) == 3
    for name, (status, values, params, tags, files) in now.items():
        live_status, live_values, live_params, live_tags, live_files = logged[name]
        assert (status, values) == (live_status, live_values)
        assert tags == live_tags | {"superseded": "false"}
        assert set(files) == set(live_files) - {"model", contents.PATCH}
        key = tags["key"]
        assert params == {key: live_params[key] for key in params} | {"run_dir": f"runs/{key}"}
        left_out = set(live_params) - set(params)
        assert {key.partition(".")[0] for key in left_out} == {"data", "tracking", "run"}
    assert published.publish() == 0
    assert everything(published.client) == now


@pytest.mark.slow
def test_a_publish_of_complete_runs_asks_the_store_for_no_history_and_no_file(published, monkeypatch):
    published.publish()
    asked = []
    for name in ("get_metric_history", "list_artifacts", "log_batch", "set_tag", "get_run"):
        monkeypatch.setattr(mlflow.MlflowClient, name, lambda *_, name=name, **__: asked.append(name))
    assert published.publish() == 0
    assert asked == []


@pytest.mark.slow
def test_publishing_needs_no_keras():
    code = "import sys; from actgrad.tracking import publish, reading, store; print({'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.slow
def test_doubles_are_deleted_and_what_is_half_logged_is_completed(published):
    published.publish()
    client, before = published.client, everything(published.client)
    (whole,) = runs_of(client, "digits/relu/baseline-0")
    half = published.make("digits/relu/baseline-0", whole.data.tags["fingerprint"])
    client.delete_run(whole.info.run_id)
    client.log_metric(half, "train/loss", 0.5, step=10**6)
    client.log_param(half, "run_dir", "runs/digits/relu/baseline-0")
    published.make("digits/relu/baseline-0", whole.data.tags["fingerprint"])
    assert published.publish() == 1
    after = everything(client)
    assert set(after) == set(before)
    assert after["relu-0 · baseline"][0] == "FINISHED"
    assert after["relu-0 · baseline"][3:] == before["relu-0 · baseline"][3:]


@pytest.mark.slow
def test_of_doubles_the_complete_one_stays(published):
    published.publish()
    (whole,) = runs_of(published.client, "digits/relu/baseline-0")
    published.make("digits/relu/baseline-0", whole.data.tags["fingerprint"])
    assert published.publish() == 0
    assert [run.info.run_id for run in runs_of(published.client, "digits/relu/baseline-0")] == [whole.info.run_id]


@pytest.mark.slow
def test_an_mlflow_run_of_another_fingerprint_is_superseded_until_it_is_current_again(published):
    published.publish()
    kept = RunResult.read(Path("runs/digits/relu/baseline-0")).metrics["fingerprint"]
    edited("relu/baseline-0", fingerprint="of other code")
    assert published.publish() == 1
    assert published.superseded()["relu-0 · baseline"] == ["false", "true"]
    edited("relu/baseline-0", fingerprint=kept)
    assert published.publish() == 0
    assert published.superseded()["relu-0 · baseline"] == ["true", "false"]


@pytest.mark.slow
def test_mlflow_runs_of_runs_that_are_not_listed_any_more_are_superseded(published):
    published.publish()
    assert published.publish(("tanh", 0)) == 0  # fewer seeds of tanh, and no relu
    assert published.superseded() == {"tanh-0 · baseline": ["false"], "tanh-1 · baseline": ["true"], "relu-0 · baseline": ["true"]}
    assert published.publish() == 0
    assert set(map(tuple, published.superseded().values())) == {("false",)}


@pytest.mark.slow
def test_mlflow_runs_of_listed_runs_whose_files_are_not_here_are_left_alone(published):
    published.publish()
    published.publish(("tanh", 0), not_here=["digits/tanh/baseline-1"])
    assert published.superseded() == {"tanh-0 · baseline": ["false"], "tanh-1 · baseline": ["false"], "relu-0 · baseline": ["true"]}


@pytest.mark.slow
def test_mlflow_runs_by_hand_are_left_alone_unless_they_are_of_a_listed_run(published, tracked):
    published.publish(("tanh", 0))
    by_hand = {"run_dir": "outputs/digits/mine"}
    published.make("digits/tanh/baseline-0", "of a shorter training", **by_hand)
    published.make("digits/gelu/baseline-0", "f", **by_hand)
    published.make("digits/relu/baseline-0", tracked["relu", 0].metrics["fingerprint"], **by_hand)
    assert published.publish(("tanh", 0), ("relu", 0)) == 1
    expected = {"tanh-0 · baseline": ["not tagged", "false"], "gelu-0 · baseline": ["not tagged"], "relu-0 · baseline": ["false"]}
    assert published.superseded() == expected
    published.publish(("tanh", 0))
    assert published.superseded() == expected | {"relu-0 · baseline": ["true"]}


@pytest.mark.slow
def test_runs_that_diverged_are_published_as_they_were_logged(run_config, few_digits, tmp_path, monkeypatch):
    """All runs of the activation diverge in their first epoch, before all planned steps are logged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(metrics, "STEP_POINTS", 5)
    tracked, new = Published(tmp_path / "tracked"), Published(tmp_path / "new")
    for seed in (0, 1):
        folder = f"runs/digits/relu/baseline-{seed}"
        values = ["activation=relu", "recipe.optimizer=SGD", "recipe.learning_rate=1e6", f"seed={seed}", f"run_dir={folder}"]
        result = track(run_config(*values, f"tracking.uri={tracked.tracking.uri}"), few_digits, Path(folder))
        assert (result.metrics["status"], len(result.history)) == ("diverged", 0)
    assert tracked.publish(("relu", 0), ("relu", 1)) == 0
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # set by publishing
    assert new.publish(("relu", 0), ("relu", 1)) == 2
    logged, found = everything(tracked.client), everything(new.client)
    assert len(found) == 2
    for name, (status, values, _, tags, _) in found.items():
        assert (status, values, tags) == ("FAILED", logged[name][1], logged[name][3])
        assert values
    assert new.publish(("relu", 0), ("relu", 1)) == 0


@pytest.mark.slow
def test_a_live_run_of_the_pipeline_supersedes_its_predecessor_and_one_by_hand_does_not(published, run_config, few_digits):
    published.publish()
    shorter = [f"tracking.uri={published.tracking.uri}", "activation=relu", "recipe.epochs=1"]
    track(run_config(*shorter), few_digits, Path("mine"))
    assert published.superseded()["relu-0 · baseline"] == ["not tagged", "false"]
    track(run_config(*shorter, "recipe.learning_rate=0.01", "run_dir=runs/digits/relu/baseline-0"), few_digits, Path("runs/digits/relu/baseline-0"))
    assert published.superseded()["relu-0 · baseline"] == ["false", "not tagged", "true"]
    assert published.publish() == 0


@pytest.mark.slow
def test_a_run_that_was_copied_from_one_of_the_same_values_is_logged(published, run_config):
    config = run_config("activation=relu", "condition=he", f"tracking.uri={published.tracking.uri}")
    folder = Path("runs/digits/relu/he-0")
    copy(Path("runs/digits/relu/baseline-0"), folder, "digits/relu/he-0")
    result = RunResult.read(folder)
    with one_mlflow_run(result.metrics["fingerprint"]):  # as while a run trains
        live.copied(config, result, folder)
    published.publish(("relu", 0), not_here=[result.key])
    found = everything(published.client)
    assert found["relu-0 · he"][:2] == found["relu-0 · baseline"][:2]
    assert found["relu-0 · he"][3] == found["relu-0 · baseline"][3] | {
        "key": "digits/relu/he-0",
        "condition": "he",
        "superseded": "false",
        "complete": contents.complete_tag(sha256(folder / "metrics.json")),
    }


def test_a_store_that_is_down_costs_a_copied_run_one_sentence(trained, monkeypatch, capsys, tmp_path):
    config, result, _ = trained
    result.write(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://alice:hush@127.0.0.1:9")
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    live.copied(config, result, tmp_path)
    mlflow.set_tracking_uri(None)
    (said,) = tracking_lines(capsys)
    assert said.startswith("tracking: digits/tanh/baseline-0 is not logged to MLflow (")
    assert "hush" not in said


@pytest.mark.slow
def test_the_commit_that_records_the_very_files_of_a_run_is_logged_with_it(published, monkeypatch):
    published.publish()
    monkeypatch.setattr(publish, "PROJECT", Path())
    monkeypatch.setattr(git, "commit_of", lambda _: "c0ffee")
    monkeypatch.setattr(publish, "_core_sha256", lambda _: CORE_SHA256)
    Path("runs/digits/relu.csv").write_text(f"run,files_sha256\nbaseline-0,{sha256(Path('runs/digits/relu/baseline-0/metrics.json'))}\n")
    Path("runs/digits/tanh.csv").write_text("run,files_sha256\nbaseline-0,of an earlier training\n")
    own = {"digits/tanh/baseline-0": None, "digits/tanh/baseline-1": None, "digits/relu/baseline-0": "c0ffee"}
    for _ in range(2):
        assert published.publish() == 0
        assert {run.data.tags["key"]: run.data.tags.get("git_commit") for run in all_runs(published.client)} == own


@pytest.mark.slow
def test_two_that_publish_at_once_make_no_doubles(published):
    params = {"datasets": ["digits"], "conditions": ["baseline"], "activations": ["tanh", "relu"], "seeds": [0, 1]}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | as_project(Path.cwd())
    both = [
        subprocess.Popen([sys.executable, "src/publish.py"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    changes = [out.removeprefix("digits: 3 of 4 runs, ").removesuffix(" MLflow runs made or completed\n") for out, _ in said]
    assert sum(map(int, changes)) == 3
    assert len(everything(published.client)) == 3


@pytest.mark.slow
def test_a_dataset_without_a_trained_run_and_an_unknown_one(script, tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"datasets": ["digits"], "conditions": ["baseline"], "activations": ["relu"], "seeds": [0]}))
    assert script("publish.py").stdout == "digits: 0 of 1 runs, 0 MLflow runs made or completed\n"
    assert "data=mnist is not in params.yaml" in sentence(script("publish.py", "data=mnist"), "not-in-study")


def test_the_names_of_mlflow_s_experiments_are_those_that_training_uses(run_config):
    for overrides in ([], ["condition=he"], ["condition=batch_norm"]):
        tracking = run_config("data=digits", *overrides).tracking
        assert tracking.experiment == "digits by hand"
        assert tracking.of_study().experiment == store.configured("digits").experiment == "digits"


# --- what readers see


def tags_of(published: Published) -> dict[str, str]:
    return published.client.get_experiment_by_name("digits").tags


def test_saved_views_are_written_once_and_again_when_they_change_and_those_of_the_user_stay(published):
    published.publish()
    tags, experiment = tags_of(published), published.client.get_experiment_by_name("digits").experiment_id
    shown = {json.loads(value)["name"] for name, value in tags.items() if name.startswith(views.TAG)}
    assert shown == {
        "Gradient norms by activation",
        "Accuracy by activation",
        "Accuracy by condition",
        "Units",
        "One activation under all conditions",
        "Leaderboard",
    }
    assert len([name for name in tags if name.startswith(views.TAG)]) == len(shown)
    published.publish()
    assert tags_of(published) == tags
    units, renamed = f"{views.TAG}actgrad-units", f"{views.TAG}actgrad-an-older-name"
    mine = {f"{views.TAG}0123": "mine", "mlflow.note.content": "what I found"}
    for name, value in (mine | {units: json.dumps(json.loads(tags[units]) | {"state": "deflate;"}), renamed: "{}"}).items():
        published.client.set_experiment_tag(experiment, name, value)
    published.publish()
    now = tags_of(published)
    assert mine.items() <= now.items()
    assert renamed not in now
    assert json.loads(now[units])["state"] == json.loads(tags[units])["state"]


def test_the_views_fit_a_tag_of_older_servers(published):
    published.publish()
    layers = metrics.Layers(
        [f"a_layer_with_a_long_name_{n}" for n in range(7)], [f"another_layer_with_a_long_name_{n}" for n in range(7)], ["output"]
    )
    many = {f"condition_{n}": loading.Listed([f"activation_{n}" for n in range(30)], [0]) for n in range(30)}
    assert max(len(views.tag(view, None)[1]) for view in views.of_study(many, layers)) < 5000
    assert max(len(value) for value in tags_of(published).values()) < 5000


def test_a_store_that_takes_no_view_costs_one_sentence(published, monkeypatch, capsys):
    def refused(*_):
        raise MlflowException("no")

    monkeypatch.setattr(mlflow.MlflowClient, "set_experiment_tag", refused)
    assert published.publish() == 3
    (said,) = tracking_lines(capsys)
    assert said == "tracking: the saved views of MLflow are not all written (no); the runs are there"


def test_a_published_run_says_what_it_is_and_no_duration_that_it_did_not_have(published):
    published.publish()
    (run,) = runs_of(published.client, "digits/relu/baseline-0")
    accuracy = RunResult.read(Path("runs/digits/relu/baseline-0")).metrics["last"]["test/accuracy"]
    assert run.data.tags["mlflow.note.content"].startswith(f"**{accuracy:.1%} of the test images**")
    assert "`reports/digits/index.html`" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["mlflow.source.name"] == "src/train.py"
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["digits"]
    assert run.info.end_time is None


@pytest.mark.slow
def test_an_mlflow_run_of_an_older_format_is_made_anew_but_for_one_with_a_model(published, monkeypatch):
    published.publish()
    (old,) = runs_of(published.client, "digits/relu/baseline-0")
    published.client.set_tag(old.info.run_id, "complete", "a checksum alone")
    published.client.log_metric(old.info.run_id, "grad_norm/conv1", 1.0, step=10**6)
    assert published.publish() == 1
    (new,) = runs_of(published.client, "digits/relu/baseline-0")
    assert new.info.run_id != old.info.run_id
    published.client.set_tag(new.info.run_id, "complete", "a checksum alone")
    monkeypatch.setattr(publish, "_has_model", lambda _: True)
    assert published.publish() == 0
    (kept,) = runs_of(published.client, "digits/relu/baseline-0")
    assert kept.info.run_id == new.info.run_id
    assert kept.data.tags["complete"].startswith("2-")


def test_a_deleted_mlflow_experiment_is_refused_with_the_command_that_brings_it_back(published):
    published.publish()
    experiment = published.client.get_experiment_by_name("digits").experiment_id
    published.client.delete_experiment(experiment)
    with refuses("experiment-deleted", "digits", f"experiments restore --experiment-id {experiment}"):
        published.publish()
    published.client.restore_experiment(experiment)
    assert published.publish() == 0


def test_the_link_opens_the_comparison(published):
    assert experiments.link(published.tracking) is None
    published.publish()
    experiment = published.client.get_experiment_by_name("digits").experiment_id
    shown = (
        f"#/experiments/{experiment}/runs?viewStateShareKey=actgrad-gradient-norms-by-activation&compareRunsMode=CHART&workflowType=machine_learning"
    )
    assert experiments.link(published.tracking) == f"http://127.0.0.1:5000/{shown}"
    assert experiments.link(published.tracking, "http://host:1") == f"http://host:1/{shown}"
