"""What seeds can show: intervals, and which activations can be told apart. Pure."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

LEVEL = 0.95
"""Of every interval; 1 - LEVEL is the level of every test."""

POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval of LEVEL, by Student's t; low and high are None for a single seed."""

    value: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and t interval. The t interval suits 3 to 10 seeds: a bootstrap of so few values is too narrow."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, None, None)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(mean, mean - half, mean + half)


PAIRED = ("first", "second", "seeds", "difference", "low", "high", "p", "p_holm", "detectable", "told_apart")


def paired(values: Mapping[str, Mapping[int, float | None]]) -> pd.DataFrame:
    """Every pair of activations compared, seed by seed.

    Args:
        values: activation -> seed -> what was measured, None where nothing was.

    Cells of one seed start with the same weights and see the same order of examples, so the difference is taken within
    seeds. One row a pair, `first` minus `second`: seeds, difference, low and high (t interval of LEVEL), p (paired t test,
    two-sided), p_holm (Holm's correction over all pairs), detectable (the difference that this many seeds with this spread
    show with a probability of POWER, before correction), and `told_apart` (p_holm below 1 - LEVEL). Pairs with fewer than
    two common seeds have no test, and are not told apart.
    """
    rows = []
    for first, second in itertools.combinations(values, 2):
        seeds = [seed for seed in values[first] if None not in (values[first][seed], values[second].get(seed))]
        differences = np.array([values[first][seed] - values[second][seed] for seed in seeds])
        rows.append({"first": first, "second": second, "seeds": len(seeds), **_test(differences)})
    table = pd.DataFrame(rows, columns=[name for name in PAIRED if name not in ("p_holm", "told_apart")])
    tested = table["p"].notna()
    table["p_holm"] = np.nan
    if tested.any():
        table.loc[tested, "p_holm"] = multipletests(table.loc[tested, "p"], method="holm")[1]
    table["told_apart"] = table["p_holm"] < 1 - LEVEL
    return table[list(PAIRED)]


def _test(differences: np.ndarray) -> dict[str, float]:
    if len(differences) == 0:
        return dict.fromkeys(("difference", "low", "high", "p", "detectable"), np.nan)
    mean = estimate(differences)
    row = {"difference": mean.value, "low": mean.low, "high": mean.high, "p": np.nan, "detectable": np.nan}
    if len(differences) >= 2:
        deviation = differences.std(ddof=1)
        if deviation > 0:
            row["p"] = float(stats.ttest_1samp(differences, 0).pvalue)
            row["detectable"] = float(deviation * _standardized_difference(len(differences)))
        else:  # no spread to judge by: the sign test, which needs none
            row["p"] = 1.0 if mean.value == 0 else min(1.0, 2 * 0.5 ** len(differences))
    return row


@functools.cache
def _standardized_difference(seeds: int) -> float:
    """The paired difference, in its standard deviations, that a t test of this many seeds shows with probability POWER."""
    return float(TTestPower().solve_power(nobs=seeds, alpha=1 - LEVEL, power=POWER))
