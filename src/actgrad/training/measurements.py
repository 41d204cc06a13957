"""Measure a network during training: each update of each layer, and the signal of a fixed batch at each activation."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from actgrad.errors import UserError
from actgrad.monitor.layers import CallOrder, table_of, weighted_layers
from actgrad.monitor.names import NORMS
from actgrad.monitor.probe import ActivationProbe
from actgrad.monitor.recording import Recording
from actgrad.monitor.steps import Rows


class Measurements:
    """Records every update of a compiled model, and measures the probe on request.

    Args:
        model: compiled, but its train function not traced yet. Its optimizer stays wrapped.
        activations: its layers of the activation under test.
        images, labels: the batch of the probe.
        steps: maximum number of optimizer steps between two calls of `updates`.

    Raises:
        UserError: if the model cannot be measured.
    """

    def __init__(self, model: keras.Model, activations: Sequence[keras.Layer], images: np.ndarray, labels: np.ndarray, steps: int):
        try:
            layers = weighted_layers(model)
            self._probe = ActivationProbe(model, images, labels, known=activations)
        except ValueError as error:
            raise UserError("unmeasurable-model", f"the network cannot be measured: {error}") from None
        if any(site.kind == "sigmoid" and not site.hidden for site in self._probe.sites):
            raise UserError(
                "unmeasurable-model", "the network ends in a sigmoid, which gives no distribution over classes; let it return logits or a softmax"
            )
        if not any(site.hidden for site in self._probe.sites):
            raise UserError(
                "unmeasurable-model", "the network hides its activations from the probe: in a loop, or in its output; use them in layers between"
            )
        self._order = CallOrder()
        ended = self._order.watch(model)
        model(keras.ops.convert_to_tensor(images[:1], "float32"))
        ended()
        self._layers = self._order.sort(layers)
        self._recording = Recording(model.optimizer, "gradient", steps)
        self._recording.start()

    @property
    def layers(self) -> list[dict[Any, Any]]:
        """layer, kind (its class) and parameters (trained weights) of each layer that has any, in the order of computation."""
        return table_of(self._layers).to_dict("records")

    def updates(self, first_step: int) -> pd.DataFrame:
        """The updates since the last call, as Epoch.steps; they are numbered from first_step + 1."""
        rows = Rows(self._layers, self._recording.may_skip)
        if len(norms := self._recording.read()):
            rows.add(norms, self._recording.variables)
        return rows.table(first_step + 1, self._order)[["step", "layer", *NORMS]].astype({"layer": "str", **dict.fromkeys(NORMS, np.float32)})

    def probe(self, step: int, epoch: int | None) -> pd.DataFrame:
        """One row a site, as in Epoch.probes."""
        table = self._probe.measure()
        table.insert(0, "epoch", pd.array([epoch] * len(table), "Int64"))  # type: ignore[arg-type]  # the stub lacks extension arrays
        table.insert(1, "step", step)
        return table

    def census(self, images: np.ndarray) -> dict[str, dict[str, int]]:
        """Layer -> number of units, and of those that are dead on all of these images."""
        return {
            row.layer: {"units": row.units, "dead": row.dead}  # type: ignore[misc, dict-item]  # the stub allows any field
            for row in self._probe.census(images).itertuples()
        }

    def weights(self) -> dict[str, np.ndarray]:
        """Layer -> all its current trained weights, as one flat array."""
        return {one.name: np.concatenate([np.ravel(keras.ops.convert_to_numpy(v)) for v in one.variables]).astype(float) for one in self._layers}

    def restart(self) -> None:
        """Forget all measurements, because the model is trained again from its start."""
        self._recording.read()
        self._probe.dead_units.clear()
