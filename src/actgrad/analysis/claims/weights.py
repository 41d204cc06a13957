"""Claims about quantities that tools usually log: norms of weight gradients and of updates."""

import numpy as np

from actgrad.analysis import attenuation, updates
from actgrad.analysis.claims.registry import NOT_MEASURED, Finding, claim, measured, of_share
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import LEARNED, every_run, outcome
from actgrad.analysis.words import shrinks
from actgrad.results.run import RunResult

VANISHES = 1.0
"""Decades of attenuation from which a gradient counts as vanishing in these claims."""


@claim(
    "weight-gradients-show-vanishing",
    "The norm of each layer's weight gradient shows whether gradients vanish.",
    figure="preact_grads",
    title="The weight gradient's norm shows vanishing",
)
def weight_gradients_show_vanishing(evidence: Evidence) -> Finding:
    """The runs in which dL/dz shrinks by more than a decade from the last activated layer to the first, before any update. In each, the decades by
    which the root mean square of the weights' gradient shrinks from the last layer with weights to the first, at the first step. The share of
    these runs in which that is more than a decade too. Confirmed if its exact interval lies above 80 %, refuted if it lies below 50 %."""
    vanishing = [run for run in every_run(evidence.runs) if attenuation.of_run(run) > VANISHES]
    if not vanishing:
        return Finding(NOT_MEASURED, "In no run does dL/dz shrink by more than a decade before the first update.")
    seen = [_weight_attenuation(run) for run in vanishing]
    verdict, share = of_share(sum(one > VANISHES for one in seen), len(seen), lambda low, _: low > 0.8, lambda _, high: high < 0.5)
    decades = np.mean([attenuation.of_run(run) for run in vanishing])
    sentence = (
        f"dL/dz shrinks by more than a decade in {len(vanishing)} runs; the weights' gradient in {sum(one > VANISHES for one in seen)} of them. "
        f"On average it {shrinks(float(np.mean(seen)))} where dL/dz {shrinks(float(decades))}."
    )
    return measured(verdict, sentence, share, "of the runs in which dL/dz vanishes", tuple(run.key for run in vanishing))


@claim("update-ratio", "The update-to-weight ratio should be about 1e-3.", figure="update_ratios", title="Updates are a thousandth of the weights")
def update_ratio(evidence: Evidence) -> Finding:
    """The runs that learned. In each, the median over the steps of the last epoch of the norm of the update of all weights, by the norm of all
    weights. The share of these runs in which it lies between 10^-3.5 and 10^-2.5. Confirmed if its exact interval lies above 80 %, refuted if it
    lies below 50 %."""
    learned = [run for run in every_run(evidence.runs) if outcome(run) == LEARNED]
    if not learned:
        return Finding(NOT_MEASURED, "No run learned.")
    ratios = np.array([updates.of_network(run) for run in learned])
    near = int(updates.usual(ratios).sum())
    verdict, share = of_share(near, len(learned), lambda low, _: low > 0.8, lambda _, high: high < 0.5)
    ends = f"{ratios.min():.1g} to {ratios.max():.1g}"
    sentence = f"In {near} of the {len(learned)} runs that learned, the ratio is about 1e-3 in the last epoch. It goes from {ends}."
    return measured(verdict, sentence, share, "of the runs that learned", tuple(run.key for run in learned))


def _weight_attenuation(run: RunResult) -> float:
    """Decades by which the root mean square of the weights' gradient shrinks from the last layer to the first, at the first step."""
    sizes = {one["layer"]: one["parameters"] for one in run.metrics["layers"]}
    first, last = (run.gradients.iloc[0][layer] / np.sqrt(sizes[layer]) for layer in (run.layers[0], run.layers[-1]))
    return float(attenuation.attenuation(first, last))
