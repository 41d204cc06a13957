"""Read Parquet files of images, as dataset hubs publish them. Each row has the bytes of an image file in one column, and its label in another."""

import json
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from actgrad.config.schema import Data
from actgrad.data.archives import check_limits, members, shown
from actgrad.data.dataset import SPLITS, Dataset, with_all_splits
from actgrad.data.ignored import COLUMNS
from actgrad.data.images import decoded, stacked
from actgrad.data.labels import from_zero
from actgrad.data.sources import Listing, ignored_counts, listed
from actgrad.data.split_names import renaming, split_called
from actgrad.errors import UserError, first_grouped
from actgrad.files import DAMAGED

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"
"""The first bytes of a Parquet file."""
ROWS_AT_ONCE = 64
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
"""The first of these columns that exists holds the labels, if several columns could."""
OWN_NAMES = (*SPLITS, "validation")
"""Names of splits in the names of Parquet files."""
WORD, SHARD = re.compile(r"[^\W\d_]+"), re.compile(r"(\d+)-of-(\d+)", re.ASCII)
EXPECTED = "expected are train-*.parquet, test-*.parquet and validation-*.parquet, or *.parquet in folders of these names"


@dataclass(frozen=True)
class Columns:
    """The columns of Parquet files: of images, of labels (numbers or names), and unused ones. `class_names` is empty if the file has none."""

    image: str
    label: str
    label_kind: str | None
    class_names: tuple[str, ...]
    unused: tuple[str, ...]


def read_parquet(data: Data, source: Path) -> Dataset:
    """Read one Parquet file as the train split, or a folder or archive of them. If no file names a split, all are the train split.

    Raises:
        UserError: if a file is damaged, above the limits or of no split or two, if a shard is missing, if the columns are unclear, or if a row has
            no image or no label.
    """
    single = _is_parquet(source)
    listing = Listing(source, [PurePosixPath(source.name)], set(), Counter()) if single else listed(source)
    splits = {listing.files[0]: "train"} if single else _splits(listing)
    contents = {path: source.read_bytes() for path in splits} if single else dict(members(source, splits))
    labels: dict[str, list[Any]] = defaultdict(list)
    columns: list[Columns] = []
    empty: list[tuple[str, str]] = []

    def files() -> Iterator[tuple[str, bytes]]:
        for path in sorted(splits, key=lambda path: (SPLITS.index(splits[path]), path)):
            for number, (content, label) in enumerate(_rows(listing, path, contents.pop(path), columns)):
                if content is None or label is None:
                    empty.append((f"row {number} of {shown(path)}", "no image" if content is None else "no label"))
                    continue
                labels[splits[path]].append(label)
                yield f"row {number} of {path}", content

    pixels = decoded(source, files(), data.image_size)
    if empty:
        raise UserError("empty-row", f"{source}: rows without image or label: {first_grouped(empty)}; remove them")
    images = {}
    for split in dict.fromkeys(sorted(splits.values(), key=SPLITS.index)):
        if not labels[split]:
            raise UserError("empty-split", f"{source}: the {split} split has no row; remove its files, or get them again")
        images[split], pixels = pixels[: len(labels[split])], pixels[len(labels[split]) :]
    numbers, class_names, remarks = _numbered(source, labels, columns[0].class_names)
    if columns[0].label not in LABEL_COLUMNS:
        remarks = [*remarks, f"the labels are those of the column {shown(columns[0].label)}"]
    if unused := columns[0].unused:
        listing.ignored[COLUMNS] = len(unused)
        remarks = [*remarks, f"columns that are not used: {', '.join(map(shown, unused))}"]
    return with_all_splits(stacked(source, images), numbers, class_names, ignored=ignored_counts(listing), remarks=remarks)


def _is_parquet(source: Path) -> bool:
    if source.is_dir():
        return False
    with source.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


# --- files


