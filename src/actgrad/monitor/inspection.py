"""Check a model before any training: does the gradient vanish, where, and why?"""

from dataclasses import dataclass
from typing import Any

import keras
import pandas as pd

from actgrad.diagnosis.signal import initial_loss, of_measurement, sentence
from actgrad.monitor.layers import table_of, weighted_layers
from actgrad.monitor.probe import ActivationProbe


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        table: one row per site, in the order of the forward pass; see ActivationProbe.
        layers: one row per layer with trained weights: layer, kind, parameters.
        attenuation: decades by which `preact_grad_rms` shrinks from the last to the first activated layer; negative where it grows.
        sentence: the answer in words.
    """

    table: pd.DataFrame
    layers: pd.DataFrame
    attenuation: float
    sentence: str

    def __str__(self) -> str:
        shown = ["layer", "kind", "units", "preact_grad_rms", "predicted", "preact_std", "act_std", "saturated", "dead"]
        table = self.table[shown].to_string(index=False, na_rep="", float_format=lambda v: f"{v:.3g}")
        return f"{table}\n\n{initial_loss(self.table)}\n{self.sentence}"


def inspect(model: keras.Model, x: Any, y: Any, loss: Any = None) -> Inspection:
    """Measure a model on a batch, without training and without changing it.

    Args:
        model: compiled, unless a loss is given here; built, or buildable from x.
        x, y: a few hundred examples, as `fit` takes them.
        loss: for a model that is not compiled, for example `sparse_categorical_crossentropy`; with several outputs, one for each.

    Raises:
        ValueError: if the model has no loss and none is given, if it does not fit the batch, or if it has no weight to train.
    """
    probe = ActivationProbe(model, x, y, loss=loss)
    layers = table_of(weighted_layers(model))
    table = probe.measure()
    return Inspection(table, layers, of_measurement(table), sentence(table))
