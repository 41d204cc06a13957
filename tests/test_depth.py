"""Stacks of blocks against a chain rule worked out by hand, and the script that measures them."""

import numpy as np
import pandas as pd
import pytest

from actgrad.analysis import tables
from actgrad.networks.seeding import initializer
from actgrad.training import depth
from conftest import sentence


def test_attenuation_against_the_chain_rule_by_hand(cell, few_digits):
    images, labels = few_digits.images["val"][:20].astype(np.float32), few_digits.labels["val"][:20]
    table = depth.attenuation(cell("activation=tanh").activation, 3, images, labels, 10, 12, "glorot_uniform")
    assert table["depth"].tolist() == list(range(2, 21))
    shapes = [("block1", (64, 12)), ("block2", (12, 12)), ("block3", (12, 12)), ("output", (12, 10))]
    kernels = [np.asarray(initializer("glorot_uniform", 3, name)(shape)) for name, shape in shapes]
    values = [images.reshape(20, -1)]
    for kernel in kernels[:-1]:
        values.append(np.tanh(values[-1] @ kernel))
    logits = values[-1] @ kernels[-1]
    signal = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(10)[labels]
    rms = []
    for kernel, value in zip(kernels[:0:-1], values[:0:-1], strict=True):
        signal = signal @ kernel.T * (1 - value**2)
        rms.append(np.sqrt(np.mean(signal**2)))
    assert table.set_index("depth").loc[3, "attenuation"] == pytest.approx(np.log10(rms[0] / rms[-1]), rel=1e-4)


def test_the_sigmoid_loses_with_every_block_and_no_activation_loses_nothing(cell, few_digits):
    images, labels = few_digits.images["val"] / np.float32(255), few_digits.labels["val"]
    measured = [
        depth.attenuation(cell(f"activation={name}").activation, seed, images, labels, 10, 84, "glorot_uniform")
        for name in ("linear", "sigmoid")
        for seed in (0, 1)
    ]
    rates = tables.depth_rates(pd.concat(measured)).set_index("activation")["rate"]
    assert rates["linear"] == pytest.approx(0, abs=0.02)
    assert rates["sigmoid"] == pytest.approx(-np.log10(0.25), abs=0.05)  # at most a quarter passes; near 0, where z stays, a quarter


def test_stacks_need_a_recipe(script, tmp_path):
    (tmp_path / "params.yaml").write_text("datasets: [digits]\nactivations: [relu]\nseeds: [0]\nrecipe: default\n")
    assert "runs/digits/recipe.yaml is missing; write it with dvc repro recipe@digits" in sentence(script("measure_depth.py", "data=digits"))
    assert "'digits' is not understood; write data=NAME" in sentence(script("measure_depth.py", "digits"))
