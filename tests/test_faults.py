"""Faults, made to happen: nothing is lost, and a sentence says what to do.

KILLS in the environment is how many trainings, and how many runs of `dvc repro`, are killed at a random moment.
"""

import gzip
import http.server
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import alembic.command
import mlflow
import mlflow.store.db.utils
import numpy as np
import pytest
import yaml
from PIL import Image

from actgrad.results import run as results
from conftest import ROOT, STUDY, Project, fault, sentence

KILLS = int(os.environ.get("KILLS", "4"))
PER_CELL = 4  # kills, before it may end
EPOCHS = 6
CELL = ("data=digits", "activation=relu", f"recipe.epochs={EPOCHS}")
NO_TRACKING = "tracking.enabled=false"


# --- what the tests need


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with the digits, and a cell in `whole` that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, "src/download.py", "data=digits").returncode == 0
    assert run(folder, "src/train.py", *CELL, "run_dir=whole").returncode == 0
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """An empty folder, but for the digits."""
    shutil.copytree(whole / "data", tmp_path / "data")
    return tmp_path


def run(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    process = start(folder, script, *arguments, **environment)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTEST"))}
    env |= {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    command = [sys.executable, ROOT / script, *arguments]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)


def train(folder: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess:
    return run(folder, "src/train.py", *CELL, "run_dir=cell", *overrides, **environment)


def same_bytes(cell: Path, whole: Path) -> None:
    for name in results.FILES:
        assert (cell / name).read_bytes() == (whole / "whole" / name).read_bytes(), name


def store(folder: Path, name: str = "mlflow.db") -> dict[str, dict[str, list]]:
    """Run name -> metric -> [(step, value)] of the cells of a store, of which each has one run that is finished."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/{name}")
    found = {}
    for experiment in client.search_experiments():
        for one in client.search_runs([experiment.experiment_id], "tags.kind = 'cell'"):
            if one.data.tags.get("superseded") == "true":
                continue
            assert one.info.run_name not in found
            assert one.info.status == "FINISHED"
            found[one.info.run_name] = {
                name: sorted((value.step, value.value) for value in client.get_metric_history(one.info.run_id, name)) for name in one.data.metrics
            }
    return found


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[..., Path]]:
    """Mount a small disk of its own."""
    mounted = []

    def mount(megabytes: int = 40) -> Path:
        target = tmp_path / f"disk {len(mounted)}"
        target.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(target)], capture_output=True).returncode:
            pytest.skip("only root can mount a small disk")
        mounted.append(target)
        return target

    yield mount
    for target in mounted:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    free = shutil.disk_usage(disk).free
    with (disk / "filler").open("wb") as file:
        file.write(bytes(free - leave))


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory) -> Project:
    """A project whose study has been trained and committed."""
    project = Project(tmp_path_factory.mktemp("reproduced"))
    project.run("dvc", "repro")
    project.commit("results")
    return project


def copied(project: Project, target: Path) -> Project:
    """A copy of a project, with its cache and its store."""
    shutil.copytree(project.folder, target, dirs_exist_ok=True)
    other = Project.__new__(Project)
    other.folder = target
    return other


# --- the MLflow store


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def server(request) -> Iterator[str]:
    """The address of a server that refuses, hangs, or answers 500."""
    port = free_port()
    if request.param == "refuses":
        yield f"http://127.0.0.1:{port}"
    elif request.param == "hangs":
        with socket.create_server(("127.0.0.1", port)):
            yield f"http://127.0.0.1:{port}"
    else:

        class Broken(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(500)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", port), Broken) as broken:
            threading.Thread(target=broken.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{port}"
            broken.shutdown()


def tracking_line(result: subprocess.CompletedProcess) -> str:
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("tracking: ")]
    assert "is no longer logged to MLflow" in line
    assert "what is missing can be added with python src/publish.py" in line
    return line


@pytest.mark.parametrize("server", ["refuses", "hangs", "answers 500"], indirect=True)
@fault("an MLflow server", "the cell finishes with the same bytes, and says that it is not logged")
def test_a_server_that_does_not_serve(server, folder, whole, seen, request):
    began = time.monotonic()
    done = train(folder, MLFLOW_TRACKING_URI=server)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60
    same_bytes(folder / "cell", whole)
    tracking_line(done)
    seen("exit 0, same bytes, one sentence that names publish.py", f"an MLflow server that {request.node.callspec.params['server']}")


def serve(folder: Path, port: int) -> subprocess.Popen:
    where = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *where]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return process
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()


@fault("an MLflow server that dies in mid-training", "the cell finishes with the same bytes; publish.py completes its run when the server is back")
def test_a_server_that_dies_and_comes_back(folder, whole, seen):
    port = free_port()
    server, params = serve(folder, port), STUDY | {"activations": ["relu"], "experiments": []}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    cell = folder / "runs" / "digits" / "relu-0"
    training = start(folder, "src/train.py", *CELL, "run_dir=runs/digits/relu-0", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    for line in training.stdout:
        if "epoch 1/" in line:
            stop(server)
            break
    _, said = training.communicate()
    assert training.returncode == 0, said
    same_bytes(cell, whole)
    assert "digits/relu-0 is no longer logged to MLflow" in said
    down = run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    assert f"the MLflow store http://127.0.0.1:{port} cannot be used" in sentence(down)
    server = serve(folder, port)
    published = run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    again = run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    stop(server)
    assert "1 of 1 cells, 1 runs made or completed" in published.stdout, published.stderr
    assert "1 of 1 cells, 0 runs made or completed" in again.stdout
    assert store(folder, "server.db") == store(whole)
    seen("same bytes; publish.py refuses with a sentence while it is down, completes the same run when it is back, and then has nothing to do")


@fault("a SQLite store that another process has locked", "a short lock is waited for and nothing is missing; a long one costs the run, not the cell")
def test_a_locked_store(folder, whole, seen):
    assert train(folder, "seed=1", "run_dir=other").returncode == 0  # makes the store
    with sqlite3.connect(folder / "mlflow.db", isolation_level=None) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        training = start(folder, "src/train.py", *CELL, "run_dir=cell")
        time.sleep(12)  # beyond SQLite's own five seconds
        lock.execute("ROLLBACK")
    _, said = training.communicate()
    assert (training.returncode, "tracking:" in said) == (0, False), said
    assert store(folder)["digits/relu-0"] == store(whole)["digits/relu-0"]
    with sqlite3.connect(folder / "mlflow.db", isolation_level=None) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        done = train(folder, "run_dir=again", MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db?timeout=1")
    assert done.returncode == 0
    assert "database is locked" in tracking_line(done)
    same_bytes(folder / "again", whole)
    seen("twelve seconds: all metrics there; longer than the store's time-out: same bytes, one sentence")


@fault("a SQLite store that is read-only", "the cell finishes with the same bytes, and says so; publish.py says it in one sentence")
def test_a_read_only_store(folder, whole, disk, seen):
    there = disk()
    assert train(folder, "seed=1", "run_dir=other", f"tracking.uri=sqlite:///{there}/mlflow.db").returncode == 0
    read_only(there)
    done = train(folder, f"tracking.uri=sqlite:///{there}/mlflow.db")
    assert done.returncode == 0
    tracking_line(done)
    same_bytes(folder / "cell", whole)
    (folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "experiments": []}))
    shutil.copytree(folder / "cell", folder / "runs" / "digits" / "relu-0")
    assert "cannot be used" in sentence(run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"sqlite:///{there}/mlflow.db"))
    seen("same bytes, one sentence; publish.py: one sentence, exit 1")


@fault("a SQLite store of MLflow 2.15, two years old", "MLflow migrates it; the run is logged, and what was in it is still there")
def test_a_store_of_an_old_mlflow(folder, whole, seen):
    address = f"sqlite:///{folder}/mlflow.db"
    mlflow.store.db.utils.InitialBase.metadata.create_all(mlflow.store.db.utils.create_sqlalchemy_engine(address))
    alembic.command.upgrade(mlflow.store.db.utils._get_alembic_config(address), "0584bdc529eb")
    with sqlite3.connect(folder / "mlflow.db") as db:
        db.execute("INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) VALUES (7, 'before', 'files', 'active')")
    assert "tracking:" not in train(folder).stderr
    assert mlflow.MlflowClient(address).get_experiment_by_name("before").experiment_id == "7"
    assert store(folder) == store(whole)
    seen("migrated; the run is whole, the old experiment still there")


@fault("a SQLite store of a newer MLflow", "it is left as it is, and the cell says so; with that MLflow, publish.py adds the run")
def test_a_store_of_a_newer_mlflow(folder, whole, seen):
    assert train(folder, "seed=1", "run_dir=other").returncode == 0  # makes the store
    mine = version(folder, "ffffffffffff")
    done = train(folder, "run_dir=runs/digits/relu-0")
    assert done.returncode == 0, done.stderr
    same_bytes(folder / "runs" / "digits" / "relu-0", whole)
    assert "found version ffffffffffff" in tracking_line(done)
    (folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "experiments": []}))
    assert "found version ffffffffffff" in sentence(run(folder, "src/publish.py"))
    assert version(folder, mine) == "ffffffffffff"
    assert "1 runs made or completed" in run(folder, "src/publish.py").stdout
    assert store(folder)["digits/relu-0"] == store(whole)["digits/relu-0"]
    seen("same bytes, one sentence that names the versions; publish.py: one sentence, exit 1; then the run is added")


def version(folder: Path, new: str) -> str:
    """The version of a store's tables, before it is set to another."""
    with sqlite3.connect(folder / "mlflow.db") as db:
        ((old,),) = db.execute("SELECT version_num FROM alembic_version").fetchall()
        db.execute("UPDATE alembic_version SET version_num = ?", (new,))
    return old


@fault("the making of a SQLite store is killed", "the next training makes it, and is logged")
def test_a_store_whose_making_was_killed(folder, whole, seen):
    making = start(folder, "src/train.py", *CELL, "run_dir=killed")
    while not list(folder.glob(".mlflow.db.*")):
        assert making.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    making.kill()
    making.communicate()
    assert not (folder / "mlflow.db").exists()
    assert "tracking:" not in train(folder).stderr
    assert store(folder) == store(whole)
    seen("the half-made file is not the store; the next training makes it anew, and its run is whole")


@fault("16 trainings that write to one new SQLite store at once", "no run and no metric is lost")
def test_sixteen_writers(folder, seen):
    # two epochs: the cells are short, so that most of their time is spent in the store
    trainings = [start(folder, "src/train.py", "data=digits", "recipe.epochs=2", f"seed={seed}", f"run_dir=c{seed}") for seed in range(16)]
    said = [one.communicate() for one in trainings]
    assert [one.returncode for one in trainings] == [0] * 16
    assert not [err for _, err in said if "tracking:" in err], said
    found = store(folder)
    assert sorted(found) == sorted(f"digits/relu-{seed}" for seed in range(16))
    for seed in range(16):
        history = np.genfromtxt(folder / f"c{seed}" / "history.csv", delimiter=",", names=True, deletechars="")
        assert found[f"digits/relu-{seed}"]["val/loss"] == list(zip(history["step"].astype(int), history["val/loss"], strict=True))
        assert {name: len(values) for name, values in found[f"digits/relu-{seed}"].items()} == {
            name: len(values) for name, values in found["digits/relu-0"].items()
        }
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    parents = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.kind = 'activation'")
    assert len(parents) == 1
    seen("16 runs under one parent, every metric of every step")


@fault("two publish.py at once, while the same cell is being trained elsewhere", "no doubles, nothing missing")
def test_two_that_publish_beside_a_training(folder, whole, seen):
    (folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "experiments": []}))
    shutil.copytree(whole / "whole", folder / "runs" / "digits" / "relu-0")
    at_once = [start(folder, "src/train.py", *CELL, "run_dir=cell"), start(folder, "src/publish.py"), start(folder, "src/publish.py")]
    said = [one.communicate() for one in at_once]
    assert [one.returncode for one in at_once] == [0, 0, 0], said
    assert not [err for _, err in said if "tracking:" in err]
    assert store(folder) == store(whole)
    seen("one run, every metric once")


