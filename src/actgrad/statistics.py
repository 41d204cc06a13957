"""Numbers over cells. Pure."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from actgrad import results
from actgrad.errors import UserError
from actgrad.results import LAYERS, CellResult

MEASURES = {
    "train_accuracy_last": ("last", results.TRAIN_ACCURACY),
    "val_accuracy_last": ("last", results.VAL_ACCURACY),
    "test_accuracy_last": ("last", results.TEST_ACCURACY),
    "best_epoch": ("best", "epoch"),
    "val_accuracy_best": ("best", results.VAL_ACCURACY),
    "test_accuracy_best": ("best", results.TEST_ACCURACY),
}


def summary(cells: Mapping[str, Sequence[CellResult]]) -> pd.DataFrame:
    """One row an activation: seeds, diverged, then mean and sample standard deviation over seeds of each of MEASURES and
    of the gradient norm of the first and the last layer at the first and the last step.

    Cells that diverged count in `diverged` and, in means, only where they have a value. A single seed has no deviation.
    """
    return pd.DataFrame([{"activation": name, **_row(of_activation)} for name, of_activation in cells.items()])


def _row(cells: Sequence[CellResult]) -> dict[str, object]:
    values = pd.DataFrame([_values(cell) for cell in cells])
    row: dict[str, object] = {
        "seeds": " ".join(str(cell.seed) for cell in cells),
        "diverged": sum(cell.metrics["status"] == "diverged" for cell in cells),
    }
    for name in values:
        row |= {f"{name}_mean": values[name].mean(), f"{name}_sd": values[name].std(ddof=1)}
    return row


def belong_together(cells: Mapping[str, Sequence[CellResult]]) -> None:
    """Raise UserError unless all cells were trained on the same data, under the same recipe, seed for seed."""
    first = next(iter(cells.values()))[0]
    for cell in (cell for of_activation in cells.values() for cell in of_activation):
        if _common(cell) != _common(first):
            raise UserError(f"{cell.key} was trained on other data or under another recipe than {first.key}; train them alike: dvc repro")


def _common(cell: CellResult) -> tuple:
    configuration = yaml.safe_load(cell.config)
    return cell.metrics["data_sha256"], configuration["recipe"], configuration["model"]


def _values(cell: CellResult) -> dict[str, float | None]:
    values = {name: cell.metrics[group].get(metric) for name, (group, metric) in MEASURES.items()}
    if len(cell.gradients):
        for end, norms in (("first", cell.gradients.iloc[0]), ("last", cell.gradients.iloc[-1])):
            values |= {f"{layer}_gradient_norm_{end}": norms[layer] for layer in (LAYERS[0], LAYERS[-1])}
    return values


# --- comparisons

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


def paired(cells: Mapping[str, Sequence[CellResult]], group: str, metric: str) -> pd.DataFrame:
    """Every pair of activations compared on metrics.json's group.metric, seed by seed.

    Cells of one seed start with the same weights and see the same order of examples, so the difference is taken within
    seeds. One row a pair, `first` minus `second`: seeds, difference, low and high (t interval of LEVEL), p (paired t test,
    two-sided), p_holm (Holm's correction over all pairs), detectable (the difference that this many seeds with this spread
    show with a probability of POWER, before correction), and `told_apart` (p_holm below 1 - LEVEL). Pairs with fewer than
    two common seeds have no test, and are not told apart.
    """
    values = {name: {cell.seed: cell.metrics[group].get(metric) for cell in of_activation} for name, of_activation in cells.items()}
    rows = []
    for first, second in itertools.combinations(cells, 2):
        seeds = [seed for seed in values[first] if None not in (values[first][seed], values[second].get(seed))]
        differences = np.array([values[first][seed] - values[second][seed] for seed in seeds])
        rows.append({"first": first, "second": second, "seeds": len(seeds), **_test(differences)})
    table = pd.DataFrame(rows, columns=["first", "second", "seeds", "difference", "low", "high", "p", "detectable"])
    tested = table["p"].notna()
    table["p_holm"] = np.nan
    if tested.any():
        table.loc[tested, "p_holm"] = multipletests(table.loc[tested, "p"], method="holm")[1]
    table["told_apart"] = table["p_holm"] < 1 - LEVEL
    return table


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
