"""Claims that compare conditions, on runs with planted values."""

import numpy as np
import pandas as pd
import pytest

from actgrad.analysis.alarms import alarms, enough_failed, fired_in, published
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.remedies import remedies
from actgrad.diagnosis.rules import RULES
from planted_runs import judged, made, wobble


def found(claim: str, conditions: dict[str, dict[str, dict]], seeds: int = 4) -> dict:
    """A row of the ledger for conditions with made-up runs."""
    return judged(Evidence("toy", {name: made(kinds, seeds, name) for name, kinds in conditions.items()}))[claim]


@pytest.mark.parametrize(("tuned", "verdict"), [(0.1, CONFIRMED), (10.0, REFUTED), (1.0, INCONCLUSIVE)])
def test_the_variance_over_activations_is_compared_with_that_on_raw_pixels(tuned, verdict):
    def spread(size: float, wave: int) -> dict[str, dict]:
        return {
            name: {"accuracy": lambda seed, place=place: 0.6 + size * place * (1 + wave * 0.01 * (-1) ** seed)}
            for place, name in enumerate(("sigmoid", "tanh", "relu"))
        }

    conditions = {"baseline": spread(0.01, 0) | {"elu": {"accuracy": 0.1}}, "standardized_tuned": spread(0.01 * tuned, 1) | {"elu": {}}}
    row = found("differences-shrink", conditions)
    assert row["verdict"] == verdict
    assert row["effect"] == pytest.approx(2 * np.log10(tuned), abs=1e-3)
    assert "4 runs fail on raw pixels, 0 with scaled inputs and tuned rates." in row["sentence"]
    assert "over 3 activations" in row["sentence"]


SLOPES = {"leaky_10": 0.1, "leaky_18": 0.18, "leaky_25": 0.25, "leaky_50": 0.5}


def leaky(**accuracies) -> dict[str, dict[str, dict]]:
    """Conditions of the leaky variants: accuracy of leaky_relu under each, and of the others under `standardized`."""
    known = {"relu": 0.7, "leaky_relu": 0.7, "prelu": 0.7, "rrelu": 0.7, **dict.fromkeys(SLOPES, 0.7)} | accuracies
    as_kind = {name: {"accuracy": wobble(value, 0.001 * (1 + place))} for place, (name, value) in enumerate(known.items())}
    others = {name: {"leaky_relu": as_kind[name]} for name in SLOPES}
    return {"standardized": {name: kind for name, kind in as_kind.items() if name not in SLOPES}} | others


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [({"leaky_25": 0.9}, CONFIRMED), ({"leaky_50": 0.5}, REFUTED), ({"leaky_25": 0.9, "leaky_50": 0.5}, INCONCLUSIVE), ({}, INCONCLUSIVE)],
)
@pytest.mark.slow
def test_larger_slopes_are_compared_with_the_small_one(accuracies, verdict):
    row = found("larger-slope-is-better", leaky(**accuracies))
    assert row["verdict"] == verdict
    assert row["sentence"].startswith("Points of test accuracy against the slope 0.01: 0.1: ")
    assert found("larger-slope-is-better", {"standardized": {"leaky_relu": {}}})["verdict"] == NOT_MEASURED


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [({"prelu": 0.9}, CONFIRMED), ({"rrelu": 0.9}, CONFIRMED), ({"leaky_18": 0.9}, REFUTED), ({"prelu": 0.9, "relu": 0.9}, INCONCLUSIVE)],
)
@pytest.mark.slow
def test_learned_and_random_slopes_are_compared_with_every_fixed_one(accuracies, verdict):
    row = found("learned-or-random-slope-is-best", leaky(**accuracies))
    assert row["verdict"] == verdict
    assert found("learned-or-random-slope-is-best", {"standardized": {"prelu": {}}})["verdict"] == NOT_MEASURED
    small = {"standardized": leaky(**accuracies)["standardized"]}
    assert found("learned-or-random-slope-is-best", small)["verdict"] == NOT_MEASURED  # it was judged without a larger slope


