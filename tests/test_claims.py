"""The claim ledger on runs with planted values."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from actgrad.analysis import claims
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED
from actgrad.analysis.claims.registry import measured
from actgrad.analysis.evidence import _times
from actgrad.analysis.statistics import Estimate
from actgrad.training.names import TRAIN_ACCURACY, VAL_ACCURACY
from planted_runs import SLOPES, Z, evidence, findings, judged, made, wobble


def test_every_claim_is_there_once_and_says_how_it_is_judged():
    assert [entry.id for entry in claims.CLAIMS] == [
        "linear-collapse",
        "sigmoid-derivative",
        "tanh-derivative",
        "vanishing-gradient",
        "depth-exacerbates",
        "tanh-vanishes-less",
        "relu-passes-gradient",
        "weights-may-compensate",
        "weight-gradients-show-vanishing",
        "update-ratio",
        "saturation",
        "dying-relu",
        "dead-for-ever",
        "few-dormant",
        "high-rate-kills",
        "leaky-never-dies",
        "relu-performs-best",
        "monotonic-required",
        "differences-shrink",
        "larger-slope-is-better",
        "learned-or-random-slope-is-best",
        "orthogonal-sigmoidal",
        "residual-ends-vanishing",
        "early-layers-hardly-learn",
        "alarms-tell-of-failure",
        "relu-is-cheap",
        "lenet5-relu-cifar10",
    ]
    assert all(len(entry.rule) > 40 for entry in claims.CLAIMS)


def test_a_claim_is_found_wherever_it_stands_in_the_folder():
    files = Path(claims.__file__).parent.glob("*.py")
    assert len(claims.CLAIMS) == sum(path.read_text().count("\n@claim(") for path in files)


def test_a_claim_without_its_runs_is_not_measured_and_names_them():
    ledger = findings(relu={})
    assert ledger["vanishing-gradient"]["verdict"] == NOT_MEASURED
    assert ledger["vanishing-gradient"]["sentence"] == "The study has no runs of linear, sigmoid."
    assert len(ledger) == len(claims.CLAIMS)


@pytest.mark.parametrize(
    ("sigmoid", "verdict"),
    [(wobble(4.0), CONFIRMED), (wobble(0.5), REFUTED), (wobble(1.5), INCONCLUSIVE), (wobble(2.0, 0.5), INCONCLUSIVE)],
)
def test_a_known_attenuation_is_returned_and_judged(sigmoid, verdict):
    """Without an activation, attenuation is one decade. The claim counts only what the sigmoid adds."""
    found = findings(linear={"decades": 1.0}, sigmoid={"decades": sigmoid})["vanishing-gradient"]
    assert found["verdict"] == verdict
    assert found["effect"] == pytest.approx(np.mean([sigmoid(seed) - 1 for seed in range(4)]))
    assert found["keys"] == tuple(f"cifar10/{name}/baseline-{seed}" for name in ("sigmoid", "linear") for seed in range(4))


def test_the_cause_of_a_vanishing_gradient_is_given():
    """Three layers that each pass on a tenth give three decades, all from derivatives."""
    sentence = findings(linear={"decades": 1.0}, sigmoid={"decades": 3.0, "weights": (0.5, 1.0)})["vanishing-gradient"]["sentence"]
    assert (
        "gradient is 1,000-fold smaller at the first activated layer than at the last. That is 100-fold beyond what weights and pooling do"
        in sentence
    )
    assert sentence.endswith("Its derivatives alone predict 1,000-fold. With weights and pooling it is 8,000-fold.")


def test_a_gradient_that_shrinks_less_or_grows_is_called_so():
    found = findings(linear={"decades": 2.0}, relu={"decades": 1.0}, sigmoid={"decades": -0.5}, tanh={"decades": 0.5})
    assert found["relu-passes-gradient"]["sentence"].startswith("The gradient shrinks 10-fold less in the ReLU network")
    assert found["relu-passes-gradient"]["number"] == "10-fold less than linear"
    assert found["tanh-vanishes-less"]["sentence"] == (
        "From the same weights, the gradient shrinks 10-fold less in the sigmoid network than in the tanh network."
    )
    assert (
        "gradient is 3.2-fold larger at the first activated layer than at the last. That is 320-fold less than what weights"
        in (found["vanishing-gradient"]["sentence"])
    )


@pytest.mark.parametrize(
    ("folding", "verdict"), [(lambda seed: (1e-6 * (1 + seed), 0.0), CONFIRMED), (lambda seed: (1e-3 * (seed == 2), 0.0), REFUTED)]
)
def test_a_network_that_folds(folding, verdict):
    average = made({"linear": {"linearity": folding}}, 3, "average_pooling")
    both = evidence(made({"linear": {"linearity": (0.9, 0.4)}}), others={"average_pooling": average})
    found = judged(both)["linear-collapse"]
    assert found["verdict"] == verdict
    assert "differ from the mean of their logits by 40 % or more" in found["sentence"]
    assert len(found["keys"]) == 7
    assert found["under"] == {}
    assert findings(linear={})["linear-collapse"]["verdict"] == NOT_MEASURED


def of_depths(decades: Callable[[int, int], float], name: str = "sigmoid", depths: Iterable[int] = (2, 4, 8, 16)) -> dict[str, dict]:
    """Conditions with networks of several depths. `decades` is a function of depth and seed."""
    return {
        f"deep_{depth}": made({name: {"decades": lambda seed, depth=depth: decades(depth, seed), "depth": depth}}, 3, f"deep_{depth}")
        for depth in depths
    }


@pytest.mark.parametrize(("rate", "verdict"), [(0.6, CONFIRMED), (0.01, REFUTED), (-0.2, REFUTED), (0.05, INCONCLUSIVE)])
@pytest.mark.slow
def test_a_known_loss_a_layer_is_fitted_and_judged(rate, verdict):
    both = of_depths(lambda depth, seed: 1.5 + rate * depth * (1 + 0.01 * (seed - 1)))
    relu = of_depths(lambda depth, _: 1.5 + 0.15 * depth, "relu")
    for name, runs in relu.items():
        both[name] |= runs
    found = judged(evidence(made({"sigmoid": {}}), others=both))["depth-exacerbates"]
    assert found["verdict"] == verdict
    assert found["effect"] == pytest.approx(rate)
    assert "(1.4-fold with relu)" in found["sentence"]
    assert findings(sigmoid={})["depth-exacerbates"]["verdict"] == NOT_MEASURED
    runs = [f"{name}/deep_{depth}-{seed}" for depth in (2, 4, 8, 16) for name in ("sigmoid", "relu") for seed in range(3)]
    assert found["keys"] == tuple(f"cifar10/{run}" for run in runs)
    assert judged(evidence(made({"sigmoid": {}}), others=relu))["depth-exacerbates"]["verdict"] == NOT_MEASURED


def test_depths_at_which_nothing_arrives_are_left_out_of_the_line():
    some = of_depths(lambda depth, seed: 2.0 * depth + 0.001 * seed if depth < 15 else np.inf)
    assert some["deep_16"]["sigmoid"][0].probe["preact_grad_rms"].eq(0).any()
    found = judged(evidence(made({"sigmoid": {}}), others=some))["depth-exacerbates"]
    assert (found["verdict"], found["effect"]) == (CONFIRMED, pytest.approx(2))


@pytest.mark.parametrize(
    ("sigmoid", "tanh", "verdict"),
    [
        ((1.05, 1.03, 1.07), (1.04, 1.03, 1.05), CONFIRMED),
        ((1.0, 0.99, 1.01), (1.01, 1.0, 1.015), REFUTED),
        ((1.2, 1.1, 1.3), (1.0, 0.9, 1.1), INCONCLUSIVE),
        ((1.2, None, None), (1.3, None, None), INCONCLUSIVE),  # too few rounds for an interval
    ],
)
def test_times_of_a_benchmark(sigmoid, tanh, verdict):
    def row(step):
        multiple = dict(zip(("value", "low", "high"), step, strict=True))
        return {"layers_ms": 1.0, "step_ms": 50.0, "layers_to_relu": multiple, "step_to_relu": multiple}

    times = {"machine": {"processor": "abacus", "cores": 2}, "dataset": "toy", "batch_size": 256}
    times["activations"] = {"sigmoid": row(sigmoid), "tanh": row(tanh), "relu": row((1.0, 1.0, 1.0))}
    found = judged(evidence(made({"relu": {}}), times=times))["relu-is-cheap"]
    assert found["verdict"] == verdict
    assert "abacus with 2 cores" in found["sentence"]
    assert findings(relu={})["relu-is-cheap"]["verdict"] == NOT_MEASURED


def test_times_of_another_dataset_judge_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("actgrad.analysis.evidence.TIMES", tmp_path / "times.json")
    assert _times("digits") is None
    (tmp_path / "times.json").write_text('{"dataset": "cifar10"}')
    assert _times("digits") is None
    assert _times("cifar10") == {"dataset": "cifar10"}


def test_each_condition_gives_its_own_verdicts():
    study = made({"linear": {"decades": 1.0}, "sigmoid": {"decades": wobble(4.0)}})
    other = made({"linear": {"decades": 1.0}, "sigmoid": {"decades": wobble(0.5)}}, condition="he")
    row = judged(evidence(study, others={"he": other, "few": made({"relu": {}}, condition="few")}))["vanishing-gradient"]
    assert (row["verdict"], row["under"]) == (CONFIRMED, {"he": REFUTED})


def test_one_seed_decides_nothing():
    assert findings(seeds=1, linear={"decades": 1.0}, sigmoid={"decades": 9.0})["vanishing-gradient"]["verdict"] == INCONCLUSIVE


@pytest.mark.parametrize(("tanh", "verdict"), [(wobble(1.0), CONFIRMED), (wobble(5.0), REFUTED), (wobble(3.0, 0.5), INCONCLUSIVE)])
def test_tanh_against_the_sigmoid(tanh, verdict):
    assert findings(sigmoid={"decades": 3.0}, tanh={"decades": tanh})["tanh-vanishes-less"]["verdict"] == verdict


@pytest.mark.parametrize(("relu", "verdict"), [(wobble(1.2), CONFIRMED), (wobble(3.0), REFUTED), (wobble(2.0, 0.5), INCONCLUSIVE)])
def test_relu_against_no_activation(relu, verdict):
    assert findings(linear={"decades": 1.0}, relu={"decades": relu})["relu-passes-gradient"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("start", "end", "verdict"), [(0.8, 1.2, CONFIRMED), (0.8, 0.9, INCONCLUSIVE), (1.3, 2.0, REFUTED), (1.0, 2.0, INCONCLUSIVE)]
)
def test_weights_are_small_at_the_start_and_may_grow(start, end, verdict):
    found = findings(linear={"weights": lambda seed: (start + 0.01 * (-1) ** seed, end)}, relu={"weights": (0.5, 0.5)})["weights-may-compensate"]
    assert (found["verdict"], found["effect"]) == (verdict, pytest.approx(start))
    assert len(found["keys"]) == 8


def test_weights_under_batch_normalisation_have_no_factor_of_their_own():
    runs = made({"linear": {}})
    for run in runs["linear"]:
        run.probe["preact_grad_rms_batch"] = 0.1
    assert judged(evidence(runs))["weights-may-compensate"]["verdict"] == NOT_MEASURED


def test_derivatives_are_judged_on_the_curve():
    ledger = findings(sigmoid={}, tanh={})
    assert (ledger["sigmoid-derivative"]["verdict"], ledger["tanh-derivative"]["verdict"]) == (CONFIRMED, CONFIRMED)
    assert ledger["sigmoid-derivative"]["effect"] == pytest.approx(0.25)
    assert ledger["tanh-derivative"]["effect"] == pytest.approx(4)
    steeper = findings(sigmoid={"slope": 2 * SLOPES["sigmoid"]}, tanh={})
    assert (steeper["sigmoid-derivative"]["verdict"], steeper["tanh-derivative"]["verdict"]) == (REFUTED, REFUTED)
    assert findings(sigmoid={"slope": np.full_like(Z, 0.25)})["sigmoid-derivative"]["verdict"] == REFUTED


@pytest.mark.parametrize(("share", "verdict"), [(wobble(0.5), CONFIRMED), (0.0, REFUTED), (wobble(0.1), INCONCLUSIVE)])
def test_saturation(share, verdict):
    assert findings(sigmoid={"saturated": share})["saturation"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("units", "verdict"),
    [
        ((3, 0, 4), CONFIRMED),  # three dead at the start, none revived, four newly dead
        ((3, 3, 3), CONFIRMED),  # same number of dead units at the end, but different ones
        ((0, 0, 0), REFUTED),
        ((3, 0, 0), INCONCLUSIVE),
        ((3, 3, 0), INCONCLUSIVE),
        (lambda seed: (3, 0, seed), INCONCLUSIVE),  # none in the first seed
    ],
)
def test_units_that_die(units, verdict):
    found = findings(relu={"units": units})["dying-relu"]
    assert found["verdict"] == verdict
    assert verdict != CONFIRMED or found["effect"] == units[2]


def test_a_single_dead_unit_refutes_that_leaky_ones_never_die():
    assert findings(leaky_relu={}, prelu={})["leaky-never-dies"]["verdict"] == CONFIRMED
    one = findings(leaky_relu={}, prelu={"units": lambda seed: (int(seed == 2), 0, 0)})["leaky-never-dies"]
    assert (one["verdict"], one["effect"]) == (REFUTED, 1)


@pytest.mark.parametrize(
    ("relu", "verdict"), [(wobble(0.9), CONFIRMED), (wobble(0.3), REFUTED), (wobble(0.75), INCONCLUSIVE), (wobble(0.9, 0.3), INCONCLUSIVE)]
)
def test_relu_is_best_only_if_it_is_significantly_better_than_both(relu, verdict):
    found = findings(sigmoid={"accuracy": wobble(0.5, 0.002)}, tanh={"accuracy": wobble(0.74, 0.003)}, relu={"accuracy": relu})["relu-performs-best"]
    assert found["verdict"] == verdict
    assert found["low"] <= found["effect"] <= found["high"]


def test_a_study_of_a_single_seed_has_a_ledger():
    found = findings(seeds=1, sigmoid={"accuracy": 0.5}, tanh={"accuracy": 0.6}, relu={"accuracy": 0.9})["relu-performs-best"]
    assert (found["verdict"], found["effect"], found["low"]) == (INCONCLUSIVE, pytest.approx(0.3), None)
    assert found["sentence"].startswith("ReLU is above sigmoid in 1 of 1 seeds (+40.0 points) and above tanh in 1 of 1 seeds (+30.0 points).")
    assert found["sentence"].endswith("More seeds are needed to tell how many would settle it.")


def test_the_order_of_activations_in_the_study_does_not_matter():
    kinds = {"sigmoid": {"accuracy": wobble(0.5, 0.002)}, "tanh": {"accuracy": wobble(0.6, 0.003)}, "relu": {"accuracy": wobble(0.9)}}
    there, back = findings(**kinds)["relu-performs-best"], findings(**dict(reversed(kinds.items())))["relu-performs-best"]
    assert there["effect"] == pytest.approx(back["effect"])
    assert (there["low"], there["verdict"]) == (pytest.approx(back["low"]), back["verdict"])


@pytest.mark.parametrize(("accuracy", "verdict"), [(wobble(0.9), REFUTED), (wobble(0.1, 0.001), CONFIRMED), (wobble(0.2, 0.02), INCONCLUSIVE)])
def test_functions_that_fall_and_train_refute_monotonicity(accuracy, verdict):
    assert (
        findings(gelu={"accuracy": accuracy}, silu={"accuracy": accuracy}, relu={"accuracy": wobble(0.9)})["monotonic-required"]["verdict"] == verdict
    )


def test_where_relu_does_not_learn_either_monotonicity_is_not_confirmed():
    low = {"accuracy": wobble(0.1, 0.001)}
    assert findings(gelu=low, silu=low, relu=low)["monotonic-required"]["verdict"] == INCONCLUSIVE


def test_of_an_activation_with_a_single_seed_monotonicity_is_not_judged():
    runs = dict(made({"gelu": {"accuracy": wobble(0.1, 0.001)}, "silu": {"accuracy": wobble(0.1, 0.001)}, "relu": {"accuracy": wobble(0.9)}}))
    assert judged(evidence(runs | {"gelu": runs["gelu"][:1]}))["monotonic-required"]["verdict"] == INCONCLUSIVE


def test_functions_that_do_not_fall_say_nothing_about_monotonicity():
    rising = {"slope": np.ones_like(Z)}
    assert findings(gelu=rising, silu=rising, relu={})["monotonic-required"]["verdict"] == INCONCLUSIVE


@pytest.mark.parametrize(
    ("dataset", "kind", "verdict"),
    [
        ("cifar10", {}, CONFIRMED),
        ("cifar10_jpeg", {}, CONFIRMED),
        ("cifar10", {VAL_ACCURACY: 0.60}, REFUTED),
        ("cifar10", {TRAIN_ACCURACY: 0.75}, REFUTED),
        ("cifar10", {"epochs": 2}, NOT_MEASURED),
        ("digits", {}, NOT_MEASURED),
    ],
)
def test_the_log_of_the_article(dataset, kind, verdict):
    assert findings(dataset, relu=kind)["lenet5-relu-cifar10"]["verdict"] == verdict


@pytest.mark.parametrize(("largest_class", "verdict"), [(0.1, REFUTED), (0.4, INCONCLUSIVE), (0.9, CONFIRMED)])
def test_what_counts_as_training_depends_on_the_largest_class(largest_class, verdict):
    """GELU and SiLU reach 70 %, ReLU 98: beyond twice a tenth; the threshold of 0.4 is 0.7; that of 0.9 is 0.95, which only ReLU exceeds."""
    runs = made({"gelu": {"accuracy": wobble(0.7)}, "silu": {"accuracy": wobble(0.7)}, "relu": {"accuracy": wobble(0.98, 0.001)}})
    for of_activation in runs.values():
        for run in of_activation:
            run.metrics["largest_class"] = largest_class
    assert judged(evidence(runs))["monotonic-required"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("of the units", (0, 1)),
        ("share of conv1", (0, 1)),
        ("test accuracy", (0, 1)),
        ("newly dead units", (0, 1.2)),
        ("test accuracy, relu over tanh", (-0.4, 1.2)),
        ("decades", (-0.4, 1.2)),
    ],
)
def test_an_interval_holds_only_numbers_that_can_be(unit, expected):
    found = measured(CONFIRMED, "", Estimate(0.4, -0.4, 1.2), unit, ())
    assert (found.low, found.high) == expected
