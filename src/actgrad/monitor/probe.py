"""The probe: what the forward and the backward signal of a fixed batch do at each activation function."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd

from actgrad.monitor.backends import backend
from actgrad.monitor.names import SATURATION
from actgrad.monitor.sites import Site, Sites, Visit, say_once

DORMANT = (0.0, 0.025, 0.1)
"""tau of Sokar et al. (2023), section 3.1."""
GRID = np.linspace(-10, 10, 401, dtype=np.float32)
"""Where the largest derivative of an activation function is looked for."""
BATCH = 512
"""Examples at once in the census."""
GAIN_EXAMPLES = 64
"""Examples of the probe on which gains are estimated, because that takes a backward pass for each site."""
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
"""Shares that published rules look at: of z with derivative 0; of phi(z) at most 0; of units with a derivative for less than 1 % of their
z; of units whose |phi(z)| is below 1e-5 in 95 % of cases; of z and phi(z) beyond a number; and of units whose rho is beyond a number:
the mean of |phi(z)| where the range of phi is brought to [-1, 1] (Rakitianskaia and Engelbrecht 2015), which sigmoid and tanh have."""
State = list[tuple[keras.Variable, Any]]
"""Variables, and what they hold."""
SCALARS = ("preact_mean", "preact_std", "act_mean", "act_std", "slope_ms", "saturated", "active", *FOR_RULES)


class ActivationProbe:
    """Measures a model on one fixed batch, without changing it.

    Per site, which is a layer that applies an activation function, in the order of the forward pass:

    - `preact_mean`, `preact_std`, `act_mean`, `act_std`: mean and standard deviation of pre-activations z and of phi(z).
    - `preact_grad_rms`: root mean square over units and examples of dL/dz, L the loss of a single example. Batch normalisation uses
      its moving statistics, as in evaluation. `preact_grad_rms_batch`: the same with the statistics of the batch, as in training,
      where each example has a part in the loss of every other; only where the model has such layers.
    - `slope_ms`: mean of phi'(z)^2. `gain`: by how much what lies between this site and the next one multiplies the mean square of the
      gradient on its way back, weights, pooling, normalisation and paths together: ||J||^2 / (elements of phi(z)), J the Jacobian of the
      next site's z, estimated on GAIN_EXAMPLES examples with one random sign per element. Were both independent of the gradient, preact_grad_rms
      would shrink from the next site to this one by `predicted` = sqrt(slope_ms * gain) (Glorot and Bengio 2010, equation 6).
    - `units`, `dead`: units (channels) whose derivative is 0 for every example and position. `newly_dead` of them were not dead at
      the first measurement, and `revived` were dead then and are not now.
    - `active`: share of examples for which a unit has a derivative other than 0 at some position, mean over the units.
    - `saturated`: share of z where the derivative is below SATURATION of the largest that the function has.
    - the shares of FOR_RULES, which published rules look at.
    - `dormant_<tau>`: share of units whose mean |phi(z)|, by that of all units of the layer, is at most tau.

    A unit of several pieces (maxout) counts once: what it is given by its pieces is added up.

    Args:
        model: compiled with a loss, or with one given here.
        x, y, sample_weight: the batch, as `fit` takes it.
        loss: instead of that which the model is compiled with.

    Raises:
        ValueError: if the model has no loss, or the batch does not fit it.
    """

    def __init__(self, model: keras.Model, x: Any, y: Any, sample_weight: Any = None, loss: Any = None):
        self._model = model
        self._x, self._y, self._weight = (keras.tree.map_structure(_tensor, part) for part in (x, y, sample_weight))
        sizes = {int(part.shape[0]) for part in keras.tree.flatten((self._x, self._y, self._weight)) if part is not None}
        if len(sizes) != 1:
            raise ValueError(f"the parts of the probe have {sorted(sizes)} examples; give each the same number")
        (self._examples,) = sizes
        self._own_loss = None if loss is None else keras.losses.get(loss)
        loss = getattr(model, "loss", None) if loss is None else loss
        if loss is None:
            raise ValueError("the model has no loss, so there is no gradient to measure; call model.compile(optimizer=…, loss=…), or give loss=…")
        self._per_example = _per_example(loss, self._examples)
        try:
            if not all(layer.built for layer in model._flatten_layers()):
                model(keras.tree.map_structure(lambda part: keras.KerasTensor((None, *part.shape[1:]), _dtype(part)), self._x))
            self.found = Sites(model, _rows(self._x, 0, 2), min(2, self._examples))
        except Exception as error:
            raise ValueError(f"the probe's x does not fit the model: {_first_line(error)}; give it what model.fit is given") from error
        if self.found.hidden_from_view:
            say_once(self.found.hidden_from_view)
        self._compute: dict[str, Any] = {}
        self._signs = self._random_signs()
        self.dead_units: list[dict[str, np.ndarray]] = []
        """For each measurement: site -> which of its units are dead."""
        self.dead_in_census: dict[str, np.ndarray] = {}
        """The same of the last census."""

    @property
    def sites(self) -> list[Site]:
        return self.found.sites

    def measure(self, gains: bool = True) -> pd.DataFrame:
        """One row a site, in the order of the forward pass. The columns of units are missing for the output of the model."""
        loss, measured = self._run("evaluation", self._signal)
        by_batch = [None] * len(measured)
        if self.found.has_normalization:
            _, by_batch = self._run("batch statistics", lambda now: self._signal(now, batch_statistics=True))
        found = self._run("gains", self._gains) if gains else []
        first = self.dead_units[0] if self.dead_units else {}
        dead_now: dict[str, np.ndarray] = {}
        rows = []
        for site, values, other in zip(self.sites, measured, by_batch, strict=True):
            row = {"layer": site.name, "kind": site.kind, "hidden": site.hidden, "preact_grad_rms": float(values["preact_grad_rms"])}
            row |= {} if other is None else {"preact_grad_rms_batch": float(other["preact_grad_rms"])}
            row |= {name: float(values[name]) for name in SCALARS if name in values}
            if site.hidden:
                dead = dead_now[site.name] = np.asarray(values["dead"])
                before = first.get(site.name, dead)
                score = np.asarray(values["magnitude"], np.float64)
                score = score / score.mean() if score.mean() > 0 else np.zeros_like(score)
                row |= {"units": len(dead), "dead": int(dead.sum())}
                row |= {"newly_dead": int((dead & ~before).sum()), "revived": int((before & ~dead).sum())}
                row |= {f"dormant_{tau:g}": float((score <= tau).mean()) for tau in DORMANT}
            rows.append(row)
        self.dead_units.append(dead_now)
        table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "preact_grad_rms_batch" or self.found.has_normalization])
        table["gain"] = [*map(float, found), *[np.nan] * (len(table) - len(found))]
        table["predicted"] = np.sqrt(table["slope_ms"] * table["gain"])
        table["loss"] = float(loss)
        return table.astype(dict.fromkeys(("units", "dead", "newly_dead", "revived"), "Int64"))

    def census(self, x: Any) -> pd.DataFrame:
        """layer, units, dead: units that are dead for every example of x, for example of the whole training split."""
        parts = keras.tree.flatten(x)
        alive: dict[str, np.ndarray] = {}
        for start in range(0, len(parts[0]), BATCH):
            batch = _rows(x, start, start + BATCH)
            with keras.StatelessScope():
                _, visits = self.found.forward(batch)
            for site, visit in zip(self.sites, visits, strict=True):
                if site.hidden:
                    dead = np.asarray(keras.ops.convert_to_numpy(_units(site, visit)["dead"]))
                    alive[site.name] = alive.get(site.name, np.zeros_like(dead)) | ~dead
        self.dead_in_census = {name: ~one for name, one in alive.items()}
        return pd.DataFrame([{"layer": name, "units": len(one), "dead": int(one.sum())} for name, one in self.dead_in_census.items()])

    def _run(self, name: str, function: Callable[[State], Any]) -> Any:
        """What `function` returns of the model's variables and what they hold now, as NumPy arrays; compiled once."""
        variables = self._model.variables
        if name not in self._compute:

            def compute(values: list[Any]) -> Any:
                return function(list(zip(variables, values or [variable.value for variable in variables], strict=True)))

            self._compute[name] = backend().compiled(compute)
        # compiled code of JAX must be given what may change; the others read variables when they run
        given = [variable.value for variable in variables] if keras.backend.backend() == "jax" else []
        return keras.tree.map_structure(lambda value: np.asarray(keras.ops.convert_to_numpy(value)), self._compute[name](given))

    def _signal(self, now: State, batch_statistics: bool = False) -> tuple[Any, list[dict[str, Any]]]:
        """The loss, and what is measured of each site."""

        def run(inject: Any, after: Any) -> tuple[Any, list[Visit]]:
            with keras.StatelessScope(state_mapping=now):  # so that whatever is assigned meanwhile is forgotten
                outputs, visits = self.found.forward(self._x, inject, after, batch_statistics)
                return self._loss(outputs), visits

        loss, visits, of_loss = backend().gradients(run)
        measured = []
        with keras.StatelessScope(state_mapping=now):
            for site, visit, gradient in zip(self.sites, visits, of_loss, strict=True):
                values = {"preact_grad_rms": _rms(gradient, self._per_example, site.pieces)}
                values |= _units(site, visit) if site.hidden else {}
                measured.append(values)
        return loss, measured

    def _loss(self, outputs: Any) -> Any:
        try:
            if self._own_loss is not None:
                return keras.ops.mean(self._own_loss(self._y, outputs))
            return self._model.compute_loss(x=self._x, y=self._y, y_pred=outputs, sample_weight=self._weight, training=False)
        except Exception as error:
            raise ValueError(
                f"the model's loss cannot be computed on the probe: {_first_line(error)}; give it the y that model.fit is given"
            ) from error

    def _gains(self, now: State) -> Any:
        """For each site but the last: see `gain`."""

        def run(inject: Any, after: Any) -> tuple[Any, list[Visit]]:
            with keras.StatelessScope(state_mapping=now):
                return None, self.found.forward(_rows(self._x, 0, GAIN_EXAMPLES), inject, after)[1]

        return backend().gains(run, self._signs)

    def _random_signs(self) -> list[Any]:
        """Random signs in the shape of each z; the same in every measurement, so that two differ by the model alone."""
        random, examples = np.random.default_rng(0), min(self._examples, GAIN_EXAMPLES)
        shapes = [(examples * site.shape[0], *site.shape[1:]) for site in self.sites]
        return [keras.ops.convert_to_tensor(random.choice(np.array([-1, 1], np.float32), shape)) for shape in shapes]


