"""Places of entries in a source: classes with the names of splits, and random sources of IDX, Parquet and CIFAR. Each entry must be used, ignored
by a named rule and counted, or refused with its name."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actgrad.data import storage
from actgrad.data.dataset import Dataset
from actgrad.data.readers import read
from actgrad.data.split_names import OTHER_NAMES, split_called
from actgrad.errors import UserError
from conftest import ROOT, image_set
from data_sources import folder_files, idx, parquet, pets, refusal, tar, unpacked, zipped

IMAGES = {name.removeprefix("pets/train/"): content for name, content in folder_files().items() if "/train/" in name}
"""Images of the classes cat and dog."""
SPLIT_NAMES = ["train", "test", "val", *OTHER_NAMES, "Dev"]


def renamed(name: str, folder: str = "") -> dict[str, bytes]:
    """IMAGES, whose class cat has another name."""
    return {folder + path.replace("cat/", f"{name}/"): content for path, content in IMAGES.items()}


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_a_class_with_the_name_of_a_split_needs_a_folder_train_above_it(tmp_path, name):
    said = refusal(pets(zipped(tmp_path / "a.zip", renamed(name)), test_size=2), tmp_path / "o.npz", "unexpected-part")
    assert f"and the folder {name} has the name of a split; if it is a class, move all classes into a folder train; expected are" in said
    dataset = storage.prepare(pets(zipped(tmp_path / "b.zip", renamed(name, "train/")), test_size=2), tmp_path / "o.npz")
    assert dataset.class_names == sorted([name, "dog"])
    assert [len(images) for images in dataset.images.values()] == [6, 4, 2]


def test_the_first_misplaced_files_are_named_at_once(tmp_path):
    stray = {f"{name}.bin": b"0" for name in "abcdefgh"}
    said = refusal(pets(zipped(tmp_path / "a.zip", folder_files() | stray), test_size=2), tmp_path / "o.npz", "unexpected-part")
    assert "a.bin is not at <split>/<class>/<file>" in said
    assert said.endswith("(the same is true of b.bin, c.bin, d.bin, e.bin, f.bin and 2 more)")


@pytest.mark.parametrize(
    ("folder", "code", "expected"),
    [("validation", "unknown-split", "rename validation to val"), ("trian", "unexpected-part", "trian/cat/1.png is not at")],
)
def test_a_split_that_is_called_otherwise_is_named_before_other_misplaced_files(tmp_path, folder, code, expected):
    files = folder_files() | {"a.bin": b"0", f"pets/{folder}/cat/1.png": b"0"}
    said = refusal(pets(zipped(tmp_path / "a.zip", files), test_size=2), tmp_path / "o.npz", code)
    assert expected in said and "a.bin" not in said


def test_the_page_names_what_means_a_split():
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert all(f"`{name}`" in page and split_called(name.title()) for name in ["train", "test", "val", *OTHER_NAMES])


# --- random sources


@dataclass(frozen=True)
class Kind:
    """Sources of a format.

    Attributes:
        regular: the files of a source that can be read.
        names: names of further files.
        folders: folders for these files.
        content: function from a file's name to its content.
        used: number of files that a dataset was read from.
        incomplete: text of a refusal without a file name, because a file is missing.
    """

    regular: frozenset[str]
    names: tuple[str, ...]
    folders: tuple[str, ...]
    content: Callable[[str], bytes]
    used: Callable[[Dataset], int]
    incomplete: tuple[str, ...]


def idx_content(name: str) -> bytes:
    number = 2 if "train" in name else 1
    content = idx(np.arange(number)) if "labels" in name else idx(image_set(number, channels=1)[..., 0])
    return gzip.compress(content, mtime=0) if name.endswith(".gz") else content


ROWS = parquet(2)
HIDDEN_FOLDERS = (".cache", "__MACOSX", "x/.git")
OTHERS = ("README.md", "LICENSE", "labels.csv", "Thumbs.db", ".DS_Store", "notes.bin", "blob")
KINDS = {
    "idx": Kind(
        frozenset(f"{split}-{rest}" for split in ("train", "t10k") for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")),
        (
            *(f"{split}-{rest}" for split in ("train", "t10k", "test", "valid", "my-train") for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")),
            *(f"{split}-{rest}.gz" for split in ("train", "t10k") for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")),
            *("train-images.idx3-ubyte", "train-images-idx1-ubyte", "train-labels-idx3-ubyte", *OTHERS),
        ),
        ("", "", "", "raw", "more/raw", *HIDDEN_FOLDERS),
        idx_content,
        lambda dataset: 2 * sum(len(images) > 0 for images in dataset.images.values()),
        tuple(f"holds no {kind} of the {split} split" for kind in ("images", "labels") for split in ("train", "test")),
    ),
    "parquet": Kind(
        frozenset({"train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"}),
        (
            *("train-00000-of-00001.parquet", "train-00001-of-00003.parquet", "train.parquet", "test-0.parquet", "validation.parquet"),
            *("val.parquet", "valid.parquet", "Train.parquet", "0.parquet", "more.PARQUET", "trains.parquet", "test.parquet.gz", *OTHERS),
        ),
        ("", "", "", "train", "test", "default/validation", "default", "dev", *HIDDEN_FOLDERS),
        lambda name: ROWS if "parquet" in name.casefold() else b"",
        lambda dataset: sum(map(len, dataset.images.values())) // 2,
        ("holds no Parquet file", "holds no train split", "are not numbered 0 to "),
    ),
    "cifar10_binary": Kind(
        frozenset({*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt"}),
        ("data_batch_6.bin", "test.bin", "data_batch_1", "test_batch.bin", "batches.meta.txt", "readme.html", *OTHERS),
        ("", "", "", "cifar-10-batches-bin", "again", *HIDDEN_FOLDERS),
        lambda name: b"a\nb\n" if name.endswith(".txt") else bytes(3073),
        lambda dataset: sum(map(len, dataset.images.values())) + 1,
        tuple(f"holds no {name}; it is not" for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt")),
    ),
}
CONTAINERS = {
    "folder": lambda folder, files: unpacked(folder / "a", files),
    "tar": lambda folder, files: tar(folder / "a.tar", files, "w"),
    "zip": lambda folder, files: zipped(folder / "a.zip", files),
}


@st.composite
def trees(draw, kind: Kind) -> set[str]:
    """Paths of a source: the regular files, all or all but a few, and others."""
    above = draw(st.sampled_from(["", "top/"]))
    missing = draw(st.sets(st.sampled_from(sorted(kind.regular)), max_size=1) if draw(st.booleans()) else st.just(set()))
    others = st.builds(lambda folder, name: f"{folder}/{name}".lstrip("/"), st.sampled_from(kind.folders), st.sampled_from(kind.names))
    return {above + name for name in {*kind.regular - missing, *draw(st.sets(others, max_size=3))}}


@pytest.mark.parametrize("name", KINDS)
def test_every_file_is_used_or_ignored_and_counted_or_refused_by_name(tmp_path_factory, name):
    kind = KINDS[name]
    counts = {"read": 0, "refused": 0, "ignored": 0}

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(trees(kind), st.sampled_from(sorted(CONTAINERS)))
    def account(tree, container):
        paths = {PurePosixPath(path) for path in tree}
        tree = sorted(path for path in tree if not any(PurePosixPath(path) in other.parents for other in paths))  # a file is no folder
        files = {path: kind.content(path.rpartition("/")[2]) for path in tree}
        folder = tmp_path_factory.mktemp("tree")
        (folder / "a").mkdir()
        data = pets(CONTAINERS[container](folder, files), format=name, val_size=0)
        try:
            dataset = read(data, folder / {"folder": "a", "tar": "a.tar", "zip": "a.zip"}[container])
        except UserError as error:
            assert "\n" not in str(error)
            of_folders = [text for path in paths for text in (f"in {path.parent} and ", f" and {path.parent};", f"{path.parent}/")]
            assert any(text in str(error) for text in [*tree, *of_folders, *kind.incomplete])
            counts["refused"] += 1
        else:
            assert kind.used(dataset) + sum(dataset.ignored.values()) == len(tree)
            counts["read"] += 1
            counts["ignored"] += sum(dataset.ignored.values()) > 0

    account()
    assert min(counts.values()) > 20, counts  # each outcome occurred
