"""Read a source in each format that data.format can name. A new format is a function here and its line in READERS."""

import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from actgrad.config.schema import Data
from actgrad.data import npz
from actgrad.data.archives import GIB, MAX_BYTES, members
from actgrad.data.dataset import SPLITS, Dataset, shape_text, with_all_splits
from actgrad.errors import UserError

LARGEST_SIDE = 1024
"""Largest height and width of an image, in pixels."""
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's other formats are left out, because some of them start programs: Ghostscript draws EPS."""
NOT_IMAGES = ("Thumbs.db", "desktop.ini")
"""Files that file managers leave in folders of images."""


def read(data: Data, source: Path | None) -> Dataset:
    """Read what `fetch` returned. Splits that the source lacks are empty.

    Raises:
        UserError: if the source is damaged or does not have the format data.format.
        OSError: if it cannot be opened.
    """
    return READERS[data.format](source)


# --- digits


def read_digits(_: Path | None = None) -> Dataset:
    """Read scikit-learn's digits: 1,797 images of 8x8x1, ten classes, all in the train split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return with_all_splits({"train": images}, {"train": digits.target}, [str(name) for name in digits.target_names])


# --- CIFAR-10, binary version


def read_cifar10_binary(source: Path) -> Dataset:
    """Read records of one label byte and 3,072 pixel bytes: the red, green and blue planes of 32x32, row by row.

    Raises:
        UserError: if a file is missing or is cut.
    """
    names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    wanted = {"batches.meta.txt", *names["train"], *names["test"]}
    files = {path.name: content for path, content in members(source, lambda path: path.name in wanted)}
    try:
        meta = files["batches.meta.txt"]
        parts = {name: [files[batch] for batch in batches] for name, batches in names.items()}
    except KeyError as error:
        raise UserError(f"{source} holds no {error.args[0]}; it is not the binary version of CIFAR-10") from None
    images, labels = {}, {}
    for name, batches in parts.items():
        if any(len(batch) % 3073 for batch in batches):
            raise UserError(f"{source}: a batch of the {name} split is not a whole number of 3,073-byte records; get the archive again")
        records = np.frombuffer(b"".join(batches), dtype=np.uint8).reshape(-1, 3073)
        labels[name] = records[:, 0]
        images[name] = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return with_all_splits(images, labels, meta.decode().split())


# --- folders of image files


def read_image_folder(source: Path) -> Dataset:
    """Read `<split>/<class>/<file>` at any depth of an archive or folder. Classes are numbered in the order of their names.

    Raises:
        UserError: if an image cannot be read, if images differ in size, or if a split lacks a class.
    """
    found = _decode_all(source)
    if missing := [name for name in ("train", "test") if name not in found]:
        raise UserError(f"{source} has no images under {missing[0]}/<class>/; expected are train/<class>/<file> and test/<class>/<file>")
    class_names = sorted(set().union(*found.values()))
    for name, classes in found.items():
        if absent := sorted(set(class_names) - set(classes)):
            raise UserError(f"{source}: the {name} split has no folder for the class {absent[0]!r}, which another split has; each needs all classes")
    images, labels = {}, {}
    colour = any(image.ndim == 3 for classes in found.values() for items in classes.values() for _, image in items)
    shape: tuple[int, ...] | None = None
    for name, classes in found.items():
        arrays = []
        for label in class_names:
            for path, image in sorted(classes[label], key=lambda item: item[0]):
                shape = shape or image.shape[:2]
                if image.shape[:2] != shape:
                    raise UserError(f"{source}: {path} is {shape_text(image.shape[:2])}, others are {shape_text(shape)}; resize them alike")
                image = image if image.ndim == 3 else image[..., np.newaxis]
                arrays.append(np.broadcast_to(image, (*shape, 3 if colour else 1)))
        images[name] = np.stack(arrays)
        labels[name] = np.repeat(np.arange(len(class_names)), [len(classes[label]) for label in class_names])
    return with_all_splits(images, labels, class_names)


def _decode_all(source: Path) -> dict[str, dict[str, list[tuple[str, np.ndarray]]]]:
    """split -> class -> (path, image), in the order of the archive."""
    found: dict[str, dict[str, list[tuple[str, np.ndarray]]]] = {}
    size = 0
    for path, content in members(source, _is_image):
        split, label = path.parts[-3], path.parts[-2]
        image = _decode(source, path, content)
        size += image.size
        if size > MAX_BYTES:
            raise UserError(f"{source}: its images take more than {MAX_BYTES // GIB} GiB, and all are held in memory; choose fewer or smaller ones")
        found.setdefault(split, {}).setdefault(label, []).append((str(path), image))
    return found


def _is_image(path: PurePosixPath) -> bool:
    return len(path.parts) >= 3 and path.parts[-3] in SPLITS and not path.name.startswith(".") and path.name not in NOT_IMAGES


def _decode(source: Path, path: PurePosixPath, content: bytes) -> np.ndarray:
    """Decode an image to uint8: (height, width) if it is grey, (height, width, 3) otherwise."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
            if max(image.size) > LARGEST_SIDE:
                largest = shape_text((LARGEST_SIDE, LARGEST_SIDE))
                raise UserError(f"{source}: {path} is {shape_text(image.size[::-1])}; the largest that can be used is {largest}, resize it")
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{source}: {path} has more than 8 bits a channel; convert it to 8 bits")
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{source}: {path} cannot be read as an image (none of {', '.join(IMAGE_FORMATS)}); mend or remove it") from None
    except Exception as error:  # each decoder raises its own errors for a damaged image
        raise UserError(f"{source}: {path} cannot be read as an image ({error}); mend or remove it") from None


# --- .npz


def read_npz(source: Path) -> Dataset:
    """Read an .npz file of the user's own. `npz.to_dataset` lists the arrays that it may hold.

    Raises:
        UserError: if the file is damaged, holds pickled objects, or lacks an array.
    """
    return npz.to_dataset(source, npz.read_arrays(source, "get it again, or write it with numpy.savez, without objects"))


READERS: dict[str, Callable[..., Dataset]] = {
    "cifar10_binary": read_cifar10_binary,
    "digits": read_digits,
    "image_folder": read_image_folder,
    "npz": read_npz,
}
"""data.format -> function that reads it."""
