"""Whether the committed results are checked against everything that they are made from."""

import copy
import shutil

import pytest
import yaml

from conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("as_committed")]
RELEASE = ("python", "src/release.py")


@pytest.fixture(scope="module")
def released(project) -> Project:
    """A project whose results are committed and pushed to the remote in git."""
    project.run("dvc", "push", "--quiet", "--remote", "published", "--with-deps", "report@digits")
    project.commit("published")
    assert project.run(*RELEASE) == "the committed results are of the committed code and configuration\n"
    return project


def test_what_results_are_made_from_is_committed(released):
    with (released.folder / "src" / "actgrad" / "analysis" / "words.py").open("a") as file:
        file.write("# edited\n")
    assert "src/actgrad/analysis/words.py is not committed" in released.run(*RELEASE, check=False)


def test_a_stage_before_the_report_is_up_to_date_too(released):
    (released.folder / "data" / "digits.npz").write_bytes(b"other")
    assert "download@digits is not up to date" in released.run(*RELEASE, check=False)


def test_results_that_dvc_lock_does_not_know_are_named(released):
    lock = released.folder / "dvc.lock"
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": {}}))
    printed = released.run(*RELEASE, check=False)
    assert "runs/digits has results, and dvc.lock has no entry for them" in printed
    assert "dvc.lock has no results of any dataset of params.yaml" in printed


def test_a_report_on_a_dataset_that_is_not_listed_is_of_the_same_code(released):
    """It was not looked at, and the README's results could come from older code than all others."""
    path = released.folder / "dvc.lock"
    lock = yaml.safe_load(path.read_text())
    lock["stages"]["report@photos"] = copy.deepcopy(lock["stages"]["report@digits"])
    path.write_text(yaml.safe_dump(lock))
    assert "reports/photos" not in released.run(*RELEASE, check=False)
    next(one for one in lock["stages"]["report@photos"]["deps"] if one["path"] == "src/actgrad/analysis")["md5"] = f"{0:032}.dir"
    path.write_text(yaml.safe_dump(lock))
    assert "reports/photos was made by other code than the rest" in released.run(*RELEASE, check=False)


def test_a_folder_without_git_has_no_committed_results(released, tmp_path):
    other = Project.__new__(Project)
    other.folder = shutil.copytree(released.folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".git", "cache", "tmp"))
    assert other.run(*RELEASE, check=False).startswith("error[no-commit]: ")
