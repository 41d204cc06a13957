"""Update ratio in the last epoch: norm of an update divided by the norm of the weights before it."""

from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis.runs import Runs, once_a_run
from actgrad.results.run import RunResult


def usual(ratio: Any) -> Any:
    """Whether ratios are about 1e-3: between 10^-3.5 and 10^-2.5."""
    return (ratio >= 10**-3.5) & (ratio <= 10**-2.5)


@once_a_run
def of_network(run: RunResult) -> float:
    """Update ratio of all weights together, median over the steps of the last epoch. Steps at which a layer's norm is NaN are left out."""
    _, steps, update, weight = _last_epoch(run)
    each, at = np.unique(steps, return_inverse=True)
    of_all = [np.sqrt(np.bincount(at, norms**2, len(each))) for norms in (update, weight)]
    return float(pd.Series(_ratios(*of_all)).median())


@once_a_run
def of_layers(run: RunResult) -> pd.Series:
    """Update ratio of each layer with trained weights, median over the same steps, in the order of the network."""
    layers, _, *norms = _last_epoch(run)
    ratios = _ratios(*norms)
    return pd.Series({layer: pd.Series(ratios[layers == layer]).median() for layer in run.layers}, dtype=float)


def _ratios(update: np.ndarray, weight: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return update / weight


def _last_epoch(run: RunResult) -> tuple[np.ndarray, ...]:
    """Layer, step, update norm and weight norm in the last epoch. These are arrays, because groups in pandas take ten times as long."""
    layers, steps, update, weight = (np.asarray(run.steps[name]) for name in ("layer", "step", "update_norm", "weight_norm"))
    last = steps > run.metrics["steps"] - run.metrics["steps"] // max(1, run.metrics["epochs"])
    return layers[last], steps[last], update[last].astype(float), weight[last].astype(float)


def update_ratios(runs: Runs) -> pd.DataFrame:
    """One row per run and layer: activation, seed, layer, place (1 is nearest to the input), ratio."""
    rows = [
        {"activation": name, "seed": run.seed, "layer": layer, "place": place, "ratio": ratio}
        for name, of_activation in runs.items()
        for run in of_activation
        for place, (layer, ratio) in enumerate(of_layers(run).items(), 1)
    ]
    return pd.DataFrame(rows)
