"""Dataset: the images and labels of each split, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """Images and labels of each split. A split may be empty, but it is never absent.

    Attributes:
        images: split -> uint8 (n, height, width, channels), pixels 0 to 255.
        labels: split -> int64 (n,), each in 0 .. len(class_names) - 1.
        class_names: the name of each label.
        sha256: checksum of the file that the dataset was loaded from; empty if it was not loaded from a file.
        ignored: rule -> number of files of the source that it ignored; see docs/datasets.md.
        remarks: sentences about what was read that the user should know.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    class_names: list[str]
    sha256: str = ""
    ignored: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def with_all_splits(images: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], class_names: list[str], **more: Any) -> Dataset:
    """Build a Dataset from the splits that a source has. The others are empty.

    Args:
        images: split -> uint8 (n, height, width, channels); `train` is required.
        labels: split -> whole numbers (n,).
        class_names: the name of each label.
        more: other attributes of the Dataset.
    """
    no_images, no_labels = images["train"][:0], np.zeros(0, np.int64)
    return Dataset(
        {name: images.get(name, no_images) for name in SPLITS},
        {name: labels[name].astype(np.int64) if name in labels else no_labels for name in SPLITS},
        class_names,
        **more,
    )


def shape_text(shape: Sequence[int]) -> str:
    """Write a shape as people do: (8, 8, 3) is 8x8x3."""
    return "x".join(map(str, shape))
