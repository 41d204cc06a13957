"""From a source to data/<dataset>.npz: every format on real files. A bad source gives one sentence and leaves no file."""

import hashlib
import io
import tarfile
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from actgrad.config.loading import data_config
from actgrad.config.schema import Data
from actgrad.data import storage
from actgrad.data.dataset import SPLITS
from actgrad.data.readers import READERS
from conftest import image_set, refuses
from data_sources import cifar10_files, folder_files, npz, pets, png, refusal, tar, unpacked, zipped


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# --- formats


def test_every_format_of_the_configuration_has_a_reader():
    assert set(READERS) == set(get_args(Data.model_fields["format"].annotation))


def test_digits_are_split_stratified_and_fixed(digits):
    assert {name: images.shape for name, images in digits.images.items()} == {
        "train": (1197, 8, 8, 1),
        "val": (240, 8, 8, 1),
        "test": (360, 8, 8, 1),
    }
    assert digits.images["train"].dtype == np.uint8
    assert digits.images["train"].max() == 255
    for part in SPLITS:
        counts = np.bincount(digits.labels[part], minlength=10) / len(digits.labels[part])
        assert np.abs(counts - 0.1).max() < 0.01
    every = np.concatenate([digits.images[part].reshape(-1, 64) for part in SPLITS])
    from sklearn.datasets import load_digits

    assert np.array_equal(np.sort(every.sum(axis=1)), np.sort(np.round(load_digits().data * 255 / 16).sum(axis=1)))


