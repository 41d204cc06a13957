"""Read a dataset from an .npz file and check its arrays. Pickled objects are refused."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from actgrad.data.archives import open_zip
from actgrad.data.dataset import SPLITS, Dataset, with_all_splits
from actgrad.errors import UserError
from actgrad.files import DAMAGED


def read_arrays(source: Path, remedy: str) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file.

    Raises:
        UserError: if the file is damaged, too large or holds pickled objects. It ends in `remedy`.
    """
    try:
        with open_zip(source):
            pass  # only the limits are checked
        with source.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise UserError(f"{source} is not an .npz of plain arrays ({error}); {remedy}") from None


def to_dataset(source: Path, arrays: Mapping[str, np.ndarray]) -> Dataset:
    """Make a dataset of the arrays of an .npz file.

    Args:
        source: the file, for error messages.
        arrays: x_train and x_test (n, height, width) or (n, height, width, channels), y_train and y_test (n,) or (n, 1);
            optional: x_val and y_val, and class_names (classes,).

    Raises:
        UserError: if an array is missing, or if its shape, type or values do not fit.
    """
    needed = ["x_train", "y_train", "x_test", "y_test"] + (["x_val", "y_val"] if {"x_val", "y_val"} & set(arrays) else [])
    if missing := [name for name in needed if name not in arrays]:
        raise UserError(f"{source} has no array {missing[0]}; needed are {', '.join(needed)}")
    splits = [name for name in SPLITS if f"x_{name}" in arrays]
    images = {name: _pixels(source, f"x_{name}", arrays[f"x_{name}"]) for name in splits}
    labels = {name: _integers(source, f"y_{name}", arrays[f"y_{name}"]) for name in splits}
    return with_all_splits(images, labels, _class_names(source, arrays.get("class_names"), labels["train"]))


def _class_names(source: Path, names: np.ndarray | None, train_labels: np.ndarray) -> list[str]:
    """The class names in the file, or the numbers of the classes if it has none."""
    if names is not None:
        return [str(name) for name in names.ravel()]
    classes = np.unique(train_labels)
    if not np.array_equal(classes, np.arange(len(classes))):
        raise UserError(
            f"{source}: labels of the train split run from {classes.min(initial=0)} to {classes.max(initial=0)} with {len(classes)} different ones; "
            "number the classes from 0 without a gap, or add class_names with one name a class"
        )
    return [str(name) for name in classes]


def _pixels(source: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Images as uint8 (n, height, width, channels)."""
    array = array[..., np.newaxis] if array.ndim == 3 else array
    if array.ndim != 4:
        raise UserError(f"{source}: {name} has the shape {array.shape}; it must be (n, height, width) or (n, height, width, channels)")
    if not np.issubdtype(array.dtype, np.number):
        raise UserError(f"{source}: {name} holds {array.dtype}; it must hold pixel values from 0 to 255")
    if array.dtype != np.uint8:
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.uint8)
        if not np.array_equal(whole, array):
            raise UserError(f"{source}: {name} must hold whole pixel values from 0 to 255 and has others (as {array.dtype}); scale and round them")
        array = whole
    return array


def _integers(source: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Labels as whole numbers (n,)."""
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{source}: {name} must be whole numbers of the shape (n,) and is {array.dtype} of {array.shape}")
    return array
