"""The tables of a report: one function per table, each with the data of a figure or of the page. Pure functions."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actgrad.analysis import attenuation, statistics
from actgrad.analysis.runs import DIVERGED, FAILED, LEARNED, Runs, every_run, learned, once_a_condition, outcome, settings, test_accuracy
from actgrad.analysis.statistics import PAIRED, estimate
from actgrad.diagnosis import signal
from actgrad.results.run import RunResult
from actgrad.training.names import TEST_ACCURACY, TRAIN_ACCURACY, VAL_ACCURACY

POINTS = 120
"""Maximum number of points per line over optimizer steps."""

MEASURES = {
    "train_accuracy_last": ("last", TRAIN_ACCURACY),
    "val_accuracy_last": ("last", VAL_ACCURACY),
    "test_accuracy_last": ("last", TEST_ACCURACY),
    "best_epoch": ("best", "epoch"),
    "val_accuracy_best": ("best", VAL_ACCURACY),
}

DEPTH = "model.config.depth"
"""The setting for the depth of a network."""
UNIT_COLUMNS = ("units", "dead", "newly_dead", "revived", "saturated")


# --- accuracy


@once_a_condition
def summary(runs: Runs) -> pd.DataFrame:
    """One row per activation: seeds, numbers of diverged and of failed runs, then mean and sample standard deviation over seeds: of each of
    MEASURES, and of the gradient norm at the first and last layer in the first and last step.

    MEASURES are over runs that learned, norms over all runs. A single seed has no deviation.
    """
    return pd.DataFrame([{"activation": name, **_row(of_activation)} for name, of_activation in runs.items()])


def _row(runs: Sequence[RunResult]) -> dict[str, object]:
    values = pd.DataFrame([_values(run) for run in runs])
    values.loc[[outcome(run) != LEARNED for run in runs], list(MEASURES)] = None
    outcomes = [outcome(run) for run in runs]
    row: dict[str, object] = {
        "seeds": " ".join(str(run.seed) for run in runs),
        "diverged": outcomes.count(DIVERGED),
        "failed": outcomes.count(FAILED),
    }
    for name in values:
        row |= {f"{name}_mean": values[name].mean(), f"{name}_sd": values[name].std(ddof=1)}
    return row


def _measures(run: RunResult) -> dict[str, float | None]:
    return {name: run.metrics[group].get(metric) for name, (group, metric) in MEASURES.items()}


def _values(run: RunResult) -> dict[str, float | None]:
    values = _measures(run)
    if len(run.gradients):
        for end, norms in (("first", run.gradients.iloc[0]), ("last", run.gradients.iloc[-1])):
            values |= {f"{place}_layer_gradient_norm_{end}": norms[run.layers[i]] for place, i in (("first", 0), ("last", -1))}
    return values


def seeds(runs: Runs) -> pd.DataFrame:
    """One row per run: activation, seed and MEASURES. A run that diverged early lacks some."""
    rows = [{"activation": name, "seed": run.seed, **_measures(run)} for name, of_activation in runs.items() for run in of_activation]
    return pd.DataFrame(rows).astype(dict.fromkeys(MEASURES, float))


def learning_curves(runs: Runs) -> pd.DataFrame:
    """One row per activation, split (train, val) and epoch: mean, low and high accuracy over the runs that learned; NaN if none did."""
    rows = []
    for name, of_activation in runs.items():
        for split, metric in (("train", TRAIN_ACCURACY), ("val", VAL_ACCURACY)):
            values = pd.concat([run.history.set_index("epoch")[metric] for run in of_activation], axis=1)
            values.loc[:, [outcome(run) != LEARNED for run in of_activation]] = np.nan
            ends = {"mean": values.mean(axis=1), "low": values.min(axis=1), "high": values.max(axis=1)}
            rows.append(pd.DataFrame(ends).reset_index().assign(activation=name, split=split))
    table = pd.concat(rows)[["activation", "split", "epoch", "mean", "low", "high"]]
    return table.astype({"epoch": int, "mean": float, "low": float, "high": float})  # a run without a finished epoch has no types


def article_curve(runs: Runs, article: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """The accuracies of the article's ReLU network and of `runs`. One row per split and epoch: article, mean, low, high."""
    ours = learning_curves({"relu": runs["relu"]}).drop(columns="activation")
    logged = [{"split": split, "epoch": epoch, "article": value} for split, values in article.items() for epoch, value in enumerate(values, 1)]
    return pd.DataFrame(logged).merge(ours, how="left", on=["split", "epoch"])


