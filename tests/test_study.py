"""Many cells at once, by every launcher: the bytes of dvc repro, whatever happens to a worker."""

import contextlib
import importlib.util
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml

from actgrad.config import schema as config
from actgrad.errors import UserError
from actgrad.pipeline import launch as sweeping
from actgrad.pipeline import status as marks
from actgrad.results import run as results
from conftest import STUDY, Project

ALL = ["digits/relu-0", "digits/relu-1"]


@pytest.mark.parametrize(
    ("overrides", "jobs", "told"),
    [
        ([], 3, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]),
        ([], 1, ["hydra/launcher=basic"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=5"], 3, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=5"]),
        (["hydra.launcher.n_jobs=2"], None, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        (["hydra.launcher.verbose=1"], 2, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.launcher.verbose=1"]),
    ],
)
def test_a_launcher_is_told_what_the_user_says(overrides, jobs, told):
    assert sweeping.launcher(overrides, jobs, threads=2) == told


def test_no_cell_at_once_is_refused():
    with pytest.raises(UserError, match="--jobs 0 trains nothing; choose 1 or more"):
        sweeping.launcher([], 0, threads=1)


@pytest.mark.parametrize(("threads", "told"), [(2, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]), (8, ["hydra/launcher=basic"])])
def test_a_launcher_is_told_how_many_cells_there_are_cores_for(monkeypatch, threads, told):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert sweeping.launcher([], None, threads) == told


@pytest.mark.parametrize(
    ("overrides", "jobs", "told"),
    [
        (["hydra/launcher=ray"], 3, ["++hydra.launcher.ray.remote.num_cpus=2", "++hydra.launcher.ray.init.num_cpus=6"]),
        (["hydra/launcher=submitit_local"], 3, ["hydra.launcher.cpus_per_task=2", "hydra.sweeper.max_batch_size=3"]),
        (["hydra/launcher=submitit_slurm"], 3, ["hydra.launcher.cpus_per_task=2", "hydra.launcher.array_parallelism=3"]),
        (["hydra/launcher=submitit_slurm"], None, ["hydra.launcher.cpus_per_task=2"]),
    ],
)
def test_a_cluster_is_told_how_many_threads_a_cell_takes(monkeypatch, overrides, jobs, told):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    assert sweeping.launcher(overrides, jobs, threads=2) == [*overrides, *told]


