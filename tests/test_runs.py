"""Which runs can be compared, which failed, and how conditions differ."""

import dataclasses

import numpy as np
import pytest

from actgrad.analysis import tables
from actgrad.analysis.runs import DIVERGED, FAILED, LEARNED, belong_together, differences, outcome, threshold
from actgrad.results.run import RunResult
from conftest import refuses
from made_up_runs import made_up, study_runs


@pytest.mark.parametrize(
    ("largest_class", "expected"),
    [
        (0.1, 0.2),  # ten equal classes: twice a tenth
        (0.5, 0.75),  # two equal classes: halfway from a half to 1
        (0.8, 0.9),  # two classes, one with four in five: always guessing it gives 80 %
        (0.25, 0.5),  # four classes, or two larger ones among many
        (1 / 3, 2 / 3),  # both rules give the same
    ],
)
def test_the_threshold_of_a_failed_run_by_hand(largest_class, expected):
    assert threshold(made_up("relu", 0, 0.5, largest_class=largest_class)) == pytest.approx(expected)


def test_a_run_fails_below_the_threshold_of_its_own_classes():
    """A test accuracy of 85 % has learned if no class is large, but failed if one class has four in five images."""
    assert outcome(made_up("relu", 0, 0.85, largest_class=0.1)) == LEARNED
    assert outcome(made_up("relu", 0, 0.85, largest_class=0.8)) == FAILED
    assert outcome(made_up("relu", 0, 0.9, largest_class=0.8)) == LEARNED
    assert outcome(made_up("relu", 0, 0.1, status="diverged", last={})) == DIVERGED


def test_failed_and_diverged_runs_are_counted_apart():
    share = 1 / 6
    runs = [made_up("relu", seed, accuracy, largest_class=share) for seed, accuracy in enumerate((share, 1.9 * share, 2.1 * share))]
    diverged = made_up("relu", 3, 0.1, status="diverged", last={}, best={})
    row = tables.summary({"relu": [*runs, diverged]}).loc[0]
    assert (row["failed"], row["diverged"]) == (2, 1)
    table = tables.seeds({"relu": [*runs, diverged]})
    assert table["seed"].tolist() == [0, 1, 2, 3]
    assert table["test_accuracy_last"].iloc[:3].tolist() == [share, 1.9 * share, 2.1 * share]
    assert np.isnan(table["test_accuracy_last"].iloc[3])


def edited(run: RunResult, old: str, new: str) -> RunResult:
    """A run with another configuration."""
    assert old in run.config
    return dataclasses.replace(run, config=run.config.replace(old, new))


def test_runs_of_different_recipes_are_not_compared():
    runs = study_runs()
    belong_together({"baseline": runs})
    runs["snake"][1] = edited(runs["snake"][1], "batch_size: 2", "batch_size: 3")
    with refuses("runs-differ", "toy/snake/baseline-1", "toy/relu/baseline-0", "recipe.batch_size"):
        belong_together({"baseline": runs})


def test_learning_rates_may_differ_between_activations_and_not_between_seeds():
    runs = study_runs()
    runs["snake"] = [edited(run, "learning_rate: 0.1", "learning_rate: 0.2") for run in runs["snake"]]
    belong_together({"baseline": runs})
    runs["snake"][1] = edited(runs["snake"][1], "learning_rate: 0.2", "learning_rate: 0.3")
    with refuses("runs-differ", "toy/snake/baseline-1", "toy/snake/baseline-0", "recipe.learning_rate"):
        belong_together({"baseline": runs})


@pytest.mark.parametrize(("name", "words"), [("core_sha256", "the code that trained them"), ("data_sha256", "data")])
@pytest.mark.parametrize("condition", ["baseline", "he"])
def test_runs_of_different_cores_or_data_are_not_compared(name, words, condition):
    """Neither within a condition nor across conditions, though those may have different recipes."""
    he = {"relu": [edited(made_up("relu", 0, 0.6, condition="he"), "glorot_uniform", "he_uniform")]}
    conditions = {"baseline": study_runs(), "he": he}
    belong_together(conditions)
    run = conditions[condition]["relu"][-1]
    run.metrics[name] = "2" * 64
    with refuses("runs-differ", run.key, "toy/relu/baseline-0", words):
        belong_together(conditions)


def test_what_a_condition_changes_is_named():
    runs = study_runs()
    assert differences(runs, runs) == {}
    rates = {
        name: [edited(of[0], "learning_rate: 0.1", f"learning_rate: {rate}")] for (name, of), rate in zip(runs.items(), (0.2, 0.01), strict=True)
    }
    assert differences(runs, rates) == {"recipe.learning_rate": "0.01 to 0.2"}
    pooling = {"relu": [edited(runs["relu"][0], "pooling: max", "pooling: average")]}
    assert differences(runs, pooling) == {"model.config.pooling": "average"}


def test_a_count_that_is_not_a_number_is_not_taken_for_0():
    runs = {"relu": [made_up("relu", 0, 0.5), made_up("relu", 1, 0.5)]}
    probe = runs["relu"][1].probe
    probe[["dead", "saturated"]] = probe[["dead", "saturated"]].astype(float)
    probe.loc[probe["epoch"].eq(3) & probe["layer"].eq("conv2_activation"), ["dead", "saturated"]] = np.nan
    states = tables.unit_states(runs)
    of = states.set_index(["epoch", "layer"])
    assert np.isnan(of.loc[(3, "conv2_activation"), "dead"])
    assert of.loc[(3, "conv1_activation"), "dead"] == 0
    row = tables.unit_totals(states).loc[0]
    assert np.isnan(row[["dead", "saturated"]].astype(float)).all()
    assert row["dead_at_start"] == 0