def pairs(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """Every pair of activations under each condition: condition, and the columns of statistics.paired on the test accuracy after the last
    epoch, corrected over the pairs of that condition."""
    return pd.concat([paired(runs).assign(condition=name) for name, runs in conditions.items()])[["condition", *PAIRED]]


def paired(runs: Runs) -> pd.DataFrame:
    """Every pair of activations of one condition, compared on the test accuracy after the last epoch."""
    return statistics.paired({name: _by_seed(of_activation) for name, of_activation in runs.items()})


def _by_seed(runs: Sequence[RunResult]) -> dict[int, float | None]:
    """Seed -> test accuracy after the last epoch; None for a run that diverged."""
    return {run.seed: test_accuracy(run) for run in runs}


# --- gradients


def gradient_norms(runs: Runs) -> pd.DataFrame:
    """One row per activation, layer and range of steps: activation, layer, place (1 is nearest to the input), step (the middle of the range),
    and grad_norm, the geometric mean over the range and over seeds. Norms of 0 are left out."""
    rows = []
    for name, of_activation in runs.items():
        layers = of_activation[0].layers
        norms = thinned(pd.concat([run.gradients for run in of_activation])).melt("step", layers, "layer", "grad_norm")
        rows.append(norms.assign(activation=name, place=norms["layer"].map({layer: place for place, layer in enumerate(layers, 1)})))
    return pd.concat(rows)[["activation", "layer", "place", "step", "grad_norm"]]


def thinned(gradients: pd.DataFrame) -> pd.DataFrame:
    """Gradient norms as geometric means over at most POINTS ranges of steps."""
    if gradients.empty:
        return gradients
    stretch = (gradients["step"] - 1) // int(np.ceil(gradients["step"].max() / POINTS))
    means = geometric_means(gradients, stretch, [name for name in gradients if name != "step"])
    means.insert(0, "step", gradients["step"].groupby(stretch, sort=False).mean())
    return means


def geometric_means(table: pd.DataFrame, by: Any, columns: Sequence[Hashable]) -> pd.DataFrame:
    """The geometric mean of each group's positive values; NaN if there is none. Averaging logarithms takes a hundredth of the time of calling a
    function for each group."""
    values = table[list(columns)].astype(float)
    keys = [table[name] for name in by] if isinstance(by, list) else by
    return values.where(values > 0).apply(np.log).groupby(keys, sort=False).mean().apply(np.exp)


def preact_grads(runs: Runs) -> pd.DataFrame:
    """One row per activation, epoch and layer: preact_grad_rms (geometric mean over the seeds in which it is positive; with batch normalisation,
    the one with batch statistics), and `attenuation` in decades, mean over seeds. The attenuation is of the whole network, so it is the same for
    all layers. It is NaN if a seed's is NaN."""
    rows = []
    for name, of_activation in runs.items():
        probes = pd.concat([run.probe[["epoch", "layer"]].assign(preact_grad_rms=run.probe[attenuation.column(run)]) for run in of_activation])
        means = geometric_means(probes, ["epoch", "layer"], ["preact_grad_rms"]).reset_index()
        decades = pd.concat([attenuation.by_epoch(run) for run in of_activation]).groupby(level="epoch").mean(skipna=False)
        rows.append(means.join(decades, on="epoch").assign(activation=name))
    return pd.concat(rows)[["activation", "epoch", "layer", "preact_grad_rms", "attenuation"]]


def attenuations(runs: Runs) -> pd.DataFrame:
    """One row per run: activation, seed, and its attenuation before any update, in decades."""
    return pd.DataFrame([{"activation": name, "seed": run.seed, "attenuation": attenuation.of_run(run)} for name in runs for run in runs[name]])


@once_a_condition
def share_of_next(runs: Runs) -> pd.DataFrame:
    """One row per activation and activated layer, before any update, geometric means over seeds: `share_of_next`, its size of dL/dz divided by
    the next layer's; `predicted`, the same predicted from derivatives and weights (Glorot and Bengio 2010, equation 6; see ActivationProbe);
    and `derivatives_alone`, the derivatives' factor in it (sqrt(slope_ms)). Nothing predicts the gradient through batch statistics, so with batch
    normalisation the last two are NaN."""
    every = [(name, run, attenuation.column(run)) for name, of_activation in runs.items() for run in of_activation]
    starts = []
    for name, run, size in every:
        start = run.probe[["layer", "hidden", size, "slope_ms", "predicted"]][run.probe["epoch"].to_numpy() == 0]  # copies of all columns take long
        with np.errstate(divide="ignore", invalid="ignore"):
            start = start.assign(activation=name, share_of_next=start[size] / start[size].shift(-1))
        starts.append(start if size == "preact_grad_rms" else start.assign(slope_ms=np.nan, predicted=np.nan))
    probes = pd.concat(starts)
    probes["derivatives_alone"] = np.sqrt(probes["slope_ms"])
    probes = probes[probes["hidden"].to_numpy(bool)]
    return geometric_means(probes, ["activation", "layer"], ["share_of_next", "predicted", "derivatives_alone"]).reset_index()


def by_depth(conditions: Mapping[str, Runs]) -> pd.DataFrame | None:
    """Networks that differ only in depth, before any update. One row per activation, depth and seed: attenuation from the last to the first
    activated layer, whether a gradient `arrives` at the first, and the key of the run. None with fewer than two depths.
    """
    alike: dict[str, list[tuple[int, Runs]]] = {}
    for of_condition in conditions.values():
        shared = settings(every_run(of_condition)[0])
        if DEPTH in shared:
            alike.setdefault(str({key: value for key, value in shared.items() if key != DEPTH}), []).append((shared[DEPTH], of_condition))
    found = max(alike.values(), key=len, default=[])
    if len({depth for depth, _ in found}) < 2:
        return None
    rows = [
        {
            "activation": name,
            "depth": depth,
            "seed": run.seed,
            "attenuation": attenuation.of_run(run),
            "arrives": not attenuation.at_layer(run, run.activated[0])[0] <= signal.SMALLEST,
            "key": run.key,
        }
        for depth, of_condition in sorted(found, key=lambda one: one[0])
        for name, of_activation in of_condition.items()
        for run in of_activation
    ]
    return pd.DataFrame(rows)


def depth(measured: pd.DataFrame) -> pd.DataFrame:
    """One row per activation and depth: mean, low and high of the attenuation over seeds, `lost` (number of seeds in which no gradient arrives at
    the first layer), and the activation's depth_rates.

    Args:
        measured: the table of `by_depth`.
    """
    table = measured
    groups = table.groupby(["activation", "depth"], sort=False)
    decades = groups["attenuation"]
    ends = {"mean": decades.mean(skipna=False), "low": decades.min(skipna=False), "high": decades.max(skipna=False)}
    table = pd.DataFrame(ends | {"lost": groups["arrives"].agg(lambda arrives: int((~arrives).sum()))}).reset_index()
    return table.merge(depth_rates(measured).rename(columns={"low": "rate_low", "high": "rate_high"}), how="left", on="activation")


def depth_rates(measured: pd.DataFrame) -> pd.DataFrame:
    """One row per activation: `rate`, the decades of attenuation that one more layer adds (slope of a least squares line through each seed's
    depths, mean over seeds), with low and high of its interval. Depths at which no gradient arrives at the first layer are left out, and so
    are activations with fewer than two remaining depths."""
    rows = []
    for name, of_activation in measured[measured["arrives"] & np.isfinite(measured["attenuation"])].groupby("activation", sort=False):
        slopes = [_slope(one["depth"], one["attenuation"]) for _, one in of_activation.groupby("seed") if len(one) > 1]
        if not slopes:
            continue
        found = estimate(slopes)
        rows.append({"activation": name, "rate": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows, columns=["activation", "rate", "low", "high"])


def _slope(x: pd.Series, y: pd.Series) -> float:
    """Slope of the least squares line. Computed here, because LAPACK's last digits differ from run to run."""
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


# --- units


@once_a_condition
def unit_states(runs: Runs) -> pd.DataFrame:
    """One row per activation, epoch and layer, means over seeds: units, dead, newly_dead, revived (numbers of units), saturated (share). NaN if a
    seed's value is NaN."""
    columns = ["epoch", "layer", "hidden", *UNIT_COLUMNS]
    probes = pd.concat([run.probe[columns].assign(activation=name) for name, of_activation in runs.items() for run in of_activation])
    probes = probes[probes["hidden"].to_numpy(bool)]
    return probes.groupby(["activation", "epoch", "layer"], sort=False)[list(UNIT_COLUMNS)].mean(skipna=False).reset_index()


def unit_totals(states: pd.DataFrame) -> pd.DataFrame:
    """One row per activation, from the table of `unit_states`: numbers of units, of units dead before any update, and of newly dead, revived and
    dead units at the end; largest share of saturated activations in a layer, before any update and at the end. NaN if a layer's value is NaN."""
    rows = []
    for name, of_layer in states.groupby("activation", sort=False):
        start, end = (of_layer[of_layer["epoch"] == epoch] for epoch in (0, of_layer["epoch"].max()))
        counts = {"units": start["units"], "dead_at_start": start["dead"]} | {name: end[name] for name in ("newly_dead", "revived", "dead")}
        row = {key: float(values.sum(skipna=False)) for key, values in counts.items()}
        shares = {"saturated_at_start": start["saturated"], "saturated": end["saturated"]}
        rows.append({"activation": name, **row, **{key: values.max(skipna=False) for key, values in shares.items()}})
    return pd.DataFrame(rows)


# --- the functions themselves


def activation_functions(runs: Runs) -> pd.DataFrame:
    """One row per activation and z: value and derivative."""
    return pd.concat([of_activation[0].activation.assign(activation=name) for name, of_activation in runs.items()])[
        ["activation", "z", "value", "derivative"]
    ]


def linearity(conditions: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per condition and activation: the largest folding_error and superposition_error over its seeds. Diverged runs have none."""
    rows = []
    for condition, runs in conditions.items():
        for name, of_activation in runs.items():
            errors = [run.metrics["linearity"] for run in of_activation if run.metrics["linearity"]]
            if errors:
                worst = {key: max(error[key] for error in errors) for key in ("folding_error", "superposition_error")}
                rows.append({"condition": condition, "activation": name, **worst})
    return pd.DataFrame(rows, columns=["condition", "activation", "folding_error", "superposition_error"])


def times(measured: Mapping[str, Any], runs: Runs) -> pd.DataFrame:
    """One row per activation: milliseconds of its layers and of a whole step, and both as multiples of ReLU's with their intervals."""
    rows = []
    for name, row in measured["activations"].items():
        if name not in runs:
            continue
        multiples = {f"{part}_{key}": row[part][key] for part in ("layers_to_relu", "step_to_relu") for key in ("value", "low", "high")}
        rows.append({"activation": name, "layers_ms": row["layers_ms"], "step_ms": row["step_ms"], **multiples})
    return pd.DataFrame(rows)


# --- under other conditions


def conditions(every: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per condition and activation: seeds, and the mean test accuracy after the last epoch with its interval, over the runs that learned."""
    rows = []
    for condition, runs in every.items():
        for name, of_activation in runs.items():
            values = [accuracy for accuracy in map(test_accuracy, learned(of_activation)) if accuracy is not None]
            if values:
                found = estimate(values)
                rows.append(
                    {"condition": condition, "activation": name, "seeds": len(values), "mean": found.value, "low": found.low, "high": found.high}
                )
    table = pd.DataFrame(rows, columns=["condition", "activation", "seeds", "mean", "low", "high"])
    return table.astype(dict.fromkeys(("mean", "low", "high"), float))  # None for a single seed


def learning_rates(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per activation and learning rate: mean, low and high validation accuracy over seeds. A diverged trial counts as 0."""
    counted = trials.assign(val_accuracy=trials["val_accuracy"].mask(trials["status"] == "diverged", 0.0))
    groups = counted.groupby(["activation", "learning_rate"], sort=False)["val_accuracy"]
    return pd.DataFrame({"mean": groups.mean(skipna=False), "low": groups.min(skipna=False), "high": groups.max(skipna=False)}).reset_index()


def worse_when_tuned(runs: Runs, tuned: Runs) -> list[str]:
    """Activations whose `tuned` runs have a significantly lower test accuracy than `runs`, paired by seed, Holm-corrected over the activations."""
    common = [name for name in runs if name in tuned]
    values = {name: _by_seed(runs[name]) for name in common} | {f"{name}, tuned": _by_seed(tuned[name]) for name in common}
    table = statistics.paired(values, [(name, f"{name}, tuned") for name in common])
    return table["first"][table["significant"] & (table["difference"] > 0)].tolist()
