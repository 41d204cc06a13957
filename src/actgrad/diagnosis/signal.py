"""How much a gradient shrinks on its way back through a model, as a number and as a sentence."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

SMALLEST = float(np.finfo(np.float32).tiny)
"""The smallest normal float32. A gradient of 0 counts as this large, so that its logarithm is a number."""
VANISHES = 3.0
"""Decades from which the sentence says that the gradient vanishes."""


def attenuation(first: ArrayLike, last: ArrayLike) -> np.ndarray | float:
    """Decades by which dL/dz shrinks from the last layer to the first; negative where it grows.

    A value of 0 counts as SMALLEST: then the gradient shrinks by at least that much. NaN stays NaN.

    Args:
        first, last: preact_grad_rms of the first and of the last layer, of one shape.
    """
    first, last = (np.maximum(np.asarray(values, dtype=float), SMALLEST) for values in (first, last))  # np.maximum keeps NaN
    with np.errstate(invalid="ignore"):  # infinite in both
        return np.log10(last) - np.log10(first)


def of_measurement(table: pd.DataFrame) -> float:
    """The attenuation from the last to the first hidden site of one measurement of the probe; NaN with fewer than two."""
    signal = hidden(table)["preact_grad_rms"].to_numpy(float)
    return float(attenuation(signal[0], signal[-1])) if len(signal) > 1 else math.nan


def hidden(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of sites that are not the output of the model."""
    return table[table["hidden"].astype(bool)].reset_index(drop=True)


def sentence(table: pd.DataFrame) -> str:
    """Sentence about one measurement of the probe: does the gradient vanish, where, and why?"""
    sites = hidden(table)
    if len(sites) < 2:
        return (
            "Fewer than two layers with an activation function were found, so the way back between them cannot be measured; "
            "the gradient of each layer's weights is in GradientMonitor.steps."
        )
    told = _from_last_to_first(sites)
    signal = sites["preact_grad_rms"]
    if not np.isfinite(signal).all() or not signal.iloc[-1] > 0:
        return told
    smallest = int(signal.to_numpy().argmin())
    decades, to_first = float(attenuation(signal.iloc[smallest], signal.iloc[-1])), of_measurement(table)
    if decades < VANISHES or decades < to_first + 1:
        return told
    name, last = sites["layer"].iloc[smallest], sites["layer"].iloc[-1]
    there = f"at {name}, " + (f"{_times(10**decades)} times smaller than at {last}" if signal.iloc[smallest] > 0 else "where it is 0")
    if to_first >= 1:
        return f"{told} It is smallest {there}."
    return f"The gradient vanishes on a side branch: it is smallest {there}. Beside it: {told}"


def _from_last_to_first(sites: pd.DataFrame) -> str:
    first, last, decades = sites["layer"].iloc[0], sites["layer"].iloc[-1], of_measurement(sites)
    signal = sites["preact_grad_rms"].to_numpy(float)
    if not np.isfinite(signal[[0, -1]]).all() or signal[-1] == 0:
        return f"The gradient at {last} is 0 or not finite, so nothing can be said of what is left of it at {first}."
    if signal[0] == 0:
        return f"None of the gradient arrives at {first}: it is 0 there, or too small for a float32."
    if decades < -1:
        return f"The gradient grows on its way back: at {first} it is {_times(10**-decades)} times as large as at {last}."
    if decades < 1:
        return f"The gradient does not vanish: at {first} it is {10**-decades:.2g} times what it is at {last}."
    # loss between two sites that no other site makes up for, so that a small gradient on a side branch does not count
    drops = np.asarray(attenuation(np.fmax.accumulate(signal[:-1]), np.fmin.accumulate(signal[:0:-1])[::-1]))
    place = int(np.argmax(drops))
    worst = int(np.flatnonzero(signal[: place + 1] >= signal[: place + 1].max() / 10)[-1])
    by_slope = sites["slope_ms"].iloc[worst] < sites["gain"].iloc[worst]
    by = "the slope of its activation function" if by_slope else "the weights and layers that follow it"
    verb = "vanishes" if decades >= VANISHES else "shrinks"
    where = f" The largest part, {_times(10 ** drops[place])}-fold, is lost at {sites['layer'].iloc[worst]}, by {by}." if drops[place] > 0 else ""
    return f"The gradient {verb}: at {first} it is {_times(10**decades)} times smaller than at {last}.{where}"


def initial_loss(table: pd.DataFrame) -> str:
    """Sentence about the loss in one measurement of the probe, and the loss of guessing if the model is a classifier."""
    loss, chance = (float(table[name].iloc[0]) for name in ("loss", "loss_at_chance"))
    if math.isnan(chance):
        return f"The loss is {loss:.3g}."
    return f"The loss is {loss:.3g}; a blind guess has {chance:.3g}."


def _times(factor: float) -> str:
    if factor >= 1e6:
        return f"{factor:.1e}"
    return f"{factor:,.0f}" if factor >= 100 else f"{factor:.2g}"
