"""Files: written whole or not at all, told apart by their checksum, and used by one process at a time."""

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

UNFINISHED = ".part"
"""What the names of unfinished files and folders end in; git and DVC ignore those that a killed process leaves behind."""

DAMAGED = (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise of an .npz that is not whole, or was never one."""
PATIENCE = 3.0
"""Seconds of waiting for another process that are not worth a word."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, and the folders that it lies in, in one step, so that an interrupted write leaves the old file or none."""
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
    """An OSError that is raised meanwhile carries this path: one for want of room names no file of its own."""
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
        raise UserError(f"{key}={path} cannot be made a folder ({error.strerror}); name another with {key}=PATH") from None
    return Path(path)


def replace_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Make a folder hold these files and no others; an interrupted write leaves the old one."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=UNFINISHED, dir=folder.parent) as new:
            for name, data in content.items():
                path = Path(new, "new", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if folder.exists():
                folder.replace(Path(new, "old"))
            Path(new, "new").replace(folder)


@contextmanager
def alone(path: Path, what: str, seconds: float = -1) -> Iterator[None]:
    """No other process is here with the same lock file meanwhile; waits for one that is, and says so on stderr, naming `what` it does.

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
        raise UserError(f"another process {what}, and was not done after {seconds:g} seconds; end it, or try again later") from None
    try:
        yield
    finally:
        lock.release()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
