"""Random archives, checkpoints, configurations and results are either used or refused with a sentence.

The environment variable FUZZ is the number of inputs per reader; `make faults` sets it high.
"""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from actgrad.config import composing, loading, overrides, schema
from actgrad.config.schema import Data
from actgrad.data import storage
from actgrad.errors import UserError
from actgrad.pipeline import composed
from actgrad.pipeline.checkpoints import Checkpoint
from actgrad.results.paths import composed_path
from actgrad.results.run import FILES, RunResult, finished
from actgrad.training.names import HISTORY
from conftest import NAMES, ROOT, STUDY, image_set
from data_sources import idx_files, parquet_files

pytestmark = pytest.mark.fuzz
INPUTS = int(os.environ.get("FUZZ", "100"))
many = settings(max_examples=INPUTS, deadline=None, database=None, derandomize=INPUTS <= 300, suppress_health_check=list(HealthCheck))
some = settings(many, max_examples=max(1, INPUTS // 10))


def image_folder() -> dict[str, bytes]:
    """Two classes of two images per split, each image in another file format."""
    found = {}
    for seed, split in enumerate(("train", "test")):
        for label in ("cat", "dog"):
            for kind, image in zip(("png", "jpeg"), image_set(2, seed=seed), strict=True):
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, kind)
                found[f"{split}/{label}/{kind}.{kind}"] = buffer.getvalue()
    return found


def cifar(*, fine: bool = False) -> dict[str, bytes]:
    """A batch has an image of each of two classes. Records of CIFAR-100 have a coarse label before the fine one."""
    names = ["train.bin", "test.bin"] if fine else [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    batches = {name: b"".join(bytes(fine) + bytes([label, *([2 * seed + label] * 3072)]) for label in (0, 1)) for seed, name in enumerate(names, 1)}
    return {"fine_label_names.txt" if fine else "batches.meta.txt": b"cat\ndog\n", **batches}


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(content), {"comment": "a"}
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def packed(files: dict[str, bytes], compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npz(save: Callable) -> bytes:
    buffer = io.BytesIO()
    save(
        buffer, x_train=image_set(4), y_train=np.array([0, 1, 0, 1]), x_test=image_set(2, seed=1), y_test=np.array([0, 1]), class_names=["cat", "dog"]
    )
    return buffer.getvalue()


def same(content: bytes) -> bytes:
    return content


ARCHIVES = {  # format, content to spoil, and packing afterwards
    "tar": ("image_folder", tar(image_folder()), same),
    "tar inside gz": ("image_folder", tar(image_folder()), gzip.compress),
    "gz": ("image_folder", gzip.compress(tar(image_folder())), same),
    "bz2": ("image_folder", bz2.compress(tar(image_folder())), same),
    "xz": ("image_folder", lzma.compress(tar(image_folder())), same),
    "zip, stored": ("image_folder", packed(image_folder(), zipfile.ZIP_STORED), same),
    "zip, deflated": ("image_folder", packed(image_folder(), zipfile.ZIP_DEFLATED), same),
    "CIFAR-10": ("cifar10_binary", tar(cifar()), same),
    "CIFAR-100": ("cifar100_binary", tar(cifar(fine=True)), same),
    "IDX": ("idx", tar(idx_files(2)), same),
    "IDX, gzipped": ("idx", packed({f"{name}.gz": gzip.compress(content) for name, content in idx_files(2).items()}, zipfile.ZIP_STORED), same),
    "Parquet": ("parquet", packed(parquet_files(), zipfile.ZIP_STORED), same),
    "npz": ("npz", npz(np.savez), same),
    "npz, compressed": ("npz", npz(np.savez_compressed), same),
}


@st.composite
def spoilt(draw, content: bytes) -> bytes:
    """The bytes with some changed, removed, doubled or inserted."""
    new = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(new) - 1)))
        kind, size = draw(st.sampled_from(["flip", "number", "cut", "double", "insert", "end"])), draw(st.integers(1, 600))
        if kind == "flip" and new:
            new[at] ^= draw(st.integers(1, 255))
        elif kind == "number":  # a size, a count or an offset
            new[at : at + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"7777", b"\xff\xff\xff\x7f", b"9999"]))
        elif kind == "cut":
            del new[at : at + size]
        elif kind == "double":
            new[at:at] = new[at : at + size]
        elif kind == "insert":
            new[at:at] = draw(st.binary(min_size=1, max_size=20))
        else:
            del new[at:]
    return bytes(new)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_fuzz_archive(kind, tmp_path):
    form, content, finish = ARCHIVES[kind]
    source = tmp_path / "archive"
    data = Data(name="pets", format=form, archive=str(source), val_size=0)
    source.write_bytes(finish(content))
    assert set(storage.prepare(data, tmp_path / "out.npz").class_names) == ({"0", "1"} if form == "idx" else {"cat", "dog"})

    @many
    @given(spoilt(content))
    def read(new):
        source.write_bytes(finish(new))
        try:
            dataset = storage.prepare(data, tmp_path / "out.npz")
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert dataset.images["train"].dtype == np.uint8

    read()
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "out.npz"}


