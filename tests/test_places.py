"""A project that is moved, copied, cloned, or used from another folder; user settings that must not matter; two jobs in one place."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from actgrad import console
from actgrad.files import PROJECT, exclusive_lock
from actgrad.pipeline import checkpoints, composed, dvc, records, run, status
from actgrad.pipeline.board import Board
from actgrad.results import paths
from conftest import ROOT, as_project, refuses, sentence
from made_up_runs import made_up

# --- the user's working folder


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("run_dir=mine", "run_dir={here}/mine"),
        ("run_dir=~/mine", "run_dir={home}/mine"),
        ("run_dir=../mine", "run_dir={above}/mine"),
        ("run_dir=a/../mine", "run_dir={here}/a/../mine"),  # a may be a link
        ("run_dir=a,b (1)", "run_dir='{here}/a,b (1)'"),
        ("run_dir='größe'", "run_dir='{here}/größe'"),
        ("run_dir=it's", 'run_dir="{here}/it\'s"'),
        ("run_dir={project}/outputs/x", "run_dir=outputs/x"),
        ("run_dir=", "run_dir="),
        ("data.archive=pets #1.zip", "data.archive='{here}/pets #1.zip'"),
        ("data.archive=null", "data.archive=null"),
        ("+data.archive=x.zip", "+data.archive={here}/x.zip"),
        ("tracking.uri=sqlite:///mine.db", "tracking.uri=sqlite:///{here}/mine.db"),
        ("tracking.uri=sqlite:///mine.db?timeout=1", "tracking.uri='sqlite:///{here}/mine.db?timeout=1'"),
        ("tracking.uri=sqlite:////tmp/mine.db", "tracking.uri=sqlite:////tmp/mine.db"),
        ("tracking.uri=http://host:5000", "tracking.uri=http://host:5000"),
        ("tracking.uri='https://alice:hush@host:5000'", "tracking.uri='https://alice:hush@host:5000'"),
        ("tracking.uri=", "tracking.uri="),
        ("activation=relu", "activation=relu"),
    ],
)
def test_a_relative_path_is_one_from_where_the_user_stands(tmp_path, monkeypatch, given, meant):
    places = {"here": tmp_path, "above": tmp_path.parent, "home": tmp_path / "home", "project": PROJECT.resolve()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(places["home"]))
    monkeypatch.setattr(sys, "argv", ["train.py", given.format(**places) if "{project}" in given else given])
    console._work_in_root()
    assert sys.argv[1] == meant.format(**places)
    assert Path.cwd() == PROJECT.resolve()


def test_paths_in_the_environment_are_those_of_where_the_user_stands_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["publish.py"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}/abs")
    console._work_in_root()
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mine.db"
    assert os.environ["PYTHONPATH"] == f"{tmp_path}/mine{os.pathsep}/abs"


def test_in_the_root_itself_paths_stay_relative(monkeypatch):
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(sys, "argv", ["train.py", "run_dir=outputs/x", "tracking.uri=sqlite:///x.db"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///y.db")
    console._work_in_root()
    assert sys.argv[1:] == ["run_dir=outputs/x", "tracking.uri=sqlite:///x.db"]
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///y.db"


def test_in_a_folder_of_the_root_paths_are_those_of_the_root(monkeypatch):
    monkeypatch.chdir(PROJECT / "src" / "actgrad")
    monkeypatch.setattr(sys, "argv", ["train.py", "run_dir=../../outputs/x"])
    console._work_in_root()
    assert sys.argv[1] == "run_dir=outputs/x"


def test_a_name_that_the_terminal_cannot_show_ends_no_script():
    program = "from actgrad.console import run_script; run_script(lambda: print('猫'))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u732b\n", "")


@pytest.mark.slow
def test_scripts_work_in_the_project_from_another_folder(script, tmp_path):
    elsewhere = tmp_path / "else where, #1"
    elsewhere.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (46, 8, 8, 1), dtype=np.uint8)
    labels = {"y_train": np.arange(40) % 2, "y_test": np.arange(6) % 2}
    np.savez(elsewhere / "pets, größer.npz", x_train=images[:40], x_test=images[40:], **labels)
    (tmp_path / "conf").mkdir()
    for path in (ROOT / "conf").iterdir():
        if path.name == "data":
            shutil.copytree(path, tmp_path / "conf" / "data")
        else:
            (tmp_path / "conf" / path.name).symlink_to(path)
    text = "# @package _global_\ndefaults:\n  - override /recipe: digits\ndata: {name: pets, format: npz, val_size: 0}\n"
    (tmp_path / "conf" / "data" / "pets.yaml").write_text(text)
    made = script("download.py", "data=pets", "data.archive=pets, größer.npz", cwd=elsewhere)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "data" / "pets.npz").is_file()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"datasets": ["pets"], "conditions": ["baseline"], "activations": ["relu"], "seeds": [0]}))
    assert script("study.py", "data=pets", "--compose", cwd=elsewhere).returncode == 0
    assert (tmp_path / "runs" / "pets" / "composed-runs" / "relu.yaml").is_file()
    assert "runs/pets/relu/baseline-0/metrics.json" in sentence(script("report.py", "data=pets", cwd=elsewhere), "missing-run")
    done = script("train.py", "data=pets", "+data.archive=pets, größer.npz", "run_dir=pets, größer.npz", cwd=elsewhere)
    assert "run_dir=" in sentence(done, "unusable-folder")
    assert [path.name for path in elsewhere.iterdir()] == ["pets, größer.npz"]


# --- another place


def test_dvc_and_what_it_runs_are_of_this_python(tmp_path, monkeypatch):
    """Independent of the first line of .venv/bin/dvc, and of whether the environment is activated."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    dvc.dvc("init", "--no-scm", "--quiet")
    cmd = 'python -c "import sys; print(sys.executable)" > which'
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"which": {"cmd": cmd, "outs": ["which"]}}}))
    dvc.dvc("repro")
    assert Path((tmp_path / "which").read_text().strip()) == Path(sys.executable)


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        ("<<<<<<< HEAD\nschema: '2.0'\n=======\n>>>>>>> other\n", "dvc.lock' is invalid"),
        ("schema: '2.0'\nstages: [1, 2]\n", "expected a dictionary"),
    ],
)
@pytest.mark.slow
def test_dvc_s_own_reason_is_shown(tmp_path, monkeypatch, lock, expected):
    monkeypatch.chdir(tmp_path)
    dvc.dvc("init", "--no-scm", "--quiet")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"a": {"cmd": "true", "outs": ["a"]}}}))
    (tmp_path / "dvc.lock").write_text(lock)
    with refuses("command-failed", "dvc status", expected):
        dvc.dvc("status", "--json")


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nstages: {}\n", "stages: [1, 2]\n", "schema: '2.0'\n", ""])
def test_a_damaged_lock_is_not_taken_for_one_without_results(tmp_path, text):
    (tmp_path / "dvc.lock").write_text(text)
    with refuses("damaged-result", "dvc.lock", "git restore dvc.lock"):
        dvc.locked_stages(tmp_path)