COLUMNS = (
    "layer",
    "kind",
    "hidden",
    "units",
    "preact_mean",
    "preact_std",
    "act_mean",
    "act_std",
    "preact_grad_rms",
    "preact_grad_rms_batch",
    "slope_ms",
    "gain",
    "dead",
    "newly_dead",
    "revived",
    "active",
    "saturated",
    *(f"dormant_{tau:g}" for tau in DORMANT),
    *FOR_RULES,
)


def _rms(gradient: Any, per_example: float, pieces: int) -> Any:
    """Root mean square of the gradient of one example's loss, over examples and units; scaled before it is squared."""
    gradient = keras.ops.cast(gradient, "float32")
    largest = keras.ops.max(keras.ops.abs(gradient))
    scale = keras.ops.where(keras.ops.logical_and(largest > 0, keras.ops.isfinite(largest)), largest, 1.0)
    return per_example * scale * keras.ops.sqrt(pieces * keras.ops.mean(keras.ops.square(gradient / scale)))


def _units(site: Site, visit: Visit) -> dict[str, Any]:
    """What the forward pass says of a site: scalars, and for each unit whether it is dead and its mean |phi(z)|."""
    ops = keras.ops
    z = ops.cast(ops.stop_gradient(visit.z), "float32")  # the derivative too, because bfloat16 rounds small ones to 0
    a = ops.cast(ops.stop_gradient(visit.a), "float32")
    slope = backend().derivative(site.function, z)
    steep = ops.abs(slope)
    if site.pieces > 1:
        steep = ops.max(ops.reshape(steep, (*steep.shape[:-1], steep.shape[-1] // site.pieces, site.pieces)), axis=-1)
    channel = _channel(steep)
    others = [axis for axis in range(len(steep.shape)) if axis != channel]
    positions = [axis for axis in others if axis != 0]
    fires = ops.cast(steep > 0, "float32")
    per_example = ops.max(fires, axis=positions) if positions else fires
    return {
        "preact_mean": ops.mean(z),
        "preact_std": ops.std(z),
        "act_mean": ops.mean(a),
        "act_std": ops.std(a),
        "slope_ms": site.pieces * ops.mean(ops.square(slope)),
        "dead": ops.max(steep, axis=others) == 0,
        "active": ops.mean(per_example),
        "saturated": ops.mean(ops.cast(steep < SATURATION * _steepest(site, z), "float32")),
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


def _channel(z: Any) -> int:
    return 1 if len(z.shape) > 2 and keras.config.image_data_format() == "channels_first" else len(z.shape) - 1


def _steepest(site: Site, z: Any) -> Any:
    """The largest derivative of a function on GRID, the other pieces of a unit at 0."""
    weights = site.layer.weights if site.layer is not None else []
    one_for_all = all(math.prod(weight.shape[:-1]) == 1 for weight in weights)
    positions = [1] * (len(z.shape) - 2) if one_for_all else list(z.shape[1:-1])
    channels = z.shape[-1]
    grid = np.zeros((len(GRID), *positions, channels), np.float32)
    grid[..., :: site.pieces] = GRID.reshape(-1, *[1] * (len(z.shape) - 1))
    return keras.ops.max(keras.ops.abs(backend().derivative(site.function, keras.ops.convert_to_tensor(grid))))


def _per_example(loss: Any, examples: int) -> float:
    """By what the gradient of the model's loss is multiplied to be that of one example's.

    Raises:
        ValueError: if some of the losses are sums and others means.
    """
    sums = {getattr(one, "reduction", None) == "sum" for one in keras.tree.flatten(loss) if one is not None}
    if len(sums) > 1:
        raise ValueError(
            "some losses of the model are sums over the batch and others means, so that no gradient is that of one example; use one reduction"
        )
    return 1.0 if sums == {True} else float(examples)


def _rows(x: Any, start: int, end: int) -> Any:
    return keras.tree.map_structure(lambda part: _tensor(part[start:end]), x)


def _tensor(part: Any) -> Any:
    return None if part is None else keras.ops.convert_to_tensor(part)


def _dtype(part: Any) -> str:
    return keras.backend.standardize_dtype(part.dtype)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
