"""The claim ledger on cells with a planted truth."""

import json

import numpy as np
import pandas as pd
import pytest

from actgrad import claims, results, statistics
from actgrad.claims import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED
from actgrad.results import ACTIVATED_LAYERS, LAYERS, CellResult

Z = np.linspace(-6, 6, 241)
SIGMOID = 1 / (1 + np.exp(-Z))
SLOPES = {"sigmoid": SIGMOID * (1 - SIGMOID), "tanh": 1 - np.tanh(Z) ** 2, "silu": SIGMOID + Z * SIGMOID * (1 - SIGMOID)}
SLOPES["gelu"] = SLOPES["silu"]
RELU_LOG = {results.TRAIN_ACCURACY: 0.86, results.VAL_ACCURACY: 0.54}


def cell(
    name: str, seed: int, *, decades=0.0, end_decades=None, dead=(0, 0), saturated=0.0, accuracy=0.9, slope=None, recipe="article", **last
) -> CellResult:
    """Delta falls by `decades` from output to conv1 at the start and by `end_decades` at the end; `dead` units at start and end."""
    rows = []
    for epoch, fall in ((0, decades), (1, decades if end_decades is None else end_decades)):
        for place, layer in enumerate(LAYERS):
            measured = {"dead": dead[epoch] if layer == "conv3" else 0, "saturated": saturated} if layer in ACTIVATED_LAYERS else {}
            rows.append({"epoch": epoch, "layer": layer, "units": 10, "delta_rms": 10 ** (-fall * (4 - place) / 4)} | measured)
    history = pd.DataFrame({"epoch": range(1, 11), results.VAL_LOSS: np.abs(np.arange(1, 11) - 4.0)})
    slopes = SLOPES.get(name, np.ones_like(Z)) if slope is None else slope
    metrics = {
        "key": f"cifar10/{name}-{seed}",
        "status": "finished",
        "epochs": 10,
        "validation_split": "val",
        "last": {results.TEST_ACCURACY: accuracy} | RELU_LOG | last,
    }
    activation = pd.DataFrame({"z": Z, "value": Z, "derivative": slopes})
    return CellResult(f"recipe: {{name: {recipe}}}", history, pd.DataFrame(), pd.DataFrame(rows), activation, metrics)


def findings(dataset: str = "cifar10", seeds: int = 4, **kinds: dict) -> dict[str, dict]:
    """The ledger of a study whose activations are made up as given; a callable value is asked for each seed's."""

    def made(name: str, seed: int, kind: dict) -> CellResult:
        return cell(name, seed, **{key: value(seed) if callable(value) else value for key, value in kind.items()})

    cells = {name: [made(name, seed, kind) for seed in range(seeds)] for name, kind in kinds.items()}
    evidence = claims.Evidence(dataset, cells, statistics.paired(cells, "last", results.TEST_ACCURACY))
    return {row["id"]: row for row in claims.ledger(evidence)}


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
    assert len(ledger) == 15


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


def test_one_seed_decides_nothing():
    assert findings(seeds=1, linear={"decades": 1.0}, sigmoid={"decades": 9.0})["vanishing-gradient"]["verdict"] == INCONCLUSIVE


@pytest.mark.parametrize(("tanh", "verdict"), [(wobble(1.0), CONFIRMED), (wobble(5.0), REFUTED), (wobble(3.0, 0.5), INCONCLUSIVE)])
def test_tanh_against_the_sigmoid(tanh, verdict):
    assert findings(sigmoid={"decades": 3.0}, tanh={"decades": tanh})["tanh-vanishes-less"]["verdict"] == verdict


@pytest.mark.parametrize(("relu", "verdict"), [(wobble(1.2), CONFIRMED), (wobble(3.0), REFUTED), (wobble(2.0, 0.5), INCONCLUSIVE)])
def test_relu_against_no_activation(relu, verdict):
    assert findings(linear={"decades": 1.0}, relu={"decades": relu})["relu-passes-gradient"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("decades", "end", "verdict"), [(wobble(1.0), -1.0, CONFIRMED), (wobble(1.0), 1.0, INCONCLUSIVE), (wobble(-1.0), -1.0, REFUTED)]
)
def test_weights_shrink_at_the_start_and_may_grow(decades, end, verdict):
    assert findings(linear={"decades": decades, "end_decades": end})["weights-may-compensate"]["verdict"] == verdict


