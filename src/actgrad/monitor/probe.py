"""The probe: what the forward and the backward signal of a fixed batch do at each activation function."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from actgrad.monitor.backends import Inject, Visit, backend
from actgrad.monitor.hooks import say
from actgrad.monitor.names import SATURATION
from actgrad.monitor.sites import Site, Sites

DORMANT = (0.0, 0.025, 0.1)
"""tau of Sokar et al. (2023), section 3.1."""
GRID = np.linspace(-10, 10, 401, dtype=np.float32)
"""Where the largest derivative of an activation function is looked for."""
BATCH = 512
"""Examples at once in the census."""
GAIN_EXAMPLES = 64
"""Examples of the probe on which gains are estimated; each has random signs of its own."""
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
HALF_SCALE = 2.0**24
"""By what the loss of a float16 model is multiplied, as float16 has no number below 6e-8; less where the gradient would be too large for it."""
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
    - `slope_ms`: mean of phi'(z)^2.
    - `predicted`: the ratio of preact_grad_rms here to that at the next site, were the gradient independent of what it passes (Glorot and
      Bengio 2010, equation 6): random signs are sent back from the output through weights, pooling, normalisation and all paths, and each
      phi'(z) is replaced by sqrt(slope_ms) with a random sign, on GAIN_EXAMPLES examples. `gain`: the same without the slope, from
      the next site's z to this phi(z): predicted^2 = slope_ms * gain. For the last site, the output's z is the next.
    - `units`, `dead`: units (channels) whose derivative is 0 for every example and position. `newly_dead` of them were not dead at
      the first measurement, and `revived` were dead then and are not now.
    - `active`: share of examples for which a unit has a derivative other than 0 at some position, mean over the units.
    - `saturated`: share of z where the derivative is below SATURATION of the largest that the function has.
    - the shares of FOR_RULES, which published rules look at.
    - `loss`: of the batch, as evaluation has it, without what regularises; `loss_at_chance`: ln(classes), what a classifier has that
      gives each class the same probability; missing for other losses.
    - `dormant_<tau>`: share of units whose mean |phi(z)|, by that of all units of the layer, is at most tau.

    A unit of several pieces (maxout) counts once: what it is given by its pieces is added up.

    Args:
        model: compiled with a loss, or with one given here.
        x, y, sample_weight: the batch, as `fit` takes it.
        loss: instead of that which the model is compiled with; for a model with several outputs, one for each.

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
        self._own_losses = [keras.losses.get(one) for one in keras.tree.flatten(loss) if one is not None]
        if not self._own_losses and not getattr(model, "compiled", False):
            raise ValueError("the model has no loss, so there is no gradient to measure; call model.compile(optimizer=…, loss=…), or give loss=…")
        self._losses = self._own_losses or [one for one in keras.tree.flatten(getattr(model, "loss", None)) if one is not None]
        self._per_example = _per_example(self._losses, self._examples)
        try:
            layers = model._flatten_layers()
            if not all(layer.built for layer in layers):
                model(keras.tree.map_structure(_symbolic, self._x))
            self.found = Sites(model, _rows(self._x, 0, 2), min(2, self._examples))
        except Exception as error:
            raise ValueError(f"the probe's x does not fit the model: {_first_line(error)}; give it what model.fit is given") from error
        if self.found.hidden_from_view:
            say(self.found.hidden_from_view)
        self._half = any(layer.compute_dtype == "float16" for layer in layers)
        self._compute: dict[str, Any] = {}
        self._signs = self._random_signs()
        self.dead_units: list[dict[str, np.ndarray]] = []
        """For each measurement: site -> which of its units are dead."""
        self.dead_in_census: dict[str, np.ndarray] = {}
        """The same of the last census."""

    @property
    def sites(self) -> list[Site]:
        return self.found.sites

    @property
    def classes(self) -> int | None:
        """Number of classes, where the loss is the cross-entropy of one output over classes."""
        shape = getattr(self._model, "output_shape", None)
        if len(self._losses) != 1 or not isinstance(shape, tuple) or not shape or not isinstance(shape[-1], int):
            return None
        (loss,) = self._losses
        name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
        return shape[-1] if "categorical_crossentropy" in str(name) else None

    def measure(self) -> pd.DataFrame:
        """One row a site, in the order of the forward pass. The columns of units are missing for the output of the model."""
        loss, measured = self._run("evaluation", self._signal)
        by_batch = [None] * len(measured)
        if self.found.has_normalization:
            _, by_batch = self._run("batch statistics", lambda *given: self._signal(*given, batch_statistics=True))
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
        table["gain"], table["predicted"] = self._gains(table["slope_ms"].to_numpy(float))
        table["loss"] = float(loss)
        table["loss_at_chance"] = math.log(self.classes) if self.classes else math.nan
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

    def check(self, x: Any) -> None:
        """Raises ValueError if the model cannot be called on x, for the census."""
        try:
            with keras.StatelessScope():
                self.found.forward(_rows(x, 0, 2))
        except Exception as error:
            raise ValueError(f"the census does not fit the model: {_first_line(error)}; give it the x of the whole training split") from error

    def _run(self, name: str, function: Callable[..., Any], *given: Any) -> Any:
        """What `function(variables and what they hold now, scale, *given)` returns, as NumPy arrays; compiled once.

        In float16 it is called again with a smaller scale of the loss while a gradient is too large.
        """
        variables = self._model.variables
        if name not in self._compute:

            def compute(values: list[Any], *given: Any) -> Any:
                return function(list(zip(variables, values or [variable.value for variable in variables], strict=True)), *given)

            self._compute[name] = backend().compiled(compute)
        # compiled code of JAX must be given what may change; the others read variables when they run
        values = [variable.value for variable in variables] if keras.backend.backend() == "jax" else []
        scale = HALF_SCALE if self._half else 1.0
        while True:
            found = self._compute[name](values, *(keras.ops.convert_to_tensor(one, "float32") for one in (scale, *given)))
            loss, sites = keras.tree.map_structure(lambda value: np.asarray(keras.ops.convert_to_numpy(value)), found)
            if scale == 1 or all(np.isfinite(site["preact_grad_rms"]) for site in sites):
                return loss, sites
            scale /= 2**4

    def _signal(self, now: State, scale: Any, batch_statistics: bool = False) -> tuple[Any, list[dict[str, Any]]]:
        """The loss, and what is measured of each site."""

        def run(inject: Inject) -> tuple[Any, list[Visit]]:
            with keras.StatelessScope(state_mapping=now, collect_losses=True):  # so that whatever is assigned meanwhile is forgotten
                outputs, visits = self.found.forward(self._x, inject, batch_statistics=batch_statistics)
                return scale * self._loss(outputs), visits

        loss, visits, of_loss = backend().gradients(run)
        measured = []
        with keras.StatelessScope(state_mapping=now):
            for site, visit, gradient in zip(self.sites, visits, of_loss, strict=True):
                values = {"preact_grad_rms": _rms(gradient, self._per_example / scale, site.pieces)}
                values |= _units(site, visit) if site.hidden else {}
                measured.append(values)
        return loss / scale, measured

    def _loss(self, outputs: Any) -> Any:
        """The loss. What regularises is taken from its value, not from its gradient."""
        model = self._model
        try:
            if self._own_losses:
                pairs = zip(self._own_losses, keras.tree.flatten(self._y), keras.tree.flatten(outputs), strict=True)
                return sum(keras.ops.mean(loss(y, output)) for loss, y, output in pairs)
            loss = model.compute_loss(x=self._x, y=self._y, y_pred=outputs, sample_weight=self._weight, training=False)
        except Exception as error:
            raise ValueError(
                f"the model's loss cannot be computed on the probe: {_first_line(error)}; give it the y that model.fit is given"
            ) from error
        added = model.losses if self._losses and type(model).compute_loss is keras.Model.compute_loss else []
        return loss - sum(keras.ops.stop_gradient(keras.ops.cast(one, loss.dtype)) for one in added)

    def _gains(self, slope_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each site `gain` and `predicted`; NaN for the output of the model, and where nothing comes back from the next site."""
        _, found = self._run("gains", self._random_signal, np.nan_to_num(np.sqrt(slope_ms)))
        gain, predicted = np.full((2, len(self.sites)), np.nan)
        hidden = [i for i, site in enumerate(self.sites) if site.hidden]
        here = np.array([float(found[i]["preact_grad_rms"]) for i in hidden])
        with np.errstate(divide="ignore", invalid="ignore"):
            predicted[hidden] = here / np.append(here[1:], 1.0)
            gain[hidden] = np.square(predicted[hidden]) / slope_ms[hidden]
        return gain, predicted

    def _random_signal(self, now: State, scale: Any, slopes: Any) -> tuple[Any, list[dict[str, Any]]]:
        """What random signs at the output become at each z, where each derivative is a slope with a random sign."""
        ops = keras.ops

        def random_slope(i: int, z: Any, a: Any) -> Any:
            site = self.sites[i]
            if not site.hidden:
                return a
            way = ops.cast(z - ops.stop_gradient(z), "float32") * self._signs[i] * slopes[i] / math.sqrt(site.pieces)
            if site.pieces > 1:
                way = ops.sum(ops.reshape(way, (*way.shape[:-1], way.shape[-1] // site.pieces, site.pieces)), axis=-1)
            return ops.stop_gradient(a) + ops.cast(way, a.dtype)

        def run(inject: Inject) -> tuple[Any, list[Visit]]:
            with keras.StatelessScope(state_mapping=now):
                _, visits = self.found.forward(_rows(self._x, 0, GAIN_EXAMPLES), inject, random_slope)
            ends = [(visit.z, signs) for site, visit, signs in zip(self.sites, visits, self._signs, strict=True) if not site.hidden]
            return scale * sum(ops.sum(ops.cast(z, "float32") * signs) for z, signs in ends), visits

        loss, _, gradients = backend().gradients(run)
        return loss, [{"preact_grad_rms": _rms(g, 1 / scale, site.pieces)} for g, site in zip(gradients, self.sites, strict=True)]

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
    "predicted",
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


def _per_example(losses: Sequence[Any], examples: int) -> float:
    """By what the gradient of the model's loss is multiplied to be that of one example's.

    Raises:
        ValueError: if some of the losses are sums and others means.
    """
    sums = {getattr(one, "reduction", None) == "sum" for one in losses}
    if len(sums) > 1:
        raise ValueError(
            "some losses of the model are sums over the batch and others means, so that no gradient is that of one example; use one reduction"
        )
    return 1.0 if sums == {True} else float(examples)


def _rows(x: Any, start: int, end: int) -> Any:
    return keras.tree.map_structure(lambda part: _tensor(part[start:end]), x)


def _tensor(part: Any) -> Any:
    return None if part is None else keras.ops.convert_to_tensor(part)


def _symbolic(part: Any) -> keras.KerasTensor:
    return keras.KerasTensor((None, *part.shape[1:]), keras.backend.standardize_dtype(part.dtype))


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
