"""Parquet files: values compared with ones computed by hand, and refused files."""

import numpy as np
import pyarrow as pa
import pytest

from actgrad.data import storage
from conftest import image_set
from data_sources import parquet, parquet_files, pets, png, refusal, unpacked, zipped

FILE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize("make", [lambda folder: unpacked(folder / "a", parquet_files()), lambda folder: zipped(folder / "a.zip", parquet_files())])
def test_parquet_is_read_with_the_names_in_its_metadata(tmp_path, make):
    dataset = storage.prepare(pets(make(tmp_path), format="parquet", val_size=0), tmp_path / "o.npz")
    assert np.array_equal(dataset.images["train"], np.concatenate([image_set(6, seed=0), image_set(6, seed=1)]))
    assert dataset.labels["test"].tolist() == [0, 1, 0, 1]
    assert dataset.class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({}, ["0", "1"]),
        ({"image": [png(image) for image in image_set(8)]}, ["0", "1"]),
        ({"label": ["cat", "dog"] * 4}, ["cat", "dog"]),
        ({"label": np.array([1, 2] * 4)}, ["1", "2"]),
        ({"coarse_label": [0] * 8, "id": ["a"] * 8}, ["0", "1"]),
    ],
)
def test_one_parquet_file_is_split_whatever_its_name(tmp_path, columns, names):
    (tmp_path / "test_pets.parquet").write_bytes(parquet(8, names=None, **columns))
    dataset = storage.prepare(pets(tmp_path / "test_pets.parquet", format="parquet", test_size=2, val_size=2), tmp_path / "o.npz")
    assert dataset.class_names == names
    assert [len(images) for images in dataset.images.values()] == [4, 2, 2]
    assert dataset.ignored == ({"columns": 2} if len(columns) == 2 else {})


@pytest.mark.parametrize(
    "place",
    [
        "default/{}/0000",
        "split={}/0",
        "pets_{}",
        "pets.{}-00000-of-00001",
        "{}1",
        "pets_{0}/{0}",
        "{}/cat/0",
        "pets/split={}/fold=1/part/0",
        "{0}/a/{0}-00000-of-00001",
        "train_and_test/dev/{}-0",
    ],
)
def test_a_word_of_a_file_or_a_folder_names_the_split_of_parquet(tmp_path, place):
    """Folders that hold all files say nothing."""
    names = {"train": 6, "test": 4, "validation": 5}
    files = {f"{place.format(name)}.parquet": parquet(n, seed=n) for name, n in names.items()}
    dataset = storage.prepare(pets(unpacked(tmp_path / "a", files), format="parquet", val_size=0), tmp_path / "o.npz")
    assert [len(images) for images in dataset.images.values()] == [6, 5, 4]


@pytest.mark.parametrize("folders", [("train/cat", "train/dog", "test/cat"), ("split=train/0", "split=train/1", "split=test/0")])
def test_folders_below_that_of_a_split_belong_to_it(tmp_path, folders):
    files = {f"{folder}/0.parquet": parquet(4, seed=seed) for seed, folder in enumerate(folders)}
    dataset = storage.prepare(pets(unpacked(tmp_path / "a", files), format="parquet", val_size=0), tmp_path / "o.npz")
    assert np.array_equal(dataset.images["train"], np.concatenate([image_set(4, seed=0), image_set(4, seed=1)]))
    assert np.array_equal(dataset.images["test"], image_set(4, seed=2))


@pytest.mark.parametrize(
    ("files", "code", "expected"),
    [
        (["test/a/0", "test/b/0"], "empty-split", "holds no train split"),
        (["cat/0", "dog/0"], "split-twice", "holds the train split twice, in cat and dog"),
        (["a/train/0", "a/partial-train/0"], "split-twice", "holds the train split twice, in a/partial-train and a/train"),
        (["train/a/test/0", "b/train/0"], "unknown-split", "train/a/test/0.parquet has the names of several splits, train and test, in its path"),
        (["dev/a/0", "train/a/0"], "unknown-split", "dev/a/0.parquet is in none of the splits train, val, test, validation; rename dev to val"),
        (["train/a/0-of-2", "test/a/0"], "missing-part", "train/a/0-of-2.parquet is one of 1 files of the train split, which should be 2"),
        (["train/class=cat/0", "test/class=cat/0"], "wrong-columns", "train/class=cat/0.parquet has the class in the name of its folder"),
    ],
)
def test_folders_of_parquet_files_that_tell_no_split_are_refused(tmp_path, files, code, expected):
    source = unpacked(tmp_path / "a", {f"{name}.parquet": parquet(4, seed=seed) for seed, name in enumerate(files)})
    assert expected in refusal(pets(source, format="parquet"), tmp_path / "o.npz", code)


