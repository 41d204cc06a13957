"""Read a source in any format of data.format. To add a format, write a function here and add it to READERS."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from actgrad.config.schema import Data
from actgrad.data import npz
from actgrad.data.cifar import read_cifar10_binary, read_cifar100_binary
from actgrad.data.dataset import Dataset, with_all_splits
from actgrad.data.idx import read_idx
from actgrad.data.ignored import RECORDS
from actgrad.data.image_folder import read_image_folder
from actgrad.data.images import resized
from actgrad.data.parquet import read_parquet
from actgrad.data.recognition import wrong_format
from actgrad.errors import UserError


def read(data: Data, source: Path | None) -> Dataset:
    """Read what `fetch` returned, and resize its images if data.image_size says so. Splits that the source lacks are empty.

    Raises:
        UserError: if the source is damaged, does not have the format data.format, or has an entry that is neither used nor ignored by a rule.
        OSError: if the source cannot be opened.
    """
    try:
        dataset = READERS[data.format](data, source)
    except UserError as error:
        raise (source and wrong_format(data.format, source)) or error from None
    return dataset if data.image_size is None else resized(dataset, data.image_size)


def read_digits(*_: object) -> Dataset:
    """Read scikit-learn's digits: 1,797 images of 8x8x1, ten classes, all in the train split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return with_all_splits({"train": images}, {"train": digits.target}, [str(name) for name in digits.target_names])


def read_npz(_: Data, source: Path) -> Dataset:
    """Read a user's .npz file. `npz.to_dataset` lists the arrays that it may hold.

    Raises:
        UserError: if the file is damaged, holds pickled objects, lacks an array, or has an unknown one.
    """
    arrays = npz.read_arrays(source, "get it again, or write it with numpy.savez, without objects")
    dataset = npz.to_dataset(source, arrays)
    return replace(dataset, ignored={RECORDS: 1} if npz.MADE_FROM in arrays else {})


READERS: dict[str, Callable[..., Dataset]] = {
    "cifar10_binary": read_cifar10_binary,
    "cifar100_binary": read_cifar100_binary,
    "digits": read_digits,
    "idx": read_idx,
    "image_folder": read_image_folder,
    "npz": read_npz,
    "parquet": read_parquet,
}
"""data.format -> function that reads it."""
