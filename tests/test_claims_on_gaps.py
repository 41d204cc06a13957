"""The claim ledger where a measurement is zero, not a number, or missing because a run diverged."""

import json

import numpy as np
import pytest

from actgrad.analysis import claims
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, REFUTED
from planted_runs import evidence, judged, made, made_up, wobble


def test_a_gradient_of_0_has_the_attenuation_of_the_smallest_number():
    runs = made({"linear": {"decades": 1.0}, "sigmoid": {"decades": wobble(3.0)}})
    for run in runs["sigmoid"]:
        run.probe.loc[run.probe["layer"] == "conv1_activation", "preact_grad_rms"] = 0.0
    found = judged(evidence(runs))["vanishing-gradient"]
    assert (found["verdict"], found["effect"]) == (CONFIRMED, pytest.approx(-np.log10(np.finfo(np.float32).tiny) - 1))


@pytest.mark.parametrize(
    ("column", "layer", "claim"),
    [
        ("preact_grad_rms", "conv1_activation", "vanishing-gradient"),
        ("preact_grad_rms", "dense1_activation", "tanh-vanishes-less"),
        ("saturated", "conv2_activation", "saturation"),
        ("newly_dead", "conv2_activation", "dying-relu"),
        ("dead", "conv2_activation", "leaky-never-dies"),
    ],
)
def test_a_measurement_that_is_not_a_number_decides_nothing(column, layer, claim):
    names = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "prelu")
    values = {name: {"decades": wobble(3.0), "saturated": 0.5, "units": (1, 0, 1)} for name in names}
    assert judged(evidence(made(values)))["saturation"]["verdict"] in (CONFIRMED, REFUTED)
    runs = made(values)
    for of_activation in runs.values():
        probe = of_activation[1].probe
        probe[column] = probe[column].astype(float)
        probe.loc[probe["layer"] == layer, column] = np.nan
    found = judged(evidence(runs))[claim]
    assert (found["verdict"], found["effect"]) == (INCONCLUSIVE, None)
    assert found["sentence"] == "A run has measured NaN or infinity, so there is no number to judge."
    assert len(found["keys"]) >= 4
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_ledger_of_runs_that_diverged_is_still_a_ledger(seeds):
    names = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "maxout")
    runs = {name: [made_up(name, seed) for seed in range(seeds)] for name in names}
    for of_activation in runs.values():
        for one in of_activation:
            one.metrics.update(status="diverged", last={}, linearity={})
    ledger = claims.ledger(evidence(runs, "cifar10"))
    assert len(ledger) == len(claims.CLAIMS)
    undecided = ("relu-performs-best", "lenet5-relu-cifar10", "monotonic-required")
    assert {row["verdict"] for row in ledger if row["id"] in undecided} == {INCONCLUSIVE}
    assert not any("nan" in row["sentence"] for row in ledger)
    json.dumps(ledger, allow_nan=False)


def test_a_run_that_diverged_after_an_epoch_is_told_by_its_status():
    runs = made({"relu": {}})
    runs["relu"][0].metrics.update(status="diverged")
    assert judged(evidence(runs, "cifar10"))["lenet5-relu-cifar10"]["sentence"] == "A run of ReLU diverged."
