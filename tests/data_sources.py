"""Small datasets in every format for tests, and a check of refused datasets."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from actgrad.config.schema import Data, parse
from actgrad.data import storage
from actgrad.errors import UserError
from conftest import image_set


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def folder_files(classes=("cat", "dog"), train=6, test=2, **kwargs) -> dict[str, bytes]:
    """split/class/file -> PNG bytes. No two images are equal."""
    files = {}
    for part, n in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            for i, image in enumerate(image_set(n, seed=10 * label + (part == "test"), **kwargs)):
                files[f"pets/{part}/{name}/{i:03}.png"] = png(image)
    return files


def tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpacked(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def pets(archive: Path | None, **values) -> Data:
    return parse(Data, {"name": "pets", "format": "image_folder", "archive": archive and str(archive), "val_size": 4} | values)


def cifar10_files() -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Files of a small archive in the binary format of CIFAR-10, and the images and labels in them."""
    images, labels = image_set(60, size=32), np.tile(np.arange(10), 6).astype(np.uint8)
    records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(60, -1)], axis=1).astype(np.uint8)
    folder = "cifar-10-batches-bin"
    files = {f"{folder}/data_batch_{i + 1}.bin": records[10 * i : 10 * i + 10].tobytes() for i in range(5)}
    files |= {f"{folder}/test_batch.bin": records[50:].tobytes(), f"{folder}/batches.meta.txt": "\n".join("abcdefghij").encode() + b"\n"}
    return files, images, labels


def cifar100_files() -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Files of a small archive in the binary format of CIFAR-100: 100 classes of two images, and the images and fine labels in them."""
    images, labels = image_set(200, size=32), np.tile(np.arange(100), 2).astype(np.uint8)
    records = np.concatenate([labels[:, None] // 5, labels[:, None], images.transpose(0, 3, 1, 2).reshape(200, -1)], axis=1).astype(np.uint8)
    names = "".join(f"class_{i}\n" for i in range(100)).encode()
    files = {
        "train.bin": records[:100].tobytes(),
        "test.bin": records[100:].tobytes(),
        "fine_label_names.txt": names,
        "coarse_label_names.txt": b"a\n",
    }
    return {f"cifar-100-binary/{name}": content for name, content in files.items()}, images, labels


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.astype(np.uint8).tobytes()


def idx_files(classes: int = 3, first: int = 0, train: int = 6, test: int = 2) -> dict[str, bytes]:
    """The four IDX files, with `train` and `test` images of 8x8 per class. Labels begin at `first`."""
    files = {}
    for seed, (name, n) in enumerate((("train", train * classes), ("t10k", test * classes))):
        files[f"{name}-images-idx3-ubyte"] = idx(image_set(n, channels=1, seed=seed)[..., 0])
        files[f"{name}-labels-idx1-ubyte"] = idx(np.arange(n) % classes + first)
    return files


def parquet(n: int, seed: int = 0, names: tuple[str, ...] | None = ("cat", "dog"), **columns) -> bytes:
    """A Parquet file of n images in two classes, as Hugging Face's library writes it; `columns` replace or add columns."""
    images = [{"bytes": png(image), "path": None} for image in image_set(n, seed=seed)]
    table = pa.table({"image": images, "label": np.arange(n) % 2} | columns)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def parquet_files() -> dict[str, bytes]:
    """Twelve images for training in two shards, four for the test."""
    return {
        "data/train-00000-of-00002.parquet": parquet(6, seed=0),
        "data/train-00001-of-00002.parquet": parquet(6, seed=1),
        "data/test-00000-of-00001.parquet": parquet(4, seed=2),
    }


def refusal(data: Data, target: Path, code: str) -> str:
    """Return the sentence of a refused dataset, which must have this code. No file may be left."""
    with pytest.raises(UserError) as refused:
        storage.prepare(data, target)
    assert refused.value.code == code, refused.value
    assert not target.exists()
    assert not list(target.parent.glob(".*"))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def npz(path: Path, **changes) -> Path:
    arrays = {
        "x_train": image_set(20, size=12),
        "y_train": np.tile([0, 1], 10),
        "x_test": image_set(4, size=12, seed=1),
        "y_test": np.array([0, 1, 0, 1]),
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path
