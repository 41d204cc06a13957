"""Helpers for tests of faults: start and kill scripts, make small disks, and check stores and folders afterwards.

The environment variable KILLS is the number of trainings, and of `dvc repro` runs, that are killed at a random moment.

Tests import this module, and name it in `pytest_plugins` for its fixtures. PYTEST_DONT_REWRITE: pytest would warn that it was imported before.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest

from actgrad.results import run as results
from conftest import STUDY, Project, as_project

KILLS = int(os.environ.get("KILLS", "4"))
PER_TRY = 4
"""Number of kills of one training or repro before it may end."""
EPOCHS = 6
VALUES = ("data=digits", "activation=relu", f"recipe.epochs={EPOCHS}")
"""The run that the tests interrupt, by hand: digits/relu/baseline-0."""
LISTED = "runs/digits/relu/baseline-0"
"""The folder of that run in the study."""
ONE_RUN = STUDY | {"activations": ["relu"], "conditions": ["baseline"]}
"""params.yaml of a study with only that run."""


# --- scripts, in their own folder


def start(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTEST"))}
    env |= as_project(folder, XDG_CACHE_HOME=str(folder / "cache"), PYTHONDONTWRITEBYTECODE="1", **environment)
    command = [sys.executable, folder / script, *arguments]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)


def run(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    process = start(folder, script, *arguments, **environment)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def train(folder: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess:
    """Train the run of VALUES, or of other values, into `here`."""
    given = {one.partition("=")[0]: one for one in (*VALUES, "run_dir=here", *overrides)}
    return run(folder, "src/train.py", *given.values(), **environment)


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Read what a process prints until a line has this text."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{process.args} ended before it printed {text}")


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """A folder with the digits, and an undisturbed run in `whole`."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, "src/download.py", "data=digits").returncode == 0
    assert run(folder, "src/train.py", *VALUES, "run_dir=whole").returncode == 0
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A folder with only the digits."""
    shutil.copytree(whole / "data", tmp_path / "data")
    return tmp_path


def same_bytes(found: Path, whole: Path) -> None:
    """Assert that a run's files equal those of the undisturbed run in `whole`."""
    for name in results.FILES:
        assert (found / name).read_bytes() == (whole / "whole" / name).read_bytes(), name


def store(folder: Path, name: str = "mlflow.db", experiment: str | None = None) -> dict[str, dict[str, list]]:
    """Key of a run without its dataset -> metric -> [(step, value)]. Each run must have one finished MLflow run that is not superseded.

    Args:
        experiment: name of the MLflow experiment; default: all of them.
    """
    client = mlflow.MlflowClient(f"sqlite:///{folder}/{name}")
    found = {}
    for of in client.search_experiments():
        for one in client.search_runs([of.experiment_id]) if experiment in (None, of.name) else ():
            if one.data.tags.get("superseded") == "true" or "key" not in one.data.tags:  # or a mean of runs
                continue
            key = one.data.tags["key"].partition("/")[2]
            assert key not in found
            assert one.info.status == "FINISHED"
            found[key] = {
                name: sorted((value.step, value.value) for value in client.get_metric_history(one.info.run_id, name)) for name in one.data.metrics
            }
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# --- processes that are killed


def kill_at_random(process: subprocess.Popen, longest: float, draw: random.Random, kill: Callable[[], object]) -> tuple[bool, str]:
    """Kill a process after a random time. Returns whether it had already ended, and what it printed."""
    try:
        process.wait(draw.uniform(0.2, longest))
    except subprocess.TimeoutExpired:
        kill()
    printed, *_ = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), printed
    return process.returncode == 0, printed


def processes(folder: Path) -> list[psutil.Process]:
    """The processes that run in a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process] if process.cwd() == str(folder) else []
    return found


def kill_all(folder: Path) -> None:
    """Send SIGKILL to all processes in a folder, and to those that they start meanwhile."""
    while found := processes(folder):
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)  # psutil.wait_procs would take the exit status from the parent process


# --- small disks


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[..., Path]]:
    """Mount a small separate disk."""
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
    with contextlib.suppress(OSError), (disk / "filler").open("wb") as file:  # other processes may fill it sooner
        file.write(bytes(free - leave))


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


# --- whole projects


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory) -> Project:
    """A project whose study has been trained and committed."""
    project = Project(tmp_path_factory.mktemp("reproduced"))
    project.run("dvc", "repro")
    project.commit("results")
    return project


def copied(project: Project, target: Path) -> Project:
    """A copy of a project with its cache and store."""
    shutil.copytree(project.folder, target, dirs_exist_ok=True)
    other = Project.__new__(Project)
    other.folder = target
    return other


def forget(project: Project) -> None:
    """Remove everything that git does not keep, and also the results that it keeps."""
    for path in ("runs", "reports", ".dvc/cache", ".dvc/tmp", "data", "checkpoints", "outputs", "mlruns", "mlflow.db"):
        if (project.folder / path).is_dir():
            shutil.rmtree(project.folder / path)
        else:
            (project.folder / path).unlink(missing_ok=True)


@pytest.fixture
def own(tmp_path) -> Project:
    """A project with a user's dataset `a`, which `one_set` writes."""
    project = Project(tmp_path / "project")
    text = "# @package _global_\ndefaults:\n  - override /recipe: digits\ndata: {name: a, format: npz, archive: a.npz, val_size: 0}\n"
    (project.folder / "conf" / "data" / "a.yaml").write_text(text)
    return project


def one_set(folder: Path, **arrays) -> None:
    """Write the dataset `a` from these arrays; without them, 40 images of 8x8."""
    images = np.random.default_rng(0).integers(0, 256, (46, 8, 8, 1), dtype=np.uint8)
    usual = {"x_train": images[:40], "y_train": np.arange(40) % 2, "x_test": images[40:], "y_test": np.arange(6) % 2}
    np.savez(folder / "a.npz", **(usual | arrays))
