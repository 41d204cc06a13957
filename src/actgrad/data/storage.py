"""Datasets: fetch, verify, read, split, store and load. Nothing that was downloaded is ever executed or unpacked to disk."""

import bz2
import gzip
import io
import lzma
import mmap
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

import numpy as np

from actgrad.config.schema import Data
from actgrad.errors import UserError
from actgrad.files import DAMAGED, sha256, write_bytes

if TYPE_CHECKING:
    import requests

SPLITS = ("train", "val", "test")
SMALLEST_SIDE, LARGEST_SIDE = 4, 1024
GIB = 2**30
MOST_BYTES, MOST_BYTES_OF_A_FILE, MOST_FILES = 4 * GIB, GIB // 4, 2_000_000
"""What an archive may unpack to. The images are held in memory, and a small file can claim to hold terabytes."""
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's other formats are left out because reading some of them starts programs: EPS is drawn by Ghostscript."""
LITTER = ("Thumbs.db", "desktop.ini")  # what file managers leave in folders of images
WAYS_OUT = "bring the archive from another machine and give it with data.archive=PATH, or use the dataset that needs no download: data=digits"


@dataclass(frozen=True)
class Dataset:
    """Images and labels of each split.

    Attributes:
        images: split -> uint8 (n, height, width, channels), pixels 0 to 255.
        labels: split -> int64 (n,), each in 0 .. len(class_names) - 1.
        class_names: the name of each label.
        sha256: of the file that it was loaded from; empty before that.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    class_names: list[str]
    sha256: str = ""

    @property
    def validation_split(self) -> str:
        """The split that plays validation: `test` where no validation split was taken."""
        return "val" if len(self.images["val"]) else "test"


def path(name: str) -> Path:
    """Where the dataset of this name is kept."""
    return Path("data") / f"{name}.npz"


def prepare(data: Data, target: Path) -> Dataset:
    """Build `target` (an .npz whose bytes depend on the configuration and the source alone) and return what is in it.

    Raises:
        UserError: if the source cannot be had, fails its checksum, or does not hold what the configuration says.
    """
    whole = read(data, fetch(data))
    check_arrays(data.name, whole)
    dataset = split(data, whole)
    check(data.name, dataset)
    buffer = io.BytesIO()
    arrays = {f"x_{name}": dataset.images[name] for name in SPLITS} | {f"y_{name}": dataset.labels[name] for name in SPLITS}
    np.savez(buffer, **arrays, class_names=np.array(dataset.class_names, dtype=str), made_from=np.array(_made_from(data)))
    write_bytes(target, buffer.getvalue())
    return dataset


def load(data: Data) -> Dataset:
    """Load what `prepare` wrote to `path(data.name)`.

    Raises:
        UserError: if it is missing, damaged, or was made with other values than `data` has.
    """
    source = path(data.name)
    again = f"make it with: python src/download.py data={data.name}"
    if not source.is_file():
        raise UserError(f"{source} is missing; {again} (data=digits needs no download)")
    arrays = _arrays(source, f"damaged? {again}")
    made_from = str(arrays.get("made_from", "other values"))
    if made_from != _made_from(data):
        raise UserError(f"{source} was made with {made_from}, not with {_made_from(data)}; {again}, and give it the same data.KEY=VALUE")
    dataset = _from_arrays(source, arrays)
    check(data.name, dataset)
    return Dataset(dataset.images, dataset.labels, dataset.class_names, sha256(source))


def probe_batch(images: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`size` images at even distances, so that a split sorted by class gives every class its share."""
    chosen = np.linspace(0, len(images) - 1, min(size, len(images))).round().astype(int)
    return images[chosen], labels[chosen]


def _made_from(data: Data) -> str:
    """The values that decide what is in a dataset's file."""
    return " ".join(f"data.{key}={getattr(data, key)}" for key in ("format", "sha256", "val_size", "test_size", "split_seed"))


# --- fetch


