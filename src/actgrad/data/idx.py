"""Read IDX files: the format of MNIST, Fashion-MNIST, KMNIST and EMNIST."""

import math
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from actgrad.config.schema import Data
from actgrad.data.archives import check_limits, gunzipped, members, shown
from actgrad.data.dataset import Dataset, with_all_splits
from actgrad.data.ignored import PACKED_COPIES
from actgrad.data.labels import from_zero
from actgrad.data.sources import Listing, ignored_counts, listed
from actgrad.errors import UserError

NAME = re.compile(r"(?P<set>.*?)(?P<split>train|t10k|test)-(?P<kind>images|labels)[-.]idx(?P<axes>[13])-ubyte(?P<packed>\.gz)?", re.ASCII)
EXPECTED = "the files of IDX are train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, gzipped or not"
BYTES = 8
"""The code of unsigned bytes in the header of an IDX file."""
AXES = {"images": 3, "labels": 1}

Part = tuple[str, str]
"""A split, and whether the file holds its images or labels."""


def read_idx(_: Data, source: Path) -> Dataset:
    """Read the four files of IDX in a folder or archive. Pixels stay as stored, so EMNIST's images are transposed.

    Raises:
        UserError: if a file is missing, damaged, not IDX or from another dataset than the others, or if the labels have gaps.
    """
    listing = listed(source)
    places = _parts(listing)
    arrays: dict[Part, np.ndarray] = {}
    for path, content in members(source, places):
        array = _array(listing, path, gunzipped(source / path, content), places[path][1])
        if places[path] in arrays and not np.array_equal(arrays[places[path]], array):
            listing.refuse("file-twice", path, "differs from the same file, gzipped, beside it; leave only one of the two there")
        arrays[places[path]] = array
    listing.ignored[PACKED_COPIES] = len(places) - len(arrays)
    images = {split: array[..., np.newaxis] for (split, kind), array in arrays.items() if kind == "images"}
    labels = {split: array for (split, kind), array in arrays.items() if kind == "labels"}
    labels, class_names, remarks = from_zero(source, labels)
    return with_all_splits(images, labels, class_names, ignored=ignored_counts(listing), remarks=remarks)


def _parts(listing: Listing) -> dict[PurePosixPath, Part]:
    """What each IDX file holds. A gzipped file and its unpacked copy may lie beside each other."""
    named = {path: found for path in listing.files if (found := NAME.fullmatch(path.name))}
    listing.refuse_others(named, f"is no file of IDX; remove it; {EXPECTED}")
    parts = {path: ("train" if found["split"] == "train" else "test", found["kind"]) for path, found in named.items()}
    for part in [(split, kind) for split in ("train", "test") for kind in ("images", "labels")]:
        files = [path for path in parts if parts[path] == part]
        if not files and (part[0] == "train" or ("test", "images") in parts.values() or ("test", "labels") in parts.values()):
            raise UserError("missing-part", f"{listing.source} holds no {part[1]} of the {part[0]} split; {EXPECTED}")
        for path in files:
            if path.with_name(path.name.removesuffix(".gz")) != files[0].with_name(files[0].name.removesuffix(".gz")):
                listing.refuse(
                    "mixed-datasets",
                    path,
                    f"and {shown(files[0])} are both {part[1]} of the {part[0]} split; leave only the files of one dataset there",
                )
    sets = Counter((path.parent, found["set"]) for path, found in named.items())
    if len(sets) > 1:
        one, other = [shown(folder / f"{name}*") for folder, name in list(sets)[:2]]
        raise UserError("mixed-datasets", f"{listing.source} holds files of two datasets, {one} and {other}; leave only the files of one there")
    return parts


def _array(listing: Listing, path: PurePosixPath, content: bytes, kind: str) -> np.ndarray:
    """The array in an IDX file: unsigned bytes (n, height, width) or (n,)."""
    axes = AXES[kind]
    start = 4 + 4 * axes
    if content[:4] != bytes([0, 0, BYTES, axes]) or len(content) < start:
        listing.refuse(
            "damaged-file", path, f"is damaged or not an IDX file of {kind} (unsigned bytes, {axes} {'axes' if axes > 1 else 'axis'}); get it again"
        )
    shape = tuple(int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(1, axes + 1))
    size = math.prod(shape)
    check_limits(listing.source, total_bytes=size)
    if len(content) != start + size:
        listing.refuse("damaged-file", path, f"has {len(content) - start} bytes of {kind} and its header says {size}; get it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
