"""IDX, CIFAR-100 and image files: values compared with ones computed by hand, and refused files."""

import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actgrad.config.loading import data_config
from actgrad.data import storage
from actgrad.data.images import decoded
from actgrad.errors import UserError
from conftest import NAMES, image_set
from data_sources import cifar100_files, folder_files, idx, idx_files, npz, pets, png, refusal, tar, unpacked, zipped


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def gzipped(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name if name.endswith(".md") else f"{name}.gz": gzip.compress(content) for name, content in files.items()}


# --- IDX


@pytest.mark.parametrize(
    "make",
    [
        lambda folder, files: unpacked(folder / "a", files),
        lambda folder, files: unpacked(folder / "a", gzipped(files)),
        lambda folder, files: unpacked(folder / "a", files | gzipped(files)),
        lambda folder, files: tar(folder / "a.tar", gzipped({f"raw/{name}": content for name, content in files.items()}), "w"),
        lambda folder, files: zipped(folder / "a.zip", {name.replace("-idx", ".idx"): content for name, content in files.items()}),
        lambda folder, files: zipped(folder / "a.zip", {f"emnist-digits-{name.replace('t10k', 'test')}": content for name, content in files.items()}),
    ],
    ids=["folder", "gzipped", "both", "tar", "dots", "emnist"],
)
def test_idx_is_the_same_from_every_container(tmp_path, make):
    dataset = storage.prepare(pets(make(tmp_path, idx_files() | {"README.md": b""}), format="idx"), tmp_path / "o.npz")
    assert np.array_equal(dataset.images["test"], image_set(6, channels=1, seed=1))
    assert dataset.labels["test"].tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.class_names == ["0", "1", "2"]
    assert dataset.ignored["documents"] == 1
    assert dataset.ignored.get("packed copies", 0) in (0, 4)