def fetch(data: Data) -> Path | None:
    """The verified source on this disk; None for a format that is part of a library.

    In this order: data.archive, the user's cache folder, each address of data.urls. A file of known checksum is kept in
    the cache, so that the next clone of this project, or the next `dvc repro`, needs neither archive nor network.
    """
    if data.format == "digits":
        if data.archive is not None:
            raise UserError(f"data.archive={data.archive} has no use here: {data.name} is part of scikit-learn; leave it out")
        return None
    if data.archive is not None:
        return _local(data, Path(data.archive).expanduser())
    if data.sha256 is None:
        raise UserError(f"data.sha256 of {data.name} is not set; give a local file with data.archive=PATH, or the checksum of the download")
    cached = _cached(data)
    if cached.is_file() and sha256(cached) == data.sha256:
        return cached
    if not data.urls:
        raise UserError(
            f"{data.name} has no address to download from; get it from {data.source or 'its owner'} and give its archive once with: "
            f"python src/download.py data={data.name} data.archive=PATH"
        )
    return _download(data, cached)


def _cached(data: Data) -> Path:
    import pooch

    return pooch.os_cache("actgrad") / f"{data.name}-{data.sha256[:16]}"


def _local(data: Data, path: Path) -> Path:
    if not path.exists():
        raise UserError(f"data.archive={path} does not exist; give the path of an archive or folder for {data.name}")
    if path.is_dir():
        if data.format != "image_folder":
            raise UserError(f"data.archive={path} is a folder; {data.name} has the format {data.format}, which is one file")
        return path
    if data.sha256 is None:
        return path
    if (found := sha256(path)) != data.sha256:
        raise UserError(
            f"data.archive={path} has the sha256 {found}, not {data.sha256}: it is truncated or another file; "
            "get it again, or set data.sha256 if you mean to use this one"
        )
    cached = _cached(data)
    try:
        write_bytes(cached, path.read_bytes())
    except OSError as error:
        sys.stderr.write(f"note: {path} is used, but could not be kept in {cached.parent} for the next time ({error.strerror})\n")
    return path


def _download(data: Data, cached: Path) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # a progress bar says enough
    failures = []
    for url in data.urls:
        try:
            downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
            return Path(pooch.retrieve(url, f"sha256:{data.sha256}", cached.name, cached.parent, downloader=downloader))
        except requests.RequestException as error:
            failures.append(f"{url}: {_cause(error)}")
        except ValueError:
            failures.append(f"{url}: what it sent has not the sha256 {data.sha256}")
        except OSError as error:
            raise UserError(f"{cached.parent} cannot hold the download ({error.strerror}); make room there, or set XDG_CACHE_HOME") from None
    raise UserError(f"{data.name} could not be downloaded ({'; '.join(failures)}); {WAYS_OUT}")


def _cause(error: "requests.RequestException") -> str:
    if isinstance(error, ValueError):  # requests' own classes for what is no address
        return "not a web address"
    return f"HTTP status {error.response.status_code}" if error.response is not None else f"no connection ({type(error).__name__})"


# --- read


def read(data: Data, source: Path | None) -> Dataset:
    """Read a source in its format; splits that it lacks are empty."""
    if data.format == "digits":
        return _read_digits()
    if data.format == "npz":
        return _read_npz(source)
    return {"cifar10_binary": _read_cifar10_binary, "image_folder": _read_image_folder}[data.format](source)


def _read_digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return _dataset({"train": images}, {"train": digits.target}, [str(name) for name in digits.target_names])


def _read_cifar10_binary(source: Path) -> Dataset:
    """Records of one label byte and 3,072 pixel bytes: red, green and blue planes of 32x32, row by row."""
    names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    wanted = {"batches.meta.txt", *names["train"], *names["test"]}
    files = {member.name: content for member, content in _members(source, lambda path: path.name in wanted)}
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
    return _dataset(images, labels, meta.decode().split())