# --- interrupted trainings


def kill_at_random(process: subprocess.Popen, longest: float, draw: random.Random, whole_group: bool = False) -> tuple[bool, str]:
    """SIGKILL after a random time; returns whether the process had ended before, and what it had printed."""
    try:
        process.wait(draw.uniform(0.2, longest))
    except subprocess.TimeoutExpired:
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    printed, _ = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), printed
    return process.returncode == 0, printed


@fault("SIGKILL of train.py at random moments", "the same command goes on after the last finished epoch, in the same run, and ends in the same bytes")
def test_killed_trainings(folder, whole, seen):
    began = time.monotonic()
    assert train(folder, "run_dir=timed", "seed=1").returncode == 0
    longest, draw, kills, resumed = time.monotonic() - began, random.Random(0), 0, 0
    for cell in itertools.count():
        name = f"cell{cell}"
        command = ("src/train.py", *CELL, f"run_dir={name}", f"tracking.uri=sqlite:///{folder}/{name}.db")
        for _ in range(PER_CELL):
            ended, printed = kill_at_random(start(folder, *command), longest, draw)
            kills, resumed = kills + (not ended), resumed + ("goes on after epoch" in printed)
            if ended or kills == KILLS:
                break
        done = run(folder, *command)
        assert done.returncode == 0, done.stderr
        resumed += "goes on after epoch" in done.stdout
        same_bytes(folder / name, whole)
        assert store(folder, f"{name}.db") == store(whole)
        assert not list((folder / "checkpoints").glob("*.npz"))
        assert "finished before" in run(folder, *command).stdout
        if kills == KILLS:
            break
    assert resumed >= KILLS / 6
    seen(f"{KILLS} kills: every cell ended in the same bytes, with one run, no step twice, no checkpoint left")


