"""Many cells at once, by every launcher: the bytes of dvc repro, whatever happens to a worker."""

import contextlib
import importlib.util
import re
import shutil
import subprocess
import sys
import threading

import psutil
import pytest
import yaml

from actgrad import sweeping
from actgrad.errors import UserError
from conftest import STUDY, Project

ALL = ["digits/relu-0", "digits/relu-1"]


@pytest.mark.parametrize(
    ("overrides", "jobs", "told"),
    [
        ([], 3, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]),
        ([], 1, ["hydra/launcher=basic"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=5"], 3, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=5"]),
        (["hydra.launcher.verbose=1"], 2, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.launcher.verbose=1"]),
    ],
)
def test_a_launcher_is_told_how_many_cells_there_are_cores_for(overrides, jobs, told):
    assert sweeping.launcher(overrides, jobs, threads=2) == told


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


def test_a_launcher_whose_packages_are_missing_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="hydra/launcher=ray needs packages that are not installed; install them with make setup-scale"):
        sweeping.launcher(["hydra/launcher=ray"], 1, 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Two cells of six epochs, trained by dvc repro and committed."""
    project = Project(tmp_path_factory.mktemp("sweep"))
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "seeds": [0, 1], "experiments": []}))
    project.edit("conf/recipe/digits.yaml", "epochs: 1", "epochs: 6")
    project.run("dvc", "repro", "report@digits")
    project.commit("results")
    return project


def kill_a_worker(project: Project, killed: list[str], ended: threading.Event) -> None:
    """Wait for a process that trains a cell of the project, and has kept an epoch of it, and kill it."""
    while not ended.wait(0.05):
        if not any((project.folder / "checkpoints").glob("*.npz")):
            continue
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                opened = [file.path for file in process.open_files() if file.path.startswith(str(project.folder / "checkpoints"))]
                if any(path.endswith(".lock") for path in opened):
                    process.kill()
                    killed.append(process.name())
                    return


@pytest.mark.scale
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
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
    if launcher == "ray":
        log = (project.folder / sweeping.LOG).read_text()
        assert len(set(re.findall(r"\(_run_job pid=(\d+)\)", log))) >= 2
        assert "goes on after epoch" in log


def test_a_terminal_gets_a_table_that_follows_the_cells(tmp_path):
    """Told by real marks of real jobs' form, through a pseudo-terminal."""
    program = """
import sys
from pathlib import Path
from actgrad import files, marks, results, sweeping
folder = Path(sys.argv[1])
cells = [sweeping.Cell(f"train@digits-relu-{seed}", results.folder("digits", "relu", seed), None, "relu", seed) for seed in range(4)]
with sweeping.Board(cells, folder) as board:
    for cell, content in zip(cells, [{"state": "done"}, {"state": "failed", "reason": "because"}, {"state": "running"}]):
        files.write_bytes(marks.path(folder, cell.folder), results.json_bytes(content))
    board.look()
"""
    (tmp_path / "program.py").write_text(program)
    command = f"{sys.executable} {tmp_path / 'program.py'} {tmp_path}"
    shown = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, check=True, env={"PYTHONPATH": "src", "TERM": "xterm"}
    )
    table = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.stdout)
    (row,) = [line for line in table.splitlines()[-6:] if line.strip("│ ").startswith("all")]
    assert row.replace("│", " ").split()[:5] == ["all", "1", "1", "1", "1"]
    assert "training now: digits/relu-2" in table
