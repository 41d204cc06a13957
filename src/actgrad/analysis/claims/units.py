"""Claims about saturated and dead units."""

import numpy as np

from actgrad.analysis.claims.registry import (
    CONFIRMED,
    INCONCLUSIVE,
    NOT_MEASURED,
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

MANY_DEAD = 0.4
"""The share of dead units that the claim names."""


@claim(
    "saturation",
    "Sigmoid units start saturated: their pre-activations are so large that almost no gradient passes.",
    ["sigmoid"],
    "unit_states",
    title="Sigmoid units start saturated",
)
def saturation(evidence: Evidence) -> Finding:
    """The share of saturated sigmoid activations before any update, in the layer where it is largest.
    Confirmed if its interval over seeds lies above 10 %, refuted if below."""
    runs = evidence.runs["sigmoid"]
    layer, effect = largest({layer: estimate([probed(run, 0, layer, "saturated") for run in runs]) for layer in runs[0].activated})
    found = verdict(effect, lambda low, _: low > 0.1, lambda _, high: high < 0.1)
    sentence = f"Before the first update {100 * effect.value:.0f} % of the sigmoid activations of {layer} have a derivative below 5 % of the largest."
    return measured(found, sentence, effect, f"share of {layer}", keys(evidence, "sigmoid"))


@claim("dying-relu", "ReLU units can die: no gradient for any example.", ["relu"], "unit_states", title="ReLU units can die")
def dying_relu(evidence: Evidence) -> Finding:
    """Newly dead units: they pass a gradient for some image of a fixed batch before the first update, and for none at the end.
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


@claim("dead-for-ever", "A dead ReLU is dead for ever.", ["relu"], "unit_states", title="A dead ReLU stays dead")
def dead_for_ever(evidence: Evidence) -> Finding:
    """ReLU units that pass no gradient for any image of a fixed batch at one measurement, and for some image at the next. Refuted if every seed has
    such a unit, confirmed if none has and some seed has a dead unit."""
    runs = evidence.runs["relu"]
    counts = [_revivals(run) for run in runs]
    if not any(dead != 0 for _, dead in counts):
        return Finding(NOT_MEASURED, "No ReLU unit is dead at any measurement but the last.", keys=keys(evidence, "relu"))
    found = REFUTED if all(revived for revived, _ in counts) else INCONCLUSIVE if any(revived for revived, _ in counts) else CONFIRMED
    effect = estimate([revived / dead for revived, dead in counts if dead])
    sentence = f"Of the units that are dead at one measurement, {100 * effect.value:.1f} % pass a gradient at the next (mean over seeds)."
    return measured(found, sentence, effect, "of the dead units, by the next measurement", keys(evidence, "relu"))


def _revivals(run: RunResult) -> tuple[float, float]:
    """Number of times a unit was dead at one measurement but not at the next, and number of times a unit was dead at any measurement except the last.
    NaN if a count is NaN."""
    probes = run.probes[run.probes["layer"].isin(run.activated)].astype({"dead": float, "revived_since_last": float})
    steps = sorted(probes["step"].unique())
    revived, dead = (probes.loc[probes["step"] != steps[end], name].sum(skipna=False) for name, end in (("revived_since_last", 0), ("dead", -1)))
    return float(revived), float(dead)


@claim(
    "few-dormant",
    "In supervised learning few neurons are dormant (Sokar, Agarwal, Castro and Evci 2023).",
    ["relu"],
    "unit_states",
    title="Few neurons are dormant",
)
def few_dormant(evidence: Evidence) -> Finding:
    """A unit is tau-dormant if its mean output is at most tau times that of all units of its layer (section 3.1 there); here tau is 0.025. The share
    of dormant ReLU units at the end of training. Confirmed if its interval over seeds lies below 10 %, refuted if above."""
    effect = estimate([_share_dormant(run) for run in evidence.runs["relu"]])
    found = verdict(effect, lambda _, high: high < 0.1, lambda low, _: low > 0.1)
    sentence = f"At the end {100 * effect.value:.1f} % of the ReLU units have at most 0.025 times the mean output of their layer."
    return measured(found, sentence, effect, "of the units", keys(evidence, "relu"))


def _share_dormant(run: RunResult) -> float:
    """Share of the units of all activated layers that are 0.025-dormant at the end."""
    end = run.probe[(run.probe["epoch"] == last_epoch(run)) & run.probe["layer"].isin(run.activated)]
    return float((end["dormant_0.025"] * end["units"]).sum() / end["units"].sum())


@claim(
    "high-rate-kills",
    "With too high a learning rate, 40 % of a network's ReLU units can be dead.",
    figure="learning_rates",
    title="A high learning rate can kill 40 % of ReLU's units",
)
def high_rate_kills(evidence: Evidence) -> Finding:
    """The short trials of ReLU, each with another learning rate: the share of units that are dead at their end. Confirmed if at some rate every seed
    has 40 % or more, refuted if at no rate any seed has."""
    if evidence.trials is None or "dead_share" not in evidence.trials or "relu" not in set(evidence.trials["activation"]):
        return Finding(NOT_MEASURED, "The learning rates of relu have not been searched on this dataset.")
    shares = evidence.trials[evidence.trials["activation"] == "relu"].groupby("learning_rate")["dead_share"].agg(["min", "mean", "max"])
    found = CONFIRMED if (shares["min"] >= MANY_DEAD).any() else INCONCLUSIVE if (shares["max"] >= MANY_DEAD).any() else REFUTED
    worst = shares["mean"].idxmax()
    said = ", ".join(f"{rate:g}: {100 * row['mean']:.0f} %" for rate, row in shares.iterrows())
    sentence = f"Dead ReLU units at the end of short trials, by learning rate (means over seeds): {said}."
    return Finding(found, sentence, float(shares["mean"].max()), f"of the units at the rate {worst:g}")


@claim(
    "leaky-never-dies",
    "A slope on the negative side leaves no unit without gradient.",
    ["leaky_relu", "prelu"],
    "unit_states",
    title="Units with a negative slope never die",
)
def leaky_never_dies(evidence: Evidence) -> Finding:
    """Confirmed if leaky ReLU and PReLU have no dead unit in any layer, epoch and seed; else refuted."""
    most = float(np.max([_most_dead(run) for name in ("leaky_relu", "prelu") for run in evidence.runs[name]]))
    sentence = f"The largest number of dead units, over all epochs and seeds, is {most:.0f}."
    return Finding(CONFIRMED if most == 0 else REFUTED, sentence, most, "units", keys=keys(evidence, "leaky_relu", "prelu"))


def _most_dead(run: RunResult) -> float:
    """The largest number of dead units of a run after any epoch, summed over the layers with an activation; NaN if a count is NaN."""
    activated = run.probe[run.probe["layer"].isin(run.activated)]
    return float(activated.groupby("epoch")["dead"].sum(skipna=False).max(skipna=False))