@pytest.mark.parametrize(
    ("tanh", "sigmoid", "verdict"),
    [
        (wobble(0.8, 0.001), 0.1, CONFIRMED),
        (wobble(0.3, 0.001), wobble(0.4, 0.001), REFUTED),
        (wobble(0.3, 0.001), 0.1, REFUTED),
        (wobble(0.6), 0.1, INCONCLUSIVE),
        (0.1, 0.1, REFUTED),
    ],
)
def test_orthogonal_networks_are_compared_with_those_of_relu(tanh, sigmoid, verdict):
    conditions = {"deep_16_he": {"relu": {"accuracy": wobble(0.6, 0.002)}}}
    conditions["deep_16_orthogonal"] = {"sigmoid": {"accuracy": sigmoid}, "tanh": {"accuracy": tanh}}
    row = found("orthogonal-sigmoidal", conditions)
    assert row["verdict"] == verdict
    assert ("sigmoid fails in every seed" in row["sentence"]) == (sigmoid == 0.1)
    assert found("orthogonal-sigmoidal", {"deep_16": {"relu": {}}})["verdict"] == NOT_MEASURED


@pytest.mark.parametrize(("relu", "seeds"), [(wobble(0.6), 1), (0.6, 3)])
def test_a_single_seed_and_seeds_without_spread_give_a_difference_without_an_interval(relu, seeds):
    """None, because a report cannot write NaN to claims.json."""
    conditions = {"deep_16_he": {"relu": {"accuracy": relu}}, "deep_16_orthogonal": {"sigmoid": {"accuracy": 0.1}, "tanh": {"accuracy": 0.8}}}
    row = found("orthogonal-sigmoidal", conditions, seeds)
    assert row["effect"] == pytest.approx(0.2, abs=0.02)
    assert (row["low"], row["high"]) == (None, None)


@pytest.mark.parametrize(("left", "verdict"), [(wobble(0.2), CONFIRMED), (wobble(4.0), REFUTED), (wobble(1.0), INCONCLUSIVE)])
def test_what_residual_paths_leave_of_an_attenuation(left, verdict):
    conditions = {"deep_16": {"sigmoid": {"decades": 8.0}, "relu": {"decades": 0.5}}}
    conditions["deep_16_residual"] = {"sigmoid": {"decades": left}, "relu": {"decades": 0.0}}
    row = found("residual-ends-vanishing", conditions)
    assert (row["verdict"], row["unit"]) == (verdict, "decades, sigmoid")
    assert row["sentence"].startswith("On its way back through 16 layers, sigmoid's gradient shrinks by 8.0 decades without")
    assert len(row["keys"]) == 8
    conditions["deep_16"]["sigmoid"]["decades"] = 0.3
    assert found("residual-ends-vanishing", conditions)["verdict"] == NOT_MEASURED


@pytest.mark.parametrize(("first", "verdict"), [(0.01, CONFIRMED), (0.9, REFUTED), (0.1, INCONCLUSIVE)])
def test_how_far_the_first_of_many_layers_moves(first, verdict):
    row = found("early-layers-hardly-learn", {"deep_16": {"sigmoid": {"distance": lambda seed: (2 * first * (1 + 0.01 * (-1) ** seed), 2.0)}}})
    assert row["verdict"] == verdict
    assert row["under"] == {}  # the verdict is that of deep_16, and no second one
    assert row["effect"] == pytest.approx(first)


def test_alarms_are_counted_in_runs_that_fail_and_in_runs_that_learn():
    """An update ratio of 0.5 fires three of the four rules, all but the widest; 1e-3 fires none. Only the accuracy decides whether a run failed."""
    conditions = {
        "deep_2": made({"tanh": {"ratio": 0.5, "accuracy": 0.1}}, 20, "deep_2"),
        "deep_4": made({"tanh": {"accuracy": lambda seed: 0.1 if seed < 1 else 0.9}}, 21, "deep_4"),
    }
    table = alarms(conditions)
    assert len(table) == len(published()) == len({(rule.name, rule.threshold) for rule in RULES}) < len(RULES)
    twice = table[(table["rule"] == "vanishing gradient") & (table["threshold"] == "mean absolute gradient below 1e-7")]
    assert twice["source"].tolist() == ["SageMaker Debugger, DeepDiagnosis (ICSE 2022)"]
    assert {*zip(table["failed"], table["learned"], strict=True)} == {(21, 20), (0, 0)}  # rules about ReLU or sigmoid look at none of these runs
    assert {*table["rule"][table["failed"] == 0]} == {"dead ReLU", "saturation"}
    assert alarms(conditions | {"the_same": conditions["deep_4"]}).equals(table)  # a shared training counted twice
    of_rule = table.set_index(["rule", "source"])
    karpathy, sagemaker = (of_rule.loc[("update ratio", source)] for source in ("Karpathy (makemore 3)", "SageMaker Debugger"))
    assert (karpathy["fired_failed"], karpathy["fired_learned"], karpathy["verdict"]) == (20, 0, CONFIRMED)
    assert (sagemaker["fired_failed"], sagemaker["verdict"]) == (0, REFUTED)
    row = judged(Evidence("toy", conditions))["alarms-tell-of-failure"]
    said = "Of 19 rules, 3 tell of failure, 16 do not, and 0 are undecided; 5 are about activations of which no run failed"
    assert row["sentence"] == f"{said}. 21 runs failed, 20 learned."
    assert row["verdict"] == REFUTED
    assert found("alarms-tell-of-failure", {"deep_2": {"tanh": {}}})["verdict"] == NOT_MEASURED


