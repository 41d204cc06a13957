"""The claim ledger on cells with a planted truth."""

import json

import numpy as np
import pandas as pd
import pytest

from actgrad.analysis import claims
from actgrad.analysis.claims import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED
from actgrad.analysis.evidence import Evidence
from actgrad.results import run as results
from actgrad.results.run import ACTIVATED_LAYERS, LAYERS, CellResult

Z = np.linspace(-6, 6, 241)
SIGMOID = 1 / (1 + np.exp(-Z))
SLOPES = {"sigmoid": SIGMOID * (1 - SIGMOID), "tanh": 1 - np.tanh(Z) ** 2, "silu": SIGMOID + Z * SIGMOID * (1 - SIGMOID)}
SLOPES["gelu"] = SLOPES["silu"]
RELU_LOG = {results.TRAIN_ACCURACY: 0.86, results.VAL_ACCURACY: 0.54}


def cell(
    name: str,
    seed: int,
    *,
    decades=0.0,
    end_decades=None,
    units=(0, 0, 0),
    saturated=0.0,
    accuracy=0.9,
    slope=None,
    recipe="article",
    affine=(0.0, 0.0),
    weights=(1.0, 1.0),
    epochs=10,
    **last,
) -> CellResult:
    """Delta falls by `decades` from output to conv1 at the start and by `end_decades` at the end; its derivatives are 0.1, its weights multiply
    the signal by `weights` at the start and at the end; `units`: dead at the start, and of them revived, and died, at the end."""
    dead, revived, died = units
    rows = []
    for epoch, fall in ((0, decades), (1, decades if end_decades is None else end_decades)):
        for place, layer in enumerate(LAYERS):
            counts = {"dead": dead + epoch * (died - revived), "died": epoch * died, "revived": epoch * revived}
            census = counts if layer == "conv3" else dict.fromkeys(counts, 0)
            measured = (
                census | {"saturated": saturated, "slope_ms": 0.01, "weight_gain": weights[epoch] ** 2, "pooling_gain": 1.0}
                if layer in ACTIVATED_LAYERS
                else {}
            )
            rows.append({"epoch": epoch, "layer": layer, "units": 10, "delta_rms": 10 ** (-fall * (4 - place) / 4)} | measured)
    history = pd.DataFrame({"epoch": range(1, 11), results.VAL_LOSS: np.abs(np.arange(1, 11) - 4.0)})
    slopes = SLOPES.get(name, np.ones_like(Z)) if slope is None else slope
    metrics = {
        "key": f"cifar10/{name}-{seed}",
        "status": "finished",
        "epochs": 10,
        "validation_split": "val",
        "last": {results.TEST_ACCURACY: accuracy} | RELU_LOG | last,
        "affine": dict(zip(("folding_error", "superposition_error"), affine, strict=True)),
    }
    activation = pd.DataFrame({"z": Z, "value": Z, "derivative": slopes})
    values = {"recipe": {"name": recipe} | claims.TRAINING | {"epochs": epochs}, "model": {"pooling": "max", "batch_normalization": False}}
    return CellResult(json.dumps(values), history, pd.DataFrame(), pd.DataFrame(rows), activation, metrics)


def made(kinds: dict[str, dict], seeds: int = 4) -> dict[str, list[CellResult]]:
    """Cells of activations that are made up as given; a callable value is asked for each seed's."""

    def one(name: str, seed: int, kind: dict) -> CellResult:
        return cell(name, seed, **{key: value(seed) if callable(value) else value for key, value in kind.items()})

    return {name: [one(name, seed, kind) for seed in range(seeds)] for name, kind in kinds.items()}


def judged(evidence: Evidence) -> dict[str, dict]:
    return {row["id"]: row for row in claims.ledger(evidence)}


def findings(dataset: str = "cifar10", seeds: int = 4, **kinds: dict) -> dict[str, dict]:
    """The ledger of a study whose activations are made up as given."""
    return judged(Evidence(dataset, made(kinds, seeds)))


