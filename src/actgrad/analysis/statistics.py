"""Intervals over seeds, and tests for significant differences between activations. Pure functions.

Distributions come from scipy.special, and Holm's correction is implemented here, because importing scipy.stats and statsmodels would take a
tenth of a report's time. The tests compare with both.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.95
"""Confidence level of every interval; 1 - LEVEL is the significance level of every test."""

POWER = 0.8

DIGITS = 6
"""Decimals of a difference that count. Smaller differences are float32's rounding, not spread between seeds."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its t interval at LEVEL. low and high are None for a single seed."""

    value: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """Mean and t interval. A t interval suits 3 to 10 seeds, for which a bootstrap would be too narrow."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean, None, None)
    half = float(special.stdtrit(len(array) - 1, (1 + LEVEL) / 2) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(mean, mean - half, mean + half)


def of_row(row: Mapping[Any, Any] | pd.Series, value: str = "difference") -> Estimate:
    """The estimate in a row of a table, with its low and high, which are NaN or None there if it has no interval."""
    return Estimate(float(row[value]), *(None if pd.isna(row[end]) else float(row[end]) for end in ("low", "high")))


def share(count: int, of: int) -> Estimate:
    """A share with its exact interval for a binomial count (Clopper and Pearson 1934); NaN without an interval if `of` is 0."""
    if not of:
        return Estimate(float("nan"), None, None)
    tail = (1 - LEVEL) / 2
    low = 0.0 if count == 0 else float(special.betaincinv(count, of - count + 1, tail))
    high = 1.0 if count == of else float(special.betaincinv(count + 1, of - count, 1 - tail))
    return Estimate(count / of, low, high)


def fisher(count: int, of: int, other: int, of_other: int) -> float:
    """p of Fisher's exact test, two-sided, for a difference between the shares count / of and other / of_other."""
    total, both = of + of_other, count + other
    ways = {k: math.comb(both, k) * math.comb(total - both, of - k) for k in range(max(0, of - total + both), min(of, both) + 1)}
    return sum(way for way in ways.values() if way <= ways[count]) / math.comb(total, of)


PAIRED = ("first", "second", "seeds", "ahead", "behind", "difference", "low", "high", "p", "p_holm", "deviation", "detectable", "significant")

MOST_SEEDS = 1000
"""Upper limit in the search for a number of seeds."""