@many
@given(data=st.data())
def test_fuzz_checkpoint(data, tmp_path_factory):
    checkpoint = Checkpoint(tmp_path_factory.getbasetemp() / "fuzzed" / "c.npz", "f")
    checkpoint.save({"norms": np.zeros((3, 5), np.float32), "epochs": np.array("[]")})
    checkpoint.path.write_bytes(data.draw(spoilt(checkpoint.path.read_bytes())))
    checkpoint.exists()
    checkpoint.load()


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
TREES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4), max_leaves=10)


@pytest.mark.parametrize("name", ["Data", "Activation", "Model", "Recipe", "Tracking", "Condition", "Study", "Config"])
def test_fuzz_schema(name):
    of_name = getattr(schema, name)
    keys = st.sampled_from(list(of_name.model_fields))

    @many
    @given(st.dictionaries(keys | st.text(max_size=8), TREES) | TREES)
    def read(values):
        try:
            assert isinstance(schema.parse(of_name, values), of_name)
        except UserError as error:
            assert str(error)

    read()


YAML = st.text(alphabet=st.sampled_from("abc:-[]{}#&*!|>'\"%@`, \n\t012.${}"), max_size=60) | st.text(max_size=60)


@many
@given(text=YAML)
def test_fuzz_params_yaml(text, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        loading.study(path)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.fixture(autouse=True)
def counted(request, seen):
    what = request.node.name.removeprefix("test_fuzz_").replace("_", " ").replace("[", ": ").rstrip("]")
    inputs = INPUTS // 10 if "train" in what else INPUTS
    seen(f"{inputs:,} inputs, nothing else", f"spoilt or random input: {what}", "used, or refused with a sentence")


@many
@given(st.sampled_from([f"data.{key}" for key in Data.model_fields] + ["data", "x"]), YAML)
def test_fuzz_download_override(key, value):
    try:
        loading.data_config("digits", [f"{key}={value}"])
    except UserError as error:
        assert str(error)


KEYS = [f"{group}.{key}" for group in ("recipe", "model", "data", "activation") for key in ("name", "config", "epochs", "layer", "filters", "sha256")]
CHOICES = [f"{group}={name}" for group in ("activation", "data", "recipe", "condition") for name in NAMES[group]]
OVERRIDES = st.sampled_from(CHOICES) | st.builds("{}={}".format, st.sampled_from([*KEYS, "seed", "run", "run_dir"]), YAML)


@some
@given(st.lists(OVERRIDES, min_size=1, max_size=4))
def test_fuzz_overrides_of_train(given):
    """As in train.py: checked, composed by Hydra, checked again."""
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = loading.run_config(compose("config", overrides.for_hydra(given)))
        if config.run:
            composed.run(config.run)
    except composing.COMPOSING as error:
        assert composing.refusal(error)
    except UserError as error:
        assert str(error)


# --- files that the pipeline reads back


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder with the composed runs of an activation, and a run."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        composed.write("digits", "relu", schema.Study(**STUDY))
    fields = {"key": "digits/relu/baseline-0", "status": "finished", "fingerprint": "f", "validation_split": "val", "steps": 3}
    history = pd.DataFrame({"epoch": [1], "step": [3], **{name: [0.5] for name in HISTORY}})
    steps = pd.DataFrame({"step": [1, 2, 3], "layer": "conv1", "grad_norm": np.float32([1, 2, 3])})
    others = pd.DataFrame({"epoch": [0, 1], "dead": [0, 1]})
    RunResult("seed: 0\n", history, steps, others, others, fields).write(folder / "run")
    return folder


@many
@given(data=st.data())
def test_fuzz_composed_runs(written, data):
    path = written / composed_path("digits", "relu")
    text = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(written)
        assert composed.run("digits/relu/he-0").condition == "he"
        path.write_bytes(data.draw(spoilt(text)))
        try:
            tracking = schema.Tracking(enabled=False, uri="", experiment="")
            assert all(isinstance(run.config(tracking), schema.Config) for run in composed.read("digits", "relu").runs)
        except UserError as error:
            assert "\n" not in str(error)
        finally:
            path.write_bytes(text)


@pytest.mark.parametrize("file", FILES)
def test_fuzz_file_of_a_run(written, file):
    path = written / "run" / file
    content = path.read_bytes()

    @many
    @given(spoilt(content))
    def read(new):
        path.write_bytes(new)
        whole = finished(path.parent, "f")
        assert whole is None or new == content or file == "metrics.json"
        try:
            assert RunResult.read(path.parent)
        except UserError as error:
            assert "\n" not in str(error)

    assert finished(path.parent, "f")
    read()
    path.write_bytes(content)