def _read_image_folder(source: Path) -> Dataset:
    """`<split>/<class>/<file>` at any depth of an archive or folder; classes are numbered in the order of their names."""
    found: dict[str, dict[str, list[tuple[str, np.ndarray]]]] = {}
    size = 0
    for path, content in _members(source, _is_image_path):
        part, label = path.parts[-3], path.parts[-2]
        image = _decode(source, path, content)
        size += image.size
        if size > MOST_BYTES:
            raise UserError(f"{source}: its images take more than {MOST_BYTES // GIB} GiB, and all are held in memory; choose fewer or smaller ones")
        found.setdefault(part, {}).setdefault(label, []).append((str(path), image))
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
                    raise UserError(f"{source}: {path} is {image.shape[0]}x{image.shape[1]}, others are {shape[0]}x{shape[1]}; resize them alike")
                image = image if image.ndim == 3 else image[..., np.newaxis]
                arrays.append(np.broadcast_to(image, (*shape, 3 if colour else 1)))
        images[name] = np.stack(arrays)
        labels[name] = np.repeat(np.arange(len(class_names)), [len(classes[label]) for label in class_names])
    return _dataset(images, labels, class_names)


def _is_image_path(path: PurePosixPath) -> bool:
    return len(path.parts) >= 3 and path.parts[-3] in SPLITS and not path.name.startswith(".") and path.name not in LITTER


def _decode(source: Path, path: PurePosixPath, content: bytes) -> np.ndarray:
    """An image as uint8: (height, width) if it is grey, (height, width, 3) otherwise."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
            if max(image.size) > LARGEST_SIDE:
                raise UserError(f"{source}: {path} is {_by(image.size[::-1])}; the largest that can be used is {_by((LARGEST_SIDE,) * 2)}, resize it")
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{source}: {path} has more than 8 bits a channel; convert it to 8 bits")
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{source}: {path} cannot be read as an image (none of {', '.join(IMAGE_FORMATS)}); mend or remove it") from None
    except Exception as error:  # a decoder fails in ways of its own on what is damaged
        raise UserError(f"{source}: {path} cannot be read as an image ({error}); mend or remove it") from None


def _members(source: Path, wanted: Callable[[PurePosixPath], bool] = lambda _: True) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The wanted files of a folder, tar or zip archive, one by one, read into memory.

    Raises:
        UserError: for an archive that is damaged, that holds links, devices or names that point outside it, or that is a bomb.
    """
    if source.is_dir():
        for file in sorted(source.rglob("*")):
            path = PurePosixPath(file.relative_to(source).as_posix())
            if wanted(path) and file.is_file():
                yield path, file.read_bytes()
        return
    with source.open("rb"):
        pass  # what cannot be opened is not called damaged
    try:
        if zipfile.is_zipfile(source):
            _bounded(source, files=_zip_entries(source))
            with zipfile.ZipFile(source) as archive:
                _bounded(source, sum(entry.file_size for entry in archive.infolist()))
                for entry in archive.infolist():
                    path = _inside(source, entry.filename)
                    if not entry.is_dir() and wanted(path):
                        _bounded(source, of_a_file=entry.file_size)
                        yield path, _unzipped(source, archive, entry)
        else:
            with _uncompressed(source) as stream, tarfile.open(fileobj=_Bounded(source, stream), mode="r:") as archive:
                for count, member in enumerate(archive, start=1):
                    archive.members.clear()  # which would hold all of them at the end
                    path = _inside(source, member.name)
                    _bounded(source, archive.offset, files=count)
                    if not (member.isfile() or member.isdir()):
                        raise UserError(f"{source}: {member.name} is a link or a device; an archive of images holds files and folders only")
                    if member.isfile() and wanted(path):
                        _bounded(source, of_a_file=member.size)
                        yield path, archive.extractfile(member).read()
                stream.seek(archive.offset)
                if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                    raise EOFError  # a tar file ends in blocks of zeros; tarfile takes one that is cut between two members as whole
    except (*DAMAGED, tarfile.TarError, lzma.LZMAError) as error:
        reason = str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        raise UserError(f"{source} is damaged or not a tar or zip archive ({reason}); get it again") from None


