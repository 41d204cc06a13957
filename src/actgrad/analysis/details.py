"""The tables behind the interactive figures: every condition, every seed, and the mean over seeds as an extra seed (MEAN).

Each table is made for all conditions at once, because one table per run would take most of a report's time. Pure functions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis import attenuation, updates
from actgrad.analysis.runs import LEARNED, Runs, every_run, outcome, test_accuracy, threshold
from actgrad.results.run import RunResult
from actgrad.training.names import TRAIN_ACCURACY, VAL_ACCURACY

MEAN = "mean"
"""Value of the column `seed` for a mean over seeds."""
POINTS = 24
"""Maximum number of points per line over optimizer steps."""
SIGNAL, WEIGHTS, UPDATES = "dL/dz", "weight gradient", "update by weight"
"""Measures of a layer: gradient with respect to pre-activations, norm of the weight gradient, and update-to-weight ratio."""
START, END = "before training", "after training"
RUN = ["condition", "activation", "seed"]


def seeds(conditions: Mapping[str, Runs], ranking: pd.DataFrame) -> pd.DataFrame:
    """One row per run: RUN, key, outcome, accuracy (test, last epoch), val_best, best_epoch, attenuation before any update, threshold (below it, a
    run has failed), and rank, mean, low and high of its activation."""
    rows = [
        {
            **_names(run),
            "key": run.key,
            "outcome": outcome(run),
            "accuracy": test_accuracy(run),
            "val_best": run.metrics["best"].get(VAL_ACCURACY),
            "best_epoch": run.metrics["best"].get("epoch"),
            "attenuation": attenuation.of_run(run),
            "threshold": threshold(run),
        }
        for run in _all(conditions)
    ]
    of_activation = ranking[["condition", "activation", "rank", "mean", "low", "high", "attenuation"]].rename(columns={"attenuation": "decades"})
    return pd.DataFrame(rows).merge(of_activation, on=["condition", "activation"]).sort_values(["condition", "rank", "seed"], kind="stable")


def curves(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per run, split (training, validation) and epoch: RUN, split, epoch, accuracy; also means over runs that learned, with low and high."""
    parts = []
    for run in _all(conditions):
        for split, metric in (("training", TRAIN_ACCURACY), ("validation", VAL_ACCURACY)):
            values = {"epoch": run.history["epoch"].to_numpy(), "accuracy": run.history[metric].to_numpy(), "learned": outcome(run) == LEARNED}
            parts.append({**_names(run), "split": split, **values})
    table = _long(parts)
    groups = table[table["learned"]].groupby(["condition", "activation", "split", "epoch"], sort=False)["accuracy"]
    means = groups.agg(["mean", "min", "max"]).set_axis(["accuracy", "low", "high"], axis=1).reset_index().assign(seed=MEAN)
    return pd.concat([table, means], ignore_index=True)[[*RUN, "split", "epoch", "accuracy", "low", "high"]]


