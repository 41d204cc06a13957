"""Gain of the usual remedies: test accuracy under the condition with a remedy, minus the condition that differs only in lacking it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from actgrad.analysis.runs import Runs, accuracies, every_run
from actgrad.analysis.statistics import estimate
from actgrad.diagnosis.rules import BATCH_NORM, HE, RESIDUAL, SCALED, SEARCHED

REMEDIES = {
    SCALED: ("standardized", "baseline"),
    HE: ("standardized_he", "standardized"),
    BATCH_NORM: ("batch_norm", "standardized"),
    RESIDUAL: ("deep_16_residual", "deep_16"),
    SEARCHED: ("standardized_tuned", "standardized"),
}
"""Remedy -> the condition with it, and the condition without it."""
COLUMNS = (
    "remedy", "condition", "against", "activations", "seeds", "points", "low", "high", "least", "least_points", "most", "most_points",
    "runs", "failed_with", "failed_without",
)  # fmt: skip


def remedies(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per remedy that these conditions can judge: COLUMNS.

    `points` is the difference in percentage points of test accuracy after the last epoch, averaged over activations and then over seeds, with the
    interval of that mean. `activations` is the number of activations that learn in every common seed under both conditions; `least` and `most` are
    those that gain least and most, with their mean over seeds. `runs` is the number of common runs under one condition, of which `failed_with` and
    `failed_without` failed or diverged. A training that both conditions share, because they have the same values, shows no gain and is left out.
    """
    rows = []
    for remedy, (condition, against) in REMEDIES.items():
        if not {condition, against} <= {*conditions}:
            continue
        shared = set.intersection(*({run.metrics["fingerprint"] for run in every_run(conditions[one])} for one in (condition, against)))
        after, before = (
            {name: accuracies([run for run in runs if run.metrics["fingerprint"] not in shared]) for name, runs in conditions[one].items()}
            for one in (condition, against)
        )
        common = {name: sorted({*after[name]} & {*before[name]}) for name in after if name in before}
        if not any(common.values()):
            continue
        whole = [name for name, seeds in common.items() if seeds and all(one[name][seed] is not None for one in (after, before) for seed in seeds)]
        seeds = sorted(set.intersection(*({*common[name]} for name in whole))) if whole else []
        pairs = [[(after[name][seed] or 0.0) - (before[name][seed] or 0.0) for name in whole] for seed in seeds]  # of `whole`, none is None
        gained = [100 * float(np.mean(of_seed)) for of_seed in pairs]
        found = estimate(gained) if gained else None
        row = {"remedy": remedy, "condition": condition, "against": against, "activations": len(whole), "seeds": len(seeds)}
        each = {name: 100 * float(np.mean([of_seed[place] for of_seed in pairs])) for place, name in enumerate(whole)} if seeds else {}
        for end, choose in (("least", min), ("most", max)):
            name = choose(each, key=lambda one: each[one]) if each else None
            row |= {end: name, f"{end}_points": each[name] if name else None}
        row |= {"points": found and found.value, "low": found and found.low, "high": found and found.high, "runs": sum(map(len, common.values()))}
        failed = [sum(one[name][seed] is None for name, of in common.items() for seed in of) for one in (after, before)]
        rows.append(row | dict(zip(("failed_with", "failed_without"), failed, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(("points", "low", "high", "least_points", "most_points"), float))
