"""Describe a dataset that was made."""

from collections.abc import Iterator

import numpy as np

from actgrad.data.archives import shown
from actgrad.data.dataset import Dataset, shape_text

WIDTH = 120
"""Maximum line length in the table of classes."""


def summary(dataset: Dataset) -> Iterator[str]:
    """Lines: images of each split, images of each class in each split, files that were ignored, and remarks."""
    splits = [split for split, images in dataset.images.items() if len(images)]
    sizes = ", ".join(f"{len(dataset.images[split])} {split}" for split in dataset.images)
    yield f"{sizes} images of {shape_text(dataset.images['train'].shape[1:])}, {len(dataset.class_names)} classes"
    yield f"Images of each class ({' / '.join(splits)}):"
    yield from _classes(dataset, splits)
    if dataset.ignored:
        total = sum(dataset.ignored.values())
        yield f"Ignored: {total} ({', '.join(f'{rule}: {count}' for rule, count in dataset.ignored.items())}); the rules are in docs/datasets.md."
    else:
        yield "Ignored: nothing."
    for remark in dataset.remarks:
        yield f"Note: {remark}."
    if not len(dataset.images["val"]):
        yield "No validation split: the test split will be used for validation, and every result says so."


def _classes(dataset: Dataset, splits: list[str]) -> Iterator[str]:
    """A table with as many columns as fit. Each entry is a class and its number of images in each split."""
    counts = np.stack([np.bincount(dataset.labels[split], minlength=len(dataset.class_names)) for split in splits], axis=1)
    names = [shown(name) for name in dataset.class_names]
    cells = [f"{name}: {' / '.join(map(str, row))}" for name, row in zip(names, counts.tolist(), strict=True)]
    width = max(map(len, cells)) + 3
    columns = max(1, (WIDTH - 2) // width)
    for start in range(0, len(cells), columns):
        yield "  " + "".join(cell.ljust(width) for cell in cells[start : start + columns]).rstrip()
