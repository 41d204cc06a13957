"""Where the entries of a source may lie: classes with the names of splits; and random sources of IDX, Parquet and CIFAR, of which each entry is
used, ignored by a named rule and counted, or refused by its name."""

import pytest

from actgrad.data import storage
from actgrad.data.split_names import OTHER_NAMES, split_called
from conftest import ROOT
from data_sources import folder_files, pets, refusal, zipped

IMAGES = {name.removeprefix("pets/train/"): content for name, content in folder_files().items() if "/train/" in name}
"""Images of the classes cat and dog."""
SPLIT_NAMES = ["train", "test", "val", *OTHER_NAMES, "Dev"]


def renamed(name: str, folder: str = "") -> dict[str, bytes]:
    """IMAGES, whose class cat has another name."""
    return {folder + path.replace("cat/", f"{name}/"): content for path, content in IMAGES.items()}


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_a_class_with_the_name_of_a_split_needs_a_folder_train_above_it(tmp_path, name):
    said = refusal(pets(zipped(tmp_path / "a.zip", renamed(name)), test_size=2), tmp_path / "o.npz")
    assert f"and the folder {name} has the name of a split; if it is a class, move all classes into a folder train; expected are" in said
    dataset = storage.prepare(pets(zipped(tmp_path / "b.zip", renamed(name, "train/")), test_size=2), tmp_path / "o.npz")
    assert dataset.class_names == sorted([name, "dog"])
    assert [len(images) for images in dataset.images.values()] == [6, 4, 2]


def test_the_page_names_what_means_a_split():
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert all(f"`{name}`" in page and split_called(name.title()) for name in ["train", "test", "val", *OTHER_NAMES])
