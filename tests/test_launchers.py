"""`dvc repro` with launchers of clusters (Ray, and submitit as on SLURM), chosen by the user's own conf/local/default.yaml."""

import importlib.util
import shutil

import pytest
import yaml

from conftest import STUDY, Project, left_out

pytestmark = pytest.mark.scale
PACKAGES = {"ray": "hydra_plugins.hydra_ray_launcher", "submitit_local": "hydra_plugins.hydra_submitit_launcher"}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Five runs, trained by dvc repro without that file, and committed."""
    project = Project(tmp_path_factory.mktemp("launchers"))
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"seeds": [0, 1]}))
    project.edit("conf/condition/he.yaml", "activations: [relu]", "activations: [relu], seeds: [0]")
    project.run("dvc", "repro")
    project.commit("results")
    return project


@pytest.mark.parametrize("launcher", PACKAGES)
def test_dvc_repro_trains_with_the_launcher_of_the_users_own_file(project, launcher):
    if importlib.util.find_spec(PACKAGES[launcher]) is None:
        left_out(f"{PACKAGES[launcher]} is not installed: make setup-scale")
    local = project.folder / "conf" / "local" / "default.yaml"
    local.parent.mkdir(exist_ok=True)
    local.write_text(f"# @package _global_\ndefaults:\n  - override /hydra/launcher: {launcher}\n")
    assert project.stale() == set()  # the place of training does not affect results
    for part in ("runs/digits/relu", "runs/digits/sigmoid", "outputs", "mlflow.db", "mlruns"):
        path = project.folder / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(project.folder / ".dvc" / "cache")
    printed = project.run("dvc", "repro")
    assert "digits: 3 runs, 3 of them trained now" in printed
    assert "digits: 2 runs, 2 of them trained now" in printed
    assert sum("  done  " in line for line in printed.splitlines()) == 5
    assert project.run("git", "status", "--porcelain") == ""  # dvc.lock has the md5 of every file
    assert project.stale() == set()
    assert "digits: 5 of 5 runs, 0 MLflow runs made or completed" in project.run("python", "src/publish.py")
    used = {"ray": "ray", "submitit_local": "submitit"}[launcher]
    assert used in "".join(path.read_text().lower() for path in (project.folder / "outputs").rglob("*") if path.suffix in (".log", ".out", ".sh"))
