"""The probe measures the forward and backward signal of a fixed batch at each activation function."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pandas as pd

from actgrad.monitor import units
from actgrad.monitor.backends import Inject, Visit, backend
from actgrad.monitor.hooks import first_line, say
from actgrad.monitor.names import COUNTS
from actgrad.monitor.sites import Site, Sites
from actgrad.monitor.units import FOR_RULES

DORMANT = (0.0, 0.025, 0.1)
"""tau of Sokar et al. (2023), section 3.1."""
PROBED_STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
"""The probe is also measured after these steps, because units change most in early training."""
BATCH = 512
"""Batch size of the census."""
GAIN_EXAMPLES = 64
"""Number of probe examples for estimating gains; each example has its own random signs."""
HALF_SCALE = 2.0**24
"""Loss scale of a float16 model, because float16 has no number below 6e-8. It is lowered if a gradient would overflow."""
State = list[tuple[keras.Variable, Any]]
"""Variables and their values."""
SCALARS = ("preact_mean", "preact_std", "act_mean", "act_std", "slope_ms", "saturated", "active", *FOR_RULES)


class ActivationProbe:
    """Measures a model on one fixed batch, without changing it.

    Per site (a layer that applies an activation function), in the order of the forward pass:

    - `preact_mean`, `preact_std`, `act_mean`, `act_std`: mean and standard deviation of pre-activations z and of phi(z).
    - `preact_grad_rms`: root mean square of dL/dz over units and examples, L the loss of a single example. Batch normalisation uses
      its moving statistics, as in evaluation. `preact_grad_rms_batch`: the same with batch statistics, as in training, where
      each example affects the loss of the others; only for models with batch normalisation.
    - `slope_ms`: mean of phi'(z)^2.
    - `predicted`: the ratio of preact_grad_rms here to its value at the next site, if the gradient were independent of weights and
      activations (Glorot and Bengio 2010, equation 6). Random signs are sent back from the output through weights, pooling, normalisation
      and all paths; each phi'(z) is replaced by sqrt(slope_ms) with a random sign; GAIN_EXAMPLES examples are used. `gain`: the same
      without the slope: predicted^2 = slope_ms * gain. The next site of the last one is the output.
    - `units`, `dead`: number of units (channels), and of dead units, whose derivative is 0 for every example and position. `newly_dead`:
      dead now but not at the first measurement. `revived`: dead at the first measurement but not now. `revived_since_last`: dead at
      the previous measurement but not now.
    - `active`: share of examples for which a unit has a nonzero derivative at some position, mean over the units.
    - `saturated`: share of z where the derivative is below SATURATION times the function's largest derivative.
    - the shares of FOR_RULES, which published rules use.
    - `loss`: of the batch, as in evaluation, without regularisation. `loss_at_chance`: the loss if all classes are guessed
      equally likely, ln(classes) for a plain cross-entropy; missing without classes.
    - `dormant_<tau>`: share of units whose mean |phi(z)|, divided by the mean of the layer, is at most tau.

    A unit of several pieces (maxout) counts once; the values of its pieces are summed.

    Args:
        model: compiled with a loss, or with one given here.
        x, y, sample_weight: the batch, as `fit` takes it.
        loss: replaces the loss of the compiled model; for a model with several outputs, one for each.
        known: layers that count as activation functions, whatever they compute. Other activation functions are found: they act
            on each unit separately and are not affine.

    Raises:
        ValueError: if the model has no loss, or the batch does not fit it.
    """

    def __init__(self, model: keras.Model, x: Any, y: Any, sample_weight: Any = None, loss: Any = None, known: Sequence[keras.Layer] = ()):
        if not isinstance(model, keras.Model):
            raise ValueError(f"the model is a {type(model).__name__}; give a keras.Model")
        self._model = model
        self._x, self._y, self._weight = (_batch(name, part) for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight)))
        sizes = {int(part.shape[0]) for part in keras.tree.flatten((self._x, self._y, self._weight)) if part is not None}
        if len(sizes) != 1:
            raise ValueError(f"the parts of the probe have {sorted(sizes)} examples; give each the same number")
        (self._examples,) = sizes
        if not self._examples:
            raise ValueError("the probe has no example; give some hundred")
        self._judge = model
        """The model whose loss is used."""
        if loss is not None:
            self._judge = keras.Model()
            self._judge.compile(loss=loss)
        elif not getattr(model, "compiled", False):
            raise ValueError("the model has no loss, so there is no gradient to measure; call model.compile(optimizer=…, loss=…), or give loss=…")
        self._losses = [one for one in keras.tree.flatten(getattr(self._judge, "loss", None)) if one is not None]
        self._refuse_labels()
        self._per_example = _per_example(self._losses, self._examples)
        layers = model._flatten_layers()
        if not all(layer.built for layer in layers):
            self._call(lambda: model(keras.tree.map_structure(_symbolic, self._x)))
        self.found = Sites(model, known)
        with _random_streams_kept():
            self._call(lambda: self.found.find(self._x, self._examples))
        if self.found.hidden_from_view:
            say(self.found.hidden_from_view)
        self._half = any(layer.compute_dtype == "float16" for layer in layers)
        # a state with one row per example needs all examples
        self._gain_examples = self._examples if any(getattr(layer, "stateful", False) for layer in layers) else min(self._examples, GAIN_EXAMPLES)
        self._compute: dict[str, Any] = {}
        self.dead_units: list[dict[str, np.ndarray]] = []
        """For each measurement: site -> mask of its dead units."""
        self.dead_in_census: dict[str, np.ndarray] = {}
        """The same for the last census."""

    def _refuse_labels(self) -> None:
        """Raise ValueError for labels that no backend can use, or that some backend would silently accept."""
        labels = [one for one in keras.tree.flatten(self._y) if one is not None]
        if any(keras.backend.standardize_dtype(one.dtype) == "string" for one in labels):
            raise ValueError("the labels of the probe are text; give the numbers that model.fit is given")
        if self.classes is None or len(labels) != 1 or getattr(self._losses[0], "ignore_class", None) is not None:
            return
        if "sparse" in self._loss_name:
            values = np.asarray(keras.ops.convert_to_numpy(labels[0]))
            if values.min() < 0 or values.max() >= self.classes:
                raise ValueError(
                    f"the labels of the probe go from {values.min()} to {values.max()}, but the model has {self.classes} classes; "
                    f"they must be 0 to {self.classes - 1}"
                )

    def _call(self, function: Callable[[], Any]) -> None:
        try:
            function()
        except Exception as error:
            raise ValueError(f"the model cannot be called on the probe's x: {first_line(error)}; give it what model.fit is given") from error

    @property
    def sites(self) -> list[Site]:
        return self.found.sites

    @property
    def classes(self) -> int | None:
        """Number of classes, if the loss is the cross-entropy of one output over classes; else None."""
        shape = getattr(self._model, "output_shape", None)
        if len(self._losses) != 1 or not isinstance(shape, tuple) or not shape or not isinstance(shape[-1], int):
            return None
        return shape[-1] if "categorical_crossentropy" in self._loss_name else None

    @property
    def _loss_name(self) -> str:
        loss = self._losses[0]
        return loss if isinstance(loss, str) else str(getattr(loss, "name", getattr(loss, "__name__", "")))

    def measure(self) -> pd.DataFrame:
        """One row per site, in the order of the forward pass. The columns about units are missing for the output of the model."""
        (loss, at_chance), measured = self._run("evaluation", self._signal)
        by_batch = [None] * len(measured)
        if self.found.has_normalization:
            _, by_batch = self._run("batch statistics", lambda now, scale: self._signal(now, scale, batch_statistics=True))
        first, last = (self.dead_units[0], self.dead_units[-1]) if self.dead_units else ({}, {})
        dead_now: dict[str, np.ndarray] = {}
        rows = []
        for site, values, other in zip(self.sites, measured, by_batch, strict=True):
            row = {"layer": site.name, "kind": site.kind, "hidden": site.hidden, "preact_grad_rms": float(values["preact_grad_rms"])}
            row |= {} if other is None else {"preact_grad_rms_batch": float(other["preact_grad_rms"])}
            row |= {name: float(values[name]) for name in SCALARS if name in values}
            if site.hidden:
                dead = dead_now[site.name] = np.asarray(values["dead"])
                at_first, at_last = first.get(site.name, dead), last.get(site.name, dead)
                score = np.asarray(values["magnitude"], np.float64)
                with np.errstate(invalid="ignore"):  # infinity / infinity
                    score = score if score.mean() == 0 else score / score.mean()
                row |= {"units": len(dead), "dead": int(dead.sum())}
                row |= {"newly_dead": int((dead & ~at_first).sum()), "revived": int((at_first & ~dead).sum())}
                row |= {"revived_since_last": int((at_last & ~dead).sum())}
                row |= {f"dormant_{tau:g}": float((score <= tau).mean()) for tau in DORMANT}
            rows.append(row)
        self.dead_units.append(dead_now)
        table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "preact_grad_rms_batch" or self.found.has_normalization])
        table["gain"], table["predicted"] = self._gains(table["slope_ms"].to_numpy(float))
        table["loss"] = float(loss)
        table["loss_at_chance"] = float(at_chance)
        return table.astype(dict.fromkeys(COUNTS, "Int64"))

    def census(self, x: Any) -> pd.DataFrame:
        """layer, units, dead. A unit is dead if it is so for every example of x, which is usually the whole training split."""
        parts = keras.tree.flatten(x)
        alive: dict[str, np.ndarray] = {}
        for start in range(0, len(parts[0]), BATCH):
            open_sites = [i for i, site in enumerate(self.sites) if site.hidden and not (site.name in alive and alive[site.name].all())]
            if not open_sites:
                break
            batch = _rows(x, start, start + BATCH)
            with keras.StatelessScope(), _random_streams_kept():
                _, visits = self.found.forward(batch)
            for site, visit in ((self.sites[i], visits[i]) for i in open_sites):
                dead = np.asarray(keras.ops.convert_to_numpy(units.dead(site, units.slopes(visit, site.pieces)[1])))
                alive[site.name] = alive.get(site.name, np.zeros_like(dead)) | ~dead
        self.dead_in_census = {name: ~one for name, one in alive.items()}
        return pd.DataFrame([{"layer": name, "units": len(one), "dead": int(one.sum())} for name, one in self.dead_in_census.items()])

    def check(self, x: Any) -> None:
        """Raises ValueError if the model cannot be called on x, for the census."""
        try:
            with keras.StatelessScope(), _random_streams_kept():
                self.found.forward(_rows(x, 0, 2))
        except Exception as error:
            raise ValueError(f"the census does not fit the model: {first_line(error)}; give it the x of the whole training split") from error

    def _run(self, name: str, function: Callable[..., Any], *given: Any) -> Any:
        """The result of `function(variables with their values, scale, *given)` as NumPy arrays. The function is compiled once.

        In float16 it is repeated with a smaller loss scale until no gradient is too large.
        """
        variables = self._model.variables
        if name not in self._compute:

            def compute(values: list[Any], *given: Any) -> Any:
                return function(list(zip(variables, values or [variable.value for variable in variables], strict=True)), *given)

            self._compute[name] = backend().compiled(compute)
        # JAX's compiled code needs changing values as arguments; other backends read variables when they run
        values = [variable.value for variable in variables] if keras.backend.backend() == "jax" else []
        scale = HALF_SCALE if self._half else 1.0
        while True:
            with _random_streams_kept():
                found = self._compute[name](values, *(keras.ops.convert_to_tensor(one, "float32") for one in (scale, *given)))
            loss, sites = keras.tree.map_structure(lambda value: np.asarray(keras.ops.convert_to_numpy(value)), found)
            if scale == 1 or all(np.isfinite(site["preact_grad_rms"]) for site in sites):
                return loss, sites
            scale /= 2**4

    def _signal(self, now: State, scale: Any, batch_statistics: bool = False) -> tuple[Any, list[dict[str, Any]]]:
        """The loss, and the measurements of each site."""

        def run(inject: Inject) -> tuple[Any, list[Visit]]:
            with keras.StatelessScope(state_mapping=now, collect_losses=True):  # so that assignments are discarded
                outputs, visits = self.found.forward(self._x, inject, batch_statistics=batch_statistics)
                at_chance.append(self._loss_at_chance(outputs))
                return scale * self._loss(outputs), visits

        at_chance: list[Any] = []
        loss, visits, of_loss = backend().gradients(run)
        measured = []
        with keras.StatelessScope(state_mapping=now):
            for site, visit, gradient in zip(self.sites, visits, of_loss, strict=True):
                values = {"preact_grad_rms": _rms(gradient, self._per_example / scale, site.pieces)}
                values |= units.measured(site, visit) if site.hidden else {}
                measured.append(values)
        return (loss / scale, keras.ops.stop_gradient(at_chance[-1])), measured

    def _loss(self, outputs: Any) -> Any:
        """The loss, in float32. Regularisation is subtracted from its value; its gradient is unchanged."""
        judge, ops = self._judge, keras.ops
        try:
            of_batch = getattr(judge, "_compute_loss", judge.compute_loss)  # it passes only the arguments that a custom compute_loss takes
            loss = of_batch(x=self._x, y=self._y, y_pred=outputs, sample_weight=self._weight, training=False)
        except Exception as error:
            raise ValueError(
                f"the model's loss cannot be computed on the probe: {first_line(error)}; give it the y that model.fit is given"
            ) from error
        added = judge.losses if self._losses and type(judge).compute_loss is keras.Model.compute_loss else []
        return ops.cast(loss, "float32") - sum(ops.stop_gradient(ops.cast(one, "float32")) for one in added)

    def _loss_at_chance(self, outputs: Any) -> Any:
        """The loss if all classes are guessed equally likely, as probabilities or as logits; NaN if the model is no classifier."""
        if self.classes is None:
            return keras.ops.convert_to_tensor(math.nan)
        return self._loss(keras.ops.full_like(outputs, 1 / self.classes))

    def _gains(self, slope_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each site `gain` and `predicted`; NaN for the output of the model, and if no signal comes back from the next site."""
        _, found = self._run("gains", self._random_signal, np.nan_to_num(np.sqrt(slope_ms)))
        gain, predicted = np.full((2, len(self.sites)), np.nan)
        hidden = [i for i, site in enumerate(self.sites) if site.hidden]
        here = np.array([float(found[i]["preact_grad_rms"]) for i in hidden])
        with np.errstate(divide="ignore", invalid="ignore"):
            predicted[hidden] = here / np.append(here[1:], 1.0)
            gain[hidden] = np.square(predicted[hidden]) / slope_ms[hidden]
        return gain, predicted

    def _random_signal(self, now: State, scale: Any, slopes: Any) -> tuple[Any, list[dict[str, Any]]]:
        """Send random signs from the output back to each z, with each derivative replaced by a slope with a random sign."""
        ops = keras.ops

        def random_slope(i: int, z: Any, a: Any) -> Any:
            site = self.sites[i]
            if not site.hidden:
                return a
            way = ops.cast(z - ops.stop_gradient(z), "float32") * _signs(i, z) * slopes[i] / math.sqrt(site.pieces)
            if site.pieces > 1:
                way = ops.sum(ops.reshape(way, (*way.shape[:-1], way.shape[-1] // site.pieces, site.pieces)), axis=-1)
            return ops.stop_gradient(a) + ops.cast(way, a.dtype)

        def run(inject: Inject) -> tuple[Any, list[Visit]]:
            with keras.StatelessScope(state_mapping=now):
                _, visits = self.found.forward(_rows(self._x, 0, self._gain_examples), inject, random_slope)
                ends = [(i, visits[i].z) for i, site in enumerate(self.sites) if not site.hidden]
                return scale * sum(ops.sum(ops.cast(z, "float32") * _signs(i, z)) for i, z in ends), visits

        _, _, gradients = backend().gradients(run)
        return scale, [{"preact_grad_rms": _rms(g, 1 / scale, site.pieces)} for g, site in zip(gradients, self.sites, strict=True)]


def _signs(site: int, z: Any) -> Any:
    """Random signs in the shape of a z. They are the same in every measurement, so that only the model makes a difference."""
    return 2.0 * keras.ops.cast(keras.random.randint(keras.ops.shape(z), 0, 2, seed=site), "float32") - 1.0


@contextmanager
def _random_streams_kept() -> Iterator[None]:
    """Restore the random generators of Python, NumPy and the backend afterwards, because calling a model may draw from them."""
    kept = random.getstate(), np.random.get_state(), backend().random_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        backend().set_random_state(kept[2])


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
    "revived_since_last",
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


def _per_example(losses: Sequence[Any], examples: int) -> float:
    """Factor from the gradient of the model's loss to the gradient of one example's loss.

    Raises:
        ValueError: if some of the losses are sums and others means.
    """
    sums = {getattr(one, "reduction", None) == "sum" for one in losses}
    if len(sums) > 1:
        raise ValueError(
            "some losses of the model are sums over the batch and others means, so that no gradient is that of one example; use one reduction"
        )
    return 1.0 if sums == {True} else float(examples)


def _batch(name: str, part: Any) -> Any:
    """A part of a batch as tensors.

    Raises:
        ValueError: if it does not consist of arrays with an axis of examples.
    """
    try:
        tensors = keras.tree.map_structure(_tensor, part)
    except Exception:  # each backend raises its own errors
        tensors = part
    for one in keras.tree.flatten(tensors):
        if one is not None and not (keras.ops.is_tensor(one) and len(one.shape)):
            kind = type(part).__name__ if part is one else f"{type(part).__name__} of {type(one).__name__}"
            raise ValueError(
                f"{name} of the probe is a {kind}; give an array of some hundred examples, as model.fit takes it, no dataset and no list"
            )
    return tensors


def _rows(x: Any, start: int, end: int) -> Any:
    return keras.tree.map_structure(lambda part: _tensor(part[start:end]), x)


def _tensor(part: Any) -> Any:
    return None if part is None else keras.ops.convert_to_tensor(part)


def _symbolic(part: Any) -> keras.KerasTensor:
    return keras.KerasTensor((None, *part.shape[1:]), keras.backend.standardize_dtype(part.dtype))