def test_the_same_source_gives_the_same_bytes(tmp_path):
    for name in "ab":
        storage.prepare(data_config("digits", []), tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_val_size_0_takes_no_validation_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = data_config("digits", ["data.val_size=0"])
    dataset = storage.prepare(data, storage.path("digits"))
    assert len(dataset.images["val"]) == 0
    assert len(dataset.images["train"]) == 1437
    assert len(storage.load(data).images["val"]) == 0


def test_a_file_that_was_made_with_other_values_is_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage.prepare(data_config("digits", ["data.val_size=0"]), storage.path("digits"))
    with refuses("other-dataset", "was made with data.val_size=0, not with data.val_size=240; make it", "python src/download.py"):
        storage.load(data_config("digits", []))


def test_a_damaged_file_is_named_with_the_way_to_make_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = data_config("digits", [])
    storage.prepare(data, storage.path("digits"))
    storage.path("digits").write_bytes(storage.path("digits").read_bytes()[:-100])
    with refuses("damaged-file", "data/digits.npz", "python src/download.py data=digits"):
        storage.load(data)


def test_cifar10_binary_is_read_as_its_authors_describe_it(tmp_path):
    files, images, labels = cifar10_files()
    archive = tar(tmp_path / "c.tar.gz", files)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    overrides = [f"data.archive={archive}", f"data.sha256={digest}", "data.val_size=10"]
    dataset = storage.prepare(data_config("cifar10", overrides), tmp_path / "cifar10.npz")
    assert np.array_equal(dataset.images["test"], images[50:])
    assert np.array_equal(dataset.labels["test"], labels[50:])
    assert (len(dataset.images["train"]), len(dataset.images["val"])) == (40, 10)
    assert dataset.class_names == list("abcdefghij")


@pytest.mark.parametrize("make", ["tar.gz", "tar.xz", "zip", "folder"])
def test_an_image_folder_is_the_same_from_every_container(tmp_path, make):
    files = folder_files()
    source = {
        "tar.gz": lambda: tar(tmp_path / "a.tar.gz", files),
        "tar.xz": lambda: tar(tmp_path / "a.tar.xz", files, "w:xz"),
        "zip": lambda: zipped(tmp_path / "a.zip", files),
        "folder": lambda: unpacked(tmp_path / "a", files),
    }[make]()
    dataset = storage.prepare(pets(source), tmp_path / "pets.npz")
    assert dataset.class_names == ["cat", "dog"]
    assert (len(dataset.images["train"]), len(dataset.images["val"]), len(dataset.images["test"])) == (8, 4, 4)
    assert np.array_equal(dataset.images["test"][:2], image_set(2, seed=1))
    assert dataset.labels["test"].tolist() == [0, 0, 1, 1]


def test_what_file_managers_leave_behind_is_no_image(tmp_path):
    litter = dict.fromkeys(("pets/train/cat/.DS_Store", "pets/train/cat/Thumbs.db", "pets/README.md", "README"), b"litter")
    dataset = storage.prepare(pets(tar(tmp_path / "a.tar.gz", folder_files() | litter)), tmp_path / "pets.npz")
    assert len(dataset.images["train"]) == 8


def test_grey_images_keep_one_channel_and_mixed_ones_get_three(tmp_path):
    grey = folder_files(channels=1)
    assert storage.prepare(pets(tar(tmp_path / "g.tar.gz", grey)), tmp_path / "g.npz").images["train"].shape[1:] == (8, 8, 1)
    mixed = grey | {"pets/test/cat/000.png": png(image_set(1)[0])}
    assert storage.prepare(pets(tar(tmp_path / "m.tar.gz", mixed)), tmp_path / "m.npz").images["train"].shape[1:] == (8, 8, 3)


def test_an_npz_of_ones_own(tmp_path):
    source = npz(tmp_path / "own.npz", x_train=image_set(20, size=12).astype(np.float64), class_names=np.array(["no", "yes"]))
    dataset = storage.prepare(pets(source, format="npz"), tmp_path / "pets.npz")
    assert dataset.class_names == ["no", "yes"]
    assert dataset.images["train"].shape == (16, 12, 12, 3)
    assert dataset.images["train"].dtype == np.uint8


# --- faults


def test_faults_of_archives(tmp_path):
    files = folder_files()
    target = tmp_path / "out" / "pets.npz"
    whole = tar(tmp_path / "whole.tar.gz", files)
    truncated = tmp_path / "truncated.tar.gz"
    truncated.write_bytes(whole.read_bytes()[:-400])
    assert "is damaged or not a tar or zip archive" in refusal(pets(truncated), target, "damaged-file")
    assert "it is truncated or another file" in refusal(
        pets(truncated, sha256=hashlib.sha256(whole.read_bytes()).hexdigest()), target, "wrong-checksum"
    )
    bare = tar(tmp_path / "bare.tar", files, "w")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(bare.read_bytes()[: 1024 * (len(files) // 2)])  # header and content of a member are two blocks of 512
    assert "it ends too early" in refusal(pets(cut), target, "damaged-file")
    broken_zip = zipped(tmp_path / "broken.zip", files)
    broken_zip.write_bytes(broken_zip.read_bytes()[:-60])
    assert "is damaged or not a tar or zip archive" in refusal(pets(broken_zip), target, "damaged-file")
    for name in ("../evil.png", "/etc/evil.png", "pets/train/cat/../../../../evil.png"):
        assert "points outside the archive" in refusal(pets(tar(tmp_path / "evil.tar.gz", files | {name: b""})), target, "outside-archive")
        assert "points outside the archive" in refusal(pets(zipped(tmp_path / "evil.zip", files | {name: b""})), target, "outside-archive")
    with tarfile.open(tmp_path / "link.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("pets/train/cat/000.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    assert "is a link or a device" in refusal(pets(tmp_path / "link.tar.gz"), target, "link-or-device")
    assert "does not exist" in refusal(pets(tmp_path / "absent.zip"), target, "missing-file")


def test_faults_of_image_folders(tmp_path):
    files = folder_files()
    target = tmp_path / "out" / "pets.npz"

    def refused(code: str, changed: dict[str, bytes]) -> str:
        return refusal(pets(tar(tmp_path / "a.tar.gz", changed)), target, code)

    unreadable = refused("unusable-image", files | {"pets/train/cat/001.png": b"not an image"})
    assert "pets/train/cat/001.png cannot be read as an image" in unreadable
    cut = refused("unusable-image", files | {"pets/train/cat/001.png": files["pets/train/cat/001.png"][:80]})
    assert "pets/train/cat/001.png cannot be read as an image" in cut
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900).save(buffer, "PNG")
    assert "pets/train/cat/001.png has more than 8 bits a channel" in refused("unusable-image", files | {"pets/train/cat/001.png": buffer.getvalue()})
    no_dogs = refused("empty-class", {name: content for name, content in files.items() if "test/dog" not in name})
    assert "the test split has no folder for the class 'dog'" in no_dogs
    no_test = refused("empty-split", {name: content for name, content in files.items() if "/test/" not in name})
    assert "the test split is empty; set data.test_size" in no_test
    other_size = refused("mixed-sizes", files | {"pets/test/cat/000.png": png(image_set(1, size=9)[0])})
    assert "pets/test/cat/000.png is 9x9, others are 8x8" in other_size
    assert "images are 3x3x3; they must be 4x4 or larger" in refused("wrong-shape", folder_files(size=3))
    assert "pets has 1 class" in refused("one-class", folder_files(classes=("cat",)))


def test_faults_of_arrays(tmp_path):
    target = tmp_path / "out" / "pets.npz"

    def refused(code: str, **changes) -> str:
        return refusal(pets(npz(tmp_path / "own.npz", **changes), format="npz"), target, code)

    assert "labels of the train split run from 0 to 2; with 2 classes they must be 0 to 1" in refused(
        "wrong-labels", y_train=np.tile([0, 1, 2, 0, 1], 4), class_names=np.array(["no", "yes"])
    )
    assert "y_test has negative labels, 1 of 4, such as -1" in refused("wrong-labels", y_test=np.array([-1, 1, 0, 1]))
    assert "has no array y_test" in refused("missing-part", y_test=None)
    assert "must hold whole pixel values from 0 to 255" in refused("wrong-pixels", x_train=np.full((20, 12, 12, 3), np.nan))
    assert "must hold whole pixel values from 0 to 255" in refused("wrong-pixels", x_train=image_set(20, size=12) / 255)
    assert "must be (n, height, width)" in refused("wrong-shape", x_train=np.zeros((20, 12), np.uint8))
    assert "20 images and 4 labels" in refused("wrong-labels", y_train=np.array([0, 1, 0, 1]))
    assert "must be whole numbers" in refused("wrong-labels", y_train=np.linspace(0, 1, 20))
    assert "is not an .npz of plain arrays" in refused("damaged-file", x_train=np.array([{"a": 1}]))
    assert "images are 12x12x2; they must be" in refused("wrong-shape", x_train=image_set(20, 12, 2), x_test=image_set(4, 12, 2))
    assert "x_train holds <U1" in refused("wrong-pixels", x_train=np.full((20, 12, 12, 3), "a"))
    assert "the train split is empty" in refused(
        "empty-split", x_train=image_set(0, size=12), y_train=np.zeros(0, int), class_names=np.array(["no", "yes"])
    )
    assert "has no array y_val" in refused("missing-part", x_val=image_set(4, size=12))
    own_val = {"x_val": image_set(4, size=12), "y_val": np.array([0, 1, 0, 1])}
    assert "data.val_size=4, but pets brings a val split of its own; set it to 0" in refused("wrong-split-size", **own_val)
    assert "run from 0 to 10000000000000 with 2 different ones, and none is 1" in refused("wrong-labels", y_train=np.tile([0, 10**13], 10))
    assert "labels of the test split run from 0 to 2; with 2 classes" in refused("wrong-labels", y_test=np.array([0, 1, 2, 0]))
    np.save(tmp_path / "one.npy", image_set(2))
    assert "is not an .npz of plain arrays" in refusal(pets(tmp_path / "one.npy", format="npz"), target, "damaged-file")
    (tmp_path / "no.npz").write_bytes(b"no")
    assert "is not an .npz of plain arrays" in refusal(pets(tmp_path / "no.npz", format="npz"), target, "damaged-file")


def test_a_split_that_cannot_be_taken(tmp_path):
    source = tar(tmp_path / "a.tar.gz", folder_files())
    for size in (1, 11, 12, 99):
        assert f"data.val_size={size} cannot be taken from 12 training images of 2 classes" in refusal(
            pets(source, val_size=size), tmp_path / "p.npz", "wrong-split-size"
        )
