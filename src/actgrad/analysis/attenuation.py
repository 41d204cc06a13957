"""Attenuation: decades by which the gradient shrinks on its way back through the network."""

import pandas as pd

from actgrad.analysis.runs import probed
from actgrad.diagnosis.signal import attenuation
from actgrad.results.run import RunResult


def of_run(run: RunResult, epoch: int = 0) -> float:
    """The attenuation of a run from the last to the first activated layer; in epoch 0, before any update."""
    return float(attenuation(*(probed(run, epoch, layer, "preact_grad_rms") for layer in _ends(run))))


def by_epoch(run: RunResult) -> pd.Series:
    """The attenuation of a run after each epoch: epoch -> decades."""
    rms = run.probe.set_index("epoch")["preact_grad_rms"]
    first, last = (rms[run.probe["layer"].eq(layer).to_numpy()] for layer in _ends(run))
    return pd.Series(attenuation(first, last), first.index, name="attenuation")


def _ends(run: RunResult) -> tuple[str, str]:
    layers = run.activated
    return layers[0], layers[-1]
