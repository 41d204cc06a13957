"""Attenuation: decades by which the gradient shrinks on its way back through the network."""

import pandas as pd

from actgrad.analysis.runs import probed
from actgrad.diagnosis.signal import attenuation
from actgrad.networks.names import ACTIVATED_LAYERS
from actgrad.results.run import RunResult

FIRST, LAST = ACTIVATED_LAYERS[0], ACTIVATED_LAYERS[-1]
"""The layers between which the attenuation of a run is measured."""


def of_run(run: RunResult, epoch: int = 0) -> float:
    """The attenuation of a run from LAST to FIRST; in epoch 0, before any update."""
    return float(attenuation(*(probed(run, epoch, layer, "preact_grad_rms") for layer in (FIRST, LAST))))


def by_epoch(run: RunResult) -> pd.Series:
    """The attenuation of a run after each epoch: epoch -> decades."""
    rms = run.probe.set_index("epoch")["preact_grad_rms"]
    first, last = (rms[run.probe["layer"].eq(layer).to_numpy()] for layer in (FIRST, LAST))
    return pd.Series(attenuation(first, last), first.index, name="attenuation")
