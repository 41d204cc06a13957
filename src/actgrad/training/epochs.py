"""Measurements of each epoch, and the state from which an interrupted training continues."""

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
        steps: one row per step and layer: step (from 1), layer, and the norms of monitor.names.NORMS, float32.
        probes: one row per measurement of the probe and site: epoch (missing if measured within an epoch), step, and the columns of
            ActivationProbe. An epoch that diverged has no measurement at its end.
    """

    number: int
    step: int
    history: dict[str, float]
    steps: pd.DataFrame
    probes: pd.DataFrame

    @property
    def probe(self) -> pd.DataFrame:
        """The measurement at the end of the epoch."""
        return self.probes[self.probes["epoch"].notna()]


@dataclass(frozen=True)
class Measured:
    """What one training measured.

    Attributes:
        history: one row per finished epoch: epoch, step, and the metrics of names.HISTORY.
        steps, probes: those of all epochs.
        activation: z, value and derivative of the activation function at initialisation.
        metrics: status, epochs, steps, layers, last and best values, linearity, census, distance (layer -> L2 norm of the change of its
            weights), largest_class, weights_sha256.
    """

    history: pd.DataFrame
    steps: pd.DataFrame
    probes: pd.DataFrame
    activation: pd.DataFrame
    metrics: dict[str, Any]


class Observer(Protocol):
    """Gets each epoch while a network is trained."""

    def resumed(self, epochs: Sequence[Epoch]) -> None:
        """Called with the epochs that an interrupted training finished."""

    def epoch_finished(self, epoch: Epoch) -> None: ...


class StateStore(Protocol):
    """Keeps the state of an unfinished training."""

    def load(self) -> dict[str, np.ndarray] | None: ...

    def save(self, state: dict[str, np.ndarray]) -> None: ...

    def not_kept(self, reason: str) -> None:
        """Called if no state can be kept."""


def state_of(model: keras.Model, others: Sequence[tf.Variable], epochs: Sequence[Epoch]) -> dict[str, np.ndarray]:
    """Everything that a training needs to continue after these epochs: weights, optimizer, other variables and measurements."""
    weights = {f"weight_{i}": variable.numpy() for i, variable in enumerate(model.variables)}
    optimizer = {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(model.optimizer.variables)}
    numbers = [{"number": one.number, "step": one.step, "history": one.history} for one in epochs]
    tables = {name: _packed(pd.concat([getattr(one, name) for one in epochs])) for name in ("steps", "probes")}
    more = {f"other_{i}": variable.numpy() for i, variable in enumerate(others)}
    return weights | optimizer | more | tables | {"epochs": np.array(json.dumps(numbers))}


def restore(state: dict[str, np.ndarray], model: keras.Model, others: Sequence[tf.Variable]) -> list[Epoch]:
    """Set the model and the other variables to a state, and return the epochs that were finished then."""
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
