"""Files of a source: each is used, ignored by a named rule and counted, or refused with its name."""

import os
import re
import unicodedata
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actgrad.config.loading import data_config
from actgrad.config.schema import Data
from actgrad.data import ignored, storage
from actgrad.data.ignored import DOCUMENTS, HIDDEN, SYSTEM
from actgrad.data.image_folder import layout
from actgrad.data.readers import READERS
from actgrad.data.sources import ignored_counts, listed
from actgrad.data.summary import summary
from actgrad.errors import UserError
from conftest import ROOT, image_set
from data_sources import cifar10_files, folder_files, npz, pets, png, refusal, tar, unpacked, zipped

CONTAINERS = {"folder": lambda p, files: unpacked(p / "a", files), "tar": lambda p, files: tar(p / "a.tar.gz", files)}
CONTAINERS["zip"] = lambda p, files: zipped(p / "a.zip", files)
FILES = {name.removeprefix("pets/"): content for name, content in folder_files().items()}
MORE = png(image_set(1, seed=77)[0])
"""An image that is none of FILES."""


def under(folder: str, split: str = "") -> dict[str, bytes]:
    """FILES, or the files of a split, in another folder."""
    return {f"{folder}/{name.removeprefix(f'{split}/')}": content for name, content in FILES.items() if name.startswith(split)}


# --- ignored


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("train/.ipynb_checkpoints/000.png", HIDDEN),
        ("train/cat/.ipynb_checkpoints/000.png", HIDDEN),
        ("train/cat/._000.png", HIDDEN),
        (".Trash-1000/train/cat/000.png", HIDDEN),
        (".git/objects/ab/cd", HIDDEN),
        ("train/@eaDir/000.png", SYSTEM),
        ("train/cat/@eaDir/000.png/thumb.jpg", SYSTEM),
        ("__MACOSX/train/cat/000.png", SYSTEM),
        ("$RECYCLE.BIN/train/cat/000.png", SYSTEM),
        ("System Volume Information/train/cat/000.png", SYSTEM),
        ("lost+found/train/cat/000.png", SYSTEM),
        ("train/cat/Thumbs.db", SYSTEM),
        ("README.md", DOCUMENTS),
        ("LICENSE", DOCUMENTS),
        ("train/labels.csv", DOCUMENTS),
        ("annotations/cat/1.xml", DOCUMENTS),
    ],
)
def test_a_file_that_is_no_image_is_ignored_by_a_named_rule(tmp_path, container, path, rule):
    dataset = storage.prepare(pets(CONTAINERS[container](tmp_path, FILES | {path: b"no image"})), tmp_path / "o.npz")
    assert dataset.ignored == {rule: 1}
    assert dataset.class_names == ["cat", "dog"]
    assert [len(images) for images in dataset.images.values()] == [8, 4, 4]