def paired(values: Mapping[str, Mapping[int, float | None]], planned: Sequence[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Compare pairs of activations, seed by seed.

    Args:
        values: activation -> seed -> measured value; None if there is none.
        planned: the pairs to compare; default: all pairs.

    Runs of one seed start with the same weights and see the same order of examples, so the difference is taken within seeds. One row per pair,
    `first` minus `second`: seeds, ahead and behind (numbers of seeds in which `first` is higher and lower), difference, low and high (t interval
    at LEVEL), p (paired t test, two-sided), p_holm (Holm's correction over these pairs), deviation (standard deviation of the differences),
    detectable (the difference that so many seeds with this spread detect with probability POWER, at the level of Holm's first step), and
    `significant` (p_holm below 1 - LEVEL).
    If all seeds have the same difference, p is from the sign test, and there is no interval. Intervals are for each pair alone, uncorrected.
    Pairs with fewer than two common seeds have no test, and no significant difference.
    """
    rows = []
    for first, second in itertools.combinations(values, 2) if planned is None else planned:
        both = of_both(values[first], values[second])
        differences = np.round(np.array([one - other for one, other in both], dtype=float), DIGITS)
        rows.append({"first": first, "second": second, "seeds": len(both), **_ahead(differences), **_test(differences)})
    table = pd.DataFrame(rows, columns=["first", "second", "seeds", "ahead", "behind", "difference", "low", "high", "p", "deviation"])
    table = table.astype(dict.fromkeys(("difference", "low", "high", "p", "deviation"), float))  # None for a single seed
    tested = table["p"].notna()
    table["p_holm"] = table["detectable"] = np.nan
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy())
        level = (1 - LEVEL) / tested.sum()
        table["detectable"] = table["deviation"] * [_standardized_difference(int(seeds), level) for seeds in table["seeds"]]
    table["significant"] = table["p_holm"] < 1 - LEVEL
    return table[list(PAIRED)]


def of_both(first: Mapping[int, float | None], second: Mapping[int, float | None]) -> list[tuple[float, float]]:
    """The values of two activations, for each seed in which both have one."""
    return [(one, other) for seed, one in first.items() if one is not None and (other := second.get(seed)) is not None]


def turned(row: Mapping[Any, Any]) -> dict[Any, Any]:
    """The row of a pair with first and second swapped."""
    names = {"first": row["second"], "second": row["first"], "ahead": row["behind"], "behind": row["ahead"]}
    return {**row, **names, "difference": -row["difference"], "low": -row["high"], "high": -row["low"]}


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of p-values, so that the level holds for all tests together."""
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def _ahead(differences: np.ndarray) -> dict[str, int]:
    return {"ahead": int((differences > 0).sum()), "behind": int((differences < 0).sum())}


def _test(differences: np.ndarray) -> dict[str, float | None]:
    if len(differences) == 0:
        return {"difference": np.nan, "low": np.nan, "high": np.nan, "p": np.nan, "deviation": np.nan}
    mean = estimate(differences)
    row: dict[str, float | None] = {"difference": mean.value, "low": mean.low, "high": mean.high, "p": np.nan, "deviation": np.nan}
    if len(differences) >= 2:
        deviation = float(differences.std(ddof=1))
        if deviation > 10 ** -(DIGITS + 1):
            t = mean.value / np.sqrt(differences.var(ddof=1) / len(differences))
            row |= {"p": float(2 * special.stdtr(len(differences) - 1, -abs(t))), "deviation": deviation}
        else:  # no spread, so no interval; the sign test needs none
            row |= {"p": 1.0 if mean.value == 0 else min(1.0, 2 * 0.5 ** len(differences)), "low": np.nan, "high": np.nan}
    return row


@functools.cache
def _standardized_difference(seeds: int, level: float) -> float:
    """The paired difference, in standard deviations, that a t test with so many seeds detects with probability POWER; NaN for fewer than two."""
    if seeds < 2:
        return float("nan")
    critical = -special.stdtrit(seeds - 1, level / 2)
    return float(special.nctdtrinc(seeds - 1, 1 - POWER, critical) / np.sqrt(seeds))  # a difference to the other side has no chance of passing


def seeds_to_settle(difference: float, deviation: float, pairs: int) -> int | None:
    """The number of seeds that makes a paired difference of this size and deviation significant with probability POWER, at the level of Holm's
    first step over so many pairs. MOST_SEEDS if it is that or more; None without a difference or a deviation."""
    if not (abs(difference) > 0 and deviation > 0):  # NaN is not above 0 either
        return None
    size, level = abs(difference) / deviation, (1 - LEVEL) / pairs
    few, many = 1, 2
    while many < MOST_SEEDS and power(size, many, level) < POWER:
        few, many = many, min(2 * many, MOST_SEEDS)
    while many - few > 1 and many < MOST_SEEDS:
        middle = (few + many) // 2
        few, many = (few, middle) if power(size, middle, level) >= POWER else (middle, many)
    return many


def power(difference: float, seeds: int, level: float) -> float:
    """Probability that a two-sided paired t test at this level detects a difference, which is given in standard deviations.

    Averaged over the distribution of the sample deviation, because SciPy's noncentral t (and so statsmodels' power) is NaN for
    the large differences that few seeds need.
    """
    critical, shift = _critical(seeds, level), difference * np.sqrt(seeds)
    return float(np.mean(special.ndtr(shift - critical) + special.ndtr(-shift - critical)))


@functools.cache
def _critical(seeds: int, level: float) -> np.ndarray:
    """How far from 0 a mean must lie to be significant, in standard errors, for 4,000 equally likely sample deviations."""
    quantiles = (np.arange(4000) + 0.5) / 4000
    deviations = np.sqrt(2 * special.gammaincinv((seeds - 1) / 2, quantiles) / (seeds - 1))  # chi-squared's
    return -special.stdtrit(seeds - 1, level / 2) * deviations
