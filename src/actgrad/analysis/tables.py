"""The tables of a report: one function a table, each the data of a figure or of the page. Pure."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandas.api.typing import DataFrameGroupBy

from actgrad.analysis import statistics
from actgrad.analysis.statistics import PAIRED, estimate
from actgrad.errors import UserError
from actgrad.results import run as results
from actgrad.results.run import ACTIVATED_LAYERS, LAYERS, CellResult

Cells = Mapping[str, Sequence[CellResult]]
"""The cells of a study, or of one of its experiments, by activation."""

POINTS = 120
"""At most so many points has a line over optimizer steps."""

MEASURES = {
    "train_accuracy_last": ("last", results.TRAIN_ACCURACY),
    "val_accuracy_last": ("last", results.VAL_ACCURACY),
    "test_accuracy_last": ("last", results.TEST_ACCURACY),
    "best_epoch": ("best", "epoch"),
    "val_accuracy_best": ("best", results.VAL_ACCURACY),
}


def belong_together(cells: Cells) -> None:
    """Raise UserError unless all cells were trained on the same data, under the same recipe, seed for seed.

    Learning rates may differ between activations: a tuned recipe has one for each.
    """
    first = next(iter(cells.values()))[0]
    for of_activation in cells.values():
        for cell in of_activation:
            if _common(cell) != _common(first) or _rate(cell) != _rate(of_activation[0]):
                raise UserError(f"{cell.key} was trained on other data or under another recipe than {first.key}; train them alike: dvc repro")


def _common(cell: CellResult) -> tuple:
    values = configuration(cell)
    return cell.metrics["data_sha256"], values["recipe"] | {"learning_rate": None}, values["model"]


def _rate(cell: CellResult) -> float:
    return configuration(cell)["recipe"]["learning_rate"]


def configuration(cell: CellResult) -> dict[str, Any]:
    """The values of a cell's configuration."""
    return _parsed(cell.config)


@functools.cache
def _parsed(config: str) -> dict[str, Any]:
    return yaml.load(config, yaml.CSafeLoader)  # ten times as fast as the loader that is written in Python


# --- results


def learned_from(cells: Cells) -> float:
    """The test accuracy from which a network counts as having learned: twice that of guessing, at most halfway from there to 1."""
    return min(2 * guessing(cells), (1 + guessing(cells)) / 2)


def guessing(cells: Cells) -> float:
    """The accuracy of guessing, where classes are of one size."""
    probe = next(iter(cells.values()))[0].probe
    return 1 / probe.loc[probe["layer"] == LAYERS[-1], "units"].iloc[0]


def summary(cells: Cells) -> pd.DataFrame:
    """One row an activation: seeds, diverged, not_learned, then mean and sample standard deviation over seeds of each of MEASURES and
    of the gradient norm of the first and the last layer at the first and the last step.

    Cells that diverged count in `diverged` and, in means, only where they have a value. A single seed has no deviation.
    """
    enough = learned_from(cells)
    return pd.DataFrame([{"activation": name, **_row(of_activation, enough)} for name, of_activation in cells.items()])


def _row(cells: Sequence[CellResult], enough: float) -> dict[str, object]:
    values = pd.DataFrame([_values(cell) for cell in cells])
    row: dict[str, object] = {
        "seeds": " ".join(str(cell.seed) for cell in cells),
        "diverged": sum(cell.metrics["status"] == "diverged" for cell in cells),
        "not_learned": sum(accuracy is not None and accuracy < enough for accuracy in _test_accuracy(cells).values()),
    }
    for name in values:
        row |= {f"{name}_mean": values[name].mean(), f"{name}_sd": values[name].std(ddof=1)}
    return row


def seeds_in_words(row: Mapping[Any, Any]) -> str:
    """Of a row of `summary`: how many cells an activation has, and how many of them failed."""
    failed = [f"{row[name]} {words}" for name, words in (("not_learned", "did not learn"), ("diverged", "diverged")) if row[name]]
    number = str(len(row["seeds"].split()))
    return f"{number}: {', '.join(failed)}" if failed else number


def _measures(cell: CellResult) -> dict[str, float | None]:
    return {name: cell.metrics[group].get(metric) for name, (group, metric) in MEASURES.items()}