def test_the_command_says_what_was_taken_and_what_was_ignored(tmp_path):
    files = FILES | {"train/.x/1.png": b"", "train/.x/2.png": b"", "README": b""}
    lines = list(summary(storage.prepare(pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz")))
    assert lines == [
        "8 train, 4 val, 4 test images of 8x8x3, 2 classes",
        "Images of each class (train / val / test):",
        "  cat: 4 / 2 / 2   dog: 4 / 2 / 2",
        "Ignored: 3 (documents: 1, hidden files: 2); the rules are in docs/datasets.md.",
    ]


def test_a_file_that_this_project_made_can_be_a_source(tmp_path):
    storage.prepare(pets(zipped(tmp_path / "a.zip", FILES)), tmp_path / "o.npz")
    again = storage.prepare(pets(tmp_path / "o.npz", format="npz", val_size=0), tmp_path / "p.npz")
    assert again.class_names == ["cat", "dog"]
    assert again.ignored == {"records of this project": 1}


# --- refused


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("files", "code", "expected"),
    [
        (under("a") | under("a/a"), "split-twice", "holds the train split twice, in a/train and a/a/train"),
        (FILES | under("copy"), "split-twice", "in train and copy/train"),
        (FILES | {"train/cat/more/x.png": MORE}, "unexpected-part", "train/cat/more/x.png is not at <split>/<class>/<file>"),
        (FILES | {"train/bird/part_1/x.png": MORE}, "unexpected-part", "train/bird/part_1/x.png is not at <split>/<class>/<file>"),
        (FILES | {"train/x.png": MORE}, "unexpected-part", "train/x.png is not at <split>/<class>/<file>"),
        (FILES | {"x.png": MORE}, "unexpected-part", "x.png is not at <split>/<class>/<file>"),
        (FILES | {"holdout/cat/x.png": MORE}, "unexpected-part", "holdout/cat/x.png is not at <split>/<class>/<file>"),
        (FILES | {"vall/cat/x.png": MORE}, "unexpected-part", "did you mean val by vall?"),
        (FILES | under("valid", "test"), "unknown-split", "valid is none of the splits train, val, test; rename valid to val"),
        (FILES | under("validation", "test"), "unknown-split", "rename validation to val"),
        (FILES | under("Val", "test"), "unknown-split", "rename Val to val"),
        (under("Train", "train") | under("test", "test"), "unknown-split", "rename Train to train"),
        (under("train", "train") | under("testing", "test"), "unknown-split", "rename testing to test"),
        (FILES | {"train/Cat/x.png": MORE}, "wrong-class-name", "the classes 'Cat' and 'cat' differ at most in case, spaces or the shape of letters"),
        (FILES | {"train/Ｃat/x.png": MORE}, "wrong-class-name", "the classes 'cat' and 'Ｃat' differ at most in case"),
        (FILES | {"train/cat /x.png": MORE}, "wrong-class-name", "the class 'cat ' has an empty name, or spaces at its ends"),
        (FILES | {"train/bird/x.png": MORE}, "empty-class", "the test split has no folder for the class 'bird'"),
        (FILES | {"train/bird/.hidden.png": MORE}, "empty-class", "train/bird has no image; put images there, or remove the folder"),
        (under("test", "test"), "empty-split", "has no images under train/<class>/"),
        ({"README.md": b""}, "no-data", "holds documents only"),
        ({".hidden": b""}, "no-data", "holds no file that can be used"),
        (under("a", "train") | under("b", "train"), "scattered-classes", "the classes lie in different folders, a/cat and b/cat"),
        (under("a", "train") | {"a/x.png": MORE}, "scattered-classes", "the classes lie in different folders"),
        ({"train.zip": b"", "test.zip": b""}, "unexpected-part", "test.zip is not in the folder of a class"),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_what_is_at_no_place_is_refused_by_its_name(tmp_path, container, files, code, expected):
    assert expected in refusal(pets(CONTAINERS[container](tmp_path, files)), tmp_path / "o.npz", code)


@pytest.mark.parametrize("folder", ["train/bird", "val", "train/bird/"])
def test_an_empty_class_or_split_is_refused(tmp_path, folder):
    source = unpacked(tmp_path / "a", FILES)
    (source / folder).mkdir(parents=True)
    assert f"{folder.rstrip('/')} has no image; put images there, or remove the folder" in refusal(pets(source), tmp_path / "o.npz", "empty-class")


@pytest.mark.parametrize("name", ["ca\tt", "cat\N{ZERO WIDTH SPACE}", " cat"])
def test_a_class_whose_name_cannot_be_read_is_refused(tmp_path, name):
    files = {path.replace("/cat/", f"/{name}/"): content for path, content in FILES.items()}
    assert "has an empty name, or spaces at its ends, or signs that cannot be seen; rename it" in refusal(
        pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz", "wrong-class-name"
    )


def test_a_class_is_the_same_in_either_spelling_of_unicode(tmp_path):
    composed, decomposed = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    files = {path.replace("cat", composed if "train" in path else decomposed): content for path, content in FILES.items()}
    dataset = storage.prepare(pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz")
    assert dataset.class_names == [composed, "dog"]


def test_images_have_the_same_order_in_either_spelling_of_unicode(tmp_path):
    for form in ("NFC", "NFD"):
        files = {unicodedata.normalize(form, name.replace("000", "é").replace("001", "f")): content for name, content in FILES.items()}
        storage.prepare(pets(zipped(tmp_path / f"{form}.zip", files), val_size=0), tmp_path / form)
    composed, decomposed = (np.load(tmp_path / form)["x_test"] for form in ("NFC", "NFD"))
    assert np.array_equal(composed, decomposed)


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    files = {path.replace("/cat/", "/train/").replace("/dog/", "/valid/"): content for path, content in FILES.items()}
    assert storage.prepare(pets(zipped(tmp_path / "a.zip", files)), tmp_path / "o.npz").class_names == ["train", "valid"]


def test_the_folder_above_the_splits_may_have_the_name_of_one(tmp_path):
    assert len(storage.prepare(pets(zipped(tmp_path / "a.zip", under("Test"))), tmp_path / "o.npz").images["test"]) == 4


def test_a_folder_of_classes_is_split(tmp_path):
    source = zipped(tmp_path / "a.zip", under("photos", "train") | {"photos/README.md": b""})
    assert "the test split is empty; set data.test_size to the number of images to take from the train split" in refusal(
        pets(source), tmp_path / "o.npz", "empty-split"
    )
    dataset = storage.prepare(pets(source, test_size=4), tmp_path / "o.npz")
    assert [np.bincount(labels).tolist() for labels in dataset.labels.values()] == [[2, 2], [2, 2], [2, 2]]
    assert dataset.ignored == {DOCUMENTS: 1}


@pytest.mark.parametrize(
    ("extra", "code"), [("data_batch_1", "unexpected-part"), ("again/test_batch.bin", "file-twice"), ("notes.bin", "unexpected-part")]
)
def test_a_file_that_is_none_of_cifar10_is_refused(tmp_path, extra, code):
    assert extra.rpartition("/")[2] in refusal(
        pets(tar(tmp_path / "a.tar", cifar10_files()[0] | {extra: b""}), format="cifar10_binary"), tmp_path / "o", code
    )


def test_an_empty_batch_of_cifar10_is_refused(tmp_path):
    files = cifar10_files()[0] | {"cifar-10-batches-bin/data_batch_3.bin": b""}
    said = refusal(pets(tar(tmp_path / "a.tar", files), format="cifar10_binary"), tmp_path / "o", "damaged-file")
    assert "data_batch_3.bin is empty or not a whole number of 3,073-byte records; get the archive again" in said


# --- links and other things


def test_links_of_a_folder_are_followed(tmp_path):
    elsewhere = unpacked(tmp_path / "disk", under("cats", "train/cat"))
    source = unpacked(tmp_path / "a", {name: content for name, content in FILES.items() if "train/cat" not in name})
    (source / "train" / "cat").symlink_to(elsewhere / "cats", target_is_directory=True)
    (source / "test" / "dog" / "more.png").symlink_to(unpacked(tmp_path / "disk", {"one.png": MORE}) / "one.png")
    dataset = storage.prepare(pets(source), tmp_path / "o.npz")
    assert [np.bincount(labels).tolist() for labels in dataset.labels.values()] == [[4, 4], [2, 2], [2, 3]]


@pytest.mark.parametrize(
    ("link", "target", "expected"),
    [
        ("train/cat/x.png", "nowhere", "train/cat/x.png is a link that leads nowhere; mend or remove it"),
        ("train/bird", "nowhere", "train/bird is a link that leads nowhere"),
        ("train/cat/x.png", "x.png", "train/cat/x.png is a link that leads nowhere"),
        ("train/cat/more", "..", "train/cat/more is a link to a folder that it lies in; remove the link"),
        ("train/cat/more", "../../..", None),
    ],
)
def test_links_that_lead_nowhere_or_in_a_circle_are_refused(tmp_path, link, target, expected):
    source = unpacked(tmp_path / "a", FILES)
    (source / link).symlink_to(target)
    assert (expected or "is a link to a folder that it lies in") in refusal(pets(source), tmp_path / "o.npz", "link-or-device")


def test_links_in_hidden_folders_are_not_looked_at(tmp_path):
    source = unpacked(tmp_path / "a", FILES)
    (source / ".git").mkdir()
    (source / ".git" / "circle").symlink_to("..")
    (source / ".#lock").symlink_to("nowhere")
    assert storage.prepare(pets(source), tmp_path / "o.npz").ignored == {HIDDEN: 2}


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    source = unpacked(tmp_path / "a", FILES)
    os.mkfifo(source / "train" / "cat" / "x.png")
    assert "train/cat/x.png is a pipe, socket or device" in refusal(pets(source), tmp_path / "o.npz", "link-or-device")


def test_names_that_cannot_be_printed_are_escaped(tmp_path):
    said = refusal(pets(tar(tmp_path / "a.tar", FILES | {"train/ca\nt\x1b[2J/more/x.png": MORE})), tmp_path / "o.npz", "unexpected-part")
    assert r"train/ca\nt\x1b[2J/more/x.png is not at" in said


# --- the same image twice


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"test/cat/x.png": FILES["train/cat/000.png"]}, ["1 of the 5 images of test are also in train"]),
        ({"train/cat/x.png": FILES["train/cat/000.png"]}, ["1 of the 13 images of train are copies of others in it"]),
        (
            {"train/dog/x.png": FILES["train/cat/000.png"]},
            ["1 of the 13 images of train are copies of others in it", "1 different image stands under more than one class"],
        ),
        ({}, []),
    ],
)
def test_identical_images_are_counted(tmp_path, files, expected):
    dataset = storage.prepare(pets(zipped(tmp_path / "a.zip", FILES | files), val_size=0), tmp_path / "o.npz")
    assert dataset.remarks == expected


def test_images_that_show_nothing_are_counted(tmp_path):
    files = FILES | {"train/cat/black.png": png(np.zeros((8, 8, 3), np.uint8)), "test/cat/red.png": png(np.full((8, 8, 3), [9, 0, 0], np.uint8))}
    dataset = storage.prepare(pets(zipped(tmp_path / "a.zip", files), val_size=0), tmp_path / "o.npz")
    assert dataset.remarks == ["1 of the 13 images of train are of one colour", "1 of the 5 images of test are of one colour"]
    scaled = npz(tmp_path / "own.npz", x_train=image_set(20, 12) // 16, x_test=image_set(4, 12, seed=1) // 16)
    dataset = storage.prepare(pets(scaled, format="npz"), tmp_path / "o.npz")
    assert dataset.remarks == ["the largest pixel of the train split is 15 of 255; if its pixels were scaled to another range, scale them back"]


def test_a_split_whose_images_are_in_another_is_refused(tmp_path):
    source = unpacked(tmp_path / "a", {name: content for name, content in FILES.items() if name.startswith("train")})
    (source / "test").symlink_to("train")
    assert "12 of the 12 images of train are also in test" in refusal(pets(source, val_size=0), tmp_path / "o.npz", "shared-images")
    half = FILES | {f"val/{label}/{i}.png": FILES[f"train/{label}/00{i}.png"] for label in ("cat", "dog") for i in range(2)}
    half |= {f"val/{label}/x.png": png(image_set(1, seed=seed)[0]) for seed, label in enumerate(("cat", "dog"), 55)}
    assert "4 of the 6 images of val are also in train" in refusal(
        pets(zipped(tmp_path / "b.zip", half), val_size=0), tmp_path / "o.npz", "shared-images"
    )


# --- docs/datasets.md

PAGE = (ROOT / "docs" / "datasets.md").read_text()


@pytest.mark.parametrize(
    "text", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL), ids=lambda text: re.search("name: (.*)", text)[1]
)
def test_the_examples_of_the_page_are_whole_files(tmp_path, text):
    name = re.search("name: (.*)", text)[1]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"{name}.yaml").write_text(text)
    assert data_config(name, [], tmp_path).archive


