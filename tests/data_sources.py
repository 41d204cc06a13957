"""Small datasets in every format, made for a test, and the sentence with which a dataset is refused."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def refusal(data: Data, target: Path) -> str:
    """Return the sentence with which a dataset is refused. No file may be left."""
    with pytest.raises(UserError) as refused:
        storage.prepare(data, target)
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
