"""The metrics of a run's MLflow run. They are the same for a live run and a published one."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from actgrad.analysis.runs import configuration
from actgrad.diagnosis.signal import attenuation
from actgrad.errors import UserError
from actgrad.results.run import RunResult
from actgrad.training.names import HISTORY, TEST, VAL_ACCURACY

if TYPE_CHECKING:
    from actgrad.training.epochs import Epoch

T = TypeVar("T")
Values = dict[tuple[str, int], float]
"""(metric name, optimizer step) -> value."""

STEP_POINTS = 50
"""Maximum number of steps whose norms are logged. A thousand values take MLflow a third of a second."""
LAYERS = 7
"""Maximum number of logged layers, so that a run has at most 60 metrics."""
STEP_METRICS = ("grad_norm", "update_ratio")
"""Metrics at these steps: norm of a layer's gradient, and update norm divided by weight norm."""
PROBE_METRICS = ("preact_grad_rms", "dead", "newly_dead", "revived", "saturated")
"""Columns of probe.csv that are logged."""
DEAD, ATTENUATION = "dead/total", "attenuation/decades"
"""Metrics of a whole network."""
VAL_ACCURACY_BY_RATE = "search/val_accuracy"
"""Metric of a search's trial: its last validation accuracy, logged at the step 1e6 * learning rate. So MLflow, which draws metrics only
over steps, draws accuracy over learning rate."""


@dataclass(frozen=True)
class Layers:
    """The logged layers of a run, in the order of the network.

    Attributes:
        weighted: layers with weights.
        activated: layers with an activation.
        others: other sites of the probe: the output.
    """

    weighted: Sequence[str]
    activated: Sequence[str]
    others: Sequence[str]

    @classmethod
    def of(cls, result: RunResult) -> "Layers":
        others = [layer for layer in result.probes["layer"].unique() if layer not in result.activated]
        return cls(logged_layers(result.layers), logged_layers(result.activated), others)


def run_metrics(result: RunResult) -> Values:
    """All metrics of a finished run.

    Raises:
        UserError: if its history has an epoch twice.
    """
    if result.history["epoch"].duplicated().any():
        raise UserError(
            "damaged-result", f"history.csv of {result.key} is damaged: it has an epoch twice; remove the folder of the run, and train it again"
        )
    history, metrics = result.history, result.metrics
    planned = metrics["steps"] if history.empty else int(history["step"].iloc[0]) * configuration(result)["recipe"]["epochs"]
    values = _metrics(result.steps, result.probes, planned)
    for row in history.to_dict("records"):
        values |= {(name, row["step"]): row[name] for name in HISTORY}
    return values | {(name, metrics["steps"]): metrics["last"][name] for name in TEST if name in metrics["last"]}


def epoch_metrics(epoch: "Epoch", planned: int) -> Values:
    """All metrics of one epoch.

    Args:
        epoch: measurements of the epoch.
        planned: optimizer steps of the whole training.
    """
    if epoch.number == 1 and not epoch.history:  # it diverged, and the run's files do not have the planned steps
        planned = epoch.step
    return {(name, epoch.step): value for name, value in epoch.history.items()} | _metrics(epoch.steps, epoch.probes, planned)


def mean(runs: Sequence[RunResult]) -> Values:
    """The mean over runs of each metric and step that all of them have."""
    found = [run_metrics(run) for run in runs]
    return {at: float(np.mean([values[at] for values in found])) for at in found[0] if all(at in values for values in found)}


def by_rate(result: RunResult) -> Values:
    """VAL_ACCURACY_BY_RATE of a trial; empty if it diverged."""
    step = round(1e6 * configuration(result)["recipe"]["learning_rate"])
    last = result.metrics["last"]
    return {(VAL_ACCURACY_BY_RATE, step): last[VAL_ACCURACY]} if VAL_ACCURACY in last else {}


def of_layer(name: str, layer: str) -> str:
    """The name of a layer's metric. MLflow takes only some characters, and the second use of a layer has a # in its name."""
    return f"{name}/{re.sub(r'[^ .:0-9A-Za-z_-]', '.', layer)}"


def logged_layers(layers: Sequence[T]) -> list[T]:
    """The logged layers: all of them, or LAYERS evenly spaced ones with both ends."""
    return [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, min(len(layers), LAYERS)).round().astype(int))]


def thinned(steps: int) -> list[int]:
    """At most STEP_POINTS of the steps 1 … steps, evenly spaced, with both ends."""
    return np.unique(np.linspace(1, steps, min(steps, STEP_POINTS)).round().astype(int)).tolist()


def _metrics(steps: pd.DataFrame, probes: pd.DataFrame, planned: int) -> Values:
    rows = steps[steps["step"].isin(thinned(planned)) & steps["layer"].isin(logged_layers(steps["layer"].unique().tolist()))]
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = rows.assign(update_ratio=rows["update_norm"] / rows["weight_norm"])
    hidden = probes[probes["hidden"].astype(bool)]
    chosen = probes[probes["layer"].isin(logged_layers(hidden["layer"].unique().tolist())) | ~probes["hidden"].astype(bool)]
    return {**dict(_by_layer(rows, STEP_METRICS)), **dict(_by_layer(chosen, PROBE_METRICS)), **dict(_of_network(hidden))}


def _by_layer(rows: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[tuple[str, int], float]]:
    """The existing values of these columns. A loop takes a fifth of the time of pandas' melt on so few rows."""
    layers, steps = rows["layer"].tolist(), rows["step"].tolist()
    for name in names:
        for layer, step, value in zip(layers, steps, rows[name].astype(float).tolist(), strict=True):
            if not math.isnan(value):
                yield (of_layer(name, layer), step), value


def _of_network(hidden: pd.DataFrame) -> Iterator[tuple[tuple[str, int], float]]:
    """Metrics of the whole network at each measurement of the probe, from the rows of layers with an activation."""
    signal = "preact_grad_rms_batch" if "preact_grad_rms_batch" in hidden else "preact_grad_rms"
    for _, rows in hidden.groupby("step"):
        step = int(rows["step"].iloc[0])
        if rows["dead"].notna().all():
            yield (DEAD, step), float(rows["dead"].sum())
        decades = attenuation(rows[signal].iloc[0], rows[signal].iloc[-1]) if len(rows) > 1 else np.nan
        if np.isfinite(decades):
            yield (ATTENUATION, step), float(decades)
