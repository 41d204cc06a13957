"""A source of another format than data.format: the sentence says which format reads it."""

import io
import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from actgrad.config.schema import Data
from actgrad.data import storage
from conftest import image_set
from data_sources import cifar10_files, cifar100_files, folder_files, idx_files, npz, parquet, parquet_files, pets, refusal, tar, unpacked, zipped

FORMATS = [name for name in get_args(Data.model_fields["format"].annotation) if name != "digits"]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image_set(2))
    return buffer.getvalue()


SOURCES = {
    "npz": lambda p: npz(p / "own.npz"),
    "parquet": lambda p: zipped(p / "a.zip", parquet_files()),
    "idx": lambda p: unpacked(p / "a", idx_files() | {"README.md": b""}),
    "image_folder": lambda p: unpacked(p / "a", folder_files()),
    "cifar10_binary": lambda p: tar(p / "a.tar.gz", cifar10_files()[0]),
    "cifar100_binary": lambda p: tar(p / "a.tar.gz", cifar100_files()[0]),
}
"""data.format -> a source that it reads."""


@pytest.mark.parametrize("right", SOURCES)
def test_the_format_that_reads_a_source_is_named_by_all_others(tmp_path, right):
    source = SOURCES[right](tmp_path)
    for form in FORMATS:
        data = pets(source, format=form, val_size=0)
        if form == right:
            storage.prepare(data, tmp_path / "read.npz")
        else:
            said = refusal(data, tmp_path / "o.npz", "wrong-format")
            assert said.endswith(f", which data.format={form} does not read; set data.format={right}")


@pytest.mark.parametrize(
    ("make", "form", "expected"),
    [
        (
            lambda p: written(p / "pets.parquet", parquet(4)),
            "image_folder",
            "is a Parquet file, which data.format=image_folder does not read; set data.f",
        ),
        (
            lambda p: written(p / "x.npy", array()),
            "image_folder",
            "save images and labels with numpy.savez(FILE, x_train=IMAGES, y_train=LABELS), and",
        ),
        (
            lambda p: written(p / "x.pkl", pickle.dumps([1])),
            "npz",
            "x.pkl is a file of pickled objects, which data.format=npz does not read",
        ),
        (
            lambda p: unpacked(p, idx_files()) / "t10k-labels-idx1-ubyte",
            "idx",
            "is one file of IDX, which data.format=idx does not read; give the folder",
        ),
        (lambda p: npz(unpacked(p / "a", {"README": b""}) / "own.npz").parent, "image_folder", "a/own.npz, and set data.format=npz"),
        (lambda p: tar(p / "a.tar.gz", {"x.npy": b"", "y.npy": b""}), "image_folder", "a.tar.gz holds NumPy arrays, which"),
        (lambda p: unpacked(p / "a", {"x.npy": b"", "y.npy": b""}), "image_folder", "a holds NumPy arrays, which data.format=image_folder does not"),
        (
            lambda p: tar(p / "a.tar.gz", dict.fromkeys(["c/data_batch_1", "c/test_batch", "c/batches.meta", "c/readme.html"], b"")),
            "cifar10_binary",
            "which data.format=cifar10_binary does not read; give its binary version with data.format=cifar10_binary",
        ),
        (lambda p: tar(p / "a.tar", dict.fromkeys(["train", "test", "meta", "file.txt~"], b"")), "image_folder", "the pickled version of CIFAR-100"),
    ],
)
def test_what_no_format_reads_as_it_is_gets_a_remedy(tmp_path, make, form, expected):
    assert expected in refusal(pets(make(tmp_path), format=form, val_size=0), tmp_path / "o.npz", "wrong-format")


def test_one_file_of_another_kind_is_named_itself(tmp_path):
    source = unpacked(tmp_path / "a", folder_files() | {"pets/train/cat/x.parquet": parquet(2)})
    assert "x.parquet cannot be read as an image" in refusal(pets(source, val_size=0), tmp_path / "o.npz", "unusable-image")
