"""The probe: what the forward and the backward signal of a fixed batch do at each activation function."""

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
"""After these steps of a training the probe is measured too, because most of what happens to units happens early."""
BATCH = 512
"""Examples at once in the census."""
GAIN_EXAMPLES = 64
"""Examples of the probe on which gains are estimated; each has random signs of its own."""
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
      the first measurement, and `revived` were dead then and are not now. `revived_since_last` were dead at the measurement before
      and are not now.
    - `active`: share of examples for which a unit has a derivative other than 0 at some position, mean over the units.
    - `saturated`: share of z where the derivative is below SATURATION of the largest that the function has.
    - the shares of FOR_RULES, which published rules look at.
    - `loss`: of the batch, as evaluation has it, without what regularises; `loss_at_chance`: that of a guess which takes all
      classes for equally likely, ln(classes) for a plain cross-entropy; missing where there are no classes.
    - `dormant_<tau>`: share of units whose mean |phi(z)|, by that of all units of the layer, is at most tau.

    A unit of several pieces (maxout) counts once: what it is given by its pieces is added up.

    Args:
        model: compiled with a loss, or with one given here.
        x, y, sample_weight: the batch, as `fit` takes it.
        loss: instead of that which the model is compiled with; for a model with several outputs, one for each.
        known: layers of the model that are activation functions, whatever they compute. The others are found: those that act on each unit
            by itself and are not affine.

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
        """Whose loss it is."""
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
        # a state of one row an example does not fit fewer
        self._gain_examples = self._examples if any(getattr(layer, "stateful", False) for layer in layers) else min(self._examples, GAIN_EXAMPLES)
        self._compute: dict[str, Any] = {}
        self.dead_units: list[dict[str, np.ndarray]] = []
        """For each measurement: site -> which of its units are dead."""
        self.dead_in_census: dict[str, np.ndarray] = {}
        """The same of the last census."""

    def _refuse_labels(self) -> None:
        """Raise ValueError for labels that no backend computes with, or that one computes with silently."""
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
        """Number of classes, where the loss is the cross-entropy of one output over classes."""
        shape = getattr(self._model, "output_shape", None)
        if len(self._losses) != 1 or not isinstance(shape, tuple) or not shape or not isinstance(shape[-1], int):
            return None
        return shape[-1] if "categorical_crossentropy" in self._loss_name else None

    @property
    def _loss_name(self) -> str:
        loss = self._losses[0]
        return loss if isinstance(loss, str) else str(getattr(loss, "name", getattr(loss, "__name__", "")))

    def measure(self) -> pd.DataFrame:
        """One row a site, in the order of the forward pass. The columns of units are missing for the output of the model."""
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
                with np.errstate(invalid="ignore"):  # infinite by infinite
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
        """layer, units, dead: units that are dead for every example of x, for example of the whole training split."""
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
            with _random_streams_kept():
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
        """The loss, in float32. What regularises is taken from its value, not from its gradient."""
        judge, ops = self._judge, keras.ops
        try:
            of_batch = getattr(judge, "_compute_loss", judge.compute_loss)  # which hands on what an own compute_loss takes
            loss = of_batch(x=self._x, y=self._y, y_pred=outputs, sample_weight=self._weight, training=False)
        except Exception as error:
            raise ValueError(
                f"the model's loss cannot be computed on the probe: {first_line(error)}; give it the y that model.fit is given"
            ) from error
        added = judge.losses if self._losses and type(judge).compute_loss is keras.Model.compute_loss else []
        return ops.cast(loss, "float32") - sum(ops.stop_gradient(ops.cast(one, "float32")) for one in added)

    def _loss_at_chance(self, outputs: Any) -> Any:
        """The loss of a guess that takes all classes for equally likely, as probabilities or as logits; NaN if the model is no classifier."""
        if self.classes is None:
            return keras.ops.convert_to_tensor(math.nan)
        return self._loss(keras.ops.full_like(outputs, 1 / self.classes))

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
    """Random signs in the shape of a z; the same in every measurement, so that two differ by the model alone."""
    return 2.0 * keras.ops.cast(keras.random.randint(keras.ops.shape(z), 0, 2, seed=site), "float32") - 1.0


@contextmanager
def _random_streams_kept() -> Iterator[None]:
    """Leave the generators of Python, NumPy and the backend as they are, whatever draws from them: a model that is called may."""
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


def _batch(name: str, part: Any) -> Any:
    """A part of a batch as tensors.

    Raises:
        ValueError: if it is not made of arrays with an axis of examples.
    """
    try:
        tensors = keras.tree.map_structure(_tensor, part)
    except Exception:  # whatever a backend says of what it cannot convert
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
