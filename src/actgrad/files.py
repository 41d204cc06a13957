"""Files: written whole or not at all, and told apart by their checksum."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from actgrad.errors import UserError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step, so that an interrupted write leaves the old one or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as new:
        for name, data in content.items():
            path = Path(new, "new", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if folder.exists():
            folder.replace(Path(new, "old"))
        Path(new, "new").replace(folder)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
