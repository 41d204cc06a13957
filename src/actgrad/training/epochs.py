"""What a training measures epoch by epoch, and the state from which it goes on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd

from actgrad.networks.names import LAYERS
from actgrad.training import layer_probe as probing


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured.

    Attributes:
        number: 0 is before any update.
        step: optimizer steps taken until its end.
        history: the metrics of names.HISTORY; empty for epoch 0 and for an epoch that diverged.
        gradients: step, and the gradient norm of each of LAYERS.
        probe: a row per layer; empty for an epoch that diverged.
    """

    number: int
    step: int
    history: dict[str, float]
    gradients: pd.DataFrame
    probe: pd.DataFrame


@dataclass(frozen=True)
class Measured:
    """What one training measured.

    Attributes:
        history: one row per finished epoch: epoch, step, and the metrics of names.HISTORY.
        gradients: one row per optimizer step: step (from 1) and the gradient norm of each of LAYERS, float32.
        probe: one row per epoch (0 is before any update) and layer: epoch, step, and what LayerProbe measures.
        activation: z, value and derivative of the activation function at initialisation.
        metrics: status, epochs, steps, last and best values, linearity, largest_class, weights_sha256.
    """

    history: pd.DataFrame
    gradients: pd.DataFrame
    probe: pd.DataFrame
    activation: pd.DataFrame
    metrics: dict[str, Any]


class Observer(Protocol):
    """Is told of each epoch while a network is trained."""

    def resumed(self, epochs: Sequence[Epoch]) -> None:
        """These epochs were finished before, by a training that was interrupted."""

    def epoch_finished(self, epoch: Epoch) -> None: ...


class StateStore(Protocol):
    """Keeps the state of an unfinished training."""

    def load(self) -> dict[str, np.ndarray] | None: ...

    def save(self, state: dict[str, np.ndarray]) -> None: ...


def gradient_rows(norms: np.ndarray, first_step: int) -> pd.DataFrame:
    """Norms (steps, layers) as rows numbered from first_step + 1."""
    rows = pd.DataFrame(norms, columns=list(LAYERS))
    rows.insert(0, "step", np.arange(first_step + 1, first_step + 1 + len(norms)))
    return rows


def state_of(model: keras.Model, epochs: Sequence[Epoch]) -> dict[str, np.ndarray]:
    """All that a training needs to go on after these epochs: weights, optimizer, and what was measured."""
    weights = {f"weight_{i}": variable.numpy() for i, variable in enumerate(model.variables)}
    optimizer = {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(model.optimizer.variables)}
    measured = [{"number": one.number, "step": one.step, "history": one.history, "probe": probing.records(one.probe)} for one in epochs]
    norms = np.concatenate([one.gradients[list(LAYERS)].to_numpy() for one in epochs])
    return weights | optimizer | {"norms": norms, "epochs": np.array(json.dumps(measured))}


def restore(state: dict[str, np.ndarray], model: keras.Model) -> list[Epoch]:
    """Set the model to a state, and return the epochs that it was kept after."""
    for kind, variables in (("weight", model.variables), ("optimizer", model.optimizer.variables)):
        for i, variable in enumerate(variables):
            variable.assign(state[f"{kind}_{i}"])
    epochs, first = [], 0
    for one in json.loads(str(state["epochs"])):
        rows = gradient_rows(state["norms"][first : one["step"]], first)
        epochs.append(Epoch(one["number"], one["step"], one["history"], rows, probing.probe_table(one["probe"])))
        first = one["step"]
    return epochs
