"""Comparisons of activations with planted values."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from actgrad.analysis import statistics


def paired(accuracy: dict[str, list[float | None]]) -> pd.DataFrame:
    return statistics.paired({name: dict(enumerate(values)) for name, values in accuracy.items()}).set_index(["first", "second"])


def test_an_estimate_by_hand():
    found = statistics.estimate([1.0, 2.0, 6.0])
    half = 4.302653 * np.sqrt(7) / np.sqrt(3)  # t of 2 degrees of freedom at 97.5 %, sample deviation sqrt(7)
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), rel=1e-6)
    assert statistics.estimate([5.0]) == statistics.Estimate(5.0, None, None)


def test_a_pair_by_hand():
    row = paired({"a": [0.5, 0.6, 0.7, 0.8], "b": [0.4, 0.45, 0.6, 0.65]}).loc[("a", "b")]
    assert row["seeds"] == 4
    assert row["difference"] == pytest.approx(0.125)
    assert row["p"] == pytest.approx(stats.ttest_rel([0.5, 0.6, 0.7, 0.8], [0.4, 0.45, 0.6, 0.65]).pvalue)
    assert row["low"] < row["difference"] < row["high"]


def test_p_values_are_corrected_over_all_pairs():
    table = paired({"a": [0.1, 0.2, 0.31], "b": [0.12, 0.19, 0.3], "c": [0.5, 0.61, 0.7]})
    raw = np.sort(table["p"])
    assert np.sort(table["p_holm"]) == pytest.approx(np.maximum.accumulate(np.minimum(raw * [3, 2, 1], 1)))


@pytest.mark.parametrize("number", [1, 2, 45])
def test_the_correction_is_that_of_statsmodels(number):
    p = np.random.default_rng(number).uniform(0, 0.2, number) ** 2
    p[-1] = p[0]
    assert statistics.holm(p).tolist() == multipletests(p, method="holm")[1].tolist()


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.slow
def test_activations_that_are_alike_are_left_alone(seeds):
    """Of 300 studies without a difference, one in twenty finds a significant pair, give or take three standard errors."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        shared = rng.normal(0, 0.02, seeds)  # effect of the seed on all activations
        table = paired({name: list(0.5 + shared + rng.normal(0, 0.01, seeds)) for name in "abc"})
        wrong += table["significant"].any()
    assert wrong / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_a_difference_of_the_detectable_size_is_found_as_often_as_stated():
    """Two activations that differ by what five seeds can show with a probability of 0.8: found in 80 % of 500 studies."""
    rng = np.random.default_rng(1)
    size = 0.01 * statistics._standardized_difference(5, 0.05)
    found = 0
    for _ in range(500):
        shared = rng.normal(0, 0.05, 5)
        found += paired({"a": list(shared + size + rng.normal(0, 0.01, 5)), "b": list(shared)})["significant"].iloc[0]
    assert found / 500 == pytest.approx(statistics.POWER, abs=3 * np.sqrt(0.8 * 0.2 / 500))


def test_differences_without_spread_are_judged_by_the_sign_test():
    table = paired({"a": [0.5, 0.5, 0.5], "b": [0.4, 0.4, 0.4], "c": [0.5, 0.5, 0.5]})
    assert table.loc[("a", "b"), "p"] == 0.25
    assert table.loc[("a", "c"), "p"] == 1
    assert not table["significant"].any()
    assert table.loc["a", ["low", "high"]].isna().all(axis=None)  # an interval of width 0 would claim that 0.1 is significant


def test_seeds_that_diverged_are_left_out_and_one_seed_decides_nothing():
    table = paired({"a": [0.5, None, 0.7], "b": [0.4, 0.5, 0.5], "c": [None, None, 0.2]})
    assert table.loc[("a", "b"), "seeds"] == 2
    assert table.loc[("a", "c"), "seeds"] == 1
    assert table.loc[("a", "c"), "difference"] == pytest.approx(0.5)
    assert np.isnan(table.loc[("a", "c"), "p"])
    assert not table.loc[("a", "c"), "significant"]
    assert not paired({"a": [None], "b": [0.5]})["significant"].any()


def test_what_float32_leaves_is_no_spread_between_seeds():
    """All three seeds differ by 7 of 360 images. In float32, the differences vary in the eighth decimal."""
    accuracy = {"a": [float(np.float32(k / 360)) for k in (340, 331, 347)], "b": [float(np.float32(k / 360)) for k in (333, 324, 340)]}
    row = paired(accuracy).iloc[0]
    assert (row["p"], row["significant"]) == (0.25, False)


@pytest.mark.parametrize(("difference", "seeds", "level"), [(1.7, 5, 0.05), (4.0, 3, 0.05), (0.9, 10, 0.01)])
def test_power_is_that_of_statsmodels_where_that_has_one(difference, seeds, level):
    assert statistics.power(difference, seeds, level) == pytest.approx(TTestPower().power(difference, seeds, level), rel=1e-4)


def test_the_detectable_difference_grows_with_the_number_of_pairs():
    rng = np.random.default_rng(0)
    accuracy = {name: list(rng.normal(0.5, 0.01, 5)) for name in "abcdefghij"}
    few, many = paired({name: accuracy[name] for name in "ab"}), paired(accuracy)
    assert many.loc[("a", "b"), "detectable"] / few.loc[("a", "b"), "detectable"] == pytest.approx(4.647 / 1.682, rel=1e-3)


def test_a_single_activation_has_no_pairs():
    assert len(paired({"a": [0.5, 0.6]})) == 0
