"""The names of splits, and what other names of them mean."""

import re
from difflib import get_close_matches

from actgrad.data.dataset import SPLITS

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


def meant(name: str) -> str | None:
    """The split that a name stands for, whatever its case: valid, Val and validation are val. None if it stands for none."""
    key = name.strip().casefold()
    return key if key in SPLITS else OTHER_NAMES.get(key)


def rename(name: str) -> str | None:
    """What to do about a name that means a split and is not its name; None if it means none, or is its name."""
    split = meant(name)
    return f"rename {name} to {split}" if split and split != name else None


def nearest(name: str) -> str | None:
    """The split whose name was probably mistyped; None if there is none."""
    close = get_close_matches(name.casefold(), [*SPLITS, *OTHER_NAMES], n=1, cutoff=0.75)
    return meant(close[0]) if close else None


def array_meant(name: str, known: list[str]) -> str | None:
    """The known array that an array's name probably means: x_valid is x_val, train_images is x_train, classes is class_names."""
    words = [word for word in re.split(r"[\W_]+", name.casefold()) if word]
    kinds = {"x": "x", "image": "x", "images": "x", "data": "x", "y": "y", "label": "y", "labels": "y", "target": "y", "targets": "y"}
    splits, kind = [meant(word) for word in words if meant(word)], [kinds[word] for word in words if word in kinds]
    if splits and kind:
        return f"{kind[0]}_{splits[0]}"
    if {"class", "classes", "names"} & set(words) or name.casefold() == "classnames":
        return "class_names"
    close = get_close_matches(name.casefold(), known, n=1, cutoff=0.6)
    return close[0] if close else None
