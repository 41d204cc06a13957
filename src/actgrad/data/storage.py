"""data/<dataset>.npz: make it from its source, and load it."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from actgrad.config.schema import Data
from actgrad.data import npz
from actgrad.data.dataset import SPLITS, Dataset
from actgrad.data.fetch import check_keys, checksum, fetch, files_sha256, unverified_source
from actgrad.data.readers import read
from actgrad.data.remarks import remarks
from actgrad.data.splits import check, check_arrays, split
from actgrad.errors import UserError
from actgrad.files import sha256, write_bytes

__all__ = ["SPLITS", "Dataset", "load", "path", "prepare"]

SOURCE = " source.sha256="
"""Text before the checksum of a source in made_from."""


def path(name: str) -> Path:
    """Path of the file of a dataset: data/<name>.npz in the current folder."""
    return Path("data") / f"{name}.npz"


def prepare(data: Data, target: Path) -> Dataset:
    """Fetch, read, split and check a dataset, write it to `target`, and return it.

    The file's bytes depend only on the configuration and the source. It holds x_<split>, uint8 (n, height, width, channels),
    y_<split>, int64 (n,), class_names, and made_from: the values that decided the other arrays.

    Raises:
        UserError: if the source cannot be fetched, fails its checksum, or does not hold what the configuration says.
    """
    source = read(data, fetch(data))
    check_arrays(data.name, source)
    dataset = split(data, source)
    check(data.name, dataset)
    dataset = replace(dataset, remarks=[*dataset.remarks, *remarks(data.name, dataset)])
    unverified = unverified_source(data)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"x_{name}": dataset.images[name] for name in SPLITS} | {f"y_{name}": dataset.labels[name] for name in SPLITS}
    made_from = _made_from(data, checksum(unverified) if unverified else None)
    np.savez(buffer, **arrays, class_names=np.array(dataset.class_names, dtype=str), made_from=np.array(made_from))
    write_bytes(target, buffer.getvalue())
    return dataset


def load(data: Data, compared: str | None = None) -> Dataset:
    """Load the dataset that `prepare` wrote to `path(data.name)`.

    Args:
        compared: sha256 of a file that has already been compared with its source. That file is not compared again, because for a folder
            every file would be read.

    Raises:
        UserError: if the file is missing or damaged, or was made with other values than `data` has, or from another source than data.archive.
    """
    check_keys(data)
    file = path(data.name)
    again = f"make it with: python src/download.py data={data.name}"
    if not file.is_file():
        raise UserError("missing-dataset", f"{file} is missing; {again} (data=digits needs no download)")
    arrays = npz.read_arrays(file, f"damaged? {again}")
    found, digest = str(arrays.get(npz.MADE_FROM, "other values")), sha256(file)
    if digest == compared:
        expected = _made_from(data, found.partition(SOURCE)[2] or None)
    elif data.archive is not None and not Path(data.archive).expanduser().exists():
        sys.stderr.write(f"note: data.archive={data.archive} is not here, so it cannot be compared with {file}, which is used as it is\n")
        expected = _made_from(data, found.partition(SOURCE)[2] or None)
    else:
        unverified = unverified_source(data)
        expected = _made_from(data, checksum(unverified) if unverified else None)
    if found != expected:
        raise UserError("other-dataset", f"{file} was made {_differing(found, expected)}; {again}, and give it the same data.KEY=VALUE")
    dataset = npz.to_dataset(file, arrays)
    check(data.name, dataset)
    return replace(dataset, sha256=digest)


def _made_from(data: Data, source_sha256: str | None) -> str:
    """The values that decide a dataset file's content. They include the source's sha256 if the configuration has none."""
    always = {key: getattr(data, key) for key in ("format", "sha256", "val_size", "test_size", "split_seed")}
    if_set = {key: value for key, value in (("image_size", data.image_size), ("files", files_sha256(data))) if value is not None}
    text = " ".join(f"data.{key}={value}" for key, value in (always | if_set).items())
    return text + (f"{SOURCE}{source_sha256}" if source_sha256 else "")


def _differing(made: str, asked: str) -> str:
    """What differs between two texts of `_made_from`, in words."""
    (values, _, source), (asked_values, _, asked_source) = made.partition(SOURCE), asked.partition(SOURCE)
    before = [one for one in values.split() if one not in asked_values.split()]
    now = [one for one in asked_values.split() if one not in values.split()]
    parts = [f"with {' '.join(before) or 'fewer values'}, not with {' '.join(now) or 'fewer'}"] if before or now else []
    parts += ["from another source, or from files that have changed since"] if source != asked_source else []
    return ", and ".join(parts)