def _splits(listing: Listing) -> dict[PurePosixPath, str]:
    """The split of each Parquet file. Folders that hold all files say nothing of it, unless no other name does."""
    files = [path for path in listing.files if path.suffix.casefold() == ".parquet"]
    listing.refuse_others(files, f"is no Parquet file; remove it; {EXPECTED}")
    if not files:
        raise UserError("no-data", f"{listing.source} holds no Parquet file; {EXPECTED}")
    above_all = len(PurePosixPath(posixpath.commonpath([path.parent for path in files])).parts)
    places = {path: place for path in files if (place := _place(listing, path, above_all))}
    places = places or {path: _place(listing, path, 0) or ("train", path.parent) for path in files}
    for path in files:
        if path not in places:
            listing.refuse("unknown-split", path, f"names no split, and {shown(next(iter(places)))} does; {EXPECTED}")
    splits = {path: split for path, (split, _) in places.items()}
    for split in dict.fromkeys(splits.values()):
        folders = sorted({folder for of, folder in places.values() if of == split})
        if len(folders) > 1:
            raise UserError(
                "split-twice",
                f"{listing.source} holds the {split} split twice, in {shown(folders[0])} and {shown(folders[1])}; leave only one of them there",
            )
        for folder in sorted({path.parent for path in files if splits[path] == split}):
            _check_shards(listing, split, [path for path in files if splits[path] == split and path.parent == folder])
    if "train" not in splits.values():
        raise UserError("empty-split", f"{listing.source} holds no train split; {EXPECTED}")
    return splits


def _place(listing: Listing, path: PurePosixPath, start: int) -> tuple[str, PurePosixPath] | None:
    """The split that a word in a file's path stands for, and the folder of that split; None if no word stands for one.

    Args:
        start: number of folders at the front of the path that are not looked at.
    """
    parts = (*path.parent.parts, path.stem)
    named = [(word, split, depth) for depth in range(start, len(parts)) for word in WORD.findall(parts[depth]) if (split := split_called(word))]
    words = list(dict.fromkeys(word for word, _, _ in named))
    if len({split for _, split, _ in named}) > 1:
        listing.refuse("unknown-split", path, f"has the names of several splits, {' and '.join(words)}, in its path; leave one of them there")
    if words and not set(words) & set(OWN_NAMES):
        listing.refuse("unknown-split", path, f"is in none of the splits {', '.join(OWN_NAMES)}; {renaming(words[0])}")
    return (named[0][1], PurePosixPath(*path.parent.parts[: named[0][2] + 1])) if named else None


def _check_shards(listing: Listing, split: str, files: list[PurePosixPath]) -> None:
    """Raise UserError if one of the n shards of a split in a folder is missing."""
    shards = {path: (int(found[1]), int(found[2])) for path in files if (found := SHARD.search(path.name))}
    if not shards:
        return
    for path in files:
        if path not in shards or shards[path][1] != len(files):
            total = next(iter(shards.values()))[1]
            listing.refuse(
                "missing-part",
                path,
                f"is one of {len(files)} files of the {split} split, which should be {total} by their names; bring what is missing",
            )
    if {number for number, _ in shards.values()} != set(range(len(files))):
        raise UserError(
            "missing-part", f"{listing.source}: the files of the {split} split are not numbered 0 to {len(files) - 1}; bring what is missing"
        )


# --- rows


