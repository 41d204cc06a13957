"""Faults of the MLflow store: a training is never lost, and publish.py adds what is missing."""

import http.server
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import alembic.command
import mlflow
import mlflow.store.db.utils
import numpy as np
import pytest
import yaml

from conftest import fault, sentence
from faults import LISTED, ONE_RUN, VALUES, free_port, read_only, run, same_bytes, start, store, train, wait_for

pytest_plugins = "faults"
NAME = "relu/baseline-0"


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
    assert "digits/relu/baseline-0 is no longer logged to MLflow" in line
    return line


@pytest.mark.parametrize("server", ["refuses", "hangs", "answers 500"], indirect=True)
@fault("an MLflow server", "the run finishes with the same bytes, and says that it is not logged")
def test_a_server_that_does_not_serve(server, folder, whole, seen, request):
    began = time.monotonic()
    done = train(folder, MLFLOW_TRACKING_URI=server)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60
    same_bytes(folder / "here", whole)
    tracking_line(done)
    seen("exit 0, same bytes, one sentence", f"an MLflow server that {request.node.callspec.params['server']}")


def serve(folder: Path, port: int) -> subprocess.Popen:
    where = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *where]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while time.monotonic() - began < 300:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return process
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()


@fault(
    "an MLflow server that dies in mid-training", "the run finishes with the same bytes; publish.py completes its MLflow run when the server is back"
)
def test_a_server_that_dies_and_comes_back(folder, whole, seen):
    port = free_port()
    server = serve(folder, port)
    (folder / "params.yaml").write_text(yaml.safe_dump(ONE_RUN))
    training = start(folder, "src/train.py", *VALUES, f"run_dir={LISTED}", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    wait_for(training, "epoch 1/")
    stop(server)
    _, said = training.communicate()
    assert training.returncode == 0, said
    same_bytes(folder / LISTED, whole)
    assert "digits/relu/baseline-0 is no longer logged to MLflow" in said
    down = run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port}" in sentence(down, "store-failed")
    server = serve(folder, port)
    published = run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    again = run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    stop(server)
    assert "1 of 1 runs, 1 MLflow runs made or completed" in published.stdout, published.stderr
    assert "1 of 1 runs, 0 MLflow runs made or completed" in again.stdout
    assert store(folder, "server.db") == store(whole)
    seen("same bytes; publish.py refuses with a sentence while it is down, completes the same MLflow run when it is back, and then has nothing to do")