def signals(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """Measures of each layer: RUN, measure (SIGNAL, WEIGHTS, UPDATES), layer, place (1: nearest to the input) of `places`, step, value, `when`.

    `when` is START for the first and END for the last measurement of a run, else empty. UPDATES are of the last epoch. Means over seeds are
    geometric; a value of 0 has no row.
    """
    table = pd.concat([_probed(conditions), _weights(conditions)], ignore_index=True)
    table = table[table["value"] > 0]
    logs = table.assign(value=np.log10(table["value"]))
    keys = ["condition", "activation", "measure", "layer", "place", "places", "step", "when"]
    means = logs.groupby(keys, sort=False)["value"].mean().reset_index().assign(seed=MEAN)
    means["value"] = 10 ** means["value"]
    return pd.concat([table, means], ignore_index=True)[[*RUN, "measure", "layer", "place", "places", "step", "when", "value"]]


def _probed(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """dL/dz at every measurement of the probe. If a step has two, the first counts."""
    parts = []
    for run in _all(conditions):
        layers, steps, values = (run.probes[name].to_numpy() for name in ("layer", "step", attenuation.column(run)))
        places = {layer: place for place, layer in enumerate(dict.fromkeys(layers), 1)}
        first = list({at: row for row, at in reversed([*enumerate(zip(layers, steps, strict=True))])}.values())[::-1]
        for when, rows in (
            ("", first),
            (START, [row for row in first if steps[row] == 0]),
            (END, [row for row in first if steps[row] == steps.max()]),
        ):
            named = [layers[row] for row in rows]
            at = {"place": [places[layer] for layer in named], "places": len(places)}
            columns = {"measure": SIGNAL, "layer": [plain(layer) for layer in named], **at}
            parts.append({**_names(run), **columns, "step": [float(steps[row]) for row in rows], "when": when, "value": values[rows].astype(float)})
    return _long(parts)


def _weights(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """Norm of each layer's weight gradient (geometric means over at most POINTS ranges of steps, and the first and last step), and the
    update-to-weight ratio in the last epoch.

    Layers that some networks of a condition lack, such as PReLU's slopes, are left out.
    """
    parts = []
    for runs in conditions.values():
        shared = set.intersection(*(set(run.layers) for run in every_run(runs)))
        for run in every_run(runs):
            layers = [layer for layer in run.layers if layer in shared]
            if not len(run.gradients):
                continue
            with np.errstate(divide="ignore"):
                norms = np.log10(run.gradients[layers].to_numpy(float))
            steps = run.gradients["step"].to_numpy(float)
            stretches = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
            means = [_finite_mean(norms[stretch]) for stretch in stretches]
            values = np.concatenate([10 ** np.array([*means, norms[0], norms[-1]]), updates.of_layers(run)[layers].to_numpy()[None]])
            of_row = {
                "step": [*(steps[stretch].mean() for stretch in stretches), steps[0], steps[-1], steps[-1]],
                "when": [*[""] * len(means), START, END, END],
                "measure": [*[WEIGHTS] * (len(means) + 2), UPDATES],
            }
            of_layer = {"layer": np.array(layers), "place": np.arange(1, len(layers) + 1)}
            columns = {name: np.repeat(of_row[name], len(layers)) for name in of_row}
            columns |= {name: np.tile(of_layer[name], len(values)) for name in of_layer}
            parts.append({**_names(run), **columns, "places": len(layers), "value": values.ravel()})
    return _long(parts)


def _long(parts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Join many small tables, whose columns are lists or single values. This is ten times as fast as pandas.concat."""
    sizes = [max(len(values) for values in part.values() if isinstance(values, list | np.ndarray)) for part in parts]
    columns: dict[str, np.ndarray] = {}
    for name in parts[0] if parts else ():
        whole = [part[name] for part in parts]
        columns[name] = np.concatenate(whole) if isinstance(whole[0], list | np.ndarray) else np.repeat(whole, sizes)
    return pd.DataFrame(columns, columns=[*columns] or [*RUN, "measure", "layer", "place", "places", "step", "when", "value"])


def _finite_mean(logs: np.ndarray) -> np.ndarray:
    """Means over rows of the finite values; -inf if there is none."""
    finite = np.isfinite(logs)
    sums, counts = np.where(finite, logs, 0).sum(axis=0), finite.sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)


def units(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per run, epoch and layer with an activation: RUN, layer, place, places, epoch, dead and saturated (shares). The layer `all`, place 0,
    stands for all layers together."""
    parts = []
    for run in _all(conditions):
        rows = run.probe["hidden"].to_numpy(bool)
        layers, *values = (run.probe[name].to_numpy()[rows] for name in ("layer", "epoch", "units", "dead", "saturated"))
        places = {layer: place for place, layer in enumerate(run.activated, 1)}
        columns = {"layer": layers, "place": [places[layer] for layer in layers], "places": len(places)}
        parts.append({**_names(run), **columns, **dict(zip(("epoch", "units", "dead", "saturated"), values, strict=True))})
    table = _long(parts)
    table["saturated"] *= table["units"]
    whole = table.groupby([*RUN, "places", "epoch"], sort=False)[["units", "dead", "saturated"]].sum(min_count=1).reset_index()
    table = pd.concat([table.assign(layer=table["layer"].map(plain)), whole.assign(layer="all", place=0)], ignore_index=True)
    for name in ("dead", "saturated"):
        table[name] /= table["units"]
    keys = ["condition", "activation", "layer", "place", "places", "epoch"]
    means = table.groupby(keys, sort=False)[["dead", "saturated"]].mean().reset_index().assign(seed=MEAN)
    return pd.concat([table, means], ignore_index=True)[[*RUN, "layer", "place", "places", "epoch", "dead", "saturated"]]


def plain(layer: str) -> str:
    """The name of an activation layer as a label: `conv1_activation` acts on conv1."""
    return layer.removesuffix("_activation")


def _all(conditions: Mapping[str, Runs]) -> Iterator[RunResult]:
    for runs in conditions.values():
        yield from every_run(runs)


def _names(run: RunResult) -> dict[str, str]:
    return {"condition": run.condition, "activation": run.activation_name, "seed": str(run.seed)}