def _rows(listing: Listing, path: PurePosixPath, content: bytes, columns: list[Columns]) -> Iterator[tuple[bytes | None, Any]]:
    """The image and the label of each row; None for what the row lacks. Appends the columns of the file to `columns`."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(pa.BufferReader(content))
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        check_limits(listing.source, total_bytes=sum(group.total_byte_size for group in groups), files=file.metadata.num_rows)
        found = _columns(listing, path, file.schema_arrow)
        if columns and columns[0] != found:
            listing.refuse(
                "mixed-datasets", path, f"has other columns or classes than the other files ({found} and {columns[0]}); use files of one dataset"
            )
        columns.append(found)
        nested = pa.types.is_struct(file.schema_arrow.field(found.image).type)
        wanted = [f"{found.image}.bytes" if nested else found.image, found.label]
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
            images = batch.column(found.image).to_pylist()
            for image, label in zip(images, batch.column(found.label).to_pylist(), strict=True):
                yield (image or {}).get("bytes") if nested else image, label
    except (pa.ArrowException, *DAMAGED) as error:
        reason = shown(" ".join(str(error).split())) or "it needs more memory than there is"
        raise UserError("damaged-file", f"{listing.source}: {shown(path)} is damaged or not a Parquet file ({reason}); get it again") from None


def _columns(listing: Listing, path: PurePosixPath, schema: "pa.Schema") -> Columns:
    """Find the column of images, which holds the bytes of files, and the column of labels, which holds numbers or names."""
    names = [name for name in schema.names if not name.startswith("__index_level_")]
    for key in (part.partition("=")[0] for part in path.parts[:-1] if "=" in part):
        if key in LABEL_COLUMNS and key not in names:
            listing.refuse("wrong-columns", path, f"has the {key} in the name of its folder, where it is not read; write it as a column {key}")
    images = [name for name in names if _holds_files(schema.field(name).type)]
    kinds = {name: _label_kind(schema.field(name).type) for name in names}
    labels = [name for name in names if kinds[name]]
    label = next((name for name in LABEL_COLUMNS if name in labels), labels[0] if len(labels) == 1 else None)
    if len(images) != 1 or label is None:
        folders = "" if labels or len(path.parts) == 1 else "; a folder's name is not read as a label"
        have = ", ".join(f"{shown(name)} ({shown(str(schema.field(name).type))})" for name in names)
        listing.refuse(
            "wrong-columns",
            path,
            f"has the columns {have}; one of them must hold the bytes of image files, and another, called label, whole numbers or names{folders}",
        )
    unused = tuple(name for name in names if name not in (images[0], label))
    return Columns(images[0], label, kinds[label], _class_names(listing, path, schema, label), unused)


def _holds_files(kind: "pa.DataType") -> bool:
    """Whether a column holds bytes, or a struct with a field `bytes`."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_files(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _label_kind(kind: "pa.DataType") -> str | None:
    """Whether the labels in a column are numbers or names; None if the column can hold no labels."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _label_kind(kind.value_type)
    if pa.types.is_integer(kind):
        return "numbers"
    return "names" if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else None


def _class_names(listing: Listing, path: PurePosixPath, schema: "pa.Schema", label: str) -> tuple[str, ...]:
    """The names that Hugging Face's library writes into the file for a column of class labels; empty if there are none."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return ()
    try:
        feature = json.loads(text)["info"]["features"][label]
        return tuple(map(str, feature["names"])) if feature.get("_type") == "ClassLabel" else ()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return listing.refuse("damaged-file", path, f"has Hugging Face metadata that cannot be read ({shown(repr(error))}); get it again")


def _numbered(source: Path, labels: dict[str, list[Any]], names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """The number of each label, the names of the classes, and remarks. Classes that are strings are numbered in alphabetical order."""
    every = [label for part in labels.values() for label in part]
    if isinstance(every[0], str):
        spelt = {label: unicodedata.normalize("NFC", label) for label in set(every)}
        class_names = sorted(set(spelt.values()))
        number = {name: i for i, name in enumerate(class_names)}
        return {split: np.array([number[spelt[label]] for label in part]) for split, part in labels.items()}, class_names, []
    if max(map(abs, every)) >= 2**63:
        raise UserError("wrong-labels", f"{source}: a label is {max(every, key=abs)}; number the classes from 0")
    numbers = {split: np.array(part, np.int64) for split, part in labels.items()}
    return (numbers, list(names), []) if names else from_zero(source, numbers)
