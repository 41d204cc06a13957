"""The table of what each update did to each layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
import pandas as pd

from actgrad.monitor.backends import NOT_GIVEN
from actgrad.monitor.layers import CallOrder, WeightedLayer
from actgrad.monitor.names import NORMS


@dataclass
class Rows:
    """Successive updates in which the same weights were trained.

    Attributes:
        layers: the trained layers.
        may_skip: whether some updates change nothing, see Recording.
        blocks: norms (updates, layers, 3), in the order of NORMS; NOT_GIVEN if an update included no weight of the layer.
    """

    layers: list[WeightedLayer]
    may_skip: bool
    blocks: list[np.ndarray] = field(default_factory=list)

    def are_of(self, layers: Sequence[WeightedLayer], may_skip: bool) -> bool:
        """Whether updates of these layers can be added here."""
        weights = [[*map(id, one.variables)] for one in layers]
        return self.may_skip == may_skip and weights == [[*map(id, one.variables)] for one in self.layers]

    def add(self, norms: np.ndarray, variables: Sequence[keras.Variable]) -> np.ndarray:
        """Add updates: norms (updates, variables, 3), NOT_GIVEN for a weight that an update did not include. Returns the new block."""
        place = {id(variable): i for i, variable in enumerate(variables)}
        columns = [[place[id(variable)] for variable in one.variables if id(variable) in place] for one in self.layers]
        self.blocks.append(np.stack([_together(norms[:, of_layer]) for of_layer in columns], axis=1))
        return self.blocks[-1]

    def means(self, norms: np.ndarray) -> dict[str, float]:
        """grad_norm/<layer> and update_ratio/<layer>, means over the updates of a block."""
        skipped = _skipped(norms, self.may_skip)
        told = ~skipped | (np.isfinite(norms[..., 0]) | ~_given(norms)).all(axis=1)
        ratio = _update_ratio(norms, self.may_skip)
        given = _given(norms)
        values = {f"grad_norm/{one.name}": _mean(norms[told & given[:, i], i, 0]) for i, one in enumerate(self.layers)}
        return values | {f"update_ratio/{one.name}": _mean(ratio[~skipped & given[:, i], i]) for i, one in enumerate(self.layers)}

    def table(self, first: int, order: CallOrder) -> pd.DataFrame:
        """step (from `first`), layer, NORMS, grad_rms, update_ratio; one row per update and layer whose weights it included."""
        layers = order.sort(self.layers)
        norms = np.concatenate([np.zeros((0, len(layers), len(NORMS))), *self.blocks])[:, [self.layers.index(one) for one in layers]]
        table = pd.DataFrame(norms.reshape(-1, len(NORMS)), columns=list(NORMS))
        table.insert(0, "step", np.repeat(np.arange(first, first + len(norms)), len(layers)))
        table.insert(1, "layer", [one.name for one in layers] * len(norms))
        table["grad_rms"] = table["grad_norm"] / np.tile(np.sqrt([one.parameters for one in layers]), len(norms))
        table["update_ratio"] = _update_ratio(norms, self.may_skip).reshape(-1)
        return table[_given(norms).reshape(-1)].reset_index(drop=True)

    def __len__(self) -> int:
        return sum(map(len, self.blocks))


def _together(parts: np.ndarray) -> np.ndarray:
    """Norms of a layer (updates, 3) from those of its weights (updates, variables, 3); NOT_GIVEN if an update included none of them.

    Computed in float64, which can hold the square of any float32.
    """
    given = _given(parts)
    norms = np.sqrt(np.where(given[..., None], np.square(parts), 0).sum(axis=1))
    return np.where(np.any(given, axis=1, keepdims=True), norms, NOT_GIVEN)


def _given(norms: np.ndarray) -> np.ndarray:
    return norms[..., 2] != NOT_GIVEN


def _skipped(norms: np.ndarray, may_skip: bool) -> np.ndarray:
    """Which updates of (updates, layers, 3) changed nothing."""
    return may_skip & ((norms[..., 1] == 0) | ~_given(norms)).all(axis=1)


def _update_ratio(norms: np.ndarray, may_skip: bool) -> np.ndarray:
    """update_norm / weight_norm (updates, layers); NaN for skipped updates."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = norms[..., 1] / norms[..., 2]
    return np.where(_skipped(norms, may_skip)[:, None], np.nan, ratio)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