@fault(
    "SIGKILL of dvc repro, and of all that it started, at random moments",
    "the same command goes on, and ends in the same bytes; publish.py completes the runs",
)
def test_killed_repro(reproduced, tmp_path, seen):
    project = copied(reproduced, tmp_path / "killed")
    draw, kills = random.Random(1), 0
    while kills < KILLS:
        for path in ("runs", "reports", ".dvc/cache", ".dvc/tmp", "data", "checkpoints", "mlruns", "mlflow.db"):
            if (project.folder / path).is_dir():
                shutil.rmtree(project.folder / path)
            else:
                (project.folder / path).unlink(missing_ok=True)
        for _ in range(PER_CELL):
            ended, _ = kill_at_random(project.start("dvc", "repro"), 30, draw, whole_group=True)
            kills += not ended
            if ended or kills == KILLS:
                break
        project.run("dvc", "repro")
        assert project.run("git", "status", "--porcelain") == ""
        assert project.stale() == set()
        project.run("python", "src/publish.py")
        assert sorted(store(project.folder)) == ["digits/he/relu-0", "digits/relu-0", "digits/sigmoid-0"]
        assert store(project.folder) == store(reproduced.folder)
    seen(f"{KILLS} kills: dvc.lock and all results as committed, one run a cell, no step twice")


