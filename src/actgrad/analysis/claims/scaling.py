"""Claims about how differences between activations shrink."""

import numpy as np

from actgrad.analysis.claims.registry import INCONCLUSIVE, NOT_MEASURED, Finding, claim, measured, verdict
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import accuracies
from actgrad.analysis.statistics import estimate

RAW, TUNED = "baseline", "standardized_tuned"
"""The conditions that are compared."""


@claim(
    "differences-shrink",
    "Differences between activations shrink once inputs are scaled and the rate is tuned.",
    figure="conditions",
    title="Scaling and tuning shrink the differences",
)
def differences_shrink(evidence: Evidence) -> Finding:
    """The variance over activations of test accuracy after the last epoch, with scaled inputs and tuned rates, by that on raw pixels with the rate
    of the recipe: the decimal logarithm of the ratio, by seed, over the activations none of whose runs failed under either. Confirmed if its
    interval over seeds lies below 0, refuted if above. Runs that failed are counted beside it."""
    if not {RAW, TUNED} <= set(evidence.conditions):
        return Finding(NOT_MEASURED, f"It needs the conditions {RAW} and {TUNED}.")
    of = {condition: {name: accuracies(runs) for name, runs in evidence.conditions[condition].items()} for condition in (RAW, TUNED)}
    both = [name for name in of[RAW] if name in of[TUNED]]
    failed = {condition: sum(value is None for name in both for value in of[condition][name].values()) for condition in of}
    whole = [name for name in both if None not in (*of[RAW][name].values(), *of[TUNED][name].values())]
    seeds = [seed for seed in of[RAW][whole[0]] if all(seed in of[condition][name] for condition in of for name in whole)] if whole else []
    keys = tuple(run.key for condition in of for name in both for run in evidence.conditions[condition][name])
    said = f"{failed[RAW]} runs fail on raw pixels, {failed[TUNED]} with scaled inputs and tuned rates."
    if len(whole) < 3 or not seeds:
        return Finding(INCONCLUSIVE, f"Fewer than three activations learn in every run. {said}", keys=keys)
    spread = {condition: [np.std(np.array([of[condition][name][seed] for name in whole], float), ddof=1) for seed in seeds] for condition in of}
    if not all(value > 0 for values in spread.values() for value in values):
        return Finding(INCONCLUSIVE, f"There is a seed without any difference. {said}", keys=keys)
    effect = estimate([2 * np.log10(tuned / raw) for tuned, raw in zip(spread[TUNED], spread[RAW], strict=True)])
    found = verdict(effect, lambda _, high: high < 0, lambda low, _: low > 0)
    sentence = (
        f"The standard deviation over {len(whole)} activations goes from {100 * np.mean(spread[RAW]):.1f} to {100 * np.mean(spread[TUNED]):.1f} "
        f"points of test accuracy. {said}"
    )
    return measured(found, sentence, effect, "decades of variance", keys)
