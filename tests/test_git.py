"""Functions that ask git."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from actgrad import git
from actgrad.results.fingerprint import CORE_SHA256, core_sha256
from conftest import ROOT


@pytest.fixture
def project(tmp_path) -> Path:
    """A repository with this project's code in it."""
    folder = tmp_path / "Ünï cödé"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    run_git(folder, "init", "-q")
    commit(folder)
    return folder


def run_git(folder: Path, *command: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> str:
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return git.commit(folder)


def core_of(commit: str, patch: bytes = b"", project: Path = ROOT) -> str | None:
    """The sha256 of the core at a commit; None if git cannot restore it."""
    with git.source(commit, patch, project) as folder:
        return core_sha256(folder / "src" / "actgrad") if folder else None


def test_no_repository_is_no_error(tmp_path):
    assert git.commit(tmp_path) is None
    assert git.difference(tmp_path) is None
    assert git.commit_of(tmp_path / "a", tmp_path) is None
    assert core_of("HEAD", project=tmp_path) is None


def test_the_code_of_a_commit_is_read_by_a_python_whose_tarfile_has_no_filters(project, monkeypatch):
    extractall = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda archive, path: extractall(archive, path))  # 3.11.2 is Debian's
    assert core_of("HEAD", project=project) == CORE_SHA256


def test_the_difference_is_that_of_code_and_configuration_with_new_files(project):
    assert git.difference(project) == b""
    (project / "metrics.json").write_text("")
    assert git.difference(project) == b""
    (project / "conf").mkdir()
    (project / "conf" / "new.yaml").write_text("a: 1\n")
    assert b"+a: 1" in git.difference(project)
    staged = subprocess.run(["git", "diff", "--cached", "--name-only"], cwd=project, capture_output=True, text=True, check=True)
    assert staged.stdout == ""  # the user's staged changes are untouched


def test_commit_and_difference_give_the_code_back(project):
    before = git.commit(project)
    core = project / "src" / "actgrad" / "networks"
    assert core_of(before, project=project) == CORE_SHA256
    (core / "layers.py").write_bytes("# -*- coding: latin-1 -*-\r\nother = 'code ü'\r\n".encode("latin-1"))
    for name, value in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.external", "true"), ("core.autocrlf", "false")):
        run_git(project, "config", name, value)
    (core / "picture").write_bytes(bytes(range(256)))
    changed = core_sha256(project / "src" / "actgrad")
    patch = git.difference(project)
    assert core_of(before, patch, project) == changed != CORE_SHA256
    assert core_of(before, b"no patch", project) is None
    with git.source(before, patch, project) as folder:
        assert [(folder / "src" / "actgrad" / "networks" / name).read_bytes() for name in ("layers.py", "picture")] == [
            (core / name).read_bytes() for name in ("layers.py", "picture")
        ]
    assert core_of(commit(project), project=project) == changed


def test_the_commit_of_a_file_is_that_which_last_changed_it(project):
    (project / "a").write_text("1")
    assert git.commit_of(Path("a"), project) is None
    holding = commit(project)
    commit(project)
    assert git.commit_of(Path("a"), project) == holding != git.commit(project)
    (project / "a").write_text("2")
    assert git.commit_of(Path("a"), project) is None
