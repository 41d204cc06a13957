"""The names of splits, and other words for them."""

import re

from actgrad.data.dataset import SPLITS
from actgrad.errors import nearest

OTHER_NAMES = {
    "training": "train",
    "trn": "train",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
    "tst": "test",
}


def split_called(name: str) -> str | None:
    """The split that a name stands for, whatever its case: valid, Val and validation are val. None if it stands for none."""
    key = name.strip().casefold()
    return key if key in SPLITS else OTHER_NAMES.get(key)


def renaming(name: str) -> str | None:
    """Advice to rename something that means a split but is called otherwise; None if it means no split, or has the right name."""
    split = split_called(name)
    return f"rename {name} to {split}" if split and split != name else None


def mistyped_split(name: str) -> str | None:
    """The split whose name was probably mistyped; None if there is none."""
    close = nearest(name, [*SPLITS, *OTHER_NAMES], 0.75)
    return split_called(close) if close else None


def array_called(name: str, known: list[str]) -> str | None:
    """The known array that an array's name probably means: x_valid is x_val, train_images and X are x_train, classes is class_names."""
    words = [word for word in re.split(r"[\W_]+", name.casefold()) if word]
    kinds = {"x": "x", "image": "x", "images": "x", "data": "x", "y": "y", "label": "y", "labels": "y", "target": "y", "targets": "y"}
    splits, kind = [split_called(word) for word in words if split_called(word)], [kinds[word] for word in words if word in kinds]
    if kind and (splits or len(words) == 1):
        return f"{kind[0]}_{(splits or ['train'])[0]}"
    if {"class", "classes", "names"} & set(words) or name.casefold() == "classnames":
        return "class_names"
    return nearest(name, known, 0.6)
