"""Claims about the slope of leaky ReLU, on standardized inputs."""

import pandas as pd

from actgrad.analysis import statistics
from actgrad.analysis.claims.registry import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Finding, claim, measured
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import LEARNED, accuracies, outcome, test_accuracy
from actgrad.results.run import RunResult

SMALL = "standardized"
"""The condition with slope 0.01 for leaky_relu; prelu and rrelu are trained under it too."""
LARGER = {"leaky_10": "0.1", "leaky_18": "0.18", "leaky_25": "0.25", "leaky_50": "0.5"}
"""Condition -> its slope of leaky_relu."""


@claim(
    "larger-slope-is-better",
    "A leaky slope larger than 0.01 is better (Xu, Wang, Chen and Li 2015).",
    figure="slopes",
    title="A larger leaky slope is better",
)
def larger_slope_is_better(evidence: Evidence) -> Finding:
    """Test accuracy after the last epoch with each larger slope, less that with the slope 0.01, paired by seed; Holm-corrected over these
    comparisons. Confirmed if one is significantly better and none significantly worse, refuted if one is significantly worse and none better."""
    runs = variants(evidence)
    larger = [slope for slope in LARGER.values() if slope in runs]
    if "0.01" not in runs or not larger:
        return Finding(NOT_MEASURED, f"It needs leaky_relu under {SMALL} and under one of {', '.join(LARGER)}.")
    pairs = _compared(runs, [(slope, "0.01") for slope in larger])
    if pairs["difference"].isna().all():
        return Finding(INCONCLUSIVE, "No seed can be compared: one of the two failed.", keys=_keys(runs))
    better, worse = _significant(pairs)
    found = CONFIRMED if better and not worse else REFUTED if worse and not better else INCONCLUSIVE
    said = ", ".join(f"{row['first']}: {100 * row['difference']:+.1f}" for row in pairs.to_dict("records"))
    best = pairs.iloc[pairs["difference"].argmax()]
    sentence = f"Points of test accuracy against the slope 0.01: {said}."
    return measured(found, sentence, statistics.of_row(best), f"test accuracy, slope {best['first']}", _keys(runs))


@claim(
    "learned-or-random-slope-is-best",
    "Learned or random slopes are best (Xu, Wang, Chen and Li 2015).",
    figure="slopes",
    title="Learned or random slopes are best",
    changes=["It needs a larger slope than 0.01 too; two fixed slopes sufficed, so that it could be judged by 0 and 0.01 alone."],
)
def learned_or_random_slope_is_best(evidence: Evidence) -> Finding:
    """The better of PReLU and RReLU by mean test accuracy after the last epoch, less each fixed slope and ReLU, paired by seed; Holm-corrected over
    these comparisons. Confirmed if it is significantly better than all of them, refuted if one of them is significantly better."""
    runs = variants(evidence)
    fixed = [name for name in runs if name not in ("learned", "random")]
    given = [name for name in ("learned", "random") if name in runs and None not in accuracies(runs[name]).values()]
    if len(given) < 2 or "0.01" not in fixed or not {*LARGER.values()} & {*fixed}:
        needs = f"leaky_relu, prelu and rrelu under {SMALL}, and leaky_relu under one of {', '.join(LARGER)}"
        return Finding(NOT_MEASURED, f"It needs {needs}; all runs of prelu and rrelu must learn.")
    means = {name: sum(filter(None, accuracies(runs[name]).values())) / len(runs[name]) for name in given}
    best = max(means, key=lambda name: means[name])
    pairs = _compared(runs, [(best, name) for name in fixed])
    better, worse = _significant(pairs)
    found = REFUTED if worse else CONFIRMED if len(better) == len(fixed) else INCONCLUSIVE
    said = ", ".join(f"{row['second']}: {100 * row['difference']:+.1f}" for row in pairs.to_dict("records"))
    least = pairs.iloc[pairs["difference"].argmin()]
    sentence = f"The {best} slope is the better of the two. Its points of test accuracy against each other slope: {said}."
    return measured(found, sentence, statistics.of_row(least), f"test accuracy over slope {least['second']}", _keys(runs))


def variants(evidence: Evidence) -> dict[str, list[RunResult]]:
    """The leaky variants on standardized inputs, by their slope: 0 (ReLU), 0.01, the larger ones, `learned` and `random`."""
    small = evidence.conditions.get(SMALL, {})
    larger = {slope: evidence.conditions.get(name, {}).get("leaky_relu") for name, slope in LARGER.items()}
    found = {"0": small.get("relu"), "0.01": small.get("leaky_relu"), **larger, "learned": small.get("prelu"), "random": small.get("rrelu")}
    return {slope: list(runs) for slope, runs in found.items() if runs}


def slopes(evidence: Evidence) -> pd.DataFrame | None:
    """One row per run of these variants: slope, seed, key, accuracy (test, last epoch; empty if it diverged) and whether it learned. None if no
    larger slope was trained."""
    runs = variants(evidence)
    if not set(LARGER.values()) & set(runs):
        return None
    rows = [
        {"slope": slope, "seed": run.seed, "key": run.key, "accuracy": test_accuracy(run), "learned": outcome(run) == LEARNED}
        for slope, of_variant in runs.items()
        for run in of_variant
    ]
    return pd.DataFrame(rows)


def _compared(runs: dict[str, list[RunResult]], planned: list[tuple[str, str]]) -> pd.DataFrame:
    return statistics.paired({name: accuracies(of_variant) for name, of_variant in runs.items()}, planned)


def _significant(pairs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The comparisons that are significantly above 0, and those below."""
    significant = pairs[pairs["significant"]]
    return list(significant[significant["difference"] > 0].index), list(significant[significant["difference"] < 0].index)


def _keys(runs: dict[str, list[RunResult]]) -> tuple[str, ...]:
    return tuple(run.key for of_variant in runs.values() for run in of_variant)