@contextmanager
def exclusive(db: Path) -> Iterator[None]:
    """Lock a SQLite store."""
    with closing(sqlite3.connect(db, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


@fault("a SQLite store that another process has locked", "a short lock is waited for and nothing is missing; a long one costs the MLflow run alone")
def test_a_locked_store(folder, whole, seen):
    assert train(folder, "seed=1", "run_dir=other").returncode == 0  # makes the store
    with exclusive(folder / "mlflow.db"):
        training = start(folder, "src/train.py", *VALUES, "run_dir=here")
        time.sleep(12)  # beyond SQLite's own five seconds
    _, said = training.communicate()
    assert (training.returncode, "tracking:" in said) == (0, False), said
    assert store(folder)[NAME] == store(whole)[NAME]
    with exclusive(folder / "mlflow.db"):
        done = train(folder, "run_dir=again", MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db?timeout=1")
    assert done.returncode == 0
    assert "database is locked" in tracking_line(done)
    same_bytes(folder / "again", whole)
    seen("twelve seconds: all metrics there; longer than the store's time-out: same bytes, one sentence")


@fault("a SQLite store that is read-only", "the run finishes with the same bytes, and says so; publish.py says it in one sentence")
def test_a_read_only_store(folder, whole, disk, seen):
    there = disk()
    assert train(folder, "seed=1", "run_dir=other", f"tracking.uri=sqlite:///{there}/mlflow.db").returncode == 0
    read_only(there)
    done = train(folder, f"tracking.uri=sqlite:///{there}/mlflow.db")
    assert done.returncode == 0
    assert "and its files will have all that it measures" in tracking_line(done)  # publish.py adds only runs of the study
    same_bytes(folder / "here", whole)
    (folder / "params.yaml").write_text(yaml.safe_dump(ONE_RUN))
    shutil.copytree(folder / "here", folder / LISTED)
    assert f"{there}/mlflow.db" in sentence(run(folder, "src/publish.py", MLFLOW_TRACKING_URI=f"sqlite:///{there}/mlflow.db"), "store-failed")
    seen("same bytes, one sentence; publish.py: one sentence, exit 1")


@fault("a SQLite store of MLflow 2.15, two years old", "MLflow migrates it; the run is logged, and what was in it is still there")
def test_a_store_of_an_old_mlflow(folder, whole, seen):
    address = f"sqlite:///{folder}/mlflow.db"
    engine = mlflow.store.db.utils.create_sqlalchemy_engine(address)
    mlflow.store.db.utils.InitialBase.metadata.create_all(engine)
    engine.dispose()
    alembic.command.upgrade(mlflow.store.db.utils._get_alembic_config(address), "0584bdc529eb")
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        db.execute("INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) VALUES (7, 'before', 'files', 'active')")
    assert "tracking:" not in train(folder).stderr
    assert mlflow.MlflowClient(address).get_experiment_by_name("before").experiment_id == "7"
    assert store(folder) == store(whole)
    seen("migrated; the MLflow run is whole, the old experiment still there")


@fault("a SQLite store of a newer MLflow", "it is left as it is, and the run says so; with that MLflow, publish.py adds the MLflow run")
def test_a_store_of_a_newer_mlflow(folder, whole, seen):
    assert train(folder, "seed=1", "run_dir=other").returncode == 0  # makes the store
    mine = version(folder, "ffffffffffff")
    done = train(folder, f"run_dir={LISTED}")
    assert done.returncode == 0, done.stderr
    same_bytes(folder / LISTED, whole)
    assert "found version ffffffffffff" in tracking_line(done)
    assert "what is missing can be added with python src/publish.py" in tracking_line(done)
    (folder / "params.yaml").write_text(yaml.safe_dump(ONE_RUN))
    assert "found version ffffffffffff" in sentence(run(folder, "src/publish.py"), "store-failed")
    assert version(folder, mine) == "ffffffffffff"
    assert "1 MLflow runs made or completed" in run(folder, "src/publish.py").stdout
    assert store(folder)[NAME] == store(whole)[NAME]
    seen("same bytes, one sentence that names the versions; publish.py: one sentence, exit 1; then the MLflow run is added")


def version(folder: Path, new: str) -> str:
    """The version of a store's tables. Then it is set to another."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        ((old,),) = db.execute("SELECT version_num FROM alembic_version").fetchall()
        db.execute("UPDATE alembic_version SET version_num = ?", (new,))
    return old


@fault("the making of a SQLite store is killed", "the next training makes it, and is logged")
def test_a_store_whose_making_was_killed(folder, whole, seen):
    making = start(folder, "src/train.py", *VALUES, "run_dir=killed")
    while not list(folder.glob(".mlflow.db.*")):
        assert making.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    making.kill()
    making.communicate()
    assert not (folder / "mlflow.db").exists()
    assert "tracking:" not in train(folder).stderr
    assert store(folder) == store(whole)
    seen("the half-made file is not the store; the next training makes it anew, and its MLflow run is whole")


@fault("16 trainings that write to one new SQLite store at once", "no MLflow run and no metric is lost")
def test_sixteen_writers(folder, seen):
    # two epochs: the runs are short, so that most of their time is spent in the store
    trainings = [start(folder, "src/train.py", "data=digits", "recipe.epochs=2", f"seed={seed}", f"run_dir=c{seed}") for seed in range(16)]
    said = [one.communicate() for one in trainings]
    assert [one.returncode for one in trainings] == [0] * 16
    assert not [err for _, err in said if "tracking:" in err], said
    found = store(folder)
    assert sorted(found) == sorted(f"relu/baseline-{seed}" for seed in range(16))
    for seed in range(16):
        logged = found[f"relu/baseline-{seed}"]
        history = np.genfromtxt(folder / f"c{seed}" / "history.csv", delimiter=",", names=True, deletechars="")
        assert logged["val/loss"] == list(zip(history["step"].astype(int), history["val/loss"], strict=True))
        assert {name: len(values) for name, values in logged.items()} == {name: len(values) for name, values in found[NAME].items()}
    seen("16 MLflow runs in one experiment, every metric of every step")


@fault("two publish.py at once, while the same run is being trained elsewhere", "no doubles, nothing missing")
def test_two_that_publish_beside_a_training(folder, whole, seen):
    (folder / "params.yaml").write_text(yaml.safe_dump(ONE_RUN))
    shutil.copytree(whole / "whole", folder / LISTED)
    at_once = [start(folder, "src/train.py", *VALUES, "run_dir=here"), start(folder, "src/publish.py"), start(folder, "src/publish.py")]
    said = [one.communicate() for one in at_once]
    assert [one.returncode for one in at_once] == [0, 0, 0], said
    assert not [err for _, err in said if "tracking:" in err]
    for experiment in ("digits", "digits by hand"):
        assert store(folder, experiment=experiment) == store(whole)
    seen("one MLflow run by hand and one of the study, every metric once")
