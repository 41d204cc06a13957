"""What git knows."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from actgrad import git as repository
from actgrad.results import fingerprint as provenance
from conftest import ROOT


@pytest.fixture
def project(tmp_path) -> Path:
    """A repository with this project's code in it."""
    folder = tmp_path / "Ünï cödé"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "-q")
    commit(folder)
    return folder


def git(folder: Path, *command: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return repository.commit(folder)


def test_no_repository_is_no_error(tmp_path):
    assert repository.commit(tmp_path) is None
    assert repository.difference(tmp_path) is None
    assert repository.commit_of(tmp_path / "a", tmp_path) is None
    assert repository.code_sha256("HEAD", project=tmp_path) is None


def test_the_code_of_a_commit_is_read_by_a_python_whose_tarfile_has_no_filters(project, monkeypatch):
    extractall = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda archive, path: extractall(archive, path))  # 3.11.2 is Debian's
    assert repository.code_sha256("HEAD", project=project) == provenance.code_sha256()


def test_the_difference_is_that_of_code_and_configuration_with_new_files(project):
    assert repository.difference(project) == b""
    (project / "metrics.json").write_text("")
    assert repository.difference(project) == b""
    (project / "conf").mkdir()
    (project / "conf" / "new.yaml").write_text("a: 1\n")
    assert b"+a: 1" in repository.difference(project)
    staged = subprocess.run(["git", "diff", "--cached", "--name-only"], cwd=project, capture_output=True, text=True, check=True)
    assert staged.stdout == ""  # what the user has staged is not touched


def test_commit_and_difference_give_the_code_back(project):
    before = repository.commit(project)
    assert repository.code_sha256(before, project=project) == provenance.code_sha256()
    (project / "src" / "actgrad" / "layers.py").write_bytes("other = 'code ü'\r\n".encode("latin-1"))
    for name, value in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.external", "true"), ("core.autocrlf", "false")):
        git(project, "config", name, value)
    (project / "src" / "actgrad" / "picture").write_bytes(bytes(range(256)))
    changed = provenance.code_sha256(project / "src" / "actgrad")
    assert repository.code_sha256(before, repository.difference(project), project) == changed != provenance.code_sha256()
    assert repository.code_sha256(before, b"no patch", project) is None
    assert repository.code_sha256(commit(project), project=project) == changed


def test_the_commit_of_a_file_is_that_which_last_changed_it(project):
    (project / "a").write_text("1")
    assert repository.commit_of(Path("a"), project) is None
    holding = commit(project)
    commit(project)
    assert repository.commit_of(Path("a"), project) == holding != repository.commit(project)
    (project / "a").write_text("2")
    assert repository.commit_of(Path("a"), project) is None
