"""What a training measures epoch by epoch, and the state from which it goes on."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd
import tensorflow as tf


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured.

    Attributes:
        number: 0 is before any update.
        step: optimizer steps taken until its end.
        history: the metrics of names.HISTORY; empty for epoch 0 and for an epoch that diverged.
        steps: one row a step and layer: step (from 1), layer, and the norms of monitor.names.NORMS, float32.
        probes: one row a measurement of the probe and site: epoch, missing where it was measured within an epoch, step, and what
            ActivationProbe measures. An epoch that diverged has no measurement at its end.
    """

    number: int
    step: int
    history: dict[str, float]
    steps: pd.DataFrame
    probes: pd.DataFrame

    @property
    def probe(self) -> pd.DataFrame:
        """The measurement at its end."""
        return self.probes[self.probes["epoch"].notna()]


@dataclass(frozen=True)
class Measured:
    """What one training measured.

    Attributes:
        history: one row per finished epoch: epoch, step, and the metrics of names.HISTORY.
        steps, probes: those of all epochs.
        activation: z, value and derivative of the activation function at initialisation.
        metrics: status, epochs, steps, layers, last and best values, linearity, census, distance (layer -> L2 norm of what training has added
            to its weights), largest_class, weights_sha256.
    """

    history: pd.DataFrame
    steps: pd.DataFrame
    probes: pd.DataFrame
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

    def not_kept(self, reason: str) -> None:
        """There will be none."""


def state_of(model: keras.Model, others: Sequence[tf.Variable], epochs: Sequence[Epoch]) -> dict[str, np.ndarray]:
    """All that a training needs to go on after these epochs: weights, optimizer, other variables, and what was measured."""
    weights = {f"weight_{i}": variable.numpy() for i, variable in enumerate(model.variables)}
    optimizer = {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(model.optimizer.variables)}
    numbers = [{"number": one.number, "step": one.step, "history": one.history} for one in epochs]
    tables = {name: _packed(pd.concat([getattr(one, name) for one in epochs])) for name in ("steps", "probes")}
    more = {f"other_{i}": variable.numpy() for i, variable in enumerate(others)}
    return weights | optimizer | more | tables | {"epochs": np.array(json.dumps(numbers))}


def restore(state: dict[str, np.ndarray], model: keras.Model, others: Sequence[tf.Variable]) -> list[Epoch]:
    """Set the model and the other variables to a state, and return the epochs that it was kept after."""
    for kind, variables in (("weight", model.variables), ("optimizer", model.optimizer.variables), ("other", others)):
        for i, variable in enumerate(variables):
            variable.assign(state[f"{kind}_{i}"])
    steps, probes = (pd.read_parquet(io.BytesIO(state[name].tobytes())) for name in ("steps", "probes"))
    epochs, first = [], 0
    for one in json.loads(str(state["epochs"])):
        of_epoch = (table[table["step"].between(first + 1, one["step"])] for table in (steps, probes))
        epochs.append(Epoch(one["number"], one["step"], one["history"], *of_epoch))
        first = one["step"]
    return epochs


def _packed(table: pd.DataFrame) -> np.ndarray:
    """A table as bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return np.frombuffer(buffer.getvalue(), np.uint8)
