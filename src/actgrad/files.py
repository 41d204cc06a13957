"""Write files whole or not at all, lock them against other processes, and compute checksums."""

import ctypes
import errno
import hashlib
import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from actgrad.errors import UserError

PROJECT = Path(__file__).parents[2]
"""The root of the repository."""

UNFINISHED = ".part"
"""Suffix of unfinished files and folders. git and DVC ignore those that a killed process leaves behind."""

DAMAGED = (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""Exceptions that numpy and zipfile raise for a damaged .npz file, or for a file that is no .npz."""
PATIENCE = 3.0
"""Seconds to wait silently for another process."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step, so that an interruption leaves the old file or none. Missing folders are made."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Set the path of an OSError that is raised inside, because the error for a full disk names no file."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def new_folder(path: str, key: str) -> Path:
    """Make a folder to write to.

    Raises:
        UserError: naming the configuration key, if it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("unusable-folder", f"{key}={path} cannot be made a folder ({error.strerror}); name another with {key}=PATH") from None
    return Path(path)


def replace_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Make a folder hold these files and no others. An interruption leaves the old folder or the new one; so does SIGKILL on
    Linux, where the file system can exchange folders."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=UNFINISHED, dir=folder.parent) as temporary:
            new = Path(temporary, "new")
            new.mkdir()
            for name, data in content.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(data)
            if folder.exists():
                _exchange(new, folder)
            else:
                new.replace(folder)


RENAME_EXCHANGE, AT_FDCWD = 2, -100
"""Linux' constants of renameat2(2)."""


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders, in one step where the system can (Linux). Python has no function for it."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if exchange is not None and exchange(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(old), RENAME_EXCHANGE) == 0:
        return
    if exchange is not None and ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):  # these two: the file system cannot exchange
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(old))
    kept = new.with_name("old")
    try:
        old.replace(kept)
        new.replace(old)
    except BaseException:
        if kept.exists() and not old.exists():
            kept.replace(old)
        raise


@contextmanager
def exclusive_lock(path: Path, what: str, seconds: float = -1) -> Iterator[None]:
    """Hold an exclusive lock. If another process has it, wait, and print on stderr what that process does (`what`).

    Raises:
        UserError: if the other is not done in time.
    """
    lock = FileLock(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=PATIENCE)
            except Timeout:
                sys.stderr.write(f"waiting for another process that {what}\n")
                lock.acquire(timeout=seconds)
    except Timeout:
        raise UserError("other-process", f"another process {what}, and was not done after {seconds:g} seconds; end it, or try again later") from None
    try:
        yield
    finally:
        lock.release()


def locked(path: Path) -> bool:
    """Whether a process holds this lock now."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
