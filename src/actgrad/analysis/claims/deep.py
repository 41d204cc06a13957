"""Claims about deep networks and their remedies. They compare conditions that differ in one setting."""

from collections.abc import Mapping

import numpy as np

from actgrad.analysis import attenuation, statistics
from actgrad.analysis.claims.registry import (
    CONFIRMED,
    INCONCLUSIVE,
    NOT_MEASURED,
    REFUTED,
    Finding,
    claim,
    measured,
    verdict,
)
from actgrad.analysis.claims.weights import VANISHES
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import Runs, accuracies
from actgrad.analysis.statistics import estimate
from actgrad.analysis.words import shrinks
from actgrad.results.run import RunResult

PLAIN, HE, RESIDUAL, ORTHOGONAL = "deep_16", "deep_16_he", "deep_16_residual", "deep_16_orthogonal"
"""The conditions that are compared."""


@claim(
    "orthogonal-sigmoidal",
    "Deep sigmoidal networks with orthogonal weights beat deep ReLU networks (Pennington, Schoenholz and Ganguli 2017).",
    figure="conditions",
    title="Orthogonal sigmoidal networks beat ReLU",
)
def orthogonal_sigmoidal(evidence: Evidence) -> Finding:
    """Networks of 16 layers: sigmoid and tanh with orthogonal weights, each against ReLU with He's weights, in test accuracy after the last epoch,
    paired by seed; two comparisons, Holm-corrected. Runs that failed are left out. Confirmed if one of the two is significantly better than ReLU;
    refuted if, for each, it is significantly worse or all its runs failed."""
    orthogonal, relu = _runs(evidence, ORTHOGONAL), _runs(evidence, HE).get("relu")
    if relu is None or not {"sigmoid", "tanh"} <= set(orthogonal):
        return _needs(ORTHOGONAL, HE)
    values = {"relu": accuracies(relu)} | {name: accuracies(orthogonal[name]) for name in ("sigmoid", "tanh")}
    pairs = statistics.paired(values, [(name, "relu") for name in ("sigmoid", "tanh")]).set_index("first")
    failed = {name: all(value is None for value in values[name].values()) for name in ("sigmoid", "tanh")}
    rows = pairs.to_dict("index")
    better = {name: bool(rows[name]["significant"] and rows[name]["difference"] > 0) for name in failed}
    worse = {name: failed[name] or bool(rows[name]["significant"] and rows[name]["difference"] < 0) for name in failed}
    found = CONFIRMED if any(better.values()) else REFUTED if all(worse.values()) else INCONCLUSIVE
    said = [f"{name} fails in every seed" if failed[name] else f"{name} {100 * rows[name]['difference']:+.1f} points" for name in failed]
    best = pairs["difference"].astype(float).idxmax() if pairs["difference"].notna().any() else None
    keys = tuple(run.key for run in (*relu, *orthogonal["sigmoid"], *orthogonal["tanh"]))
    if best is None:
        return Finding(found, f"With orthogonal weights, {' and '.join(said)}.", keys=keys)
    sentence = f"With orthogonal weights, against ReLU with He's: {' and '.join(said)}."
    return measured(found, sentence, statistics.of_row(rows[best]), f"test accuracy, {best} over relu", keys)


@claim(
    "residual-ends-vanishing",
    "Residual paths end the vanishing of gradients (He, Zhang, Ren and Sun 2016).",
    figure="depth",
    title="Residual paths end vanishing",
)
def residual_ends_vanishing(evidence: Evidence) -> Finding:
    """Networks of 16 layers, before any update. The activations whose gradient shrinks by more than a decade from the last layer to the first in
    every seed without residual paths; of these, the largest attenuation with them. Confirmed if its interval over seeds lies below 1 decade,
    refuted if above."""
    plain, residual = _runs(evidence, PLAIN), _runs(evidence, RESIDUAL)
    both = {name: [attenuation.of_run(run) for run in runs] for name, runs in plain.items() if name in residual}
    vanishing = {name: estimate(decades) for name, decades in both.items() if min(decades) > VANISHES}
    if not both:
        return _needs(PLAIN, RESIDUAL)
    if not vanishing:
        return Finding(NOT_MEASURED, "In no network of 16 layers does the gradient shrink by more than a decade.")
    cured = {name: estimate([attenuation.of_run(run) for run in residual[name]]) for name in vanishing}
    name, effect = max(cured.items(), key=lambda item: (bool(np.isnan(item[1].value)), item[1].value))
    found = verdict(effect, lambda _, high: high < VANISHES, lambda low, _: low > VANISHES)
    said = "; ".join(
        f"{one}'s gradient {shrinks(vanishing[one].value)} without residual paths and {shrinks(cured[one].value)} with them" for one in vanishing
    )
    keys = tuple(run.key for one in vanishing for run in (*plain[one], *residual[one]))
    return measured(found, f"On its way back through 16 layers, {said}.", effect, f"decades, {name}", keys)


@claim(
    "early-layers-hardly-learn", "In deep sigmoid networks the early layers hardly learn.", figure="depth", title="Early sigmoid layers hardly learn"
)
def early_layers_hardly_learn(evidence: Evidence) -> Finding:
    """Sigmoid networks of 16 layers. How far training moves the weights of the first layer, by their norm at the start, as a share of the same for
    the last activated layer. Confirmed if its interval over seeds lies below 10 %, refuted if above."""
    runs = [run for run in _runs(evidence, PLAIN).get("sigmoid", ()) if run.metrics["distance"]]
    if not runs:
        return _needs(PLAIN)
    effect = estimate([_moved(run, run.layers[0]) / _moved(run, run.layers[-2]) for run in runs])
    found = verdict(effect, lambda _, high: high < 0.1, lambda low, _: low > 0.1)
    first, last = (np.mean([_moved(run, run.layers[place]) for run in runs]) for place in (0, -2))
    sentence = f"Training moves the weights of the first of 16 layers by {first:.2g} of their norm, those of the last activated layer by {last:.2g}."
    return measured(found, sentence, effect, "of the last activated layer's", tuple(run.key for run in runs))


def _moved(run: RunResult, layer: str) -> float:
    """How far training moved the weights of a layer, as a share of their norm before training."""
    at_start = run.steps[(run.steps["step"] == 1) & (run.steps["layer"] == layer)]
    return float(run.metrics["distance"][layer] / at_start["weight_norm"].iloc[0])


def _runs(evidence: Evidence, condition: str) -> Runs | Mapping[str, list[RunResult]]:
    return evidence.conditions.get(condition, {})


def _needs(*conditions: str) -> Finding:
    return Finding(NOT_MEASURED, f"It needs the conditions {' and '.join(conditions)}.")
