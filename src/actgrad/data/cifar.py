"""Read the binary versions of CIFAR-10 and CIFAR-100."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actgrad.config.schema import Data
from actgrad.data.archives import members
from actgrad.data.dataset import Dataset, with_all_splits
from actgrad.data.labels import utf8
from actgrad.data.sources import ignored_counts, listed
from actgrad.errors import UserError

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Version:
    """A binary version of CIFAR.

    Attributes:
        title: its name, for sentences.
        batches: split -> the files that hold its records.
        class_names: the file with one name per line.
        label_bytes: number of label bytes at the start of a record; the last one is the label.
    """

    title: str
    batches: dict[str, list[str]]
    class_names: str
    label_bytes: int


CIFAR10 = Version("CIFAR-10", {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}, "batches.meta.txt", 1)
CIFAR100 = Version("CIFAR-100", {"train": ["train.bin"], "test": ["test.bin"]}, "fine_label_names.txt", 2)


def read_cifar10_binary(_: Data, source: Path) -> Dataset:
    """Read records of one label byte and 3,072 pixel bytes: the red, green and blue planes of 32x32, row by row.

    Raises:
        UserError: if a file is missing, empty, cut, there twice, or not part of this version, or if a class name is not UTF-8.
    """
    return _read(CIFAR10, source)


def read_cifar100_binary(_: Data, source: Path) -> Dataset:
    """Read records of a coarse label, a fine label and 3,072 pixel bytes. The fine labels are used: 100 classes.

    Raises:
        UserError: as `read_cifar10_binary`.
    """
    return _read(CIFAR100, source)


def _read(version: Version, source: Path) -> Dataset:
    listing = listed(source)
    names = [version.class_names, *(batch for batches in version.batches.values() for batch in batches)]
    used = [path for path in listing.files if path.name in names]
    listing.refuse_others(used, f"is not a file of the binary version of {version.title}; its files are {', '.join(names)}")
    for name in names:
        places = [path for path in used if path.name == name]
        if not places:
            raise UserError("missing-part", f"{source} holds no {name}; it is not the binary version of {version.title}")
        if len(places) > 1:
            listing.refuse("file-twice", places[0], f"is there again as {places[1]}; leave only one of the two there")
    files = {path.name: content for path, content in members(source, used)}
    images, labels = {}, {}
    for split, batches in version.batches.items():
        size = version.label_bytes + PIXELS
        for batch in batches:
            if not files[batch] or len(files[batch]) % size:
                raise UserError("damaged-file", f"{source}: {batch} is empty or not a whole number of {size:,}-byte records; get the archive again")
        records = np.frombuffer(b"".join(files[batch] for batch in batches), dtype=np.uint8).reshape(-1, size)
        labels[split] = records[:, version.label_bytes - 1]
        planes = records[:, version.label_bytes :].reshape(-1, 3, 32, 32)
        images[split] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    class_names = [utf8(source, name) for name in files[version.class_names].split()]
    return with_all_splits(images, labels, class_names, ignored=ignored_counts(listing))
