"""Which launcher trains the runs, and its settings for this machine."""

import importlib.util
import os
import shutil

import pytest
import yaml

from actgrad.config import composing
from actgrad.config.schema import Study
from actgrad.pipeline import composed, launchers
from actgrad.results.paths import composed_path
from conftest import STUDY, refuses


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Pretend that this machine has so many cores, a launcher, and its own conf/local/default.yaml."""

    def has(cores: int, launcher: str, own: dict | None) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(launchers, "launcher_choice", lambda: launcher)
        monkeypatch.setattr(launchers, "CONF", tmp_path)
        if own is not None:
            (tmp_path / "local").mkdir()
            chosen = {"defaults": [{"override /hydra/launcher": launcher}], "hydra": {"launcher": own}}
            (tmp_path / "local" / "default.yaml").write_text(yaml.safe_dump(chosen))

    return has


@pytest.mark.parametrize(
    ("cores", "launcher", "own", "told"),
    [
        (8, "basic", None, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]),
        (3, "basic", None, ["hydra/launcher=basic"]),
        (1, "basic", None, ["hydra/launcher=basic"]),
        (8, "basic", {}, ["hydra/launcher=basic"]),
        (8, "joblib", {}, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]),
        (8, "joblib", {"n_jobs": 3}, ["hydra/launcher=joblib"]),
        (8, "joblib", {"verbose": 1}, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]),
        (8, "ray", {}, ["hydra/launcher=ray", "++hydra.launcher.ray.remote.num_cpus=2", "++hydra.launcher.ray.init.num_cpus=8"]),
        (8, "ray", {"ray": {"init": {"address": "auto"}}}, ["hydra/launcher=ray", "++hydra.launcher.ray.remote.num_cpus=2"]),
        (
            7,
            "ray",
            {"ray": {"remote": {"num_cpus": 4}}},
            ["hydra/launcher=ray", "++hydra.launcher.ray.init.num_cpus=6"],
        ),
        (8, "submitit_local", {}, ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=2", "hydra.sweeper.max_batch_size=4"]),
        (8, "submitit_local", {"cpus_per_task": 1}, ["hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=4"]),
        (
            8,
            "submitit_slurm",
            {"partition": "cpu", "array_parallelism": 20},
            ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=2"],
        ),
        (8, "submitit_slurm", {"cpus_per_task": 5}, ["hydra/launcher=submitit_slurm"]),
    ],
)
def test_a_launcher_is_told_what_there_is_room_for_unless_the_users_own_file_says_so(machine, cores, launcher, own, told):
    machine(cores, launcher, own)
    assert launchers.launcher_overrides(threads=2) == told


def test_the_users_own_number_of_runs_at_once_stays(machine, tmp_path):
    machine(8, "submitit_local", {})
    path = tmp_path / "local" / "default.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"hydra": {"sweeper": {"max_batch_size": 2}}}))
    assert launchers.launcher_overrides(threads=2) == ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=2"]


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Writes conf/local/default.yaml beside a copy of conf/."""
    conf = tmp_path / "conf"
    shutil.copytree(composing.CONF, conf, ignore=shutil.ignore_patterns("local"))
    (conf / "local").mkdir()
    monkeypatch.setattr(composing, "CONF", conf)
    monkeypatch.setattr(launchers, "CONF", conf)
    return lambda text: (conf / "local" / "default.yaml").write_text(f"# @package _global_\n{text}\n")


def test_the_users_own_file_chooses_the_launcher(local):
    assert composing.launcher_choice() == "basic"
    local("defaults: [{override /hydra/launcher: joblib}]\nhydra: {launcher: {n_jobs: 3}}")
    assert launchers.launcher_overrides(threads=1) == ["hydra/launcher=joblib"]
    local("defaults: [{override /hydra/launcher: basic}]")
    assert launchers.launcher_overrides(threads=1) == ["hydra/launcher=basic"]


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        (
            "defaults: [{override /hydra/launcher: rocket}]",
            "unknown-name",
            ["hydra/launcher=rocket", "basic, joblib, ray, submitit_local, submitit_slurm"],
        ),
        ("defaults: [", "wrong-configuration", ["while parsing"]),
    ],
)
def test_a_launcher_that_cannot_be_used_is_refused(local, text, code, expected):
    local(text)
    with refuses(code, *expected):
        launchers.launcher_overrides(threads=1)


@pytest.mark.skipif(importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is not None, reason="its packages are installed")
def test_a_launcher_whose_packages_are_missing_is_refused(local):
    local("defaults: [{override /hydra/launcher: ray}]")
    with refuses("missing-packages", "hydra/launcher=ray", "make setup-scale"):
        launchers.launcher_overrides(threads=1)


def test_the_users_own_file_decides_no_result(local, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed.write("digits", "relu", Study(**STUDY))
    before = composed_path("digits", "relu").read_bytes()
    local("recipe: {epochs: 3}")
    assert composing.composed(["run_dir=unused"]).recipe.epochs == 3  # of a run by hand
    composed.write("digits", "relu", Study(**STUDY))
    assert composed_path("digits", "relu").read_bytes() == before