def test_a_ray_cluster_that_is_there_keeps_its_cores(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    address = "++hydra.launcher.ray.init.address=auto"
    assert sweeping.launcher(["hydra/launcher=ray", address], 3, 1) == ["hydra/launcher=ray", "++hydra.launcher.ray.remote.num_cpus=1", address]


@pytest.mark.parametrize(
    ("overrides", "jobs", "expected"),
    [
        (["hydra/launcher=rocket"], None, "hydra/launcher=rocket is not known; known: basic, joblib, ray, submitit_local, submitit_slurm"),
        (["hydra/launcher=basic"], 4, "trains one cell after the other, not 4 at once"),
    ],
)
def test_a_launcher_that_cannot_do_it_is_refused(overrides, jobs, expected):
    with pytest.raises(UserError, match=expected):
        sweeping.launcher(overrides, jobs, 1)


def test_a_cell_that_has_died_is_begun_again_by_itself():
    """Its process may have been ended for the fault of another that was trained beside it."""
    cells = [sweeping.Cell(f"train@digits-relu-{seed}", results.folder("digits", "relu", seed), None, "relu", seed) for seed in range(3)]
    study = config.Study(**STUDY)
    spanned = [chosen for _, chosen in sweeping._multiruns("digits", study, cells, Counter({cells[1]: 1}))]
    assert spanned == [[cells[0], cells[2]], [cells[1]]]


def test_cells_whose_names_run_together_have_marks_of_their_own(tmp_path):
    assert marks.path(tmp_path, results.folder("digits/leaky", "relu", 0)) != marks.path(tmp_path, results.folder("digits", "leaky_relu", 0))


def test_a_launcher_whose_packages_are_missing_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="hydra/launcher=ray needs packages that are not installed; install them with make setup-scale"):
        sweeping.launcher(["hydra/launcher=ray"], 1, 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Two cells of twelve epochs, trained by dvc repro and committed."""
    project = Project(tmp_path_factory.mktemp("swéép (1), a=b"))
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "seeds": [0, 1], "experiments": []}))
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 12")
    project.run("dvc", "repro", "report@digits")
    project.commit("results")
    return project


def kill_a_worker(project: Project, killed: list[str], ended: threading.Event) -> None:
    """Wait until two processes train a cell each and one of them has kept an epoch, and kill that one."""
    while not ended.wait(0.05):
        holders = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                holders |= {file.path: process for file in process.open_files() if re.search("checkpoints/[0-9a-f]{16}.lock$", file.path)}
        of_project = {Path(path).with_suffix(".npz"): process for path, process in holders.items() if path.startswith(str(project.folder))}
        kept = [process for path, process in of_project.items() if path.exists()]
        if len({process.pid for process in of_project.values()}) == 2 and kept:
            kept[0].kill()
            killed.append(kept[0].name())
            return


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib", marks=pytest.mark.slow),
        pytest.param("submitit_local", marks=pytest.mark.scale),
        pytest.param("ray", marks=pytest.mark.scale),
    ],
)
def test_a_killed_worker_costs_nothing_and_the_bytes_are_those_of_repro(project, launcher):
    for key in ALL:
        shutil.rmtree(project.folder / "runs" / key)
    killed, ended = [], threading.Event()
    killer = threading.Thread(target=kill_a_worker, args=(project, killed, ended))
    killer.start()
    try:
        printed = project.run("python", "src/sweep.py", "data=digits", f"hydra/launcher={launcher}", "--jobs", "2")
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 1
    assert "2 cells trained" in printed
    assert [line.split("  ")[0] for line in sorted(printed.splitlines()) if "  done  " in line] == ALL
    assert project.stale() == set()
    assert project.run("git", "status", "--porcelain") == ""  # metrics.json has the weights' sha256, dvc.lock that of every file
    if launcher != "submitit_local":  # whose jobs print into files of their own
        assert "goes on after epoch" in (project.folder / sweeping.log("digits")).read_text()


def processes(project: Project) -> list[list[str]]:
    """The commands of those that run in the project's folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process.cmdline()] if process.cwd() == str(project.folder) else []
    return found


@pytest.mark.slow
def test_a_sweep_that_is_told_to_stop_leaves_no_process_and_goes_on(project):
    for key in ALL:
        shutil.rmtree(project.folder / "runs" / key)
    sweep = project.start("python", "src/sweep.py", "data=digits", "--jobs", "2")
    while sweep.poll() is None and not any((project.folder / "checkpoints").glob("*.npz")):
        time.sleep(0.05)
    sweep.terminate()
    printed, _ = sweep.communicate()
    assert (sweep.returncode, "terminated; start it again" in printed) == (143, True)
    for _ in range(100):  # what joblib tidies up with ends a moment after the others
        if not (here := processes(project)):
            break
        time.sleep(0.1)
    assert here == []
    assert "2 cells trained" in project.run("python", "src/sweep.py", "data=digits", "--jobs", "2")
    assert project.run("git", "status", "--porcelain") == ""


def test_a_terminal_gets_a_table_that_follows_the_cells(tmp_path):
    """Told by real marks of real jobs' form, through a pseudo-terminal."""
    program = """
import sys
from pathlib import Path
from actgrad import files
from actgrad.pipeline import status as marks
from actgrad.results import run as results
from actgrad.pipeline import launch as sweeping
folder = Path(sys.argv[1])
cells = [sweeping.Cell(f"train@digits-relu-{seed}", results.folder("digits", "relu", seed), None, "relu", seed) for seed in range(4)]
with sweeping.Board(cells, folder) as board:
    for cell, content in zip(cells, [{"state": "done"}, {"state": "failed", "reason": "because"}, {"state": "running"}]):
        files.write_bytes(marks.path(folder, cell.folder), results.json_bytes(content))
    board.look()
"""
    (tmp_path / "program.py").write_text(program)
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, tmp_path / "program.py", tmp_path], stdout=theirs, check=True, env=os.environ | {"PYTHONPATH": "src", "TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the end of what was written there shows
        while read := os.read(ours, 10_000):
            shown += read
    table = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    (row,) = [line for line in table.splitlines()[-6:] if line.strip("│ ").startswith("all")]
    assert row.replace("│", " ").split()[:5] == ["all", "1", "1", "1", "1"]
    assert "training now: digits/relu-2" in table
