"""The rule for failed runs: their number, their role in means and tests, and the number of seeds that would settle a difference."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from actgrad.analysis import statistics, tables
from actgrad.analysis.claims import INCONCLUSIVE
from actgrad.analysis.ranking import ranking
from test_claims import evidence as of_runs
from test_claims import findings, made, wobble
from test_report import evidence, made_up, study_runs


def half_failed():
    return study_runs() | {"sine": [made_up("sine", 0, 0.98), made_up("sine", 1, 0.1)], "none": [made_up("none", seed, 0.1) for seed in (0, 1)]}


def test_a_failed_run_has_no_part_in_a_mean_and_its_activation_comes_after_the_others():
    table = ranking(evidence(half_failed())).set_index("activation")
    assert list(table.index) == ["snake", "relu", "sine", "none"]
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert table.loc["sine", ["learned", "failed", "mean"]].tolist() == [1, 1, 0.98]
    assert np.isnan(table.loc["none", "mean"])
    assert table.loc["relu", "mean"] == pytest.approx(0.6)


def test_every_table_of_accuracies_counts_them_alike():
    found = evidence(half_failed())
    means = ranking(found).set_index("activation")["mean"].drop("none")
    assert tables.summary(found.runs).set_index("activation")["test_accuracy_last_mean"].drop("none").to_dict() == pytest.approx(means.to_dict())
    assert tables.conditions(found.conditions).set_index("activation")["mean"].to_dict() == pytest.approx(means.to_dict())
    last = tables.learning_curves(found.runs).query("split == 'val' and epoch == 3").set_index("activation")["mean"]
    assert last.drop("none").to_dict() == pytest.approx(means.to_dict())
    assert np.isnan(last["none"])


def test_in_the_test_to_fail_is_to_be_below():
    table = ranking(evidence(half_failed())).set_index("activation")
    assert table.loc["sine", "difference"] == pytest.approx((0.98 + 0.1) / 2 - 0.9)
    assert table.loc["none", "difference"] == pytest.approx(-0.8)


def test_an_open_verdict_says_what_the_seeds_did_and_how_many_would_settle_it():
    failing = made({"sigmoid": {"accuracy": wobble(0.8, 0.01)}, "tanh": {"accuracy": wobble(0.5, 0.002)}, "relu": {"accuracy": wobble(0.9, 0.01)}})
    for run in failing["sigmoid"][:2]:
        run.metrics["last"]["test/accuracy"] = 0.05
    from actgrad.analysis.claims import ledger

    found = {row["id"]: row for row in ledger(of_runs(failing))}["relu-performs-best"]
    seeds = len(failing["relu"])
    assert found["verdict"] == INCONCLUSIVE
    assert f"above sigmoid in {seeds} of {seeds} seeds" in found["sentence"]
    assert f"0 of {seeds} runs failed, 2 of {seeds} of sigmoid" in found["sentence"]
    assert found["sentence"].endswith("More seeds are needed to tell how many would settle it.")


@pytest.mark.parametrize(("difference", "deviation", "pairs"), [(0.1, 0.08, 45), (0.02, 0.03, 3), (0.5, 0.4, 1)])
def test_the_number_of_seeds_that_settles_is_the_first_with_enough_power(difference, deviation, pairs):
    needed = statistics.seeds_to_settle(difference, deviation, pairs)
    reached = [TTestPower().power(difference / deviation, number, 0.05 / pairs) for number in (needed - 1, needed) if number > 1]
    assert reached[-1] > 0.79
    assert len(reached) == 1 or reached[0] < 0.81
    assert statistics.seeds_to_settle(-difference, deviation, pairs) == needed


def test_seeds_without_any_spread_give_a_ledger():
    found = findings(sigmoid={"accuracy": 0.5}, tanh={"accuracy": 0.6}, relu={"accuracy": 0.9})["relu-performs-best"]
    assert (found["low"], found["high"]) == (None, None)


def test_without_a_difference_no_number_of_seeds_settles_it():
    assert statistics.seeds_to_settle(0.0, 0.1, 1) is None
    assert statistics.seeds_to_settle(0.1, float("nan"), 1) is None
    assert statistics.seeds_to_settle(1e-6, 1.0, 1) == statistics.MOST_SEEDS
    assert findings(seeds=1, sigmoid={}, tanh={}, relu={})["relu-performs-best"]["verdict"] == INCONCLUSIVE
