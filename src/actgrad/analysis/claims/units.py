"""Claims about saturated and dead units."""

import numpy as np

from actgrad.analysis.claims.registry import (
    CONFIRMED,
    INCONCLUSIVE,
    REFUTED,
    Finding,
    claim,
    keys,
    largest,
    last_epoch,
    measured,
    total,
    verdict,
)
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import probed
from actgrad.analysis.statistics import estimate
from actgrad.results.run import RunResult


@claim("saturation", "Pre-activations of large magnitude put sigmoid units in a region where almost no gradient passes.", ["sigmoid"], "unit_states")
def saturation(evidence: Evidence) -> Finding:
    """The share of saturated sigmoid activations before any update, in the layer where it is largest.
    Confirmed if its interval over seeds lies above 10 %, refuted if below."""
    runs = evidence.runs["sigmoid"]
    layer, effect = largest({layer: estimate([probed(run, 0, layer, "saturated") for run in runs]) for layer in runs[0].activated})
    found = verdict(effect, lambda low, _: low > 0.1, lambda _, high: high < 0.1)
    sentence = f"Before the first update {100 * effect.value:.0f} % of the sigmoid activations of {layer} have a derivative below 5 % of the largest."
    return measured(found, sentence, effect, f"share of {layer}", keys(evidence, "sigmoid"))


@claim("dying-relu", "ReLU units can die: no gradient for any example.", ["relu"], "unit_states")
def dying_relu(evidence: Evidence) -> Finding:
    """Newly dead units: they pass a gradient for some image of the probe batch before the first update, and for none at the end.
    Confirmed if every seed has such a unit, refuted if no seed ever has a dead unit."""
    runs = evidence.runs["relu"]
    newly_dead = [total(run, last_epoch(run), "newly_dead") for run in runs]
    ever = any(_most_dead(run) != 0 for run in runs)
    found = CONFIRMED if np.min(newly_dead) > 0 else INCONCLUSIVE if ever else REFUTED
    starts, ends, revived = (
        np.mean([total(run, epoch(run), name) for run in runs])
        for epoch, name in ((lambda _: 0, "dead"), (last_epoch, "dead"), (last_epoch, "revived"))
    )
    sentence = (
        f"Of {total(runs[0], 0, 'units'):.0f} ReLU units, {starts:.1f} are dead before the first update and {ends:.1f} at the end: "
        f"{np.mean(newly_dead):.1f} are newly dead, {revived:.1f} have revived (means over seeds)."
    )
    return measured(found, sentence, estimate(newly_dead), "newly dead units", keys(evidence, "relu"))


@claim("leaky-never-dies", "A slope on the negative side leaves no unit without gradient.", ["leaky_relu", "prelu"], "unit_states")
def leaky_never_dies(evidence: Evidence) -> Finding:
    """Confirmed if leaky ReLU and PReLU have no dead unit in any layer, epoch and seed; else refuted."""
    most = float(np.max([_most_dead(run) for name in ("leaky_relu", "prelu") for run in evidence.runs[name]]))
    sentence = f"The largest number of dead units, over all epochs and seeds, is {most:.0f}."
    return Finding(CONFIRMED if most == 0 else REFUTED, sentence, most, "units", keys=keys(evidence, "leaky_relu", "prelu"))


def _most_dead(run: RunResult) -> float:
    """The largest number of dead units that a run has after any of its epochs, in the layers with an activation together; NaN where a count is."""
    activated = run.probe[run.probe["layer"].isin(run.activated)]
    return float(activated.groupby("epoch")["dead"].sum(skipna=False).max(skipna=False))