def _bounded(source: Path, size: int = 0, of_a_file: int = 0, files: int = 0) -> None:
    if size > MOST_BYTES or of_a_file > MOST_BYTES_OF_A_FILE or files > MOST_FILES:
        raise UserError(
            f"{source} unpacks to more than can be used: at most {MOST_BYTES // GIB} GiB in {MOST_FILES:,} files, "
            f"none above {MOST_BYTES_OF_A_FILE // 2**20} MiB; do not use this archive, or make one of fewer or smaller images"
        )


def _unzipped(source: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of an entry, and no more than it claims: the compressions that are refused would unpack without a bound."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{source}: {entry.filename} is packed in a way that is not read; make the zip with the usual compression, deflate")
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)  # with a size zipfile unpacks that much, without one it unpacks all, and then cuts it


def _zip_entries(source: Path) -> int:
    """How many entries a zip has, at most: before zipfile, which reads all of them at once."""
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sum(1 for _ in re.finditer(re.escape(zipfile.stringCentralDir), content))


def _uncompressed(source: Path) -> IO[bytes]:
    with source.open("rb") as file:
        magic = file.read(3)
    opener = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}.get(magic, open)
    return opener(source, "rb")


class _Bounded:
    """A tar's stream that gives no more at once than a file may hold: the headers of a member can claim any size."""

    def __init__(self, source: Path, stream: IO[bytes]):
        self._source, self._stream, self.seek, self.tell = source, stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        _bounded(self._source, of_a_file=size)
        return self._stream.read(size)


def _inside(source: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
        raise UserError(f"{source}: the member {name!r} points outside the archive; do not use this archive")
    return path


def _read_npz(source: Path) -> Dataset:
    """x_train, y_train, x_test, y_test, and as the user likes x_val, y_val and class_names. Pickled arrays are refused."""
    return _from_arrays(source, _arrays(source, "get it again, or write it with numpy.savez, without objects"))


def _arrays(source: Path, remedy: str) -> dict[str, np.ndarray]:
    try:
        _bounded(source, files=_zip_entries(source))
        with zipfile.ZipFile(source) as archive:
            _bounded(source, sum(entry.file_size for entry in archive.infolist()))
        with source.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise UserError(f"{source} is not an .npz of plain arrays ({error}); {remedy}") from None


def _from_arrays(source: Path, arrays: dict[str, np.ndarray]) -> Dataset:
    needed = ["x_train", "y_train", "x_test", "y_test"] + (["x_val", "y_val"] if {"x_val", "y_val"} & set(arrays) else [])
    if missing := [name for name in needed if name not in arrays]:
        raise UserError(f"{source} has no array {missing[0]}; needed are {', '.join(needed)}")
    splits = [name for name in SPLITS if f"x_{name}" in arrays]
    images = {name: _pixels(source, f"x_{name}", arrays[f"x_{name}"]) for name in splits}
    labels = {name: _integers(source, f"y_{name}", arrays[f"y_{name}"]) for name in splits}
    return _dataset(images, labels, _class_names(source, arrays.get("class_names"), labels["train"]))


def _class_names(source: Path, names: np.ndarray | None, train_labels: np.ndarray) -> list[str]:
    if names is not None:
        return [str(name) for name in names.ravel()]
    classes = np.unique(train_labels)
    if not np.array_equal(classes, np.arange(len(classes))):
        raise UserError(
            f"{source}: labels of the train split run from {classes.min(initial=0)} to {classes.max(initial=0)} with {len(classes)} different ones; "
            "number the classes from 0 without a gap, or add class_names with one name a class"
        )
    return [str(name) for name in classes]


def _pixels(source: Path, name: str, array: np.ndarray) -> np.ndarray:
    array = array[..., np.newaxis] if array.ndim == 3 else array
    if array.ndim != 4:
        raise UserError(f"{source}: {name} has the shape {array.shape}; it must be (n, height, width) or (n, height, width, channels)")
    if not np.issubdtype(array.dtype, np.number):
        raise UserError(f"{source}: {name} holds {array.dtype}; it must hold pixel values from 0 to 255")
    if array.dtype != np.uint8:
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.uint8)
        if not np.array_equal(whole, array):
            raise UserError(f"{source}: {name} must hold whole pixel values from 0 to 255 and has others (as {array.dtype}); scale and round them")
        array = whole
    return array


