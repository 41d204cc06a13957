"""Split a dataset into train, val and test, and check that a network can be trained on it."""

import unicodedata
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from actgrad.config.schema import Data
from actgrad.data.dataset import SPLITS, Dataset, shape_text
from actgrad.data.labels import check_not_negative
from actgrad.errors import UserError

SMALLEST_SIDE = 4
"""Smallest height and width of an image, in pixels."""


def split(data: Data, dataset: Dataset) -> Dataset:
    """Take data.test_size images and then data.val_size images from the train split, stratified by class.

    data.split_seed decides which images. A size of 0 leaves the split as the source has it.

    Raises:
        UserError: if the source has such a split already, or if the train split is too small.
    """
    images, labels = dict(dataset.images), dict(dataset.labels)
    for name, size in (("test", data.test_size), ("val", data.val_size)):
        if size == 0:
            continue
        if len(images[name]):
            raise UserError("wrong-split-size", f"data.{name}_size={size}, but {data.name} brings a {name} split of its own; set it to 0")
        kept, taken = _stratified(data, labels["train"], name, size)
        images[name], labels[name] = images["train"][taken], labels["train"][taken]
        images["train"], labels["train"] = images["train"][kept], labels["train"][kept]
    return replace(dataset, images=images, labels=labels)


def _stratified(data: Data, labels: np.ndarray, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images that stay in the train split, and of the `size` images that leave it, both ascending."""
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(labels, return_counts=True)
    if size < len(classes) or len(labels) - size < len(classes) or counts.min() < 2:
        allowed = f"{len(classes)} to {len(labels) - len(classes)}" if counts.min() >= 2 and len(labels) >= 2 * len(classes) else "0"
        raise UserError(
            "wrong-split-size",
            f"data.{name}_size={size} cannot be taken from {len(labels)} training images of {len(classes)} classes, the smallest of {counts.min()}: "
            f"each class must keep and give an image; choose {allowed}{', or 0 for no such split' if allowed != '0' else ''}",
        )
    kept, taken = train_test_split(np.arange(len(labels)), test_size=size, random_state=data.split_seed, stratify=labels)
    if len(np.unique(labels[kept])) < len(classes) or len(np.unique(labels[taken])) < len(classes):
        taken = _from_each_class(labels, size, data.split_seed)
        kept = np.setdiff1d(np.arange(len(labels)), taken)
    return np.sort(kept), np.sort(taken)


def _from_each_class(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of `size` images: each class gives its share, at least one image and not all."""
    classes, counts = np.unique(labels, return_counts=True)
    share = size * counts / len(labels)
    take = np.clip(np.floor(share).astype(int), 1, counts - 1)
    while take.sum() < size:
        take[np.argmax(np.where(take < counts - 1, share - take, -np.inf))] += 1
    while take.sum() > size:
        take[np.argmax(np.where(take > 1, take - share, -np.inf))] -= 1
    random = np.random.RandomState(seed)
    return np.concatenate([random.permutation(np.flatnonzero(labels == one))[:n] for one, n in zip(classes, take, strict=True)])


def check(name: str, dataset: Dataset) -> None:
    """Raise UserError unless a network can be trained on this dataset.

    Images must be 4x4 or larger, with 1 or 3 channels, of two classes or more. The train and test splits must have images. Each split that has
    images must have some of every class.
    """
    check_arrays(name, dataset)
    shape = dataset.images["train"].shape[1:]
    if min(shape[:2]) < SMALLEST_SIDE or shape[2] not in (1, 3):
        raise UserError(
            "wrong-shape", f"{name}: images are {shape_text(shape)}; they must be {SMALLEST_SIDE}x{SMALLEST_SIDE} or larger, of 1 or 3 channels"
        )
    if len(dataset.class_names) < 2:
        raise UserError("one-class", f"{name} has {len(dataset.class_names)} class; a classifier needs at least two")
    if len(dataset.images["test"]) == 0:
        raise UserError(
            "empty-split", f"{name}: the test split is empty; set data.test_size to the number of images to take from the train split, or add some"
        )
    _check_classes(name, dataset)


def _check_classes(name: str, dataset: Dataset) -> None:
    """Raise UserError unless each class is in every split that has images."""
    counts = {split: np.bincount(labels, minlength=len(dataset.class_names)) for split, labels in dataset.labels.items() if len(labels)}
    for label, class_name in enumerate(dataset.class_names):
        absent = [split for split, found in counts.items() if not found[label]]
        if len(absent) == len(counts):
            raise UserError(
                "empty-class", f"{name}: no image has the label {label}, which is the class {class_name!r}; remove its name, or add images of it"
            )
        if absent:
            raise UserError(
                "empty-class", f"{name}: the {absent[0]} split has no image of the class {class_name!r}; every split needs every class, so add some"
            )


def check_names(name: str, class_names: Iterable[str]) -> None:
    """Raise UserError for a class name that a reader cannot see, or cannot tell from another: Cat, cat, and Cat of wide letters are one name."""
    seen: dict[str, str] = {}
    for class_name in class_names:
        if not class_name or class_name != class_name.strip() or not class_name.isprintable():
            raise UserError(
                "wrong-class-name",
                f"{name}: the class {class_name!a} has an empty name, or spaces at its ends, or signs that cannot be seen; rename it",
            )
        alike = " ".join(unicodedata.normalize("NFKC", class_name).casefold().split())
        if alike in seen:
            raise UserError(
                "wrong-class-name",
                f"{name}: the classes {seen[alike]!r} and {class_name!r} differ at most in case, spaces or the shape of letters; "
                "rename one, or make them one class",
            )
        seen[alike] = class_name


def check_arrays(name: str, dataset: Dataset) -> None:
    """Raise UserError unless all images have the same shape, each has one label that is a class, and the names of the classes differ."""
    check_names(name, dataset.class_names)
    shape, classes = dataset.images["train"].shape[1:], len(dataset.class_names)
    if len(dataset.images["train"]) == 0:
        raise UserError("empty-split", f"{name}: the train split is empty; it needs images")
    for part in SPLITS:
        images, labels = dataset.images[part], dataset.labels[part]
        if len(images) != len(labels):
            raise UserError("wrong-labels", f"{name}: the {part} split has {len(images)} images and {len(labels)} labels; give one label an image")
        if len(images) and images.shape[1:] != shape:
            raise UserError(
                "mixed-sizes", f"{name}: {part} images are {shape_text(images.shape[1:])}, train images {shape_text(shape)}; all must be alike"
            )
        check_not_negative(f"{name}: the {part} split", labels)
        if len(labels) and labels.max() >= classes:
            remedy = "subtract 1 from all labels" if (labels.min(), labels.max()) == (1, classes) else "correct them, or give each class a name"
            raise UserError(
                "wrong-labels",
                f"{name}: labels of the {part} split run from {labels.min()} to {labels.max()}; "
                f"with {classes} classes they must be 0 to {classes - 1}; {remedy}",
            )