def _values(cell: CellResult) -> dict[str, float | None]:
    values = _measures(cell)
    if len(cell.gradients):
        for end, norms in (("first", cell.gradients.iloc[0]), ("last", cell.gradients.iloc[-1])):
            values |= {f"{layer}_gradient_norm_{end}": norms[layer] for layer in (LAYERS[0], LAYERS[-1])}
    return values


def seeds(cells: Cells) -> pd.DataFrame:
    """One row a cell: activation, seed and MEASURES; one that diverged early lacks some."""
    rows = [{"activation": name, "seed": cell.seed, **_measures(cell)} for name, of_activation in cells.items() for cell in of_activation]
    return pd.DataFrame(rows).astype(dict.fromkeys(MEASURES, float))


def learning_curves(cells: Cells) -> pd.DataFrame:
    """One row an activation, split (train, val) and epoch: mean, low and high accuracy over the seeds that finished it."""
    rows = []
    for name, of_activation in cells.items():
        for split, metric in (("train", results.TRAIN_ACCURACY), ("val", results.VAL_ACCURACY)):
            values = pd.concat([cell.history.set_index("epoch")[metric] for cell in of_activation], axis=1)
            ends = {"mean": values.mean(axis=1), "low": values.min(axis=1), "high": values.max(axis=1)}
            rows.append(pd.DataFrame(ends).reset_index().assign(activation=name, split=split))
    table = pd.concat(rows)[["activation", "split", "epoch", "mean", "low", "high"]]
    return table.astype({"epoch": int, "mean": float, "low": float, "high": float})  # a cell without a finished epoch has no types


