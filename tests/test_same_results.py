"""Reproduced results: trained again and compared, on another machine, and from DVC's cache."""

import re
import shutil

import pandas as pd
import pytest

from conftest import Project, running

pytestmark = pytest.mark.usefixtures("as_committed")


@pytest.mark.slow
def test_verify_trains_the_last_commit_again_and_compares_every_byte(project):
    printed = project.run("python", "src/verify.py", "data=digits")
    assert re.search(r"digits/relu/he-0 +identical\n", printed)
    assert "4 runs: 4 identical, 0 within tolerance, 0 different" in printed
    assert "dvc.lock: identical" in printed
    assert "reports/digits: identical" in printed
    assert project.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_verify_names_what_cannot_be_had_again_and_what_differs_in_the_environment(project):
    record = project.folder / "runs" / "digits" / "relu.csv"
    table = pd.read_csv(record, dtype=str)
    table.loc[0, ["files_sha256", "weights_sha256"]] = "0" * 64
    table.to_csv(record, index=False)
    project.commit("a result that nobody can have again")
    printed = project.run("python", "src/verify.py", "data=digits", check=False)
    project.run("git", "reset", "-q", "--hard", "HEAD~1")
    assert re.search(r"digits/relu/baseline-0 +different: weights_sha256\n", printed)
    assert printed.endswith("error[results-differ]: different: digits/relu/baseline-0\n")
    printed = project.run("python", "src/verify.py", "data=digits", "--threads", "2", check=False)
    assert "threads the recipe's -> 2" in printed


@pytest.mark.slow
def test_another_machine_pulls_publishes_verifies_and_trains_nothing(project, tmp_path):
    project.run("dvc", "remote", "add", "--local", "-d", "shared", str(tmp_path / "remote"))
    project.run("dvc", "push")
    other = Project.clone(project.folder, tmp_path / "clone")
    other.run("dvc", "remote", "add", "--local", "-d", "shared", str(tmp_path / "remote"))
    other.run("dvc", "pull")
    assert running(other.run("dvc", "repro")) == []
    assert "digits: 4 of 4 runs, 4 MLflow runs made or completed" in other.run("python", "src/publish.py")
    printed = other.run("python", "src/verify.py", "--run", "digits/relu/baseline-0", "digits/relu/he-0")
    assert printed.count("ok    core_sha256  ") == 2
    assert printed.count("-     weights_sha256  ") == 2  # a published run has no model
    assert "WRONG" not in printed


@pytest.mark.slow
def test_what_dvc_takes_from_its_cache_is_published(project):
    shutil.rmtree(project.folder / "runs")
    for store in project.folder.glob("mlflow.db*"):
        store.rename(project.folder / f"{store.name}.kept")
    project.run("git", "checkout", "--", "runs")
    project.run("dvc", "checkout")
    assert running(project.run("dvc", "repro")) == []
    assert "digits: 4 of 4 runs, 4 MLflow runs made or completed" in project.run("python", "src/publish.py")
    assert "digits: 4 of 4 runs, 0 MLflow runs made or completed" in project.run("python", "src/publish.py")
    for store in project.folder.glob("mlflow.db*.kept"):
        store.rename(project.folder / store.name.removesuffix(".kept"))