def test_the_page_names_every_format_key_and_rule():
    assert [name for name in [*READERS, *Data.model_fields] if f"`{name}`" not in PAGE] == []
    rules = {value for name, value in vars(ignored).items() if name.isupper() and isinstance(value, str)}
    assert rules == set(re.findall(r"^\| ([a-z ]+) \| ", PAGE.partition("| rule |")[2], re.MULTILINE))
    names = {name.rstrip() for name in ignored.SYSTEM_NAMES | ignored.DOCUMENT_NAMES | ignored.DOCUMENT_SUFFIXES}
    assert [name for name in names if name not in PAGE.casefold()] == []


# --- random trees: every file is accounted for

PARTS = st.sampled_from(["train", "test", "val", "Val", "cat", "dog", "more", ".hidden", "__MACOSX", "notes", "a"])
NAMES = st.sampled_from(["1.png", "2.png", ".DS_Store", "Thumbs.db", "README.md", "labels.csv", "x", "._1.png"])
TREES = st.sets(st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(PARTS, max_size=4), NAMES), max_size=12)
REGULAR = {f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("cat", "dog") for i in (1, 2)}


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(TREES | TREES.map(lambda tree: tree | REGULAR), st.sampled_from(["folder", "tar", "zip"]))
def test_every_file_is_used_or_ignored_or_the_source_is_refused_by_name(tmp_path_factory, tree, container):
    paths = {PurePosixPath(name) for name in tree}
    tree = sorted(name for name in tree if not any(PurePosixPath(name) in other.parents for other in paths))  # a file is no folder
    folder = tmp_path_factory.mktemp("tree")
    (folder / "a").mkdir()
    source = CONTAINERS[container](folder, dict.fromkeys(tree, b""))
    try:
        listing = listed(source)
        places = layout(listing)
    except UserError as error:
        assert "\n" not in str(error)
        named = {part for name in tree for part in [name, *map(str, PurePosixPath(name).parents)]} - {"."}
        without_any_image = ("holds no file that can be used", "holds documents only", "has no images under train/")
        assert any(text in str(error) for text in [*named, *without_any_image])
    else:
        assert len(places) + sum(ignored_counts(listing).values()) == len(tree)
        assert {str(path) for path in places} <= set(tree)
        assert all(path.parts[-2] == label and split in ("train", path.parts[-3:][0]) for path, (split, label) in places.items())
