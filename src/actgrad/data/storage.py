"""data/<dataset>.npz: make it from its source, and load it."""

import io
from pathlib import Path

import numpy as np

from actgrad.config.schema import Data
from actgrad.data import npz
from actgrad.data.dataset import SPLITS, Dataset
from actgrad.data.fetch import fetch
from actgrad.data.readers import read
from actgrad.data.splits import check, check_arrays, split
from actgrad.errors import UserError
from actgrad.files import sha256, write_bytes

__all__ = ["SPLITS", "Dataset", "load", "path", "prepare"]


def path(name: str) -> Path:
    """Path of the file of a dataset: data/<name>.npz in the current folder."""
    return Path("data") / f"{name}.npz"


def prepare(data: Data, target: Path) -> Dataset:
    """Fetch, read, split and check a dataset, write it to `target`, and return it.

    The file's bytes depend on the configuration and the source alone. It holds x_<split>, uint8 (n, height, width, channels),
    y_<split>, int64 (n,), class_names and made_from: the configuration values that decided the others.

    Raises:
        UserError: if the source cannot be fetched, fails its checksum, or does not hold what the configuration says.
    """
    source = read(data, fetch(data))
    check_arrays(data.name, source)
    dataset = split(data, source)
    check(data.name, dataset)
    buffer = io.BytesIO()
    arrays = {f"x_{name}": dataset.images[name] for name in SPLITS} | {f"y_{name}": dataset.labels[name] for name in SPLITS}
    np.savez(buffer, **arrays, class_names=np.array(dataset.class_names, dtype=str), made_from=np.array(_made_from(data)))
    write_bytes(target, buffer.getvalue())
    return dataset


def load(data: Data) -> Dataset:
    """Load the dataset that `prepare` wrote to `path(data.name)`.

    Raises:
        UserError: if the file is missing or damaged, or was made with other values than `data` has.
    """
    source = path(data.name)
    again = f"make it with: python src/download.py data={data.name}"
    if not source.is_file():
        raise UserError(f"{source} is missing; {again} (data=digits needs no download)")
    arrays = npz.read_arrays(source, f"damaged? {again}")
    made_from = str(arrays.get("made_from", "other values"))
    if made_from != _made_from(data):
        raise UserError(f"{source} was made with {made_from}, not with {_made_from(data)}; {again}, and give it the same data.KEY=VALUE")
    dataset = npz.to_dataset(source, arrays)
    check(data.name, dataset)
    return Dataset(dataset.images, dataset.labels, dataset.class_names, sha256(source))


def _made_from(data: Data) -> str:
    """The configuration values that decide what is in a dataset's file."""
    return " ".join(f"data.{key}={getattr(data, key)}" for key in ("format", "sha256", "val_size", "test_size", "split_seed"))