def test_derivatives_are_judged_on_the_curve():
    ledger = findings(sigmoid={}, tanh={})
    assert (ledger["sigmoid-derivative"]["verdict"], ledger["tanh-derivative"]["verdict"]) == (CONFIRMED, CONFIRMED)
    assert ledger["sigmoid-derivative"]["effect"] == pytest.approx(0.25)
    assert ledger["tanh-derivative"]["effect"] == pytest.approx(4)
    steeper = findings(sigmoid={"slope": 2 * SLOPES["sigmoid"]}, tanh={})
    assert (steeper["sigmoid-derivative"]["verdict"], steeper["tanh-derivative"]["verdict"]) == (REFUTED, REFUTED)
    assert findings(sigmoid={"slope": np.full_like(Z, 0.25)})["sigmoid-derivative"]["verdict"] == REFUTED


@pytest.mark.parametrize(("share", "verdict"), [(wobble(0.5), CONFIRMED), (0.0, REFUTED), (wobble(0.05), INCONCLUSIVE)])
def test_saturation(share, verdict):
    assert findings(sigmoid={"saturated": share})["saturation"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("dead", "verdict"),
    [((3, 7), CONFIRMED), ((0, 0), REFUTED), ((3, 3), INCONCLUSIVE), (lambda seed: (3, 3 + seed), INCONCLUSIVE)],
)
def test_units_that_die(dead, verdict):
    found = findings(relu={"dead": dead})["dying-relu"]
    assert found["verdict"] == verdict
    assert verdict != CONFIRMED or found["effect"] == 4


def test_a_single_dead_unit_refutes_that_leaky_ones_never_die():
    assert findings(leaky_relu={}, prelu={})["leaky-never-dies"]["verdict"] == CONFIRMED
    one = findings(leaky_relu={}, prelu={"dead": lambda seed: (int(seed == 2), 0)})["leaky-never-dies"]
    assert (one["verdict"], one["effect"]) == (REFUTED, 1)


@pytest.mark.parametrize(
    ("relu", "verdict"), [(wobble(0.9), CONFIRMED), (wobble(0.3), REFUTED), (wobble(0.75), INCONCLUSIVE), (wobble(0.9, 0.3), INCONCLUSIVE)]
)
def test_relu_is_best_only_if_it_is_told_apart_from_both(relu, verdict):
    found = findings(sigmoid={"accuracy": wobble(0.5, 0.002)}, tanh={"accuracy": wobble(0.74, 0.003)}, relu={"accuracy": relu})["relu-performs-best"]
    assert found["verdict"] == verdict
    assert found["low"] <= found["effect"] <= found["high"]


def test_the_order_of_activations_in_the_study_does_not_matter():
    kinds = {"sigmoid": {"accuracy": wobble(0.5, 0.002)}, "tanh": {"accuracy": wobble(0.6, 0.003)}, "relu": {"accuracy": wobble(0.9)}}
    there, back = findings(**kinds)["relu-performs-best"], findings(**dict(reversed(kinds.items())))["relu-performs-best"]
    assert there["effect"] == pytest.approx(back["effect"])
    assert (there["low"], there["verdict"]) == (pytest.approx(back["low"]), back["verdict"])


@pytest.mark.parametrize(("accuracy", "verdict"), [(wobble(0.9), REFUTED), (wobble(0.1, 0.001), CONFIRMED), (wobble(0.2, 0.02), INCONCLUSIVE)])
def test_functions_that_fall_and_train_refute_monotonicity(accuracy, verdict):
    assert findings(gelu={"accuracy": accuracy}, silu={"accuracy": accuracy})["monotonic-required"]["verdict"] == verdict


def test_functions_that_do_not_fall_say_nothing_about_monotonicity():
    rising = {"slope": np.ones_like(Z)}
    assert findings(gelu=rising, silu=rising)["monotonic-required"]["verdict"] == INCONCLUSIVE


@pytest.mark.parametrize(
    ("dataset", "kind", "verdict"),
    [
        ("cifar10", {}, CONFIRMED),
        ("cifar10_jpeg", {}, CONFIRMED),
        ("cifar10", {results.VAL_ACCURACY: 0.60}, REFUTED),
        ("cifar10", {results.TRAIN_ACCURACY: 0.75}, REFUTED),
        ("cifar10", {"recipe": "standardized"}, NOT_MEASURED),
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
    evidence = claims.Evidence("cifar10", cells, statistics.paired(cells, "last", results.TEST_ACCURACY))
    ledger = claims.ledger(evidence)
    assert len(ledger) == 15
    assert {row["verdict"] for row in ledger if row["id"] in ("relu-performs-best", "lenet5-relu-cifar10")} == {INCONCLUSIVE}
    json.dumps(ledger, allow_nan=False)
