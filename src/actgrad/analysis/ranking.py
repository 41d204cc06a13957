"""Rank the activations under a condition. The page, the README and all sentences count failed runs by this rule.

Failed runs are left out of mean accuracies and counted separately. Activations with failed runs come after those without. The paired test uses
every run that finished, so a failed run counts with its low accuracy.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis import attenuation, tables
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.runs import DIVERGED, FAILED, Runs, learned, outcome, test_accuracy
from actgrad.analysis.statistics import estimate, turned

COLUMNS = (
    "condition", "rank", "activation", "seeds", "learned", "failed", "diverged", "mean", "low", "high",
    "difference", "compared", "behind", "p_holm", "significant", "attenuation", "units", "dead",
)  # fmt: skip
ITSELF = {"seeds": 0, "difference": np.nan, "behind": 0, "p_holm": np.nan, "significant": False}
"""What an activation's comparison with itself has."""


def ranking(evidence: Evidence) -> pd.DataFrame:
    """One row per condition and activation, the best first (see `order`).

    Returns:
        COLUMNS: seeds, as text; learned, failed and diverged, numbers of runs; mean, low and high of the test accuracy after the last epoch over
        runs that learned; difference from the condition's best, in how many seeds they were compared and in how many it is lower, its corrected p
        and whether it is significant (none for the best itself);
        attenuation before any update, mean decades; units in all layers with an activation, and dead units at the end, means over runs.
    """
    rows = [row for condition, runs in evidence.conditions.items() for row in _of_condition(condition, runs, evidence.pairs_under)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(("mean", "low", "high", "difference", "p_holm"), float))


def _of_condition(condition: str, runs: Runs, pairs: pd.DataFrame) -> list[dict[str, Any]]:
    pairs = pairs[pairs["condition"] == condition]
    units = tables.unit_totals(tables.unit_states(runs)).set_index("activation")
    rows = [{"condition": condition, "activation": name, **_row(of_activation)} for name, of_activation in runs.items()]
    rows.sort(key=order)
    best = rows[0]["activation"]
    for rank, row in enumerate(rows, 1):
        pair = against(pairs, row["activation"], best) if rank > 1 else ITSELF
        row |= {"rank": rank, "compared": pair["seeds"]} | {key: pair[key] for key in ("difference", "behind", "p_holm", "significant")}
        row |= units.loc[row["activation"], ["units", "dead"]].to_dict()
    return rows


def _row(runs: Any) -> dict[str, Any]:
    outcomes = [outcome(run) for run in runs]
    values = [value for value in map(test_accuracy, learned(runs)) if value is not None]
    found = estimate(values) if values else None
    return {
        "seeds": " ".join(str(run.seed) for run in runs),
        "learned": len(learned(runs)),
        "failed": outcomes.count(FAILED),
        "diverged": outcomes.count(DIVERGED),
        "mean": found and found.value,
        "low": found and found.low,
        "high": found and found.high,
        "attenuation": float(np.mean([attenuation.of_run(run) for run in runs])),
    }


def order(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """Sort key of activations: those without failed runs first, then by mean accuracy; those without a mean last."""
    return row["mean"] is None, row["failed"] + row["diverged"] > 0, -(row["mean"] or 0.0)


def against(pairs: pd.DataFrame, name: str, other: str) -> dict[Any, Any]:
    """The row of a pair of activations, as name minus other.

    Args:
        pairs: the paired comparisons of one condition.
    """
    row = pairs[pairs[["first", "second"]].isin([name, other]).all(axis=1)].iloc[0].to_dict()
    return row if row["first"] == name else turned(row)
