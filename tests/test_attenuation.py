"""Attenuation compared with values computed by hand, tables made from it, and words for ratios."""

import dataclasses

import numpy as np
import pytest

from actgrad.analysis import tables
from actgrad.analysis.attenuation import by_epoch, of_run
from actgrad.analysis.runs import Runs
from actgrad.analysis.words import attenuated, fold, smaller
from actgrad.diagnosis.signal import SMALLEST, attenuation
from conftest import SITES
from made_up_runs import deep, made_up


@pytest.mark.parametrize(
    ("first", "last", "decades"),
    [
        (0.001, 1.0, 3.0),  # shrinks by a factor of 1000 on the way back
        (0.5, 0.5, 0.0),
        (2.0, 0.02, -2.0),  # grows
        (0.0, 1.0, -np.log10(SMALLEST)),  # by at least 37.9 decades
        (1.0, 0.0, np.log10(SMALLEST)),
        (0.0, 0.0, 0.0),
        (1e-42, 1.0, -np.log10(SMALLEST)),  # smaller than any normal float32
        (np.nan, 1.0, np.nan),
        (1.0, np.nan, np.nan),
        (np.nan, 0.0, np.nan),
        (0.0, np.nan, np.nan),
        (np.inf, np.inf, np.nan),
    ],
)
def test_attenuation_by_hand(first, last, decades):
    assert attenuation(first, last) == pytest.approx(decades, nan_ok=True)


def test_attenuation_of_many_is_that_of_each():
    assert attenuation([0.1, 0.0, np.nan], [1.0, 1.0, 1.0]) == pytest.approx([1, -np.log10(np.finfo(np.float32).tiny), np.nan], nan_ok=True)


def probed(seed: int, **of_epoch: dict[str, float]):
    """A run whose RMS of dL/dz is 0.1, except in these epochs (e0, e1, …) and layers."""
    run = made_up("relu", seed, 0.5)
    for epoch, values in of_epoch.items():
        for layer, rms in values.items():
            run.probe.loc[run.probe["epoch"].eq(int(epoch[1:])) & run.probe["layer"].eq(layer), "preact_grad_rms"] = rms
    return run


def test_of_a_run_it_goes_from_the_last_to_the_first_activated_layer():
    run = probed(0, e0={"conv1_activation": 0.001, "output": 99.0}, e2={"dense1_activation": 1.0})
    assert of_run(run) == pytest.approx(2)
    assert of_run(run, 2) == pytest.approx(1)
    assert by_epoch(run).to_dict() == pytest.approx({0: 2, 1: 0, 2: 1, 3: 0})


def test_a_table_has_its_mean_over_seeds_and_keeps_nan():
    runs = {"relu": [probed(0, e0={SITES[0]: 0.001}, e1={SITES[0]: np.nan}), probed(1, e0={SITES[0]: 0.0})]}
    table = tables.preact_grads(runs)
    of_epoch = table.groupby("epoch")["attenuation"].unique()
    assert all(len(values) == 1 for values in of_epoch)
    assert of_epoch[0][0] == pytest.approx((2 + np.log10(0.1 / SMALLEST)) / 2)
    assert np.isnan(of_epoch[1][0])
    assert of_epoch[2][0] == pytest.approx(0)
    rms = table.set_index(["epoch", "layer"])["preact_grad_rms"]
    assert rms[(0, SITES[0])] == pytest.approx(0.001)  # only from the seed with a value above 0


def test_the_share_of_the_next_layer_is_measured_beside_what_derivatives_and_weights_predict():
    table = tables.share_of_next({"relu": [probed(0, e0={SITES[0]: 0.02})]}).set_index("layer")
    assert table.loc[SITES[0], "share_of_next"] == pytest.approx(0.2)  # 0.02 of conv2's 0.1
    assert table.loc[SITES[-1], "share_of_next"] == pytest.approx(1)
    assert table.loc[SITES[0], "predicted"] == pytest.approx(0.5)
    assert table.loc[SITES[0], "derivatives_alone"] == pytest.approx(np.sqrt(0.5))
    assert table.index.tolist() == [*SITES]