@fault("SIGKILL of dvc repro alone, whose training lives on, and dvc repro again", "the second waits for the first, and both leave the same bytes")
def test_a_training_that_outlives_its_repro(reproduced, tmp_path, seen):
    project = copied(reproduced, tmp_path / "orphan")
    (project.folder / "mlflow.db").unlink()
    shutil.rmtree(project.folder / "runs" / "digits" / "relu-0")
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 40")
    first = project.start("dvc", "repro", "train@digits-relu-0")
    for line in first.stdout:
        if "epoch 2/40" in line:
            first.kill()  # DVC alone; the training is another process of its group
            first.wait()
            first.stdout.close()
            break
    again = project.run("dvc", "repro", "train@digits-relu-0")
    assert "epoch 40/40" in again or "finished before" in again, again
    found = store(project.folder)["digits/relu-0"]
    assert len(found["val/loss"]) == 40
    whole = project.run("python", "src/train.py", "data=digits", "activation=relu", "model=lenet5", "run_dir=outputs/whole", NO_TRACKING)
    assert "epoch 40/40" in whole
    for name in results.FILES:
        assert (project.folder / "outputs/whole" / name).read_bytes() == (project.folder / "runs/digits/relu-0" / name).read_bytes(), name
    seen("one training at a time, the same bytes, one run with every step once")


