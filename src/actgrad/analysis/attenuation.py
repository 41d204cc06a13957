"""Attenuation: decades by which the gradient shrinks on its way back through the network."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from actgrad.analysis.runs import probed
from actgrad.networks.names import ACTIVATED_LAYERS
from actgrad.results.run import RunResult

FIRST, LAST = ACTIVATED_LAYERS[0], ACTIVATED_LAYERS[-1]
"""The layers between which the attenuation of a run is measured."""

SMALLEST = float(np.finfo(np.float32).tiny)
"""The smallest normal float32. A gradient of 0 counts as this large, so that its logarithm is a number."""


def attenuation(first: ArrayLike, last: ArrayLike) -> np.ndarray | float:
    """Decades by which dL/dz shrinks from the last layer to the first; negative where it grows.

    A value of 0 counts as SMALLEST: then the gradient shrinks by at least that much. NaN stays NaN.

    Args:
        first, last: preact_grad_rms of the first and of the last layer, of one shape.
    """
    first, last = (np.maximum(np.asarray(values, dtype=float), SMALLEST) for values in (first, last))  # np.maximum keeps NaN
    with np.errstate(invalid="ignore"):  # infinite in both
        return np.log10(last) - np.log10(first)


def of_run(run: RunResult, epoch: int = 0) -> float:
    """The attenuation of a run from LAST to FIRST; in epoch 0, before any update."""
    return float(attenuation(*(probed(run, epoch, layer, "preact_grad_rms") for layer in (FIRST, LAST))))


def by_epoch(run: RunResult) -> pd.Series:
    """The attenuation of a run after each epoch: epoch -> decades."""
    rms = run.probe.set_index("epoch")["preact_grad_rms"]
    first, last = (rms[run.probe["layer"].eq(layer).to_numpy()] for layer in (FIRST, LAST))
    return pd.Series(attenuation(first, last), first.index, name="attenuation")