def test_with_batch_normalisation_the_gradient_is_that_of_the_batch():
    run = probed(0, e0={SITES[0]: 0.001})
    assert of_run(run) == pytest.approx(2)
    run = probed(0, e0={SITES[0]: 0.001})
    run.probe["preact_grad_rms_batch"] = np.where(run.probe["layer"] == SITES[0], 0.05, 0.5)
    assert of_run(run) == pytest.approx(1)
    assert tables.preact_grads({"relu": [run]}).set_index(["epoch", "layer"])["preact_grad_rms"][(0, SITES[0])] == pytest.approx(0.05)
    share = tables.share_of_next({"relu": [run]}).set_index("layer").loc[SITES[0]]
    assert share["share_of_next"] == pytest.approx(0.1)
    assert share[["predicted", "derivatives_alone"]].isna().all()  # they predict the gradient without batch statistics, which is another one


def test_one_activated_layer_has_no_attenuation():
    run = probed(0)
    alone = dataclasses.replace(run, probes=run.probes[run.probes["layer"].isin([SITES[0], "output"])])
    assert np.isnan(of_run(alone))


def of_depths(*decades: float) -> dict[str, Runs]:
    """Conditions of the sigmoid with two layers and more, one seed, and these decades of attenuation."""
    return {f"deep_{depth}": deep(depth, {"sigmoid": lambda _, one=one: one}, [0]) for depth, one in enumerate(decades, 2)}


def test_networks_that_differ_in_depth_alone_are_found():
    conditions = {"baseline": {"sigmoid": [probed(0)]}, **of_depths(1, 2, 3)}
    found = tables.by_depth(conditions)
    assert found["depth"].tolist() == [2, 3, 4]
    assert found["attenuation"].tolist() == pytest.approx([1, 2, 3])
    assert found["key"].tolist() == [f"toy/sigmoid/deep_{depth}-0" for depth in (2, 3, 4)]
    assert tables.by_depth({"baseline": {"sigmoid": [probed(0)]}, **of_depths(1)}) is None
    wider = [dataclasses.replace(run, config=run.config.replace("width: 84", "width: 9")) for run in of_depths(1)["deep_2"]["sigmoid"]]
    assert tables.by_depth({"wider": {"sigmoid": wider}, "deep_3": of_depths(1, 2)["deep_3"]}) is None  # they differ in width too


def test_what_a_layer_costs_is_the_slope_over_depths():
    table = tables.depth(tables.by_depth(of_depths(1, 2, 3, np.inf)))
    assert table["mean"].tolist() == pytest.approx([1, 2, 3, np.log10(0.1 / SMALLEST)])
    assert table["lost"].tolist() == [0, 0, 0, 1]
    assert table["rate"].tolist() == pytest.approx([1] * 4)  # the line leaves out the depth at which no gradient arrives
    assert np.isnan(tables.depth(tables.by_depth(of_depths(1, np.nan, 3)))["mean"].iloc[1])
    assert tables.depth_rates(tables.by_depth(of_depths(1, np.inf, np.nan))).empty


@pytest.mark.parametrize(
    ("decades", "words"),
    [
        (np.log10(3139), "3,100-fold"),
        (5.2, "160,000-fold"),
        (1.0, "10-fold"),
        (np.log10(4.2), "4.2-fold"),
        (0.0, "1-fold"),
        (np.log10(0.3), "0.3-fold"),
        (np.log10(0.034), "0.034-fold"),
        (37.9, "10^38-fold"),
        (-6.2, "10^-6-fold"),
        (np.nan, "not measured"),
        (None, "not measured"),
    ],
)
def test_a_ratio_in_words(decades, words):
    assert fold(decades) == words


@pytest.mark.parametrize(("decades", "words"), [(1.0, "10-fold smaller"), (-1.0, "10-fold larger"), (0.01, "no smaller"), (-0.01, "no smaller")])
def test_what_keeps_its_size_is_not_called_1_fold_smaller(decades, words):
    assert smaller(decades) == words
    assert attenuated(decades) == {"10-fold smaller": "10-fold", "no smaller": "1-fold"}.get(words, words)