def article_curve(cells: Cells, article: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """The article's log of its ReLU network beside that of `cells`: one row a split and epoch: article, mean, low, high."""
    ours = learning_curves({"relu": cells["relu"]}).drop(columns="activation")
    logged = [{"split": split, "epoch": epoch, "article": value} for split, values in article.items() for epoch, value in enumerate(values, 1)]
    return pd.DataFrame(logged).merge(ours, how="left", on=["split", "epoch"])


def activation_functions(cells: Cells) -> pd.DataFrame:
    """One row an activation and z: value and derivative."""
    return pd.concat([of_activation[0].activation.assign(activation=name) for name, of_activation in cells.items()])[
        ["activation", "z", "value", "derivative"]
    ]


# --- gradients


def gradient_norms(cells: Cells) -> pd.DataFrame:
    """One row an activation and stretch of steps: activation, step (its middle), and the geometric mean over the stretch and over
    seeds of each layer's gradient norm. A norm of 0 has no place in it."""
    rows = [thinned(pd.concat([cell.gradients for cell in of_activation])).assign(activation=name) for name, of_activation in cells.items()]
    return pd.concat(rows)[["activation", "step", *LAYERS]]


def thinned(gradients: pd.DataFrame) -> pd.DataFrame:
    """Gradient norms as geometric means over at most POINTS stretches of steps."""
    if gradients.empty:
        return gradients
    stretch = (gradients["step"] - 1) // int(np.ceil(gradients["step"].max() / POINTS))
    means = geometric_means(gradients[list(LAYERS)].groupby(stretch))
    return means.assign(step=gradients["step"].groupby(stretch).mean())


def geometric_means(groups: DataFrameGroupBy) -> pd.DataFrame:
    """The geometric mean of each group's values that are above 0; NaN where none is."""
    return groups.agg(_geometric_mean)


def _geometric_mean(values: pd.Series) -> float:
    numbers = values.to_numpy()
    positive = numbers[numbers > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) else np.nan


def signal(cells: Cells) -> pd.DataFrame:
    """One row an activation, epoch and layer, geometric means over seeds: delta_rms; `attenuation`, its ratio to the next layer's;
    `predicted`, that ratio from the layer's derivatives and the weights (sqrt(slope_ms * weight_gain * pooling_gain), Glorot and Bengio 2010,
    equation 6); and `derivative_factor`, the derivatives' part of it (sqrt(slope_ms))."""
    rows = []
    for name, of_activation in cells.items():
        probes = pd.concat([cell.probe.assign(following=cell.probe.groupby("epoch")["delta_rms"].shift(-1)) for cell in of_activation])
        with np.errstate(divide="ignore", invalid="ignore"):
            probes["attenuation"] = probes["delta_rms"] / probes["following"]
        probes["predicted"] = np.sqrt(probes["slope_ms"] * probes["weight_gain"] * probes["pooling_gain"])
        probes["derivative_factor"] = np.sqrt(probes["slope_ms"])
        columns = ["delta_rms", "attenuation", "predicted", "derivative_factor"]
        means = geometric_means(probes.groupby(["epoch", "layer"], sort=False)[columns])
        rows.append(means.reset_index().assign(activation=name))
    return pd.concat(rows)[["activation", "epoch", "layer", "delta_rms", "attenuation", "predicted", "derivative_factor"]]


def depth(measured: pd.DataFrame) -> pd.DataFrame:
    """One row an activation and depth: mean, low and high (over seeds) of the decades that the signal loses from last to first block,
    and the activation's depth_rates."""
    groups = measured.groupby(["activation", "depth"], sort=False)["attenuation"]
    table = groups.agg(["mean", "min", "max"]).rename(columns={"min": "low", "max": "high"}).reset_index()
    return table.merge(depth_rates(measured).rename(columns={"low": "rate_low", "high": "rate_high"}), how="left", on="activation")


def depth_rates(measured: pd.DataFrame) -> pd.DataFrame:
    """One row an activation: `rate`, decades that one more block costs (least squares line through the depths of a seed, mean over
    seeds), with low and high of its interval. Depths at which nothing arrives any more are left out, and so is an activation through
    which nothing arrives at any two."""
    rows = []
    for name, of_activation in measured[np.isfinite(measured["attenuation"])].groupby("activation", sort=False):
        slopes = [_slope(one["depth"], one["attenuation"]) for _, one in of_activation.groupby("seed") if len(one) > 1]
        if not slopes:
            continue
        found = estimate(slopes)
        rows.append({"activation": name, "rate": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows, columns=["activation", "rate", "low", "high"])


def affine(studies: Mapping[str, Cells]) -> pd.DataFrame:
    """One row a study or experiment and activation: the largest folding_error and superposition_error over its seeds."""
    rows = []
    for experiment, cells in studies.items():
        for name, of_activation in cells.items():
            errors = [cell.metrics["affine"] for cell in of_activation if cell.metrics["affine"]]
            if errors:
                worst = {key: max(error[key] for error in errors) for key in ("folding_error", "superposition_error")}
                rows.append({"experiment": experiment, "activation": name, **worst})
    return pd.DataFrame(rows, columns=["experiment", "activation", "folding_error", "superposition_error"])


def times(measured: Mapping[str, Any], cells: Cells) -> pd.DataFrame:
    """One row an activation: milliseconds of its layers and of a whole step, and both as multiples of ReLU's with their intervals."""
    rows = []
    for name, row in measured["activations"].items():
        if name not in cells:
            continue
        multiples = {f"{part}_{key}": row[part][key] for part in ("layers_to_relu", "step_to_relu") for key in ("value", "low", "high")}
        rows.append({"activation": name, "layers_ms": row["layers_ms"], "step_ms": row["step_ms"], **multiples})
    return pd.DataFrame(rows)


def _slope(x: pd.Series, y: pd.Series) -> float:
    """Of the least squares line; written out, because LAPACK's last digits are not the same in every run."""
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


# --- units


def census(cells: Cells) -> pd.DataFrame:
    """One row an activation, epoch and layer, means over seeds: units, dead, died, revived (units), saturated (share)."""
    rows = []
    for name, of_activation in cells.items():
        probes = pd.concat([cell.probe for cell in of_activation])
        probes = probes[probes["layer"].isin(ACTIVATED_LAYERS)]
        means = probes.groupby(["epoch", "layer"], sort=False)[["units", "dead", "died", "revived", "saturated"]].mean()
        rows.append(means.reset_index().assign(activation=name))
    return pd.concat(rows)[["activation", "epoch", "layer", "units", "dead", "died", "revived", "saturated"]]


def unit_totals(census: pd.DataFrame) -> pd.DataFrame:
    """One row an activation, from the rows of `census`: units, those dead before any update, died, revived and dead at the end, and the largest
    share of saturated activations that a layer has before any update and at the end."""
    rows = []
    for name, of_layer in census.groupby("activation", sort=False):
        start, end = (of_layer[of_layer["epoch"] == epoch] for epoch in (0, of_layer["epoch"].max()))
        counts = {"units": start["units"], "dead_at_start": start["dead"], "died": end["died"], "revived": end["revived"], "dead": end["dead"]}
        row = {key: float(values.sum()) for key, values in counts.items()}
        rows.append({"activation": name, **row, "saturated_at_start": start["saturated"].max(), "saturated": end["saturated"].max()})
    return pd.DataFrame(rows)


# --- under other conditions


def learning_rates(trials: pd.DataFrame) -> pd.DataFrame:
    """One row an activation and learning rate: mean, low and high validation accuracy over seeds; 0 where a trial diverged."""
    filled = trials.assign(val_accuracy=trials["val_accuracy"].fillna(0.0))
    groups = filled.groupby(["activation", "learning_rate"], sort=False)["val_accuracy"]
    return groups.agg(["mean", "min", "max"]).rename(columns={"min": "low", "max": "high"}).reset_index()


def pairs(studies: Mapping[str, Cells]) -> pd.DataFrame:
    """Every pair of activations of the study and of each experiment: experiment, and the columns of statistics.paired on the test
    accuracy after the last epoch, corrected over the pairs of that experiment."""
    return pd.concat([paired(cells).assign(experiment=name) for name, cells in studies.items()])[["experiment", *PAIRED]]


def paired(cells: Cells) -> pd.DataFrame:
    """Every pair of activations of one study, compared on the test accuracy after the last epoch."""
    return statistics.paired({name: _test_accuracy(of_activation) for name, of_activation in cells.items()})


def _test_accuracy(cells: Sequence[CellResult]) -> dict[int, float | None]:
    """Seed -> test accuracy after the last epoch; None for a cell that diverged."""
    return {cell.seed: cell.metrics["last"].get(results.TEST_ACCURACY) for cell in cells}


def experiments(studies: Mapping[str, Cells]) -> pd.DataFrame:
    """One row a study or experiment and activation: seeds, and the mean test accuracy after the last epoch with its interval."""
    rows = []
    for experiment, cells in studies.items():
        for name, of_activation in cells.items():
            values = [cell.metrics["last"][results.TEST_ACCURACY] for cell in of_activation if cell.metrics["last"]]
            if values:
                found = estimate(values)
                rows.append(
                    {"experiment": experiment, "activation": name, "seeds": len(values), "mean": found.value, "low": found.low, "high": found.high}
                )
    return pd.DataFrame(rows, columns=["experiment", "activation", "seeds", "mean", "low", "high"])


def worse_when_tuned(studies: Mapping[str, Cells], tuned: str) -> list[str]:
    """Activations that reach less test accuracy in the experiment `tuned` than in the study, over the seeds that both have."""
    cells, others = next(iter(studies.values())), studies.get(tuned, {})
    worse = []
    for name in (name for name in cells if name in others):
        ours, theirs = _test_accuracy(cells[name]), _test_accuracy(others[name])
        both = [seed for seed in ours if None not in (ours[seed], theirs.get(seed))]
        if both and np.mean([theirs[seed] - ours[seed] for seed in both]) < 0:
            worse.append(name)
    return worse


def differences(cells: Cells, others: Cells) -> dict[str, str]:
    """What recipe and model of an experiment's cells (`others`) have other than the study's: dotted key -> value, in words.

    A value that differs between activations is given as a range.
    """
    ours, *_ = _settings(cells)
    theirs = _settings(others)
    found = {}
    for key in ours:
        values = [one[key] for one in theirs]
        if any(value != ours[key] for value in values):
            found[key] = str(values[0]) if len(set(map(str, values))) == 1 else f"{min(values)} to {max(values)}"
    return found


def _settings(cells: Cells) -> list[dict[str, object]]:
    """Recipe and model of each cell, as dotted keys."""
    every = [configuration(cell) for of_activation in cells.values() for cell in of_activation]
    return [{f"{group}.{key}": one[group][key] for group in ("recipe", "model") for key in one[group] if key != "name"} for one in every]
