"""Attenuation: decades by which the gradient shrinks on its way back through the network."""

import numpy as np
import pandas as pd

from actgrad.analysis.runs import once_a_run
from actgrad.diagnosis.signal import attenuation
from actgrad.results.run import RunResult


def of_run(run: RunResult, epoch: int = 0) -> float:
    """The attenuation of a run from the last to the first activated layer; epoch 0 is before any update. NaN with fewer than two such layers."""
    return float(by_epoch(run)[epoch])


@once_a_run
def by_epoch(run: RunResult) -> pd.Series:
    """The attenuation of a run after each epoch: epoch -> decades."""
    first, last = (at_layer(run, layer) for layer in (run.activated[0], run.activated[-1]))
    decades = attenuation(first, last) if len(run.activated) > 1 else np.full(len(first), np.nan)
    return pd.Series(decades, first.index, name="attenuation")


def at_layer(run: RunResult, layer: str) -> pd.Series:
    """The size of dL/dz at a layer after each epoch: epoch -> root mean square."""
    layers, epochs, values = (run.probe[name].to_numpy() for name in ("layer", "epoch", column(run)))  # a mask in pandas takes ten times as long
    chosen = layers == layer
    return pd.Series(values[chosen], pd.Index(epochs[chosen], name="epoch"), name=column(run))


def column(run: RunResult) -> str:
    """The probe's column with the gradient of training. With batch normalisation, this is the one with batch statistics."""
    return "preact_grad_rms_batch" if "preact_grad_rms_batch" in run.probe else "preact_grad_rms"
