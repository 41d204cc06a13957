"""Ask git for the commit, for the differences from it, and for the source of an earlier commit."""

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from actgrad.files import PROJECT

DECIDING = ("src", "conf", "requirements.lock")
"""Parts of the repository that decide a result."""
PLAIN = ("--patch", "--binary", "--full-index", "--relative", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
"""Options for a diff that `git apply` accepts, whatever the user's git settings are."""


def commit(project: Path = PROJECT) -> str | None:
    """The commit that is checked out; None outside a repository."""
    return _line(_git(project, "rev-parse", "HEAD"))


def difference(project: Path = PROJECT) -> bytes | None:
    """The differences between DECIDING and the commit, new files included, for `git apply`. Empty if there is none; None outside a repository."""
    present = [name for name in DECIDING if (project / name).exists()]
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}  # the user's own index stays as it is
        if _git(project, "read-tree", "HEAD", **index) is None or (present and _git(project, "add", "--all", "--", *present, **index) is None):
            return None
        return _git(project, "diff-index", "--cached", *PLAIN, "HEAD", "--", *DECIDING, **index)


def commit_of(path: Path, project: Path = PROJECT) -> str | None:
    """The last commit that changed a file; None if the file differs from it, or is not in git."""
    if _git(project, "diff", "--quiet", "HEAD", "--", str(path)) is None:
        return None
    return _line(_git(project, "log", "-1", "--format=%H", "--", str(path)))


def uncommitted(*paths: str, project: Path = PROJECT) -> list[str] | None:
    """The files below these paths that differ from the commit or are not in git; None without a repository. Ignored files are left out."""
    printed = _git(project, "status", "--porcelain", "--untracked-files=all", "--", *paths)
    return None if printed is None else [line[3:] for line in printed.decode().splitlines()]


@contextmanager
def source(commit: str, patch: bytes = b"", project: Path = PROJECT) -> Iterator[Path | None]:
    """A folder with src/actgrad as it was at a commit, with a patch applied; None if there is no such commit, or the patch does not fit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archived = _git(project, "archive", commit, "src/actgrad")
        if archived is None:
            yield None
            return
        with tarfile.open(fileobj=BytesIO(archived)) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # as an argument, Python before 3.11.4 does not take it
            archive.extractall(folder)
        if patch:
            (folder / "patch").write_bytes(patch)
            if _git(folder, "apply", "--include=src/actgrad/*", "patch", GIT_CEILING_DIRECTORIES=str(folder.parent)) is None:
                yield None
                return
        yield folder


def _git(folder: Path, *command: str, **environment: str) -> bytes | None:
    """What a git command prints; None if it fails, or there is no git."""
    try:
        return subprocess.run(["git", *command], cwd=folder, env=os.environ | environment, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _line(printed: bytes | None) -> str | None:
    return (printed or b"").decode().strip() or None
