"""Read a dataset from an .npz file and check its arrays. Pickled objects are refused."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from actgrad.data.archives import open_zip, shown
from actgrad.data.dataset import SPLITS, Dataset, with_all_splits
from actgrad.data.labels import check_not_negative, spread, utf8
from actgrad.data.split_names import array_called
from actgrad.errors import UserError, first_named
from actgrad.files import DAMAGED

SAVE = "numpy.savez(FILE, x_train=IMAGES, y_train=LABELS)"
"""Python code that writes a file of this format, for sentences."""
MADE_FROM = "made_from"
"""The array in a file of data/ that says how the file was made."""
ARRAYS = [f"{kind}_{split}" for split in SPLITS for kind in "xy"] + ["class_names"]
"""The names of the arrays that a user's dataset may have."""


def read_arrays(source: Path, remedy: str) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file.

    Raises:
        UserError: if the file is damaged, too large, holds pickled objects or holds an array twice. The error ends with `remedy`.
    """
    try:
        with open_zip(source) as archive:  # only the limits and names are checked
            names = [entry.filename for entry in archive.infolist()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise zipfile.BadZipFile(f"{shown(twice)} is there twice")
        with source.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise UserError("damaged-file", f"{source} is not an .npz of plain arrays ({shown(' '.join(str(error).split()))}); {remedy}") from None


def to_dataset(source: Path, arrays: Mapping[str, np.ndarray]) -> Dataset:
    """Make a dataset from the arrays of an .npz file.

    Args:
        source: the file, for error messages.
        arrays: x_train (n, height, width) or (n, height, width, channels), and y_train (n,) or (n, 1); optional: the same for test and val, and
            class_names (classes,). `made_from` is ignored; no other array is allowed.

    Raises:
        UserError: if an array is missing or unknown, or if its shape, type or values do not fit.
    """
    _check_names(source, list(arrays))
    needed = [name for split in SPLITS for name in (f"x_{split}", f"y_{split}") if split == "train" or {f"x_{split}", f"y_{split}"} & set(arrays)]
    if missing := [name for name in needed if name not in arrays]:
        raise UserError("missing-part", f"{source} has no array {missing[0]}; needed are {', '.join(needed)}")
    splits = [name for name in SPLITS if f"x_{name}" in arrays]
    images = {name: _pixels(source, f"x_{name}", arrays[f"x_{name}"]) for name in splits}
    labels = {name: _integers(source, f"y_{name}", arrays[f"y_{name}"]) for name in splits}
    for name, part in labels.items():
        check_not_negative(f"{source}: y_{name}", part)
    return with_all_splits(images, labels, _class_names(source, arrays.get("class_names"), labels["train"]))


def _check_names(source: Path, names: list[str]) -> None:
    """Raise UserError for arrays of unknown names. Its sentence says how to rename those that it recognises."""
    unknown = [name for name in names if name not in ARRAYS and name != MADE_FROM]
    if not unknown:
        return
    meant: dict[str, str] = {}
    for name in unknown:
        if (guess := array_called(name, ARRAYS)) and guess not in [*names, *meant.values()]:
            meant[name] = guess
    others = [shown(name) for name in unknown if name not in meant]
    remedies = [f"rename {', '.join(f'{shown(name)} to {guess}' for name, guess in meant.items())}"] if meant else []
    if others and {"x_train", "y_train"} <= {*names, *meant.values()}:
        remedies.append(f"remove {first_named(others)}")
    elif others:
        remedies.append(f"write the file anew with {SAVE}")
    given = f"the array{'s' if len(unknown) > 1 else ''} {first_named([shown(name) for name in unknown])} {'are' if len(unknown) > 1 else 'is'}"
    raise UserError("unexpected-part", f"{source}: {given} none of {', '.join(ARRAYS)}; {', and '.join(remedies)}")


def _class_names(source: Path, names: np.ndarray | None, train_labels: np.ndarray) -> list[str]:
    """The class names in the file, or the numbers of the classes if it has none."""
    if names is not None:
        return [utf8(source, name) if isinstance(name, bytes) else str(name) for name in names.ravel().tolist()]
    classes = np.unique(train_labels).tolist()
    if classes != list(range(len(classes))):
        remedy = "subtract 1 from all labels" if classes == list(range(1, len(classes) + 1)) else "number the classes from 0 without a gap"
        raise UserError(
            "wrong-labels",
            f"{source}: {spread(classes)} in the train split, and they must run from 0 to {len(classes) - 1}; "
            f"{remedy}, or add class_names with one name a class",
        )
    return [str(name) for name in classes]


def _pixels(source: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Images as uint8 (n, height, width, channels)."""
    array = array[..., np.newaxis] if array.ndim == 3 else array
    if array.ndim != 4:
        raise UserError("wrong-shape", f"{source}: {name} has the shape {array.shape}; it must be (n, height, width) or (n, height, width, channels)")
    if array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        raise UserError(
            "wrong-shape", f"{source}: {name} has the shape {array.shape}; its channels come first, move them to the end with numpy.moveaxis"
        )
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise UserError("wrong-pixels", f"{source}: {name} holds {array.dtype}; it must hold pixel values from 0 to 255")
    if array.dtype != np.uint8:
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.uint8)
        if not np.array_equal(whole, array):
            raise UserError(
                "wrong-pixels", f"{source}: {name} must hold whole pixel values from 0 to 255 and has others (as {array.dtype}); scale and round them"
            )
        array = whole
    return np.ascontiguousarray(array)  # a transposed array is stored in Fortran order; checksums of images need C order


def _integers(source: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Labels as whole numbers (n,)."""
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        remedy = "labels of the shape (n, classes) become numbers by numpy.argmax(y, axis=1)" if array.ndim == 2 else "number the classes from 0"
        if array.ndim == 1 and array.dtype.kind == "f" and np.array_equal(array, array.round()):
            remedy = "save them with y.astype(int)"
        if array.dtype.kind in "US":
            remedy = "names become numbers by names, y = numpy.unique(y, return_inverse=True); keep them as class_names"
        raise UserError("wrong-labels", f"{source}: {name} must be whole numbers of the shape (n,) and is {array.dtype} of {array.shape}; {remedy}")
    if len(array) and array.max() > np.iinfo(np.int64).max:
        raise UserError("wrong-labels", f"{source}: {name} has the label {array.max()}; number the classes from 0")
    return array
