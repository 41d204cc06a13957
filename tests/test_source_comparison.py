"""The source of a dataset is compared with its file only once for all runs of a command."""

import shutil
from pathlib import Path

import pytest
import yaml

from actgrad.data import storage
from actgrad.files import sha256
from conftest import ROOT, image_set, refuses, sentence
from data_sources import folder_files, npz, pets, unpacked

PETS = """\
# @package _global_
defaults:
  - override /recipe: digits
data: {name: pets, format: npz, archive: pets.npz, val_size: 4}
recipe: {epochs: 1, batch_size: 8, steps_per_execution: 1, probe_size: 4}
"""


@pytest.fixture
def project(script, tmp_path) -> Path:
    """A project with a user's dataset without a checksum, and three runs to train."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    (tmp_path / "conf" / "data" / "pets.yaml").write_text(PETS)
    params = {"datasets": ["pets"], "conditions": ["baseline"], "activations": ["relu"], "seeds": [0, 1, 2]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    npz(tmp_path / "pets.npz")
    assert script("download.py", "data=pets").returncode == 0
    return tmp_path


def test_a_file_that_has_been_compared_is_not_compared_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = unpacked(tmp_path / "one", folder_files())
    storage.prepare(pets(source), storage.path("pets"))
    digest = storage.load(pets(source)).sha256
    (source / "pets" / "train" / "cat" / "more.png").write_bytes(b"new")
    assert storage.load(pets(source), digest).sha256 == digest == sha256(storage.path("pets"))
    for data, compared in ((pets(source), None), (pets(source), "of another file"), (pets(source, val_size=2), digest)):
        with refuses("other-dataset", "data/pets.npz"):
            storage.load(data, compared)


@pytest.mark.slow
def test_a_study_whose_source_has_changed_starts_no_run(script, project):
    npz(project / "pets.npz", x_train=image_set(20, 12, seed=9))
    said = sentence(script("study.py", "data=pets"), "other-dataset")
    assert "data/pets.npz" in said
    assert "python src/download.py data=pets" in said
    assert not (project / "outputs" / "study-pets.log").exists()
    assert "data/pets.npz" in sentence(script("train.py", "data=pets", "run_dir=here"), "other-dataset")


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 3])
def test_a_study_compares_the_source_once(script, project, cores):
    """The note about a missing source is printed once, by the command itself, with the basic launcher and with joblib's processes."""
    (project / "pets.npz").unlink()
    program = f"import os, runpy; os.sched_getaffinity = lambda _: range({cores}); runpy.run_path('src/study.py', run_name='__main__')"
    (project / "with_cores.py").write_text(program)
    done = script(project / "with_cores.py", "data=pets")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "note: data.archive=pets.npz is not here, so it cannot be compared with data/pets.npz, which is used as it is\n"
    assert done.stdout.endswith("pets: 3 runs, 3 of them trained now\n")
    assert "data.archive" not in (project / "outputs" / "study-pets.log").read_text()
