"""Stacks of blocks against a chain rule that is worked out by hand, and the table of a dataset."""

import numpy as np
import pandas as pd
import pytest

from actgrad.analysis import tables
from actgrad.config import loading
from actgrad.config.schema import Study
from actgrad.data import storage
from actgrad.networks.initial_weights import initializer
from actgrad.pipeline import composed
from actgrad.pipeline import depth as pipeline
from actgrad.results import paths
from actgrad.training import depth
from conftest import sentence


def test_preact_grad_rms_against_the_chain_rule_by_hand(run_config, few_digits):
    images, labels = few_digits.images["val"][:20].astype(np.float32), few_digits.labels["val"][:20]
    table = depth.measure(run_config("activation=tanh").activation, 3, images, labels, 10, 12, "glorot_uniform")
    assert table["depth"].tolist() == list(range(2, 21))
    assert (table["activation"].eq("tanh") & table["seed"].eq(3)).all()
    shapes = [("block1", (64, 12)), ("block2", (12, 12)), ("block3", (12, 12)), ("output", (12, 10))]
    kernels = [np.asarray(initializer("glorot_uniform", 3, name)(shape)) for name, shape in shapes]
    values = [images.reshape(20, -1)]
    for kernel in kernels[:-1]:
        values.append(np.tanh(values[-1] @ kernel))
    logits = values[-1] @ kernels[-1]
    gradient = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(10)[labels]
    rms = []
    for kernel, value in zip(kernels[:0:-1], values[:0:-1], strict=True):
        gradient = gradient @ kernel.T * (1 - value**2)
        rms.append(np.sqrt(np.mean(gradient**2)))
    of_three_blocks = table.set_index("depth").loc[3]
    assert of_three_blocks["preact_grad_rms_last"] == pytest.approx(rms[0], rel=1e-4)
    assert of_three_blocks["preact_grad_rms_first"] == pytest.approx(rms[-1], rel=1e-4)


def test_the_sigmoid_attenuates_with_every_block_and_no_activation_does_not(run_config, few_digits):
    images, labels = few_digits.images["val"] / np.float32(255), few_digits.labels["val"]
    measured = [
        depth.measure(run_config(f"activation={name}").activation, seed, images, labels, 10, 84, "glorot_uniform")
        for name in ("linear", "sigmoid")
        for seed in (0, 1)
    ]
    rates = tables.depth_rates(pd.concat(measured)).set_index("activation")["rate"]
    assert rates["linear"] == pytest.approx(0, abs=0.02)
    assert rates["sigmoid"] == pytest.approx(-np.log10(0.25), abs=0.05)  # at most a quarter passes; near 0, where z stays, a quarter


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """Two activations of the digits, composed, in a folder of their own; three depths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(depth, "DEPTHS", range(2, 5))
    storage.prepare(loading.data_config("digits", []), storage.path("digits"))
    listed = Study(datasets=["digits"], conditions=["baseline"], activations=["relu", "maxout"], seeds=[0])
    compose(listed)
    return listed


def compose(study: Study) -> None:
    for activation in study.activations:
        composed.write("digits", activation, study)
        edit(activation, "threads: 1", "threads: 2")  # as many as the process of the tests has


def edit(activation: str, old: str, new: str) -> None:
    path = paths.composed_path("digits", activation)
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def test_only_an_activation_that_changed_is_measured_again(study):
    assert pipeline.write("digits", study) == 2
    first = pd.read_csv(paths.depth_path("digits"))
    assert first.groupby(["activation", "seed"], sort=False).size().to_dict() == {("relu", 0): 3, ("maxout", 0): 3}
    assert pipeline.write("digits", study) == 0
    edit("maxout", "pieces: 2", "pieces: 3")
    assert pipeline.write("digits", study) == 1
    second = pd.read_csv(paths.depth_path("digits"))
    same = (second == first).all(axis=1)
    assert (same == first["activation"].eq("relu")).all()
    assert pipeline.write("digits", study) == 0


def test_another_seed_and_another_order_of_the_activations_are_seen(study):
    assert pipeline.write("digits", study) == 2
    bytes_of_one_seed = paths.depth_path("digits").read_bytes()
    more = Study(datasets=["digits"], conditions=["baseline"], activations=["maxout", "relu"], seeds=[0, 1])
    compose(more)
    assert pipeline.write("digits", more) == 2
    assert pd.read_csv(paths.depth_path("digits"))[["activation", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["maxout", 0],
        ["maxout", 1],
        ["relu", 0],
        ["relu", 1],
    ]
    compose(study)
    assert pipeline.write("digits", study) == 2
    assert paths.depth_path("digits").read_bytes() == bytes_of_one_seed


def test_stacks_need_composed_runs(script, tmp_path):
    (tmp_path / "params.yaml").write_text("datasets: [digits]\nconditions: [baseline]\nactivations: [relu]\nseeds: [0]\n")
    storage.prepare(loading.data_config("digits", []), tmp_path / storage.path("digits"))
    assert "write it with python src/study.py data=digits activation=relu --compose" in sentence(script("depth.py", "data=digits"))
    assert "data=cifar10 is not in params.yaml" in sentence(script("depth.py", "data=cifar10"))
    assert "'digits' is not understood; write data=NAME" in sentence(script("depth.py", "digits"))