def wobble(value: float, size: float = 0.01):
    """A value that differs a little from seed to seed."""
    return lambda seed: value + size * (-1) ** seed * (1 + seed)


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
        "saturation",
        "dying-relu",
        "leaky-never-dies",
        "relu-performs-best",
        "monotonic-required",
        "relu-is-cheap",
        "lenet5-relu-cifar10",
    ]
    assert all(len(entry.rule) > 40 for entry in claims.CLAIMS)


def test_a_claim_without_its_cells_is_not_measured_and_names_them():
    ledger = findings(relu={})
    assert ledger["vanishing-gradient"]["verdict"] == NOT_MEASURED
    assert ledger["vanishing-gradient"]["sentence"] == "The study has no cells of linear, sigmoid."
    assert len(ledger) == len(claims.CLAIMS)


@pytest.mark.parametrize(
    ("sigmoid", "verdict"),
    [(wobble(4.0), CONFIRMED), (wobble(0.5), REFUTED), (wobble(1.5), INCONCLUSIVE), (wobble(2.0, 0.5), INCONCLUSIVE)],
)
def test_a_known_attenuation_is_returned_and_judged(sigmoid, verdict):
    """Linear loses one decade; what counts is what the sigmoid loses beyond that."""
    found = findings(linear={"decades": 1.0}, sigmoid={"decades": sigmoid})["vanishing-gradient"]
    assert found["verdict"] == verdict
    assert found["effect"] == pytest.approx(np.mean([sigmoid(seed) - 1 for seed in range(4)]))
    assert found["keys"] == tuple(f"cifar10/{name}-{seed}" for name in ("sigmoid", "linear") for seed in range(4))


def test_the_cause_of_a_vanishing_gradient_is_given():
    """Four layers that each keep a tenth lose four decades, all of them by their derivatives."""
    sentence = findings(linear={"decades": 1.0}, sigmoid={"decades": 4.0})["vanishing-gradient"]["sentence"]
    assert sentence.endswith("Its derivatives alone predict 10,000-fold, together with the weights and pooling 10,000-fold.")


@pytest.mark.parametrize(
    ("folding", "verdict"), [(lambda seed: (1e-6 * (1 + seed), 0.0), CONFIRMED), (lambda seed: (1e-3 * (seed == 2), 0.0), REFUTED)]
)
def test_a_network_that_folds(folding, verdict):
    average = made({"linear": {"affine": folding}}, 3)
    found = judged(Evidence("toy", made({"linear": {"affine": (0.9, 0.4)}}), experiments={"average_pooling": average}))["linear-collapse"]
    assert found["verdict"] == verdict
    assert "off the mean of their logits by 40 % or more" in found["sentence"]
    assert len(found["keys"]) == 7
    assert findings(linear={})["linear-collapse"]["verdict"] == NOT_MEASURED


@pytest.mark.parametrize(("rate", "verdict"), [(0.6, CONFIRMED), (0.01, REFUTED), (-0.2, REFUTED), (0.05, INCONCLUSIVE)])
def test_a_known_loss_a_block_is_fitted_and_judged(rate, verdict):
    rows = [
        {"activation": name, "seed": seed, "depth": depth, "attenuation": 1.5 + each * depth * (1 + 0.01 * (seed - 1))}
        for name, each in (("sigmoid", rate), ("relu", 0.15))
        for seed in (0, 1, 2)
        for depth in range(2, 21)
    ]
    evidence = Evidence("toy", made({"sigmoid": {}}), depth=pd.DataFrame(rows))
    found = judged(evidence)["depth-exacerbates"]
    assert found["verdict"] == verdict
    assert found["effect"] == pytest.approx(rate)
    assert "(1.4-fold with relu)" in found["sentence"]
    assert findings(sigmoid={})["depth-exacerbates"]["verdict"] == NOT_MEASURED


