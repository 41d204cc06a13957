"""Claims about weights and units of one condition, on runs with planted values."""

import numpy as np
import pandas as pd
import pytest

from actgrad.analysis import statistics, updates
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED
from actgrad.analysis.words import number
from planted_runs import evidence, findings, judged, made, wobble


@pytest.mark.parametrize(
    ("seen", "verdict"), [(lambda _: 2.0, CONFIRMED), (lambda _: 0.0, REFUTED), (lambda seed: 2.0 * (seed % 3 > 0), INCONCLUSIVE)]
)
def test_weight_gradients_are_judged_where_the_signal_vanishes(seen, verdict):
    kinds = {"sigmoid": {"decades": 3.0, "weight_decades": seen}, "relu": {"decades": 0.5, "weight_decades": 0.0}}
    found = findings(seeds=20, **kinds)["weight-gradients-show-vanishing"]
    assert found["verdict"] == verdict
    assert len(found["keys"]) == 20
    assert "where dL/dz shrinks by 3.0 decades." in found["sentence"]
    assert findings(relu={"decades": 0.5})["weight-gradients-show-vanishing"]["verdict"] == NOT_MEASURED


@pytest.mark.parametrize(("seen", "said"), [(0.4, "shrinks by 0.4 decades"), (-0.4, "grows by 0.4 decades"), (0.0, "keeps its size")])
def test_whether_the_weights_gradient_shrinks_or_grows_is_said(seen, said):
    found = findings(seeds=2, sigmoid={"decades": 3.0, "weight_decades": seen})["weight-gradients-show-vanishing"]
    assert f"On average it {said} where dL/dz shrinks by 3.0 decades." in found["sentence"]


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(lambda _: 2e-3, CONFIRMED), (lambda _: 2e-2, REFUTED), (lambda seed: 1e-3 if seed % 3 else 1e-5, INCONCLUSIVE)]
)
def test_the_update_ratio_of_runs_that_learned_is_judged(ratio, verdict):
    found = findings(seeds=20, relu={"ratio": ratio}, sigmoid={"ratio": 1e-9, "accuracy": 0.1})["update-ratio"]
    assert found["verdict"] == verdict
    assert len(found["keys"]) == 20


def test_update_ratios_are_those_of_the_last_epoch():
    """Ten steps in ten epochs, so only the last step counts."""
    runs = made({"relu": {"ratio": 2e-3}}, 1)
    steps = runs["relu"][0].steps
    steps.loc[(steps["step"] == 10) & (steps["layer"] == "conv2"), "update_norm"] = 4e-3
    steps.loc[steps["step"] < 10, "update_norm"] = 1.0
    table = updates.update_ratios(runs)
    assert table["ratio"].tolist() == pytest.approx([2e-3, 4e-3, 2e-3, 2e-3, 2e-3])
    assert table["place"].tolist() == [1, 2, 3, 4, 5]
    assert table["layer"].tolist()[:2] == ["conv1", "conv2"]


@pytest.mark.parametrize(
    ("units", "verdict"),
    [((3, 1, 0), REFUTED), ((3, 0, 1), CONFIRMED), ((0, 0, 2), NOT_MEASURED), (lambda seed: (3, int(seed == 0), 0), INCONCLUSIVE)],
)
def test_dead_units_that_come_back(units, verdict):
    found = findings(relu={"units": units})["dead-for-ever"]
    assert found["verdict"] == verdict
    assert verdict != REFUTED or found["effect"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("dormant", "verdict"), [(wobble(0.05, 0.001), CONFIRMED), (wobble(0.3, 0.001), REFUTED), (wobble(0.1), INCONCLUSIVE)])
def test_dormant_units_are_counted_at_the_end(dormant, verdict):
    found = findings(relu={"dormant": dormant})["few-dormant"]
    assert found["verdict"] == verdict
    assert found["effect"] == pytest.approx(np.mean([dormant(seed) for seed in range(4)]))


@pytest.mark.parametrize(
    ("shares", "verdict", "effect"),
    [([[0.1, 0.2], [0.5, 0.6]], CONFIRMED, 0.55), ([[0.1, 0.2], [0.3, 0.39]], REFUTED, 0.345), ([[0.1, 0.2], [0.3, 0.6]], INCONCLUSIVE, 0.45)],
)
def test_the_share_of_dead_units_of_the_worst_rate_is_judged(shares, verdict, effect):
    rows = [("relu", rate, seed, shares[place][seed]) for place, rate in enumerate((0.001, 0.03)) for seed in (0, 1)]
    trials = pd.DataFrame(rows, columns=["activation", "learning_rate", "seed", "dead_share"])
    found = judged(evidence(made({"relu": {}}), trials=trials))["high-rate-kills"]
    assert (found["verdict"], found["effect"], found["unit"]) == (verdict, pytest.approx(effect), "of the units at the rate 0.03")
    assert findings(relu={})["high-rate-kills"]["verdict"] == NOT_MEASURED


@pytest.mark.parametrize(("stuck", "verdict"), [(4, CONFIRMED), (1, INCONCLUSIVE)])
def test_failed_runs_count_as_failures_and_not_as_accuracies(stuck, verdict):
    """Four runs that fail against none is a significant difference, one is not, however low its accuracy is."""
    fails = {"accuracy": lambda seed: 0.1 if seed < stuck else 0.99}
    found = findings(sigmoid=fails, tanh={"accuracy": wobble(0.74, 0.003)}, relu={"accuracy": wobble(0.9)})["relu-performs-best"]
    assert found["verdict"] == verdict
    assert f"0 of 4 runs failed, {stuck} of 4 of sigmoid" in found["sentence"]
    assert found["version"] == 2
    assert len(found["changes"]) == 1


def test_exact_intervals_and_tests_are_those_of_scipy():
    from scipy import stats

    for count, of in ((0, 5), (3, 5), (5, 5), (7, 120)):
        found, theirs = statistics.share(count, of), stats.binomtest(count, of).proportion_ci(method="exact")
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    for table in ((0, 5, 5, 5), (1, 5, 4, 6), (2, 9, 2, 3), (0, 4, 0, 4)):
        count, of, other, of_other = table
        assert statistics.fisher(*table) == pytest.approx(stats.fisher_exact([[count, of - count], [other, of_other - other]]).pvalue)
    assert np.isnan(statistics.share(0, 0).value)


@pytest.mark.parametrize(
    ("effect", "unit", "said"),
    [
        (0.033, "of the dead units", "3.3 % of the dead units"),
        (0.0, "of the rules", "0 % of the rules"),
        (3.9e-7, "of the largest logit", "3.9e-07 of the largest logit"),
        (0.004, "test accuracy, slope 0.25", "+0.4 points, slope 0.25"),
        (2.0, "decades, sigmoid", "100-fold, sigmoid"),
        (-1.0, "decades", "10-fold less"),
        (-1.0, "decades a layer", "10-fold less a layer"),
        (-1.0, "decades more than linear", "10-fold less than linear"),
        (1.7, "decades less than sigmoid", "50-fold less than sigmoid"),
        (-1.0, "decades less than sigmoid", "10-fold more than sigmoid"),
        (0.55, "times, most at conv3_activation", "0.55 times, most at conv3"),
        (0.966, "test accuracy", "96.6 % accuracy"),
        (float("nan"), "of the rules", ""),
    ],
)
def test_a_number_is_said_in_few_words(effect, unit, said):
    assert number(effect, unit) == said
