"""Arrays as a source: each is used or refused with its name, and every split gets images of every class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actgrad.data import storage
from actgrad.errors import UserError
from conftest import image_set
from data_sources import npz, pets, refusal


@pytest.mark.parametrize(
    ("arrays", "code", "expected"),
    [
        ({"x_valid": image_set(4, 12), "y_valid": np.array([0, 1, 0, 1])}, "unexpected-part", "rename x_valid to x_val, y_valid to y_val"),
        ({"x_valid": image_set(4, 12)}, "unexpected-part", "the array x_valid is none of x_train"),
        (
            {"X_val": image_set(4, 12)},
            "unexpected-part",
            "the array X_val is none of x_train, y_train, x_val, y_val, x_test, y_test, class_names; rename X_val to x_val",
        ),
        ({"train_images": image_set(4, 12)}, "unexpected-part", "class_names; remove train_images"),
        ({"val_labels": np.zeros(4, int)}, "unexpected-part", "rename val_labels to y_val"),
        ({"classes": np.array(["a", "b"]), "mean": np.zeros(3)}, "unexpected-part", "rename classes to class_names, and remove mean"),
        ({"x_train": None, "y_train": None, "X": image_set(4, 12), "y": np.arange(4)}, "unexpected-part", "rename X to x_train, y to y_train"),
        (
            {"x_train": None, "y_train": None, "arr_0": image_set(4, 12), "arr_1": np.arange(4)},
            "unexpected-part",
            "the arrays arr_0, arr_1 are none of x_train, y_train, x_val, y_val, x_test, y_test, class_names; "
            "write the file anew with numpy.savez(FILE, x_train=IMAGES, y_train=LABELS)",
        ),
        ({"mean": np.zeros(3)}, "unexpected-part", "the array mean is none of"),
        (
            {"y_train": np.tile(np.arange(1, 27), 2)[:40], "x_train": image_set(40, 12)},
            "wrong-labels",
            "labels run from 1 to 26 with 26 different ones in the train",
        ),
        ({"y_train": np.tile([1, 2], 10)}, "wrong-labels", "they must run from 0 to 1; subtract 1 from all labels, or add class_names"),
        (
            {"y_train": np.tile([0, 2], 10)},
            "wrong-labels",
            "and none is 1 in the train split, and they must run from 0 to 1; number the classes from 0 without a gap",
        ),
        (
            {"y_train": np.tile([-1, 0, 1, 0], 5)},
            "wrong-labels",
            "y_train has negative labels, 5 of 20, such as -1; remove the examples that have no label, and number the classes from 0",
        ),
        ({"y_train": np.tile([1, 2], 10), "class_names": np.array(["a", "b"])}, "wrong-labels", "they must be 0 to 1; subtract 1 from all labels"),
        (
            {"class_names": np.array([*"abc"])},
            "empty-class",
            "no image has the label 2, which is the class 'c'; remove its name, or add images of it",
        ),
        ({"class_names": np.array(["a", "a"])}, "wrong-class-name", "the classes 'a' and 'a' differ at most in case, spaces or the shape of letters"),
        ({"class_names": np.array(["a  cat", "A cat"])}, "wrong-class-name", "the classes 'a  cat' and 'A cat' differ at most in case"),
        ({"class_names": np.array(["a", "b "])}, "wrong-class-name", "the class 'b ' has an empty name, or spaces at its ends"),
        ({"class_names": np.array([b"cat", b"caf\xe9"])}, "wrong-class-name", r"the class name b'caf\xe9' is not UTF-8; write it in UTF-8"),
        ({"y_test": np.zeros(4, int)}, "empty-class", "the test split has no image of the class '1'; every split needs every class"),
        ({"x_train": np.moveaxis(image_set(20, 12), 3, 1)}, "wrong-shape", "its channels come first, move them to the end with numpy.moveaxis"),
        (
            {"y_train": np.eye(2)[np.arange(20) % 2]},
            "wrong-labels",
            "is float64 of (20, 2); labels of the shape (n, classes) become numbers by numpy.argmax(y, axis=1)",
        ),
        ({"y_train": np.arange(20) % 2.0}, "wrong-labels", "is float64 of (20,); save them with y.astype(int)"),
        ({"y_train": np.array(["cat", "dog"] * 10)}, "wrong-labels", "names become numbers by names, y = numpy.unique(y, return_inverse=True)"),
        ({"y_train": np.full(20, 2**64 - 1, np.uint64)}, "wrong-labels", "y_train has the label 18446744073709551615"),
        ({"x_test": image_set(4, 12), "x_train": np.concatenate([image_set(4, 12)] * 5)}, "shared-images", "are also in"),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_arrays_that_are_not_known_or_do_not_fit_are_refused(tmp_path, arrays, code, expected):
    assert expected in refusal(pets(npz(tmp_path / "own.npz", **arrays), format="npz"), tmp_path / "o.npz", code)


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_arrays_in_fortran_order_give_the_same_images(tmp_path, kind):
    images = image_set(20, 12).astype(kind)
    for name, array in (("c", images), ("f", np.asfortranarray(images))):
        storage.prepare(pets(npz(tmp_path / "own.npz", x_train=array, x_test=array[:4] // 2), format="npz"), tmp_path / name)
    c, f = (np.load(tmp_path / name)["x_train"] for name in "cf")
    assert np.array_equal(c, f)


def test_two_joined_npz_files_are_refused(tmp_path):
    one, other = npz(tmp_path / "own.npz"), npz(tmp_path / "other.npz", class_names=np.array(["no", "yes"]))
    one.write_bytes(one.read_bytes() + other.read_bytes())
    said = refusal(pets(one, format="npz"), tmp_path / "o.npz", "damaged-file")
    assert "is not an .npz of plain arrays (it is joined with another archive, or with other data); get it again" in said


def test_class_names_that_are_bytes_are_read_as_utf8(tmp_path):
    source = npz(tmp_path / "own.npz", class_names=np.array([b"cat", "café".encode()]))
    assert storage.prepare(pets(source, format="npz"), tmp_path / "o.npz").class_names == ["cat", "café"]


def test_an_npz_without_a_test_split_gives_one(tmp_path):
    source = npz(tmp_path / "own.npz", x_test=None, y_test=None)
    assert "the test split is empty; set data.test_size" in refusal(pets(source, format="npz"), tmp_path / "o.npz", "empty-split")
    assert len(storage.prepare(pets(source, format="npz", test_size=6), tmp_path / "o.npz").images["test"]) == 6


@pytest.mark.parametrize(
    ("counts", "size"), [((190, 4), 10), ((98, 2), 80), ((98, 2), 2), ((98, 2), 98), ((50, 30, 3, 2), 4), ((50, 30, 3, 2), 81), ((500, 2, 2, 2), 100)]
)
def test_each_class_keeps_and_gives_an_image(tmp_path, counts, size):
    labels = np.repeat(np.arange(len(counts)), counts)
    test = np.arange(len(counts))
    arrays = {"x_train": image_set(len(labels), 4), "y_train": labels, "x_test": image_set(len(counts), 4, seed=1), "y_test": test}
    dataset = storage.prepare(pets(npz(tmp_path / "a.npz", **arrays), format="npz", val_size=size), tmp_path / "o.npz")
    kept, taken = (np.bincount(dataset.labels[split], minlength=len(counts)) for split in ("train", "val"))
    assert (kept + taken).tolist() == list(counts)
    assert taken.sum() == size
    assert min(*kept, *taken) >= 1


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.sets(st.sampled_from(["x_train", "y_train", "x_test", "y_test", "x_val", "y_val", "class_names", "X_train", "x", "labels", "made_from"])))
def test_every_array_is_used_or_refused_by_name(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("arrays")
    splits = {"train": 20, "test": 4, "val": 6}
    arrays = {
        name: image_set(n, 4, seed=n) if kind == "x" else np.arange(n) % 2
        for split, n in splits.items()
        for kind in "xy"
        for name in [f"{kind}_{split}"]
    }
    arrays |= {"class_names": np.array(["a", "b"]), "made_from": np.array("x")}
    np.savez(folder / "a.npz", **{name: arrays.get(name, np.zeros(2)) for name in names})
    try:
        dataset = storage.prepare(pets(folder / "a.npz", format="npz", val_size=0), folder / "o.npz")
    except UserError as error:
        assert not names or any(name in str(error) for name in [*names, "x_train", "y_train", "test split is empty"])
    else:
        used = {f"{kind}_{split}" for split, images in dataset.images.items() if len(images) for kind in "xy"}
        assert used | {"class_names", "made_from"} >= names