def test_depths_at_which_nothing_arrives_are_left_out_of_the_line():
    rows = [
        {"activation": "sigmoid", "seed": seed, "depth": depth, "attenuation": 2.0 * depth if depth < 15 else np.inf}
        for seed in (0, 1)
        for depth in range(2, 21)
    ]
    found = judged(Evidence("toy", made({"sigmoid": {}}), depth=pd.DataFrame(rows)))["depth-exacerbates"]
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
    found = judged(Evidence("toy", made({"relu": {}}), times=times))["relu-is-cheap"]
    assert found["verdict"] == verdict
    assert "abacus with 2 cores" in found["sentence"]
    assert findings(relu={})["relu-is-cheap"]["verdict"] == NOT_MEASURED


def test_each_experiment_gives_its_own_verdicts():
    study = made({"linear": {"decades": 1.0}, "sigmoid": {"decades": wobble(4.0)}})
    other = made({"linear": {"decades": 1.0}, "sigmoid": {"decades": wobble(0.5)}})
    row = judged(Evidence("toy", study, experiments={"he": other, "few": made({"relu": {}})}))["vanishing-gradient"]
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
    assert findings(linear={"weights": (np.nan, np.nan)})["weights-may-compensate"]["verdict"] == NOT_MEASURED


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
        ((3, 0, 4), CONFIRMED),  # three dead at the start, none revived, four died
        ((3, 3, 3), CONFIRMED),  # as many dead at the end as at the start, but not the same ones
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
def test_relu_is_best_only_if_it_is_told_apart_from_both(relu, verdict):
    found = findings(sigmoid={"accuracy": wobble(0.5, 0.002)}, tanh={"accuracy": wobble(0.74, 0.003)}, relu={"accuracy": relu})["relu-performs-best"]
    assert found["verdict"] == verdict
    assert found["low"] <= found["effect"] <= found["high"]


def test_a_study_of_a_single_seed_has_a_ledger():
    found = findings(seeds=1, sigmoid={"accuracy": 0.5}, tanh={"accuracy": 0.6}, relu={"accuracy": 0.9})["relu-performs-best"]
    assert (found["verdict"], found["effect"], found["low"]) == (INCONCLUSIVE, pytest.approx(0.3), None)
    assert found["sentence"].startswith("ReLU: +40.0 points against sigmoid and +30.0 points against tanh. With 1 seed, and")


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


def test_functions_that_do_not_fall_say_nothing_about_monotonicity():
    rising = {"slope": np.ones_like(Z)}
    assert findings(gelu=rising, silu=rising, relu={})["monotonic-required"]["verdict"] == INCONCLUSIVE


@pytest.mark.parametrize(
    ("dataset", "kind", "verdict"),
    [
        ("cifar10", {}, CONFIRMED),
        ("cifar10_jpeg", {}, CONFIRMED),
        ("cifar10", {results.VAL_ACCURACY: 0.60}, REFUTED),
        ("cifar10", {results.TRAIN_ACCURACY: 0.75}, REFUTED),
        ("cifar10", {"epochs": 2}, NOT_MEASURED),
        ("digits", {}, NOT_MEASURED),
    ],
)
def test_the_log_of_the_article(dataset, kind, verdict):
    assert findings(dataset, relu=kind)["lenet5-relu-cifar10"]["verdict"] == verdict


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_ledger_of_cells_that_diverged_is_still_a_ledger(seeds):
    names = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "maxout")
    cells = {name: [cell(name, seed) for seed in range(seeds)] for name in names}
    for of_activation in cells.values():
        for one in of_activation:
            one.metrics.update(status="diverged", last={})
    evidence = Evidence("cifar10", cells)
    ledger = claims.ledger(evidence)
    assert len(ledger) == len(claims.CLAIMS)
    undecided = ("relu-performs-best", "lenet5-relu-cifar10", "monotonic-required")
    assert {row["verdict"] for row in ledger if row["id"] in undecided} == {INCONCLUSIVE}
    assert not any("nan" in row["sentence"] for row in ledger)
    json.dumps(ledger, allow_nan=False)