@pytest.mark.parametrize("spoil", [lambda text: f"<<<<<<< HEAD\n{text}=======\n", lambda text: f"{text}<<<<<<< HEAD\n", lambda _: ""])
def test_a_damaged_record_is_refused(tmp_path, spoil):
    text = (ROOT / paths.record_path("digits", "relu")).read_text()
    path = tmp_path / paths.record_path("digits", "relu")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert len(records.read("digits", "relu", tmp_path)) == len(text.splitlines()) - 1
    path.write_text(spoil(text))
    with refuses("damaged-result", "relu.csv", "dvc repro train@digits-relu"):
        records.read("digits", "relu", tmp_path)


def test_a_clone_has_the_committed_bytes_whatever_git_is_told_of_line_ends(tmp_path):
    def git(*arguments: object) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path / "origin", check=True, capture_output=True)

    (tmp_path / "origin").mkdir()
    shutil.copy(ROOT / ".gitattributes", tmp_path / "origin")
    contents = {"a.csv": b"a,b\n1,2\n", "b.csv": b"a,b\r\n1,2\r\n", "c.yaml": b"a: 1\n"}
    for name, content in contents.items():
        (tmp_path / "origin" / name).write_bytes(content)
    for command in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "a"], ["clone", "-q", "-c", "core.autocrlf=true", ".", "../clone"]):
        git(*command)
    assert {name: (tmp_path / "clone" / name).read_bytes() for name in contents} == contents


def test_a_checkpoint_is_found_where_the_project_has_been_moved(tmp_path, monkeypatch):
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found.append(checkpoints.path(Path("outputs/x")))
        assert checkpoints.path(tmp_path / name / "outputs" / "x") == found[-1]
    assert found[0] == found[1]
    assert checkpoints.path(tmp_path / "here" / "outputs" / "x") != found[0]


MADE_BEFORE = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("digits by hand")
with mlflow.start_run(run_name="mine") as run:
    mlflow.log_text("old", "old.txt")
print(run.info.run_id)
"""
LATER = """
import mlflow, os, sys
from actgrad.config.composing import composed
from actgrad.pipeline.keras_process import load_keras
load_keras()
from actgrad.data.dataset import Dataset
from actgrad.tracking import live
config = composed(["data=digits", "run_dir=x", "tracking.uri=sqlite:///mlflow.db"])
with live.logged(config, Dataset({"val": [0]}, {}, []), 1, "f"):
    mlflow.log_text("new", "new.txt")