@pytest.mark.parametrize(("failed", "learned", "enough"), [(0, 9, False), (5, 99, False), (6, 99, True), (6, 1, False), (6, 0, False)])
def test_how_many_runs_must_fail_for_an_alarm_to_be_judged(failed, learned, enough):
    """The exact interval of 6 of 6 begins at 54 %, that of 5 of 5 at 48 %. That of 0 of 1 ends at 98 %."""
    assert enough_failed(pd.DataFrame({"failed": [failed], "learned": [learned]})) is enough


def test_an_alarm_after_the_third_epoch_does_not_count():
    """One step per epoch; the update ratio is high from step 4 on."""
    (run,) = made({"tanh": {}}, 1)["tanh"]
    run.steps.loc[run.steps["step"] >= 4, "update_norm"] = 0.5
    assert not {RULES[number].name for number in fired_in(run)} & {"update ratio"}
    run.steps.loc[run.steps["step"] >= 3, "update_norm"] = 0.5
    assert "update ratio" in {RULES[number].name for number in fired_in(run)}


def test_a_remedy_brings_points_to_what_learns_without_it_and_saves_what_fails():
    """Scaling gains 10 points for tanh in one seed and 20 in the other, and costs elu 5. Sigmoid fails without it in one seed,
    so it is left out of the points."""
    conditions = {
        "standardized": made(
            {"tanh": {"accuracy": lambda seed: 0.7 + 0.1 * seed}, "elu": {"accuracy": 0.7}, "sigmoid": {"accuracy": 0.6}}, 2, "standardized"
        ),
        "baseline": made(
            {"tanh": {"accuracy": 0.6}, "elu": {"accuracy": 0.75}, "sigmoid": {"accuracy": lambda seed: 0.1 if seed else 0.5}, "relu": {}}, 2
        ),
    }
    (row,) = remedies(conditions).to_dict("records")
    assert (row["remedy"], row["condition"], row["against"]) == ("scaled inputs", "standardized", "baseline")
    assert (row["activations"], row["seeds"], row["runs"], row["failed_with"], row["failed_without"]) == (2, 2, 6, 0, 1)
    assert row["points"] == pytest.approx(5)
    assert (row["low"], row["high"]) == pytest.approx((5 - 12.7062 * 2.5, 5 + 12.7062 * 2.5), abs=1e-2)
    assert (row["least"], row["most"]) == ("elu", "tanh")
    assert (row["least_points"], row["most_points"]) == pytest.approx((-5, 15))


def test_a_remedy_under_which_every_activation_fails_has_no_points():
    deep = {name: made({"sigmoid": {"accuracy": accuracy}}, 3, name) for name, accuracy in (("deep_16", 0.1), ("deep_16_residual", 0.8))}
    (row,) = remedies(deep).to_dict("records")
    assert (row["remedy"], row["activations"], row["failed_without"], row["failed_with"]) == ("residual paths", 0, 3, 0)
    assert np.isnan(row["points"])
    assert remedies({"deep_16": deep["deep_16"]}).empty


def test_a_training_that_is_the_same_with_a_remedy_and_without_is_no_gain_of_nothing():
    """A searched rate that is the usual one was averaged with the others, as a gain of exactly 0."""
    before = made({"tanh": {"accuracy": 0.6}, "elu": {"accuracy": 0.7}}, 2, "standardized")
    after = made({"tanh": {"accuracy": 0.7}}, 2, "standardized_tuned")
    (row,) = remedies({"standardized": before, "standardized_tuned": {**after, "elu": before["elu"]}}).to_dict("records")
    assert (row["activations"], row["runs"], row["points"]) == (1, 2, pytest.approx(10))
