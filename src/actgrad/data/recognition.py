"""Recognise the format of a source that data.format does not read."""

import zipfile
from pathlib import Path

from actgrad.data.archives import shown
from actgrad.data.cifar import CIFAR10, CIFAR100, Version
from actgrad.data.idx import NAME
from actgrad.data.ignored import is_document
from actgrad.data.npz import SAVE
from actgrad.data.sources import listed
from actgrad.errors import UserError

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
"""The first bytes of pickled files."""
PICKLED = {"CIFAR-10": {"data_batch_1", "test_batch"}, "CIFAR-100": {"train", "test", "meta"}}
"""Files of the versions that are pickled."""


def wrong_format(form: str, source: Path) -> UserError | None:
    """The UserError that names the format of a source and what to do; None if it is not recognised, or has the format `form`.

    Args:
        form: data.format.
    """
    try:
        found = _of_file(source) or _of_entries(source)
    except UserError:
        return None
    if found is None or found[0] == form:
        return None
    _, what, remedy = found
    return UserError("wrong-format", f"{source} {what}, which data.format={form} does not read; {remedy}")


def _of_file(source: Path) -> tuple[str, str, str] | None:
    """The format of a file by its first bytes or name: data.format (empty if no format reads it as it is), what it is, and what to do."""
    if source.is_dir():
        return None
    with source.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"PAR1"):
        return "parquet", "is a Parquet file", "set data.format=parquet"
    if magic == b"\x93NUMPY":
        return "npz", "is one NumPy array", f"save images and labels with {SAVE}, and set data.format=npz"
    if magic.startswith(PICKLES):
        return "", "is a file of pickled objects", f"save its arrays with {SAVE}, and set data.format=npz"
    if NAME.fullmatch(source.name):
        return "", "is one file of IDX", "give the folder that holds its images and labels, and set data.format=idx"
    return None


def _of_entries(source: Path) -> tuple[str, str, str] | None:
    """The same of a folder or archive, by the names of its files."""
    files = [path for path in listed(source).files if not is_document(path)]
    names, suffixes = {path.name for path in files}, {path.suffix.casefold() for path in files}
    for version, form in ((CIFAR10, "cifar10_binary"), (CIFAR100, "cifar100_binary")):
        if _binary(version) <= names:
            return form, f"holds the binary version of {version.title}", f"set data.format={form}"
        if PICKLED[version.title] <= names:
            return "", f"holds the pickled version of {version.title}", f"give its binary version with data.format={form}"
    if files and all(NAME.fullmatch(name) for name in names):
        return "idx", "holds files of IDX", "set data.format=idx"
    if suffixes == {".parquet"}:
        return "parquet", "holds Parquet files", "set data.format=parquet"
    if suffixes == {".npy"} and zipfile.is_zipfile(source):
        return "npz", "is an .npz file", "set data.format=npz"
    if suffixes == {".npy"}:
        return "", "holds NumPy arrays", f"save images and labels in one file with {SAVE}, and set data.format=npz"
    if suffixes == {".npz"} and source.is_dir():
        return "", "holds .npz files", f"give one of them, such as data.archive={shown(str(source / files[0]))}, and set data.format=npz"
    if suffixes and suffixes <= IMAGE_SUFFIXES:
        return "image_folder", "holds image files", "set data.format=image_folder"
    return None


def _binary(version: Version) -> set[str]:
    return {name for batches in version.batches.values() for name in batches}
