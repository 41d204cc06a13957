"""Claims about the gradient on its way back through the network."""

from collections.abc import Sequence

import numpy as np

from actgrad.analysis import attenuation, tables
from actgrad.analysis.claims.registry import (
    CONFIRMED,
    INCONCLUSIVE,
    NOT_MEASURED,
    Finding,
    claim,
    keys,
    largest,
    last_epoch,
    measured,
    verdict,
)
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import every_run, probed
from actgrad.analysis.statistics import Estimate, estimate, of_row
from actgrad.analysis.words import attenuated, fold, more, smaller
from actgrad.results.run import RunResult


@claim(
    "vanishing-gradient",
    "With an activation whose derivative stays below 1, gradients shrink from the last layer back to the first.",
    ["linear", "sigmoid"],
    "preact_grads",
    title="Gradients vanish with sigmoid",
)
def vanishing_gradient(evidence: Evidence) -> Finding:
    """Attenuation is the number of decades by which dL/dz shrinks from the last activated layer back to the first, before any update.
    Sigmoid's less that of no activation, with the same initial weights. Confirmed if the interval over seeds lies above 1 decade, refuted if it
    lies below 0."""
    effect = _excess(evidence, "sigmoid", "linear")
    whole = estimate([attenuation.of_run(run) for run in evidence.runs["sigmoid"]])
    beyond = f"{fold(abs(effect.value))} {'less than' if effect.value < 0 else 'beyond'}"
    sentence = (
        f"Before the first update the sigmoid network's gradient is {smaller(whole.value)} at the first activated layer than at the last. "
        f"That is {beyond} what weights and pooling do without an activation.{_cause(evidence.runs['sigmoid'])}"
    )
    found = verdict(effect, lambda low, _: low > 1, lambda _, high: high < 0)
    return measured(found, sentence, effect, "decades more than linear", keys(evidence, "sigmoid", "linear"))


@claim("depth-exacerbates", "More layers make it worse.", ["sigmoid"], "depth", title="More layers make it worse")
def depth_exacerbates(evidence: Evidence) -> Finding:
    """Networks of the sigmoid that differ in their number of layers alone, before any update: decades of attenuation that one more layer adds
    between the last activated layer and the first, as the slope of a line fitted through the depths of a seed. Confirmed if its interval over seeds
    lies above 0.05 (a factor of ten over 20 layers), refuted if below 0.05."""
    if evidence.depth is None or "sigmoid" not in evidence.depth["activation"].values:
        return Finding(NOT_MEASURED, "The study has no conditions that differ in model.config.depth alone and train the sigmoid.")
    rates = tables.depth_rates(evidence.depth).set_index("activation").to_dict("index")
    if "sigmoid" not in rates:
        return Finding(INCONCLUSIVE, "No gradient arrives through the sigmoid's layers at any two depths.")
    effect = of_row(rates["sigmoid"], "rate")
    others = ", ".join(f"{attenuated(rates[name]['rate'])} with {name}" for name in ("linear", "tanh", "relu") if name in rates)
    sentence = f"Each further layer makes the sigmoid's gradient {smaller(effect.value)}{f' ({others})' if others else ''}."
    found = verdict(effect, lambda low, _: low > 0.05, lambda _, high: high < 0.05)
    return measured(found, sentence, effect, "decades a layer", tuple(evidence.depth["key"]))


@claim(
    "tanh-vanishes-less",
    "tanh suffers less from vanishing gradients than the sigmoid.",
    ["sigmoid", "tanh"],
    "preact_grads",
    title="Gradients vanish less with tanh",
)
def tanh_vanishes_less(evidence: Evidence) -> Finding:
    """Attenuation before any update: sigmoid's less tanh's, with the same initial weights. Confirmed if the interval over seeds lies above 0,
    refuted if below."""
    effect = _excess(evidence, "sigmoid", "tanh")
    found = verdict(effect, lambda low, _: low > 0, lambda _, high: high < 0)
    sentence = f"From the same weights, the gradient shrinks {more(effect.value)} in the sigmoid network than in the tanh network."
    return measured(found, sentence, effect, "decades less than sigmoid", keys(evidence, "sigmoid", "tanh"))


@claim(
    "relu-passes-gradient",
    "ReLU's derivative of 1 for positive inputs keeps gradients alive.",
    ["linear", "relu"],
    "preact_grads",
    title="ReLU keeps gradients alive",
)
def relu_passes_gradient(evidence: Evidence) -> Finding:
    """Attenuation before any update: ReLU's less that of no activation, with the same initial weights. Confirmed if the interval over seeds lies
    below 1 decade, refuted if above."""
    effect = _excess(evidence, "relu", "linear")
    found = verdict(effect, lambda _, high: high < 1, lambda low, _: low > 1)
    sentence = f"The gradient shrinks {more(effect.value)} in the ReLU network than without an activation; below 10-fold the claim is confirmed."
    return measured(found, sentence, effect, "decades more than linear", keys(evidence, "relu", "linear"))


@claim(
    "weights-may-compensate",
    "The weights' own factor in the chain rule may exceed 1, but at the start of training weights are small.",
    ["linear"],
    "share_of_next",
    title="Small weights do not enlarge the gradient",
)
def weights_may_compensate(evidence: Evidence) -> Finding:
    """What lies between two activated layers, weights and pooling, multiplies the size of an independent gradient by sqrt(gain) of ActivationProbe;
    derivatives are left out. The largest factor of any layer before any update, in the runs without an activation. Confirmed if its interval over
    seeds lies below 1 and, in some run, a layer's factor exceeds 1 after training; refuted if it lies above 1."""
    runs = evidence.runs["linear"]
    if attenuation.column(runs[0]) != "preact_grad_rms":
        return Finding(NOT_MEASURED, "With batch normalisation, the weights have no factor of their own.")
    starts = {layer: estimate([np.sqrt(probed(run, 0, layer, "gain")) for run in runs]) for layer in runs[0].activated}
    layer, effect = largest(starts)
    every = every_run(evidence.runs)
    grown = [run for run in every if any(probed(run, last_epoch(run), name, "gain") > 1 for name in run.activated)]
    found = verdict(effect, lambda _, high: high < 1, lambda low, _: low > 1)
    if found == CONFIRMED and not grown:
        found = INCONCLUSIVE
    sentence = (
        f"Before the first update weights and pooling multiply the gradient by {effect.value:.2f} on its way back to {layer}, the largest factor. "
        f"After training their factor exceeds 1 at some layer in {len(grown)} of {len(every)} runs."
    )
    return measured(found, sentence, effect, f"times, most at {layer}", tuple(run.key for run in every))


def _excess(evidence: Evidence, activation: str, reference: str) -> Estimate:
    """Attenuation of one activation minus another's, in decades, paired by seed, because both start with the same weights."""
    reference_of = {run.seed: attenuation.of_run(run) for run in evidence.runs[reference]}
    return estimate([attenuation.of_run(run) - reference_of[run.seed] for run in evidence.runs[activation]])


def _cause(runs: Sequence[RunResult]) -> str:
    """Sentences: the attenuation before any update that derivatives and weights predict; empty if there is no prediction."""
    shares = tables.share_of_next({"": runs}).set_index("layer").loc[runs[0].activated[:-1], ["predicted", "derivatives_alone"]]
    if not (shares > 0).all(axis=None):  # NaN is not above 0 either
        return ""
    decades = -np.log10(shares).sum()
    alone, together = (attenuated(decades[name]) for name in ("derivatives_alone", "predicted"))
    return f" Its derivatives alone predict {alone}. With weights and pooling it is {together}."