def _integers(source: Path, name: str, array: np.ndarray) -> np.ndarray:
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{source}: {name} must be whole numbers of the shape (n,) and is {array.dtype} of {array.shape}")
    return array


def _dataset(images: dict[str, np.ndarray], labels: dict[str, np.ndarray], class_names: list[str]) -> Dataset:
    """A Dataset with every split present, an absent one empty."""
    empty_images, empty_labels = images["train"][:0], np.zeros(0, np.int64)
    return Dataset(
        {name: images.get(name, empty_images) for name in SPLITS},
        {name: labels[name].astype(np.int64) if name in labels else empty_labels for name in SPLITS},
        class_names,
    )


# --- split and check


def split(data: Data, dataset: Dataset) -> Dataset:
    """Take the test split (if the source has none) and the validation split from train, stratified, by data.split_seed."""
    images, labels = dict(dataset.images), dict(dataset.labels)
    for name, size in (("test", data.test_size), ("val", data.val_size)):
        if size == 0:
            continue
        if len(images[name]):
            raise UserError(f"data.{name}_size={size}, but {data.name} brings a {name} split of its own; set it to 0")
        kept, taken = _stratified(data, labels["train"], name, size)
        images[name], labels[name] = images["train"][taken], labels["train"][taken]
        images["train"], labels["train"] = images["train"][kept], labels["train"][kept]
    return Dataset(images, labels, dataset.class_names)


def _stratified(data: Data, labels: np.ndarray, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(labels, return_counts=True)
    if size < len(classes) or len(labels) - size < len(classes) or counts.min() < 2:
        allowed = f"{len(classes)} to {len(labels) - len(classes)}" if counts.min() >= 2 and len(labels) >= 2 * len(classes) else "0"
        raise UserError(
            f"data.{name}_size={size} cannot be taken from {len(labels)} training images of {len(classes)} classes, the smallest of {counts.min()}: "
            f"each class must keep and give an image; choose {allowed}{', or 0 for no such split' if allowed != '0' else ''}"
        )
    kept, taken = train_test_split(np.arange(len(labels)), test_size=size, random_state=data.split_seed, stratify=labels)
    return np.sort(kept), np.sort(taken)


def check(name: str, dataset: Dataset) -> None:
    """Raise UserError unless the network can be trained on this dataset."""
    check_arrays(name, dataset)
    shape = dataset.images["train"].shape[1:]
    if min(shape[:2]) < SMALLEST_SIDE or shape[2] not in (1, 3):
        raise UserError(f"{name}: images are {_by(shape)}; they must be {SMALLEST_SIDE}x{SMALLEST_SIDE} or larger, of 1 or 3 channels")
    if len(dataset.class_names) < 2:
        raise UserError(f"{name} has {len(dataset.class_names)} class; a classifier needs at least two")
    if len(dataset.images["test"]) == 0:
        raise UserError(f"{name}: the test split is empty; it needs images")


def check_arrays(name: str, dataset: Dataset) -> None:
    """Raise UserError unless images are alike in all splits, and each has a label that is a class."""
    shape, classes = dataset.images["train"].shape[1:], len(dataset.class_names)
    if len(dataset.images["train"]) == 0:
        raise UserError(f"{name}: the train split is empty; it needs images")
    for part in SPLITS:
        images, labels = dataset.images[part], dataset.labels[part]
        if len(images) != len(labels):
            raise UserError(f"{name}: the {part} split has {len(images)} images and {len(labels)} labels; give one label an image")
        if len(images) and images.shape[1:] != shape:
            raise UserError(f"{name}: {part} images are {_by(images.shape[1:])}, train images {_by(shape)}; all must be alike")
        if len(labels) and (labels.min() < 0 or labels.max() >= classes):
            raise UserError(
                f"{name}: labels of the {part} split run from {labels.min()} to {labels.max()}; "
                f"with {classes} classes they must be 0 to {classes - 1}"
            )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
