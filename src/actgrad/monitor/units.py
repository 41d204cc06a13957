"""Measurements of a site's units in the forward pass."""

import math
from typing import Any

import keras
import numpy as np

from actgrad.monitor.backends import Visit, backend
from actgrad.monitor.names import SATURATION
from actgrad.monitor.sites import Site

GRID = np.linspace(-10, 10, 401, dtype=np.float32)
"""The points at which the largest derivative of an activation function is searched."""
GRID_ELEMENTS = 2**20
"""Maximum number of elements per evaluation. A function with weights per position is evaluated at every position."""
FOR_RULES = (
    "flat",
    "not_positive",
    "rarely_active",
    "silent",
    "preact_over_5",
    "preact_over_9.5",
    "preact_outside_-23_17",
    "act_over_0.97",
    "rho_over_0.85",
)
"""Shares that published rules use. flat: z with derivative 0. not_positive: phi(z) <= 0. rarely_active: units whose derivative is nonzero for
less than 1 % of their z. silent: units with |phi(z)| < 1e-5 in at least 95 % of cases. preact_*, act_*: z or phi(z) beyond a number. rho_*: units
whose rho, the mean |phi(z)| with the range of sigmoid or tanh scaled to [-1, 1], is beyond a number (Rakitianskaia and Engelbrecht 2015)."""


def measured(site: Site, visit: Visit) -> dict[str, Any]:
    """Measurements of a site: scalars, and for each unit whether it is dead and its mean |phi(z)|."""
    ops = keras.ops
    z = ops.cast(ops.stop_gradient(visit.z), "float32")
    a = ops.cast(ops.stop_gradient(visit.a), "float32")
    slope, steep = slopes(visit, site.pieces)
    others = _but_channels(site, steep)
    positions = [axis for axis in others if axis != 0]
    fires = ops.cast(steep > 0, "float32")
    per_example = ops.max(fires, axis=positions) if positions else fires
    return {
        "preact_mean": ops.mean(z),
        "preact_std": ops.std(z),
        "act_mean": ops.mean(a),
        "act_std": ops.std(a),
        "slope_ms": site.pieces * ops.mean(ops.square(slope)),
        "dead": dead(site, steep),
        "active": ops.mean(per_example),
        "saturated": ops.mean(ops.cast(steep < SATURATION * _steepest(site, visit), "float32")),
        "magnitude": ops.mean(ops.abs(a), axis=others),
        "flat": ops.mean(ops.cast(slope == 0, "float32")),
        "not_positive": ops.mean(ops.cast(a <= 0, "float32")),
        "rarely_active": ops.mean(ops.cast(ops.mean(fires, axis=others) < 0.01, "float32")),
        "silent": ops.mean(ops.cast(ops.mean(ops.cast(ops.abs(a) < 1e-5, "float32"), axis=others) >= 0.95, "float32")),
        "preact_over_5": ops.mean(ops.cast(ops.abs(z) > 5, "float32")),
        "preact_over_9.5": ops.mean(ops.cast(ops.abs(z) > 9.5, "float32")),
        "preact_outside_-23_17": ops.mean(ops.cast(ops.logical_or(z < -23, z > 17), "float32")),
        "act_over_0.97": ops.mean(ops.cast(ops.abs(a) > 0.97, "float32")),
        "rho_over_0.85": ops.mean(ops.cast(ops.mean(ops.abs(2 * a - 1 if site.kind == "sigmoid" else a), axis=others) > 0.85, "float32")),
    }


def slopes(visit: Visit, pieces: int) -> tuple[Any, Any]:
    """phi'(z) of each z, and |phi'(z)| of each unit (of its steepest piece). Both are float32, because bfloat16 rounds small derivatives
    to 0.
    """
    ops = keras.ops
    z = ops.cast(ops.stop_gradient(visit.z), "float32")
    slope = ops.where(ops.isnan(z), float("nan"), backend().derivative(visit.function, z))  # NaN does not count as dead
    steep = ops.abs(slope)
    if pieces > 1:
        steep = ops.max(ops.reshape(steep, (*steep.shape[:-1], steep.shape[-1] // pieces, pieces)), axis=-1)
    return slope, steep


def dead(site: Site, steep: Any) -> Any:
    """Mask of the units whose derivative is 0 for every example and position."""
    return keras.ops.max(steep, axis=_but_channels(site, steep)) == 0


def _but_channels(site: Site, values: Any) -> list[int]:
    return [axis for axis in range(len(values.shape)) if axis != site.channel]


def _steepest(site: Site, visit: Visit) -> Any:
    """The largest |derivative| of a function on GRID, with the other pieces of a unit at 0."""
    weights, shape = visit.layer.weights if visit.layer is not None else [], visit.z.shape
    one_for_all = all(math.prod(weight.shape[:-1]) == 1 for weight in weights)
    positions = [1] * (len(shape) - 2) if one_for_all else list(shape[1:-1])
    largest = 0.0
    for part in np.array_split(GRID, math.ceil(len(GRID) * math.prod(positions) * shape[-1] / GRID_ELEMENTS)):
        grid = np.zeros((len(part), *positions, shape[-1]), np.float32)
        grid[..., :: site.pieces] = part.reshape(-1, *[1] * (len(shape) - 1))
        steepness = keras.ops.max(keras.ops.abs(backend().derivative(visit.function, keras.ops.convert_to_tensor(grid))))
        largest = keras.ops.maximum(largest, steepness)
    return largest