client = mlflow.MlflowClient()
for run in client.search_runs([client.get_experiment_by_name("digits by hand").experiment_id]):
    (name,) = [file.path for file in client.list_artifacts(run.info.run_id) if file.path.endswith(".txt")]
    print(run.info.run_name, run.info.artifact_uri, open(client.download_artifacts(run.info.run_id, name)).read(), sep="\\t")
"""


@pytest.mark.slow
def test_a_copy_of_a_project_keeps_its_mlflow_files_to_itself_and_takes_no_run_of_the_users(tmp_path):
    """The store was made by MLflow itself, which stores the absolute path of its folder."""

    def say(code: str, folder: Path, **environment: str) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        env |= {"PYTHONPATH": str(ROOT / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"} | environment
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "tracking:" not in done.stderr
        return done.stdout

    (tmp_path / "first").mkdir()
    own = say(MADE_BEFORE, tmp_path / "first").split()[-1]
    (tmp_path / "first").rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copy, 100% #2")
    before = sorted(path.as_posix() for path in (tmp_path / "moved").rglob("*"))
    users = {"MLFLOW_RUN_ID": own, "MLFLOW_EXPERIMENT_NAME": "another", "MLFLOW_EXPERIMENT_ID": "7"}
    printed = [line.split("\t") for line in say(LATER, tmp_path / "copy, 100% #2", **users).splitlines() if "mlruns" in line]
    assert sorted((name, content) for name, _, content in printed) == [("mine", "old"), ("relu-0 · baseline", "new")]
    assert all(place.startswith("mlruns/") for _, place, _ in printed)
    assert sorted(path.as_posix() for path in (tmp_path / "moved").rglob("*")) == before
    assert not (tmp_path / "first").exists()


# --- which run a folder belongs to


def composed_of(folder: Path, activation: str, text: str) -> None:
    path = folder / paths.composed_path("digits", activation)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


RUNS = "core_sha256: c\nconditions:\n  baseline:\n    seeds: [0]\n"


def test_a_composed_file_of_another_activation_or_dataset_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed_of(tmp_path, "tanh", composed._head("digits", "relu") + RUNS)
    with refuses("misplaced-file", "composed-runs/tanh.yaml", "python src/study.py data=digits activation=tanh --compose"):
        composed.read("digits", "tanh")
    composed_of(tmp_path, "tanh", composed._head("digits", "tanh") + RUNS)
    assert [one.key for one in composed.read("digits", "tanh").runs] == ["digits/tanh/baseline-0"]


def test_a_record_has_no_row_for_a_folder_that_holds_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed_of(tmp_path, "tanh", composed._head("digits", "tanh") + RUNS)
    held(tmp_path / "runs/digits/tanh/baseline-0", "digits/relu/baseline-0", "f")
    records.write("digits", "tanh")
    assert records.read("digits", "tanh").empty


def test_the_mean_that_dvc_shows_is_over_the_runs_that_learned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed_of(tmp_path, "relu", composed._head("digits", "relu") + RUNS.replace("[0]", "[0, 1, 2, 3]") + "  he:\n    seeds: [0]\n")
    of_seeds = ("baseline-0", 0.9), ("baseline-1", 0.8), ("baseline-2", 0.1), ("baseline-3", None), ("he-0", 0.1)
    for name, accuracy in of_seeds:
        more = {} if accuracy is not None else {"status": "diverged", "last": {}}
        run = made_up("relu", int(name[-1]), accuracy or 0.1, largest_class=0.1, **more)
        dataclasses.replace(run, metrics=run.metrics | {"key": f"digits/relu/{name}", "fingerprint": name, "weights_sha256": name}).write(
            tmp_path / "runs" / "digits" / "relu" / name
        )
    records.write("digits", "relu")
    written = json.loads(paths.summary_path("digits", "relu").read_text())
    assert written == {"runs": 5, "failed": 3, "test_accuracy": {"baseline": 0.85, "he": None}}


def held(folder: Path, key: str, fingerprint: str) -> None:
    """Put a run into a folder."""
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"key": key, "fingerprint": fingerprint}))


@pytest.mark.parametrize(
    ("key", "may_replace", "expected"),
    [
        ("digits/relu/baseline-0", True, None),
        ("digits/relu/baseline-0", False, ["mine", "digits/relu/baseline-0", "run_dir=PATH"]),
        ("digits/tanh/baseline-0", True, ["mine", "digits/tanh/baseline-0", "digits/relu/baseline-0", "run_dir=PATH"]),
    ],
)
def test_a_run_by_hand_does_not_replace_another(tmp_path, monkeypatch, run_config, capsys, key, may_replace, expected):
    monkeypatch.chdir(tmp_path)
    folder, config = Path("mine"), run_config("data=digits", "activation=relu", "run_dir=mine")
    run._check_whose(folder, config, "f", may_replace)
    held(folder, key, "other")
    if expected is None:
        run._check_whose(folder, config, "f", may_replace)
        assert "digits/relu/baseline-0: replaces the run in mine, which had other values, data or code" in capsys.readouterr().err
    else:
        with refuses("run-folder-taken", *expected):
            run._check_whose(folder, config, "f", may_replace)


@pytest.mark.parametrize("name", ["conf", "src/actgrad/training", "."])
@pytest.mark.slow
def test_a_folder_that_holds_other_files_is_no_run_dir(script, name):
    assert script("download.py", "data=digits").returncode == 0
    assert f"run_dir={name}" in sentence(script("train.py", "data=digits", f"run_dir={name}"), "run-folder-taken")


def test_the_folder_of_another_run_is_refused_before_anything_is_trained(script, tmp_path):
    assert script("download.py", "data=digits").returncode == 0
    held(tmp_path / "mine", "digits/relu/baseline-0", "other")
    assert "digits/relu/baseline-0" in sentence(script("train.py", "data=digits", "++run_dir=mine"), "run-folder-taken")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["metrics.json"]


@pytest.mark.slow
def test_a_run_that_another_clone_wrote_meanwhile_is_not_replaced(script, tmp_path):
    """Its locks are in its own folder. Here, code of the user stands for the other clone."""
    assert script("download.py", "data=digits").returncode == 0
    other = 'import keras, pathlib\npathlib.Path("mine/metrics.json").write_text(\'{"key": "digits/tanh/baseline-0", "fingerprint": "other"}\')\n'
    (tmp_path / "meanwhile.py").write_text(f"{other}class Act(keras.layers.ReLU): ...\n")
    layer = ["activation.layer=meanwhile.Act", "recipe.epochs=1", "tracking.enabled=false", "run_dir=mine"]
    done = script("train.py", "data=digits", *layer, PYTHONPATH=str(tmp_path))
    assert "wrote the run digits/tanh/baseline-0 into mine meanwhile" in sentence(done, "run-folder-taken")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["metrics.json"]


@pytest.mark.slow
def test_a_study_waits_for_another_of_the_same_runs(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"datasets": ["digits"], "conditions": ["baseline"], "activations": ["relu"], "seeds": [0]}))
    env = os.environ | as_project(tmp_path)
    command = [sys.executable, tmp_path / "src" / "study.py", "data=digits"]
    with exclusive_lock(tmp_path / "outputs" / "study-digits.lock", "tests"):
        (tmp_path / "outputs" / "study-digits.log").write_text("of the other")
        second = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr.readline() == "waiting for another process that trains runs of digits\n"
        assert (tmp_path / "outputs" / "study-digits.log").read_text() == "of the other"
    assert "error[missing-dataset]: data/digits.npz" in second.communicate()[1]


# --- warnings are named at the end


def test_warnings_of_runs_are_counted(tmp_path):
    from test_study_plan import some_runs

    runs = some_runs(0, 1, 2)
    console.warned()  # drop warnings of earlier tests
    for one, sentences in zip(runs, (["a", "a"], ["a", "b"], []), strict=True):
        for said in sentences:
            console.warn(f"{said} of {one.key}", f"were {said}")
        content = {"state": status.DONE, "warnings": console.warned()}
        status.path(tmp_path, one.key).write_text(json.dumps(content))
    board = Board(runs, tmp_path)
    board.look()
    assert board.warnings() == [f"warning: 2 runs were a: {runs[0].key}, {runs[1].key}", f"warning: 1 runs were b: {runs[1].key}"]
    many = {str(i): {"warnings": [{"of_runs": "were c"}]} for i in range(7)}
    assert status.warnings(many) == ["warning: 7 runs were c: 0, 1, 2, 3, 4 and 2 more"]


@pytest.mark.parametrize("run_dir", ["outputs/x", "/elsewhere/x", "../x"])
def test_the_status_of_a_run_is_kept_apart_from_its_files_wherever_they_are(tmp_path, run_dir):
    status.StatusWriter(str(tmp_path)).on_job_start(OmegaConf.create({"run": None, "run_dir": run_dir}))
    assert status.written(tmp_path) == {run_dir: {"run": run_dir, "state": status.RUNNING}}
    assert status.path(tmp_path, run_dir).parent == tmp_path