def test_labels_of_idx_that_begin_at_1_are_moved_and_said(tmp_path):
    dataset = storage.prepare(pets(unpacked(tmp_path / "a", idx_files(26, first=1)), format="idx", val_size=26), tmp_path / "o.npz")
    assert (dataset.labels["test"].min(), dataset.labels["test"].max()) == (0, 25)
    assert (dataset.class_names[0], dataset.class_names[25]) == ("1", "26")
    assert "labels 1 to 26 of the source are the classes 0 to 25" in dataset.remarks


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        ({"t10k-labels-idx1-ubyte": None}, "missing-part", "labels of the test split; the files of IDX are train-images-idx3-ubyte"),
        ({"train-images-idx3-ubyte": None}, "missing-part", "holds no images of the train split"),
        ({"train-labels-idx1-ubyte": idx(np.array([0, 2] * 9))}, "empty-class", "the train split has no image of the class '1'"),
        (
            {"train-labels-idx1-ubyte": idx(np.array([3, 5] * 9)), "t10k-labels-idx1-ubyte": idx(np.array([3, 5] * 3))},
            "wrong-labels",
            "and none is 4",
        ),
        ({"train-labels-idx1-ubyte": idx(np.array([0, 1, 2]))}, "wrong-labels", "18 images and 3 labels"),
        ({"train-labels-idx1-ubyte": idx(np.zeros((18, 1)))}, "damaged-file", "train-labels-idx1-ubyte "),
        ({"train-images-idx3-ubyte": idx_files()["train-images-idx3-ubyte"][:-1]}, "damaged-file", "has 1151 bytes of images"),
        ({"train-images-idx3-ubyte": bytes([0, 0, 8, 3]) + b"\xff" * 12}, "too-large", "256 MiB"),
        ({"train-images-idx3-ubyte": b""}, "damaged-file", "train-images-idx3-ubyte "),
        ({"train-images-idx3-ubyte.gz": gzip.compress(b"other")}, "damaged-file", "train-images-idx3-ubyte.gz "),
        ({"train-images-idx3-ubyte.gz": gzip.compress(idx(np.ones((18, 8, 8))))}, "file-twice", "train-images-idx3-ubyte"),
        ({"train-images-idx3-ubyte.gz": gzip.compress(b"a" * 999)[:-9]}, "damaged-file", "idx3-ubyte.gz "),
        ({"emnist-letters-train-images-idx3-ubyte": b""}, "mixed-datasets", "images of the train split"),
        ({"more/t10k-images-idx3-ubyte": b""}, "mixed-datasets", "images of the test split"),
        ({"extra.bin": b""}, "unexpected-part", "extra.bin"),
        ({"valid-images-idx3-ubyte": b""}, "unexpected-part", "valid-images-idx3-ubyte"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_faults_of_idx(tmp_path, changes, code, expected):
    files = {name: content for name, content in (idx_files() | changes).items() if content is not None}
    assert expected in refusal(pets(unpacked(tmp_path / "a", files), format="idx"), tmp_path / "o.npz", code)


def test_idx_without_a_test_split_gives_one(tmp_path):
    files = {name: content for name, content in idx_files().items() if name.startswith("train")}
    dataset = storage.prepare(pets(unpacked(tmp_path / "a", files), format="idx", test_size=6), tmp_path / "o.npz")
    assert [len(images) for images in dataset.images.values()] == [8, 4, 6]


# --- CIFAR-100


def test_cifar100_has_the_fine_labels(tmp_path):
    files, images, labels = cifar100_files()
    source = pets(tar(tmp_path / "a.tar.gz", files), format="cifar100_binary", val_size=0)
    dataset = storage.prepare(source, tmp_path / "o.npz")
    assert np.array_equal(dataset.images["test"], images[100:])
    assert np.array_equal(dataset.labels["train"], labels[:100])
    assert dataset.class_names[99] == "class_99"
    assert dataset.ignored == {"documents": 1}


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        ({"cifar-100-binary/test.bin": None}, "missing-part", "test.bin"),
        ({"cifar-100-binary/test.bin": bytes(3075)}, "damaged-file", "test.bin is empty or not a whole number of 3,074-byte records"),
        ({"cifar-100-binary/train.bin": b""}, "damaged-file", "train.bin is empty"),
        ({"cifar-100-binary/fine_label_names.txt": b"caf\xe9\n"}, "wrong-class-name", r"the class name b'caf\xe9' is not UTF-8"),
        ({"cifar-100-binary/data_batch_1.bin": b""}, "unexpected-part", "data_batch_1.bin"),
        ({"again/test.bin": bytes(3074)}, "file-twice", "again/test.bin is there again as cifar-100-binary/test.bin"),
    ],
)
def test_faults_of_cifar100(tmp_path, changes, code, expected):
    files = {name: content for name, content in (cifar100_files()[0] | changes).items() if content is not None}
    assert expected in refusal(pets(tar(tmp_path / "a.tar.gz", files), format="cifar100_binary"), tmp_path / "o.npz", code)


# --- image files: pixels as a viewer shows them


def test_all_images_that_cannot_be_used_are_named_at_once(tmp_path):
    broken = {f"pets/train/cat/{name}": content for name, content in zip("abcdefg", [b"no", b"no", png16(3), b"no", b"", b"", b""], strict=True)}
    unread = "none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
    assert refusal(pets(zipped(tmp_path / "a.zip", folder_files() | broken)), tmp_path / "o.npz", "unusable-image") == (
        f"{tmp_path}/a.zip: 7 images cannot be used: pets/train/cat/a, pets/train/cat/b ({unread}), pets/train/cat/c (more than 8 bits a channel), "
        f"pets/train/cat/d, pets/train/cat/e ({unread}) and 2 more; mend, convert or remove them"
    )
    tracemalloc.start()
    with pytest.raises(UserError):
        decoded(tmp_path, ((str(i), bytes(2**20)) for i in range(20)), None)
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20  # the content of one or two, not of all
    tracemalloc.stop()
    large = {f"pets/train/cat/{i}.jpg": saved(Image.new("RGB", (1500, 1100), "red"), "JPEG") for i in range(2)}
    assert (
        "2 images cannot be used: pets/train/cat/0.jpg, pets/train/cat/1.jpg (1100x1500); the largest that can be used is 1024x1024, resize them or"
        in (refusal(pets(zipped(tmp_path / "b.zip", folder_files() | large)), tmp_path / "o.npz", "too-large"))
    )


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read_one(tmp_path: Path, content: bytes, **values) -> np.ndarray:
    """The pixels of an image file, the only one of the class `a` in the test split. All other images have its size."""
    side = values.get("image_size") or Image.open(io.BytesIO(content)).size[0]
    files = folder_files(classes=("b",), size=side) | {"pets/train/a/0.png": png(image_set(1, size=side, seed=90)[0]), "pets/test/a/0.x": content}
    return storage.prepare(pets(zipped(tmp_path / "a.zip", files), val_size=0, **values), tmp_path / "o.npz").images["test"][0]


