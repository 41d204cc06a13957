"""Unusable and unusual datasets, values and names: one sentence, or a report that shows them unchanged."""

import json

import mlflow
import numpy as np
import pytest
import yaml

from actgrad.errors import PRINTED
from conftest import STUDY, fault, sentence
from faults import one_set, run

pytest_plugins = "faults"


@pytest.mark.parametrize(
    ("what", "arrays", "overrides", "expected"),
    [
        ("one class", {"y_train": np.zeros(40, int), "y_test": np.zeros(6, int)}, (), "a has 1 class; a classifier needs at least two"),
        (
            "one training image of two classes",
            {"x_train": np.zeros((1, 8, 8, 1), np.uint8), "y_train": np.zeros(1, int), "class_names": ["a", "b"]},
            (),
            "a: the train split has no image of the class 'b'; every split needs every class, so add some",
        ),
        (
            "one training image a class",
            {"x_train": np.arange(128, dtype=np.uint8).reshape(2, 8, 8, 1), "y_train": np.arange(2)},
            (),
            "recipe.batch_size=32 is more than the 2 training images of a; choose fewer",
        ),
        (
            "images too small for the network",
            {"x_train": np.zeros((40, 3, 3, 1), np.uint8), "x_test": np.zeros((6, 3, 3, 1), np.uint8)},
            (),
            "images are 3x3x1; they must be 4x4 or larger",
        ),
        ("NaN in an .npz", {"x_train": np.full((40, 8, 8, 1), np.nan)}, (), "x_train must hold whole pixel values from 0 to 255"),
        ("pickled objects in an .npz", {"class_names": np.array([{}, "b"], dtype=object)}, (), "Object arrays cannot be loaded"),
        ("0 epochs", {}, ("recipe.epochs=0",), "recipe.epochs=0 cannot be used: it must be at least 1"),
        (
            "a batch larger than the data",
            {},
            ("recipe.batch_size=41",),
            "recipe.batch_size=41 is more than the 40 training images of a; choose fewer",
        ),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) and len(value) < 40 else "",
)
@fault("bad data", "one sentence, exit 1, no file")
def test_data_and_values(own, what, arrays, overrides, expected, seen):
    one_set(own.folder, **arrays)
    printed = own.run("python", "src/download.py", "data=a", check=False)
    if "error[" not in printed:
        printed = own.run("python", "src/train.py", "data=a", *overrides, check=False)
    assert expected in printed
    assert [line for line in printed.splitlines() if PRINTED.match(line)] == printed.splitlines()[-1:]
    assert "Traceback" not in printed
    assert not list(own.folder.rglob("metrics.json"))
    seen(f"`{expected}`", what)


@fault("one training image a class, in batches of one", "it trains")
def test_one_image(own, seen):
    one_set(own.folder, x_train=np.arange(128, dtype=np.uint8).reshape(2, 8, 8, 1), y_train=np.arange(2))
    own.run("python", "src/download.py", "data=a")
    assert "a/relu/baseline-0: finished" in own.run("python", "src/train.py", "data=a", "recipe.batch_size=1", "recipe.epochs=2")
    seen("finished")


@fault("a cached archive that is damaged", "it is told by its checksum and not used; the sentence says where to get it again")
def test_a_damaged_cache(tmp_path, seen):
    cache = tmp_path / "cache" / "actgrad"
    cache.mkdir(parents=True)
    (cache / "cifar10-c4a38c50a1bc5f3a").write_bytes(b"damaged")
    line = sentence(
        run(tmp_path, "src/download.py", "data=cifar10", http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"), "download-failed"
    )
    assert "data.archive=PATH" in line
    assert not (tmp_path / "data").exists()
    seen("not used; where it cannot be downloaded again, one sentence names the ways out")


@fault("a loss that turns NaN", "status `diverged`, what was measured is kept, the report shows it, the other runs go on")
def test_a_loss_that_is_not_finite(own, seen):
    (own.folder / "conf" / "activation" / "huge.yaml").write_text("name: huge\nlayer: LeakyReLU\nconfig: {negative_slope: 1.0e+30}\n")
    (own.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["huge", "relu"], "conditions": ["baseline"]}))
    own.run("dvc", "repro")
    for activation, status in (("huge", "diverged"), ("relu", "finished")):
        assert json.loads((own.folder / f"runs/digits/{activation}/baseline-0/metrics.json").read_text())["status"] == status
    assert json.loads((own.folder / "runs/digits/huge.json").read_text()) == {"runs": 1, "failed": 1, "test_accuracy": {"baseline": None}}
    page = (own.folder / "reports/digits/index.html").read_text()
    assert "diverged" in page
    assert "digits/huge/baseline-0" in page
    client = mlflow.MlflowClient(f"sqlite:///{own.folder}/mlflow.db")
    (diverged,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "tags.key = 'digits/huge/baseline-0'")
    assert (diverged.info.status, diverged.data.tags["status"]) == ("FAILED", "diverged")
    seen("`diverged` in its files, its MLflow run and the report; the other run finished")


@fault("names that are HTML, in a configuration and a dataset", "the report shows them as text")
def test_names_that_are_html(own, seen):
    evil = "<script>document.title='evil'</script><img src=x onerror=alert(1)>"
    one_set(own.folder, class_names=[evil, "b"])
    config = own.folder / "conf" / "data" / "a.yaml"
    config.write_text(config.read_text().replace("val_size: 0", f"val_size: 8, source: {json.dumps(evil)}, licence: {json.dumps(evil)}"))
    (own.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"datasets": ["a"], "conditions": ["baseline"]}))
    own.run("dvc", "repro")
    page = (own.folder / "reports" / "a" / "index.html").read_text()
    assert "&lt;script&gt;document.title" in page
    assert "<script>document" not in page
    assert "<img src=x" not in page
    seen("escaped, each of them")
