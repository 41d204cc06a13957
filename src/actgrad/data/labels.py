"""Labels of sources without class names, and class names that are bytes."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from actgrad.errors import UserError


def from_zero(source: Path, labels: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Number classes from 0. Labels that begin at 1, as in EMNIST's letters, are reduced by 1.

    Args:
        source: for sentences.
        labels: split -> whole numbers (n,).

    Returns:
        The labels of each split; the name of each class, which is its number in the source; and a remark if labels were changed.

    Raises:
        UserError: if the labels begin elsewhere, or have a gap.
    """
    for split, part in labels.items():
        check_not_negative(f"{source}: the {split} split", part)
    found = np.unique(np.concatenate([np.unique(part) for part in labels.values()])).tolist()
    first = found[0] if found else 0
    if first not in (0, 1) or found != list(range(first, first + len(found))):
        raise UserError("wrong-labels", f"{source}: {spread(found)}; number the classes from 0 without a gap")
    remarks = [f"labels 1 to {found[-1]} of the source are the classes 0 to {found[-1] - 1}"] if first else []
    return {split: part.astype(np.int64) - first for split, part in labels.items()}, [str(label) for label in found], remarks


def check_not_negative(part: str, labels: np.ndarray) -> None:
    """Raise UserError if labels (n,) are below 0: published datasets write -1 where an example has no label.

    Args:
        part: what has these labels, for the sentence.
    """
    if count := int((labels < 0).sum()):
        raise UserError(
            "wrong-labels",
            f"{part} has negative labels, {count} of {len(labels)}, such as {labels.min()}; "
            "remove the examples that have no label, and number the classes from 0",
        )


def utf8(source: Path, name: bytes) -> str:
    """A class name that a source holds as bytes.

    Raises:
        UserError: if it is not UTF-8.
    """
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise UserError("wrong-class-name", f"{source}: the class name {name!r} is not UTF-8; write it in UTF-8") from None


def spread(found: list[int]) -> str:
    """Words for the range of labels, and the first one that is missing."""
    gap = next((label for label, following in pairwise(found) if following != label + 1), None)
    lacking = f", and none is {gap + 1}" if gap is not None else ""
    return f"labels run from {found[0]} to {found[-1]} with {len(found)} different ones{lacking}"