def test_a_photo_is_turned_as_its_exif_orientation_says(tmp_path):
    stored = image_set(1, seed=5)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    shown = read_one(tmp_path, saved(Image.fromarray(stored), exif=exif))
    assert np.array_equal(shown, np.rot90(stored, -1))


def test_transparency_is_shown_on_white(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 3] = np.linspace(0, 255, 64).reshape(8, 8)
    shown = read_one(tmp_path, saved(Image.fromarray(pixels)))
    assert np.abs(shown.astype(int) - (255 - pixels[..., 3:].astype(int))).max() <= 1  # black where it is opaque
    palette = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 2, "P")
    palette.putpalette([200, 0, 0, 0, 100, 0])
    assert read_one(tmp_path, saved(palette))[0, :2].tolist() == [[200, 0, 0], [0, 100, 0]]
    assert read_one(tmp_path, saved(palette, transparency=0))[0, :2].tolist() == [[255, 255, 255], [0, 100, 0]]


def test_an_image_that_is_transparent_all_over_is_refused(tmp_path):
    files = folder_files() | {"pets/test/cat/0.png": saved(Image.new("RGBA", (8, 8), (9, 9, 9, 0)))}
    assert "0.png" in refusal(pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz", "unusable-image")


def png16(channels: int) -> bytes:
    """A PNG of 16 bits per channel, which Pillow cannot write in colour: 2 grey and alpha, 3 red, green and blue, 4 with alpha."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 8, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + bytes(8 * channels * 2) for _ in range(8))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff16() -> bytes:
    """A TIFF of three channels of 16 bits."""
    import struct

    tags = [(256, 8), (257, 8), (258, None), (259, 1), (262, 2), (273, None), (277, 3), (278, 8), (279, 384)]
    bits_at = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 3, 3 if tag == 258 else 1, {258: bits_at, 273: bits_at + 6}.get(tag, value)) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4) + struct.pack("<HHH", 16, 16, 16) + bytes(384)


@pytest.mark.parametrize(
    "content",
    [
        png16(1),
        png16(2),
        png16(3),
        png16(4),
        tiff16(),
        b"P6 8 8 1023\n" + bytes(384),
        b"P3 8 8 65535\n" + b"9 " * 192,
        b"P5 8 8 65535\n" + bytes(128),
    ],
    ids=["grey", "grey and alpha", "RGB", "RGBA", "TIFF", "PPM", "plain PPM", "PGM"],
)
def test_more_than_8_bits_a_channel_are_refused(tmp_path, content):
    Image.open(io.BytesIO(content)).load()  # Pillow reads it
    files = folder_files() | {"pets/test/cat/0.x": content}
    assert "pets/test/cat/0.x has more than 8 bits a channel; convert it to 8 bits" in refusal(
        pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o", "unusable-image"
    )


def test_a_bitmap_of_16_bits_a_pixel_has_no_more_than_8_a_channel(tmp_path):
    import struct

    head = struct.pack("<2sIHHI", b"BM", 54 + 128, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 0, 128, 0, 0, 0, 0)
    assert read_one(tmp_path, head + struct.pack("<H", 0x7C00) * 64)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_a_file_of_several_images_is_refused(tmp_path, kind):
    frames = [Image.fromarray(image) for image in image_set(3)]
    files = folder_files() | {"pets/test/cat/0.x": saved(frames[0], kind, save_all=True, append_images=frames[1:])}
    assert "0.x" in refusal(pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz", "unusable-image")


def test_jpeg_files_have_the_pixels_that_pillow_decodes(tmp_path):
    content = saved(Image.fromarray(image_set(1, seed=7)[0]), "JPEG")
    assert np.array_equal(read_one(tmp_path, content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


# --- image_size


def test_image_size_resizes_images_of_mixed_sizes(tmp_path):
    large = np.repeat(np.repeat(image_set(1, size=4, seed=3)[0], 4, axis=0), 4, axis=1)  # each pixel four times as wide and high
    files = folder_files() | {"pets/test/cat/000.png": png(large)}
    assert "set data.image_size" in refusal(pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz", "mixed-sizes")
    dataset = storage.prepare(pets(zipped(tmp_path / "a.zip", files), image_size=4, val_size=0), tmp_path / "o.npz")
    assert dataset.images["train"].shape == (12, 4, 4, 3)
    by_pillow = np.asarray(Image.fromarray(large).resize((4, 4), Image.Resampling.BILINEAR))
    assert np.array_equal(dataset.images["test"][0], by_pillow)
    assert str(np.load(tmp_path / "o.npz")["made_from"]).startswith(
        "data.format=image_folder data.sha256=None data.val_size=0 data.test_size=0 data.split_seed=0 data.image_size=4 source.sha256="
    )


def test_image_size_averages_over_all_pixels(tmp_path):
    stripes = np.tile(np.uint8([0, 255]), (16, 8))
    assert set(read_one(tmp_path, png(np.stack([stripes] * 3, axis=2)), image_size=4)[1:3, 1:3].ravel()) <= {127, 128}


def test_image_size_resizes_arrays_too(tmp_path):
    dataset = storage.prepare(pets(npz(tmp_path / "a.npz"), format="npz", image_size=8), tmp_path / "o.npz")
    assert dataset.images["val"].shape == (4, 8, 8, 3)
    grey = storage.prepare(pets(unpacked(tmp_path / "a", idx_files()), format="idx", image_size=16), tmp_path / "o.npz")
    assert grey.images["test"].shape == (6, 16, 16, 1)


def test_a_photo_above_1024_pixels_needs_image_size(tmp_path):
    photo = saved(Image.new("RGB", (1500, 1100), "red"), "JPEG")
    files = folder_files() | {"pets/test/cat/0.jpg": photo}
    assert "0.jpg is 1100x1500; the largest that can be used is 1024x1024, resize it or set data.image_size" in refusal(
        pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz", "too-large"
    )
    dataset = storage.prepare(pets(zipped(tmp_path / "a.zip", files), image_size=8), tmp_path / "o.npz")
    assert dataset.images["test"].shape == (5, 8, 8, 3)


# --- configurations


@pytest.mark.parametrize("name", NAMES["data"])
def test_every_dataset_says_where_it_is_from_and_how_it_is_checked(name):
    data = data_config(name, [])
    assert data.source
    assert data.licence
    assert data.val_size
    assert data.format == "digits" or data.sha256 or data.files


def test_mnist_is_read_as_keras_distributes_it(tmp_path):
    """A small file with the same four arrays; tests do not download the real one."""
    source = tmp_path / "mnist.npz"
    np.savez(
        source, x_train=image_set(40, 28, 1)[..., 0], y_train=np.arange(40) % 10, x_test=image_set(20, 28, 1, 1)[..., 0], y_test=np.arange(20) % 10
    )
    assert zipfile.is_zipfile(source)
    data = data_config("mnist", [f"data.archive={source}", "data.sha256=null", "data.val_size=10"])
    assert storage.prepare(data, tmp_path / "o.npz").images["val"].shape == (10, 28, 28, 1)


def test_complex_pixels_are_refused(tmp_path):
    arrays = {"x_train": np.zeros((4, 8, 8), complex), "y_train": np.arange(4) % 2, "x_test": np.zeros((2, 8, 8), np.uint8), "y_test": np.arange(2)}
    np.savez(tmp_path / "a.npz", **arrays)
    assert "x_train holds complex128" in refusal(pets(tmp_path / "a.npz", format="npz"), tmp_path / "o.npz", "wrong-pixels")