def test_a_folder_of_parquet_files_is_no_label(tmp_path):
    source = unpacked(tmp_path / "a", {"train/cat/0.parquet": parquet(4, names=None, label=[0.5] * 4)})
    assert "train/cat/0.parquet has the columns image (" in (said := refusal(pets(source, format="parquet"), tmp_path / "o.npz", "wrong-columns"))
    assert said.endswith("whole numbers or names; a folder's name is not read as a label")


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        (
            {"data/train-00001-of-00002.parquet": None},
            "missing-part",
            "is one of 1 files of the train split, which should be 2 by their names; bring what is missing",
        ),
        (
            {"data/train-00001-of-00002.parquet": None, "data/train-00002-of-00002.parquet": parquet(2, seed=9)},
            "missing-part",
            "are not numbered 0 to 1",
        ),
        ({"other/train-00000-of-00002.parquet": parquet(6, seed=9)}, "split-twice", "holds the train split twice, in data and other"),
        ({"data/valid-00000-of-00001.parquet": parquet(6, seed=9)}, "unknown-split", "valid-00000-of-00001.parquet"),
        ({"data/more.parquet": parquet(6, seed=9)}, "unknown-split", "data/more.parquet"),
        ({"train/test.parquet": b""}, "unknown-split", "train/test.parquet has the names of several splits, train and test, in its path"),
        ({"data/pets_dev.parquet": b""}, "unknown-split", "data/pets_dev.parquet is in none of the splits train, val, test, validation; rename dev"),
        ({"a": b""}, "unexpected-part", "a is no Parquet file"),
        ({"data/extra.png": b""}, "unexpected-part", "data/extra.png"),
        ({"data/test-00000-of-00001.parquet": b"PAR1"}, "damaged-file", "test-00000-of-00001.parquet"),
        ({"data/test-00000-of-00001.parquet": parquet(4, names=("dog", "cat"))}, "mixed-datasets", "test-00000-of-00001.parquet"),
        (
            {name: parquet(6, names=("Cat", "cat")) for name in parquet_files()},
            "wrong-class-name",
            "the classes 'Cat' and 'cat' differ at most in case",
        ),
        ({"data/test-00000-of-00001.parquet": parquet(4, seed=2, label=["cat", "dog"] * 2)}, "mixed-datasets", "label_kind='names'"),
        ({"data/test-00000-of-00001.parquet": parquet(4, seed=2, label=[0, 1, None, 1])}, "empty-row", "00001.parquet (no label); remove"),
        ({"data/test-00000-of-00001.parquet": parquet(4, seed=2, label=[0, 1, -1, 1])}, "wrong-labels", "the test split has negative labels, 1 of 4"),
        (
            {"data/test-00000-of-00001.parquet": parquet(1, image=pa.array([{"bytes": None, "path": "a.png"}], FILE))},
            "empty-row",
            "rows without image or label: row 0 of data/test-00000-of-00001.parquet (no image); remove them",
        ),
        (
            {"data/test-00000-of-00001.parquet": parquet(1, image=[{"bytes": b"no", "path": "a.png"}])},
            "unusable-image",
            "row 0 of data/test-00000-of-00001.parquet cannot",
        ),
        ({"data/test-00000-of-00001.parquet": parquet(0, image=[{"bytes": b"", "path": ""}][:0])}, "wrong-columns", "test-00000-of-00001.parquet"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_faults_of_parquet_files(tmp_path, changes, code, expected):
    files = {name: content for name, content in (parquet_files() | changes).items() if content is not None}
    assert expected in refusal(pets(unpacked(tmp_path / "a", files), format="parquet", val_size=0), tmp_path / "o.npz", code)


@pytest.mark.parametrize(
    ("columns", "code", "expected"),
    [
        ({"image": ["a"] * 4, "label": [0] * 4}, "wrong-columns", "image (string), label (int64)"),
        ({"label": [0.5] * 4}, "wrong-columns", "label (double)"),
        ({"label": ["Cat", "cat", "Cat", "cat"]}, "wrong-class-name", "the classes 'Cat' and 'cat' differ at most in case"),
        ({"label": [2, 3, 2, 3]}, "wrong-labels", "labels run from 2 to 3 with 2 different ones; number the classes from 0"),
        (
            {"label": [-1, 1, 2, -1]},
            "wrong-labels",
            "the train split has negative labels, 2 of 4, such as -1; remove the examples that have no label",
        ),
        ({"image": [b"no"] * 4, "label": [0] * 4}, "unusable-image", "4 images cannot be used: row 0 of pets.parquet, row 1 of pets.parquet"),
        ({"label": np.array([0, 2**64 - 1] * 2, np.uint64)}, "wrong-labels", "a label is 18446744073709551615"),
        ({"mask": [b"x"] * 4}, "wrong-columns", "mask (binary)"),
    ],
)
def test_faults_of_parquet_columns(tmp_path, columns, code, expected):
    (tmp_path / "pets.parquet").write_bytes(parquet(4, names=None, **columns))
    assert expected in refusal(pets(tmp_path / "pets.parquet", format="parquet", val_size=0), tmp_path / "o.npz", code)
