"""Update ratio in the last epoch: norm of an update divided by the norm of the weights before it."""

from typing import Any

import pandas as pd

from actgrad.analysis.runs import Runs, once_a_run
from actgrad.results.run import RunResult


def usual(ratio: Any) -> Any:
    """Whether ratios are about 1e-3: between 10^-3.5 and 10^-2.5."""
    return (ratio >= 10**-3.5) & (ratio <= 10**-2.5)


@once_a_run
def of_network(run: RunResult) -> float:
    """Update ratio of all weights together, median over the steps of the last finished epoch."""
    last = _last_epoch(run)
    norms = (last[["update_norm", "weight_norm"]].astype(float) ** 2).groupby(last["step"].to_numpy()).sum() ** 0.5
    return float((norms["update_norm"] / norms["weight_norm"]).median())


@once_a_run
def of_layers(run: RunResult) -> pd.Series:
    """Update ratio of each layer with trained weights, median over the same steps, in the order of the network."""
    last = _last_epoch(run)
    ratios = last["update_norm"].astype(float) / last["weight_norm"].astype(float)
    return ratios.groupby(last["layer"].to_numpy()).median().reindex(run.layers)


def _last_epoch(run: RunResult) -> pd.DataFrame:
    return run.steps[run.steps["step"].to_numpy() > run.metrics["steps"] - run.metrics["steps"] // max(1, run.metrics["epochs"])]


def update_ratios(runs: Runs) -> pd.DataFrame:
    """One row per run and layer: activation, seed, layer, place (1 is nearest to the input), ratio."""
    rows = [
        {"activation": name, "seed": run.seed, "layer": layer, "place": place, "ratio": ratio}
        for name, of_activation in runs.items()
        for run in of_activation
        for place, (layer, ratio) in enumerate(of_layers(run).items(), 1)
    ]
    return pd.DataFrame(rows)