@pytest.mark.parametrize(
    ("how", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")], ids=["SIGINT", "SIGTERM"]
)
@fault("a signal in mid-training", "a sentence, its exit code, and the same command goes on")
def test_a_signal(folder, whole, how, code, word, seen):
    training = start(folder, "src/train.py", *CELL, "run_dir=cell")
    for line in training.stdout:
        if "epoch 2/" in line:
            training.send_signal(how)
            break
    _, said = training.communicate()
    assert training.returncode == code
    assert said.endswith(f"{word}; the same command goes on after the last finished epoch\n")
    assert "goes on after epoch" in train(folder).stdout
    same_bytes(folder / "cell", whole)
    assert store(folder) == store(whole)
    seen(f"exit {code}, a sentence; the same bytes and the same run afterwards", f"{how.name} in mid-training")


@fault("two dvc repro at once", "the second is refused by DVC, or waits; the first is not disturbed")
def test_two_repros(reproduced, tmp_path, seen):
    project = copied(reproduced, tmp_path / "two")
    shutil.rmtree(project.folder / "runs")
    shutil.rmtree(project.folder / ".dvc" / "cache")
    first = project.start("dvc", "repro")
    time.sleep(3)
    second = project.start("dvc", "repro")
    printed = [one.communicate()[0] for one in (first, second)]
    assert first.returncode == 0, printed[0]
    assert second.returncode == 0 or "ERROR" in printed[1]
    assert "Traceback" not in "".join(printed)
    project.run("dvc", "repro")
    assert project.run("git", "status", "--porcelain") == ""
    seen("the first ends with the committed bytes; the second " + ("waits" if second.returncode == 0 else "is told by DVC which process is at work"))


@fault("two trainings of the same cell at once", "one trains, the other waits and finds the result")
def test_two_trainings_of_one_cell(folder, whole, seen):
    both = [start(folder, "src/train.py", *CELL, "run_dir=cell") for _ in range(2)]
    printed = [one.communicate()[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted("finished before" in text for text in printed) == [False, True]
    same_bytes(folder / "cell", whole)
    assert store(folder) == store(whole)
    seen("one trains, the other says that the cell was finished before; one run")


@fault("a checkpoint that is damaged, or of another configuration, data or code", "it is not used, and says so; the cell starts from its beginning")
def test_a_checkpoint_that_cannot_be_used(folder, whole, seen):
    for spoil in (lambda path: path.write_bytes(path.read_bytes()[:-500]), lambda path: np.savez(path, fingerprint=np.array("other"))):
        training = start(folder, "src/train.py", *CELL, "run_dir=cell")
        for line in training.stdout:
            if "epoch 2/" in line:
                training.kill()
                break
        training.communicate()
        (checkpoint,) = (folder / "checkpoints").glob("*.npz")
        spoil(checkpoint)
        done = train(folder)
        assert "is not used, " in done.stderr
        assert "epoch 1/" in done.stdout
        same_bytes(folder / "cell", whole)
        assert store(folder) == store(whole)
        shutil.rmtree(folder / "cell")
        (folder / "mlflow.db").unlink()
    seen("it says which and why, trains from epoch 1, the same bytes and one run")


# --- disks


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("download", ("src/download.py", "data=digits")),
        ("recipe", ("src/recipe.py", "data=digits", "recipe=default")),
        ("train", ("src/train.py", *CELL, "run_dir=runs/digits/relu-0")),
        ("depth", ("src/measure_depth.py", "data=digits")),
        ("report", ("src/report.py", "data=digits")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@fault("a full disk", "one sentence, exit 1, the old file stays; the same command works when there is room")
def test_a_full_disk(reproduced, disk, stage, command, seen):
    there = disk(100)
    project = copied(reproduced, there)
    if stage == "train":
        shutil.rmtree(there / "runs" / "digits" / "relu-0")
    before = {path: path.read_bytes() for part in ("data", "runs", "reports") for path in (there / part).rglob("*") if path.is_file()}
    fill(there)
    printed = project.run("python", *command, check=False)
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("error: "), printed
    assert "No space left on device" in printed.splitlines()[-1]
    for path, content in before.items():
        assert path.read_bytes() == content, path
    assert not list(there.rglob("*.part"))
    (there / "filler").unlink()
    project.run("python", *command)
    assert not list((project.folder / "checkpoints").glob("*.npz"))
    seen("one sentence that names the file, exit 1, nothing half-written; works when there is room", f"a full disk in the stage {stage}")


@fault("a disk that fills up in mid-training", "the cell trains on; its result is not lost: the same command writes it from the last checkpoint")
def test_a_disk_that_fills_up(folder, whole, disk, seen):
    there = disk()
    shutil.copytree(folder / "data", there / "data")
    training = start(there, "src/train.py", *CELL, "run_dir=cell")
    for line in training.stdout:
        if "epoch 3/" in line:
            fill(there)
            break
    _, said = training.communicate()
    assert training.returncode == 1
    assert "cannot be written (No space left on device); the training goes on, but this epoch is not kept" in said
    assert said.splitlines()[-1].startswith("error: ")
    (there / "filler").unlink()
    done = train(there)
    assert done.returncode == 0, done.stderr
    assert "goes on after epoch" in done.stdout
    same_bytes(there / "cell", whole)
    assert store(there) == store(whole)
    seen("a sentence an epoch, exit 1 at the end; the same command goes on from the checkpoint, and ends in the same bytes")


@fault("a full disk under dvc repro", "DVC's own message; the same command works when there is room")
def test_a_full_disk_under_repro(reproduced, disk, seen):
    there = disk(100)
    project = copied(reproduced, there)
    project.edit("conf/activation/relu.yaml", "config: {}", "config: {max_value: 6.0}")
    fill(there, leave=20_000)
    printed = project.run("dvc", "repro", check=False)
    assert "No space left on device" in printed or "disk is full" in printed
    (there / "filler").unlink()
    assert "digits/relu-0: finished" in project.run("dvc", "repro")
    project.run("git", "checkout", "conf")
    project.run("dvc", "repro")
    assert project.run("git", "status", "--porcelain") == ""
    seen("it fails and says why; with room, dvc repro brings every committed byte back")


@fault("no permission to write, in any script", "one sentence that names the place, exit 1")
def test_no_permission(reproduced, disk, seen):
    there = disk(100)
    project = copied(reproduced, there)
    read_only(there)
    scripts = (
        ("src/download.py", "data=digits"),
        ("src/recipe.py", "data=digits", "recipe=default"),
        ("src/train.py", *CELL),
        ("src/measure_depth.py", "data=digits"),
        ("src/report.py", "data=digits"),
        ("src/publish.py",),
        ("src/tune.py", "data=digits"),
    )
    for command in scripts:
        printed = project.run("python", *command, check=False)
        assert "Traceback" not in printed, printed
        assert printed.splitlines()[-1].startswith("error: "), printed
    seen(f"{len(scripts)} scripts: one sentence each, exit 1")


@fault("a home that is read-only", "everything works")
def test_a_read_only_home(tmp_path, disk, seen):
    home = disk()
    read_only(home)
    project = Project(tmp_path / "project")
    repro = project.start("dvc", "repro", HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), XDG_CONFIG_HOME=str(home / "config"))
    printed, _ = repro.communicate()
    assert repro.returncode == 0, printed
    assert "Traceback" not in printed
    assert (project.folder / "reports" / "digits" / "index.html").is_file()
    seen("dvc repro from nothing to the report")


@fault("Unicode and spaces in the project's path", "everything works, sweep and verify too")
def test_unicode_and_spaces(tmp_path, seen):
    project = Project(tmp_path / "Ünï cödé 网络 (1)")
    project.run("python", "src/sweep.py", "data=digits")
    project.run("dvc", "repro")
    project.commit("results")
    assert "1 runs made or completed" not in project.run("python", "src/publish.py")
    assert "dvc.lock: identical" in project.run("python", "src/verify.py", "data=digits")
    project.run("python", "src/verify.py", "--cell", "digits/relu-0", "digits/he/relu-0")
    seen("sweep, repro, publish and verify do what they do elsewhere")


@fault("a folder without git", "train.py and the pipeline work; DVC needs to be told once")
def test_without_git(tmp_path, seen):
    project = Project(tmp_path / "project")
    shutil.rmtree(project.folder / ".git")
    done = project.run("python", "src/download.py", "data=digits") + project.run("python", "src/train.py", *CELL)
    assert "digits/relu-0: finished" in done
    assert "tracking:" not in done
    project.run("dvc", "config", "core.no_scm", "true")
    project.run("dvc", "repro")
    refused = project.run("python", "src/verify.py", "data=digits", check=False)
    assert refused.startswith("error: there is no commit to verify")
    seen("train.py and dvc repro (after `dvc config core.no_scm true`) work; verify.py says that it needs a commit")


# --- data and values


def one_set(folder: Path, **arrays) -> None:
    """A dataset `a` of the user's own, of these arrays and otherwise of 40 images of 8x8."""
    images = np.random.default_rng(0).integers(0, 256, (46, 8, 8, 1), dtype=np.uint8)
    usual = {"x_train": images[:40], "y_train": np.arange(40) % 2, "x_test": images[40:], "y_test": np.arange(6) % 2}
    np.savez(folder / "a.npz", **(usual | arrays))


@pytest.fixture
def own(tmp_path) -> Project:
    project = Project(tmp_path / "project")
    text = "# @package _global_\ndefaults:\n  - override /recipe: digits\ndata: {name: a, format: npz, archive: a.npz, val_size: 0}\n"
    (project.folder / "conf" / "data" / "a.yaml").write_text(text)
    return project


@pytest.mark.parametrize(
    ("what", "arrays", "overrides", "expected"),
    [
        ("one class", {"y_train": np.zeros(40, int), "y_test": np.zeros(6, int)}, (), "a has 1 class; a classifier needs at least two"),
        (
            "one training image",
            {"x_train": np.zeros((1, 8, 8, 1), np.uint8), "y_train": np.zeros(1, int), "class_names": ["a", "b"]},
            (),
            "recipe.batch_size=32 is more than the 1 training images of a; choose fewer",
        ),
        (
            "images too small for the network",
            {"x_train": np.zeros((40, 3, 3, 1), np.uint8), "x_test": np.zeros((6, 3, 3, 1), np.uint8)},
            (),
            "images are 3x3x1; they must be 4x4 or larger",
        ),
        ("NaN in an .npz", {"x_train": np.full((40, 8, 8, 1), np.nan)}, (), "x_train must hold whole pixel values from 0 to 255"),
        ("pickled objects in an .npz", {"class_names": np.array([{}, "b"], dtype=object)}, (), "Object arrays cannot be loaded"),
        ("0 epochs", {}, ("recipe.epochs=0",), "recipe.epochs=0 cannot be used: input should be greater than or equal to 1"),
        (
            "a batch larger than the data",
            {},
            ("recipe.batch_size=41",),
            "recipe.batch_size=41 is more than the 40 training images of a; choose fewer",
        ),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) and len(value) < 40 else "",
)
@fault("bad data", "one sentence, exit 1, no file")
def test_data_and_values(own, what, arrays, overrides, expected, seen):
    one_set(own.folder, **arrays)
    printed = own.run("python", "src/download.py", "data=a", check=False)
    if "error: " not in printed:
        printed = own.run("python", "src/train.py", "data=a", *overrides, check=False)
    assert expected in printed
    assert [line for line in printed.splitlines() if line.startswith("error: ")] == printed.splitlines()[-1:]
    assert "Traceback" not in printed
    assert not list(own.folder.rglob("metrics.json"))
    seen(f"`{expected}`", what)


@fault("one training image, in batches of one", "it trains")
def test_one_image(own, seen):
    one_set(own.folder, x_train=np.zeros((1, 8, 8, 1), np.uint8), y_train=np.zeros(1, int), class_names=["a", "b"])
    own.run("python", "src/download.py", "data=a")
    assert "a/relu-0: finished" in own.run("python", "src/train.py", "data=a", "recipe.batch_size=1", "recipe.epochs=2")
    seen("finished")


@fault("a cached archive that is damaged", "it is told by its checksum and not used; the sentence says where to get it again")
def test_a_damaged_cache(tmp_path, seen):
    cache = tmp_path / "cache" / "actgrad"
    cache.mkdir(parents=True)
    (cache / "cifar10-c4a38c50a1bc5f3a").write_bytes(b"damaged")
    line = sentence(run(tmp_path, "src/download.py", "data=cifar10", http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"))
    assert "cifar10 could not be downloaded" in line
    assert "data.archive=PATH" in line
    assert not (tmp_path / "data").exists()
    seen("not used; where it cannot be downloaded again, one sentence names the ways out")


@fault("a loss that turns NaN", "status `diverged`, what was measured is kept, the report shows it, the other cells go on")
def test_a_loss_that_is_not_finite(own, seen):
    (own.folder / "conf" / "activation" / "huge.yaml").write_text("name: huge\nlayer: LeakyReLU\nconfig: {negative_slope: 1.0e+30}\n")
    (own.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["huge", "relu"], "experiments": []}))
    printed = own.run("dvc", "repro")
    assert "digits/huge-0: diverged" in printed
    assert "digits/relu-0: finished" in printed
    assert json.loads((own.folder / "runs/digits/huge-0/metrics.json").read_text())["status"] == "diverged"
    page = (own.folder / "reports/digits/index.html").read_text()
    assert "diverged" in page
    assert "digits/huge-0" in page
    client = mlflow.MlflowClient(f"sqlite:///{own.folder}/mlflow.db")
    (diverged,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.key = 'digits/huge-0'")
    assert (diverged.info.status, diverged.data.tags["status"]) == ("FAILED", "diverged")
    seen("`diverged` in its files, its run and the report; the other cell finished")


@fault("names that are HTML, in a configuration and a dataset", "the report shows them as text")
def test_names_that_are_html(own, seen):
    evil = "<script>document.title='evil'</script><img src=x onerror=alert(1)>"
    one_set(own.folder, class_names=[evil, "b"])
    config = own.folder / "conf" / "data" / "a.yaml"
    config.write_text(config.read_text().replace("val_size: 0", f"val_size: 8, source: {json.dumps(evil)}, licence: {json.dumps(evil)}"))
    (own.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"datasets": ["a"], "experiments": []}))
    own.run("dvc", "repro")
    page = (own.folder / "reports" / "a" / "index.html").read_text()
    assert "&lt;script&gt;document.title" in page
    assert "<script>document" not in page
    assert "<img src=x" not in page
    seen("escaped, each of them")


# --- hostile archives


def member(name: str, content: bytes = b"", **fields) -> bytes:
    """The header and content of a tar's member, as its fields claim it to be."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def gzipped(folder: Path, *parts: bytes, repeat: int = 1) -> Path:
    target = folder / "hostile.tar.gz"
    with gzip.open(target, "wb", compresslevel=1) as file:
        for part in parts:
            for _ in range(repeat):
                file.write(part)
        file.write(bytes(1024))
    return target


def a_zip(folder: Path, *entries: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    target = folder / "hostile.zip"
    with zipfile.ZipFile(target, "w", how) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return target


def ten_million_entries(folder: Path) -> Path:
    """A zip whose central directory names one file ten million times."""
    small = a_zip(folder, ("train/a/x.png", b"x")).read_bytes()
    start = small.index(b"PK\x01\x02")
    entry = small[start : small.index(b"PK\x05\x06")]
    count, size = 10_000_000, 10_000_000 * len(entry)
    with (folder / "hostile.zip").open("wb") as file:
        file.write(small[:start])
        for _ in range(100):
            file.write(entry * (count // 100))
        at = start + size
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start))
        file.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    return folder / "hostile.zip"


def claiming(folder: Path) -> Path:
    """A zip of a few bytes whose entries say that they unpack to 20 GB."""
    target = a_zip(folder, *[(f"train/a/{i}.png", b"x") for i in range(100)])
    content = bytearray(target.read_bytes())
    for found in re.finditer(re.escape(b"PK\x01\x02"), bytes(content)):
        content[found.start() + 24 : found.start() + 28] = struct.pack("<L", 200 * 2**20)
    target.write_bytes(content)
    return target


def lying(folder: Path) -> Path:
    """A zip of a few MB whose entry says that it unpacks to 10 bytes, and unpacks to 1.9 GB."""
    target = folder / "hostile.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("train/a/x.png", "w") as file:
        for _ in range(1_900):
            file.write(bytes(2**20))
    content = bytearray(target.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<L", 10)
    target.write_bytes(content)
    return target


def picture(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "png")
    return buffer.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(touch) (%pipe%touch hacked) (w) file\n%%EOF\n"
PAX = member("pax", bytes(300 * 2**20), type=tarfile.XHDTYPE)
HOSTILE = {
    "a path that leads out": (lambda f: gzipped(f, member("train/a/../../../../x.png")), "points outside the archive"),
    "an absolute path": (lambda f: gzipped(f, member("/train/a/x.png")), "points outside the archive"),
    "a path of another system that leads out": (lambda f: a_zip(f, ("train\\a\\..\\..\\..\\x.png", b"")), "points outside the archive"),
    "a symbolic link": (lambda f: gzipped(f, member("train/a/x.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "is a link or a device"),
    "a hard link": (lambda f: gzipped(f, member("train/a/x.png", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "is a link or a device"),
    "a device": (lambda f: gzipped(f, member("train/a/x.png", type=tarfile.CHRTYPE)), "is a link or a device"),
    "a bomb: a member of 8 GB": (lambda f: gzipped(f, member("train/a/x.png", size=8 * 2**30)), "unpacks to more than can be used"),
    "a bomb: 300 MB of headers": (lambda f: gzipped(f, PAX, member("train/a/x.png")), "unpacks to more than can be used"),
    "a bomb: a zip that claims 20 GB": (claiming, "unpacks to more than can be used"),
    "a bomb: a zip that claims 10 bytes, and holds 1.9 GB": (lying, "is damaged or not a tar or zip archive"),
    "a zip that is packed with LZMA": (lambda f: a_zip(f, ("train/a/x.png", b"x"), how=zipfile.ZIP_LZMA), "is packed in a way that is not read"),
    "10 million members in a tar": (lambda f: gzipped(f, member("about/x") * 10_000, repeat=1000), "unpacks to more than can be used"),
    "10 million members in a zip": (ten_million_entries, "unpacks to more than can be used"),
    "a picture of 30,000 x 30,000": (lambda f: a_zip(f, ("train/a/x.png", picture(30_000))), "cannot be read as an image"),
    "a picture of 5,000 x 5,000": (lambda f: a_zip(f, ("train/a/x.png", picture(5_000))), "the largest that can be used is 1024x1024"),
    "a program that claims to be a picture": (lambda f: a_zip(f, ("train/a/x.png", b"\x7fELF" + bytes(100))), "cannot be read as an image"),
    "PostScript that claims to be a picture": (lambda f: a_zip(f, ("train/a/x.png", EPS)), "cannot be read as an image"),
}


@pytest.mark.parametrize("what", HOSTILE)
@fault("a hostile archive", "one sentence, exit 1, within 2 GB of memory; nothing is unpacked, linked or run")
def test_a_hostile_archive(what, tmp_path, seen):
    make, expected = HOSTILE[what]
    (tmp_path / "made").mkdir()
    archive = make(tmp_path / "made")
    (tmp_path / "here").mkdir()
    arguments = ("data=cifar10_jpeg", f"data.archive={archive}", "data.sha256=null", "data.val_size=0")
    code = (
        f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, ({2 * 2**30},) * 2); sys.argv.pop(0);"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0]); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, ROOT / "src" / "download.py", *arguments]
    assert expected in sentence(subprocess.run(command, cwd=tmp_path / "here", env=env, capture_output=True, text=True))
    assert list((tmp_path / "here").iterdir()) == []
    seen(f"`… {expected} …`", what)


@pytest.mark.parametrize(
    ("what", "shape", "expected"),
    [("an array that claims 64 TB", (10**12, 8, 8, 1), "is not an .npz of plain arrays"), ("objects", None, "Object arrays cannot be loaded")],
)
@fault("a hostile .npz", "one sentence, exit 1; no object is unpickled")
def test_a_hostile_npz(own, what, shape, expected, seen):
    class Hack:
        def __reduce__(self):
            return os.mkdir, (str(own.folder / "hacked"),)

    one_set(own.folder, class_names=np.array([Hack(), "b"], dtype=object))
    if shape:
        one_set(own.folder)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(own.folder / "a.npz", "a") as archive:
            archive.writestr("x_val.npy", header.getvalue())
            archive.writestr("y_val.npy", header.getvalue())
    printed = own.run("python", "src/download.py", "data=a", check=False)
    assert expected in printed
    assert "Traceback" not in printed
    assert not (own.folder / "hacked").exists()
    seen(f"`… {expected} …`", f"{what} in an .npz")
