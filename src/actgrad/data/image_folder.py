"""Read folders and archives of image files: <split>/<class>/<file>, or <class>/<file> where there are no splits."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np

from actgrad.config.schema import Data
from actgrad.data.archives import members, shown
from actgrad.data.dataset import SPLITS, Dataset, with_all_splits
from actgrad.data.ignored import is_document
from actgrad.data.images import decoded, stacked
from actgrad.data.sources import Listing, ignored_counts, likewise, listed
from actgrad.data.split_names import mistyped_split, renaming, split_called
from actgrad.data.splits import check_names
from actgrad.errors import UserError

Layout = dict[PurePosixPath, tuple[str, str]]
"""Path of an image -> its split and its class."""
EXPECTED = "expected are train/<class>/<file> and test/<class>/<file>, or <class>/<file> without splits"


def read_image_folder(data: Data, source: Path) -> Dataset:
    """Read image files that lie in folders, at any depth of an archive or folder. Classes are numbered in the order of their names.

    Raises:
        UserError: if an image cannot be read, if images differ in size and data.image_size is not set, if a split lacks a class, or if a file is
            neither at the place of an image nor ignored by a rule.
    """
    listing = listed(source)
    places = layout(listing)
    class_names = sorted({label for _, label in places.values()})
    check_folder_classes(source, places)
    found: dict[str, dict[str, list[tuple[str, np.ndarray]]]] = {}
    files = ((str(path), content) for path, content in members(source, places))
    for name, image in decoded(source, files, data.image_size):
        split, label = places[PurePosixPath(name)]
        found.setdefault(split, {}).setdefault(label, []).append((name, image))
    ordered = {split: {label: sorted(classes[label], key=_order) for label in class_names} for split, classes in found.items()}
    images = stacked(source, {split: [item for items in classes.values() for item in items] for split, classes in ordered.items()})
    labels = {split: np.repeat(np.arange(len(class_names)), [len(items) for items in classes.values()]) for split, classes in ordered.items()}
    return with_all_splits(images, labels, class_names, ignored=ignored_counts(listing))


def layout(listing: Listing) -> Layout:
    """Find the split and the class of each image from its path.

    Raises:
        UserError: if a file is not where an image belongs and no rule ignores it, if a split or dataset is there twice, or if a class has no image.
    """
    if not listing.files:
        raise UserError("no-data", f"{listing.source} holds no file that can be used; {EXPECTED}")
    has_splits = any(split_called(part) for path in listing.files for part in path.parts[:-1])
    places = _with_splits(listing) if has_splits else _without_splits(listing)
    _refuse_empty(listing, places, has_splits)
    return places


def _with_splits(listing: Listing) -> Layout:
    places = {path: (path.parts[-3], _class(path)) for path in listing.files if len(path.parts) >= 3 and path.parts[-3] in SPLITS}
    if others := listing.without_documents(places):
        _refuse_misplaced(listing, others, bool(places))
    for split in SPLITS:
        folders = sorted({path.parents[1] for path, (of, _) in places.items() if of == split}, key=lambda folder: (len(folder.parts), folder))
        if len(folders) > 1:
            twice = f"{shown(folders[0])} and {shown(folders[1])}"
            raise UserError("split-twice", f"{listing.source} holds the {split} split twice, in {twice}; leave only one of the two folders there")
        if split == "train" and not folders:
            raise UserError("empty-split", f"{listing.source} has no images under train/<class>/; {EXPECTED}")
    return places


def _refuse_misplaced(listing: Listing, others: Sequence[PurePosixPath], beside_images: bool) -> NoReturn:
    """Raise UserError about files of a source with splits that are not at the place of an image.

    Args:
        beside_images: whether other files are at such a place.
    """
    renamed = [path for path in others if renaming(_folder_of_split(path))]
    if renamed:
        folder, advice = shown(renamed[0].parents[1]), renaming(_folder_of_split(renamed[0]))
        raise UserError("unknown-split", f"{listing.source}: {folder} is none of the splits {', '.join(SPLITS)}; {advice}")
    mistyped = [path for path in others if mistyped_split(_folder_of_split(path))]
    path = (mistyped or others)[0]
    split = _folder_of_split(path)
    why, remedy = f"; did you mean {mistyped_split(split)} by {split}?" if mistyped else "", _allowed()
    if not beside_images:
        folder = next(part for other in listing.files for part in other.parts[:-1] if split_called(part))
        why = f", and the folder {shown(folder)} has the name of a split; if it is a class, move all classes into a folder train"
        remedy = EXPECTED
    alike = [other for other in others if other != path and (not mistyped or _folder_of_split(other) == split)]
    listing.refuse("unexpected-part", path, f"is not at <split>/<class>/<file>{why}; {remedy}{likewise(alike)}")


def _folder_of_split(path: PurePosixPath) -> str:
    """The name of the folder in which a split lies if the path is <split>/<class>/<file>; empty if it is shorter."""
    return path.parts[-3] if len(path.parts) >= 3 else ""


def _without_splits(listing: Listing) -> Layout:
    classes = {path.parent for path in listing.files if not is_document(path)}
    places = {path: ("train", _class(path)) for path in listing.files if path.parent in classes and len(path.parts) >= 2}
    listing.refuse_others(places, f"is not in the folder of a class; {_allowed()}")
    if not places:
        raise UserError("no-data", f"{listing.source} holds documents only; {EXPECTED}")
    first = next(iter(places))
    for path in places:
        if path.parents[1] != first.parents[1]:
            one, other = shown(first.parent), shown(path.parent)
            raise UserError(
                "scattered-classes",
                f"{listing.source}: the classes lie in different folders, {one} and {other}; {_allowed()}, all classes in one folder",
            )
    return places


def _allowed() -> str:
    return f"move or remove it; {EXPECTED}"


def _refuse_empty(listing: Listing, places: Layout, has_splits: bool) -> None:
    """Refuse a split or class whose folder has no image, because it would silently vanish."""
    used = {parent for path in places for parent in path.parents}
    of_classes = {path.parents[1] for path in places}
    of_splits = {folder.parent for folder in of_classes} if has_splits else set()
    for folder in sorted(listing.folders - used):
        if folder.parent in of_classes or (folder.parent in of_splits and split_called(folder.name)):
            listing.refuse("empty-class", folder, "has no image; put images there, or remove the folder")


def _class(path: PurePosixPath) -> str:
    """The class of an image, in Unicode's form NFC, which is the same on every system."""
    return unicodedata.normalize("NFC", path.parts[-2])


def _order(item: tuple[str, np.ndarray]) -> tuple[str, str]:
    """Sort key of an image: its path in NFC, then as it is spelt."""
    return unicodedata.normalize("NFC", item[0]), item[0]


def check_folder_classes(source: Path, places: Mapping[PurePosixPath, tuple[str, str]]) -> None:
    """Raise UserError unless each split has every class. Classes that look alike are refused first, because they may be why a split lacks one."""
    found = set(places.values())
    class_names = sorted({label for _, label in found})
    check_names(str(source), class_names)
    for split in sorted({split for split, _ in found}, key=SPLITS.index):
        if absent := [label for label in class_names if (split, label) not in found]:
            raise UserError(
                "empty-class",
                f"{source}: the {split} split has no folder for the class {shown(absent[0])!r}, which another split has; each needs all classes",
            )
