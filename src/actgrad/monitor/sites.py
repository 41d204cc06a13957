"""Find where a model applies activation functions, by calling it once. Each measurement visits these places again."""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from actgrad.monitor.backends import Inject, Visit, backend
from actgrad.monitor.hooks import around
from actgrad.monitor.layers import all_layers, names_of

ACTIVATION_LAYERS = tuple(
    getattr(keras.layers, name) for name in ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax") if hasattr(keras.layers, name)
)
LOOPS = (keras.layers.RNN, keras.layers.TimeDistributed)
"""Layers that call their inner layers once for each step of a sequence."""
FUNCTIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "hardswish", "hard_silu", "mish", "softplus", "softsign"),
    *("sigmoid", "hard_sigmoid", "hardsigmoid", "log_sigmoid", "logsigmoid", "tanh", "hard_tanh", "hardtanh", "tanhshrink"),
)
"""Names of activation functions in TensorFlow, JAX and PyTorch."""

JOINING = ("softmax", "log_softmax", "sparsemax", "glu")
"""Kinds of functions that act on several units together."""


@dataclass
class Site:
    """One call of an activation function in the forward pass.

    Attributes:
        name: of the layer that applies it. Later calls of the same layer get the suffix #2 and so on.
        kind: name of the function in lower case: relu, tanh, …
        pieces: number of pre-activations per unit: 1, more for maxout and similar functions.
        hidden: False for the output of the model.
        channel: the axis of units (channels) in phi(z).
    """

    name: str
    kind: str
    pieces: int
    hidden: bool
    channel: int


After = Callable[[int, Any, Any], Any]
"""(number of a site, z, phi(z)) -> the value for the next layer."""


class Sites:
    """The activation functions of a built model.

    Args:
        model: built.
        known: layers that count as activation functions, whatever they compute; `linear` cannot be recognised by its values.

    Raises:
        ValueError: if two layers that apply an activation function have the same name and path.
    """

    def __init__(self, model: keras.Model, known: Sequence[keras.Layer] = ()):
        self._model = model
        self._known = {*map(id, known)}
        placed = list(all_layers(model))
        layers = [layer for layer, _ in placed]
        self._loops = [layer for layer in layers if isinstance(layer, LOOPS)]
        looped = {id(inner) for loop in self._loops for inner in loop._flatten_layers()}
        inner = {id(activation) for layer in layers if isinstance(activation := _activation(layer), keras.Layer)}
        owners = [(layer, within) for layer, within in placed if id(layer) not in looped | inner and self._applies_one(layer)]
        self._owners = [layer for layer, _ in owners]
        self._names = dict(zip(map(id, self._owners), names_of(owners), strict=True))
        self._normalizations = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
        self._quiet = 0
        self._elsewhere: set[str] = set()
        self._kept: list[int] = []
        self._ends: list[int] = []
        self.sites: list[Site] = []
        self.hidden_from_view: str | None = None

    @property
    def has_normalization(self) -> bool:
        """Whether a batch normalisation uses the statistics of the batch in training."""
        return bool(self._normalizations)

    def find(self, x: Any, examples: int) -> None:
        """Find the sites, by tracing one call of the model.

        Args:
            x: input of the model.
            examples: number of examples in x.
        """
        outputs, visits, functions = self._discover(x)
        flat = keras.tree.flatten(outputs)
        ends = [id(output) for output in flat]
        count: Counter[str] = Counter()
        for i, visit in enumerate(visits):
            pointwise = id(visit.layer) in self._known or _is_pointwise(visit, examples)
            last = id(visit.a) in ends and (pointwise or visit.owner is not visit.layer or isinstance(visit.layer, ACTIVATION_LAYERS))
            if not (last or pointwise):
                continue
            count[visit.name] += 1
            name = visit.name if count[visit.name] == 1 else f"{visit.name}#{count[visit.name]}"
            self._kept.append(i)
            self.sites.append(Site(name, visit.kind, int(getattr(visit.layer, "pieces", 1)), not last, _channel(visit)))
        seen = {id(visits[i].a) for i in self._kept}
        self._ends = [i for i, end in enumerate(ends) if end not in seen]
        for i in self._ends:
            self.sites.append(Site("output" if len(ends) == 1 else f"output_{i}", "linear", 1, False, len(flat[i].shape) - 1))
        self.hidden_from_view = self._hidden_from_view(visits, functions)
        if self._normalizations:
            self._normalizations = self._normalizing_by_batch(x)

    def forward(
        self, x: Any, inject: Inject = lambda _, z: z, after: After = lambda _i, _z, a: a, batch_statistics: bool = False
    ) -> tuple[Any, list[Visit]]:
        """Call the model as in evaluation, and note each site. The caller must open a StatelessScope, so that the model does not change.

        Args:
            x: its input.
            inject: takes the number and z of a site, and returns the z that the function is applied to.
            after: takes number, z and phi(z), and returns the value for the next layer.
            batch_statistics: batch normalisation uses the mean and variance of this batch, as in training.

        Returns:
            The outputs of the model, and a visit for each of `sites`.
        """
        number = {visit: place for place, visit in enumerate(self._kept)}
        visits: list[Visit] = []

        def before(visit: Visit) -> Any:
            visits.append(visit)
            place = number.get(len(visits) - 1)
            if place is not None:
                visit.z = inject(place, visit.z)
            return visit.z

        def afterwards(at: int, a: Any) -> Any:
            place = number.get(at)
            visits[at].a = a if place is None else after(place, visits[at].z, a)
            return visits[at].a

        with self._watched(before, afterwards), self._normalized_by_batch(batch_statistics):
            outputs = self._model(x, training=False)
            flat = keras.tree.flatten(outputs)
            if self._kept and self._kept[-1] >= len(visits):
                raise ValueError("the model applies other activation functions than when it was first called, so they cannot be told apart")
            found = [visits[i] for i in self._kept]
            for place, i in enumerate(self._ends, start=len(found)):
                flat[i] = inject(place, flat[i])
                found.append(Visit(self.sites[place].name, "linear", lambda z: z, None, None, flat[i], flat[i]))
            return keras.tree.pack_sequence_as(outputs, flat), found

    def _discover(self, x: Any) -> tuple[Any, list[Visit], list[tuple[str, int | None]]]:
        """The model's outputs; all calls of owners; and each called function with the innermost owner's call around it."""
        visits: list[Visit] = []
        running: list[int] = []
        functions: list[tuple[str, int | None]] = []
        outputs: list[Any] = []

        def before(visit: Visit) -> Any:
            running.append(len(visits))
            visits.append(visit)
            return visit.z

        def afterwards(at: int, a: Any) -> Any:
            running.pop()
            visits[at].a = a
            return a

        def noted(name: str) -> Callable[..., Any]:
            def function(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                if not self._quiet:
                    functions.append((name, running[-1] if running else None))
                return original(*args, **kwargs)

            return function

        def call() -> None:
            with self._watched(before, afterwards), keras.StatelessScope():
                outputs.append(self._model(x, training=False))

        with ExitStack() as stack:
            for space in backend().FUNCTION_MODULES:
                for name in FUNCTIONS:
                    if hasattr(space, name):
                        stack.callback(around(space, name, noted(name)))
            for loop in self._loops:
                stack.callback(around(loop, "call", self._quietly))
            backend().traced(call)
        return outputs[0], visits, functions

    def _applies_one(self, layer: keras.Layer) -> str | None:
        """The attribute with which a layer applies an activation function: `activation` or `call`; None if it applies none."""
        return _applies_one(layer) or ("call" if id(layer) in self._known else None)

    def _quietly(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call something without noting the functions that are called inside."""
        self._quiet += 1
        try:
            return original(*args, **kwargs)
        finally:
            self._quiet -= 1

    @contextmanager
    def _watched(self, before: Callable[[Visit], Any], afterwards: Callable[[int, Any], Any]) -> Iterator[None]:
        count, here = [0], backend().place()

        def watching(owner: keras.Layer, attribute: str) -> Callable[..., Any]:
            applying = owner if attribute == "call" else owner.activation
            kind, layer, name = _kind(applying), applying if isinstance(applying, keras.Layer) else None, self._names[id(owner)]

            def applied(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                if backend().place() != here:  # no value can leave a loop or a rematerialised part
                    self._elsewhere.add(name)
                    return self._quietly(original, *args, **kwargs)
                if not args:
                    first = next(iter(inspect.signature(original).parameters))
                    args = (kwargs.pop(first),)
                at, count[0] = count[0], count[0] + 1
                z = before(Visit(name, kind, functools.partial(_applied, original, args[1:], kwargs), layer, owner, args[0]))
                return afterwards(at, original(z, *args[1:], **kwargs))

            return applied

        with ExitStack() as stack:
            for owner in self._owners:
                if (attribute := self._applies_one(owner)) is not None:
                    stack.callback(around(owner, attribute, watching(owner, attribute)))
            yield

    def _normalizing_by_batch(self, x: Any) -> list[keras.Layer]:
        """The batch normalisations that use batch statistics in training. Frozen ones, or ones called with training=False, do not."""
        found: list[keras.Layer] = []

        def noting(layer: keras.Layer) -> Callable[..., Any]:
            def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                in_training = inspect.signature(original).bind(*args, **kwargs).arguments.get("training")
                if layer.trainable and in_training and layer not in found:
                    found.append(layer)
                return original(*args, **kwargs)

            return call

        def call_in_training() -> None:
            with keras.StatelessScope():
                self._model(x, training=True)

        with ExitStack() as stack:
            for layer in self._normalizations:
                stack.callback(around(layer, "call", noting(layer)))
            backend().traced(call_in_training)
        return found

    @contextmanager
    def _normalized_by_batch(self, wanted: bool) -> Iterator[None]:
        def forced(original: Callable[..., Any], inputs: Any, *, mask: Any = None, **_: Any) -> Any:
            return original(inputs, training=True, mask=mask)

        with ExitStack() as stack:
            for layer in self._normalizations if wanted else ():
                stack.callback(around(layer, "call", forced))
            yield

    def _hidden_from_view(self, visits: Sequence[Visit], functions: Sequence[tuple[str, int | None]]) -> str | None:
        """One sentence about what cannot be measured; None if there is nothing."""
        unseen = {(name, None if at is None else visits[at].name) for name, at in functions if at is None or at not in self._kept}
        parts = []
        if unseen:
            called = ", ".join(sorted(name if place is None else f"{name} in {place}" for name, place in unseen))
            parts.append(f"functions that no layer of their own applies ({called}) are not measured; use keras.layers.Activation to see them")
        # a separate softmax layer is often part of attention, not an activation
        fused = [visit for i, visit in enumerate(visits) if visit.owner is not visit.layer and i not in self._kept]
        joining = sorted({visit.name for visit in fused if visit.kind in JOINING})
        if joining:
            parts.append(f"what {', '.join(joining)} applies acts on several units together, so only its weights are measured")
        if self._loops:
            called = ", ".join(sorted({type(layer).__name__ for layer in self._loops}))
            parts.append(f"what happens inside {called} is a loop, so only its weights are measured")
        if self._elsewhere:
            called = ", ".join(sorted(self._elsewhere))
            parts.append(f"{called}: called in a loop, or computed again on the way back, so only the weights are measured")
        return "; ".join(parts) or None


def _applies_one(layer: keras.Layer) -> str | None:
    activation = _activation(layer)
    if callable(activation):
        return None if activation is keras.activations.linear else "activation"
    if isinstance(layer, ACTIVATION_LAYERS):
        return "call"
    own = not type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.Model)
    return "call" if own and not layer._flatten_layers(include_self=False) else None


def _activation(layer: keras.Layer) -> Any:
    """The instance attribute `activation` of a layer. If it is a layer, PyTorch keeps it in `_modules`."""
    return vars(layer).get("activation", vars(layer).get("_modules", {}).get("activation"))


def _kind(applying: Callable[..., Any]) -> str:
    """Name of an activation function or layer, in lower case."""
    if getattr(applying, "negative_slope", 0):
        return "leakyrelu"
    if isinstance(applying, keras.Layer) and callable(inner := _activation(applying)):
        return _kind(inner)
    return (type(applying).__name__ if isinstance(applying, keras.Layer) else getattr(applying, "__name__", type(applying).__name__)).lower()


def _channel(visit: Visit) -> int:
    """The axis of units, from the layer's data_format, or for images without one, from Keras' setting."""
    rank = len(visit.a.shape)
    layout = getattr(visit.owner, "data_format", keras.config.image_data_format() if rank > 3 and visit.owner is visit.layer else None)
    return 1 if layout == "channels_first" and rank > 2 else rank - 1


def _is_pointwise(visit: Visit, examples: int) -> bool:
    """Whether a function acts on each unit of each example separately and is not affine. It is tested on two examples in the shape of z."""
    z = visit.z
    if (
        not hasattr(z, "shape")
        or not hasattr(visit.a, "shape")
        or len(z.shape) < 2
        or (z.shape[0] or 0) % examples  # not a batch
        or any(keras.ops.is_tensor(one) for one in keras.tree.flatten(visit.function.args[1:]))  # cannot be tested on other values
        or not keras.backend.is_float_dtype(keras.backend.standardize_dtype(z.dtype))
    ):
        return False
    pieces = int(getattr(visit.layer, "pieces", 1))
    if tuple(visit.a.shape[:-1]) != tuple(z.shape[:-1]) or visit.a.shape[-1] * pieces != z.shape[-1]:
        return False

    def phi(array: np.ndarray) -> np.ndarray:
        with keras.StatelessScope():
            return np.array(keras.ops.convert_to_numpy(visit.function(keras.ops.convert_to_tensor(array.astype(np.float32)))))

    try:
        shape = (2, *(size or 3 for size in z.shape[1:]))
        wide = np.linspace(-3, 3, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        somewhere = tuple(size // 2 for size in shape[:-1])
        moved = wide.copy()
        moved[(*somewhere, slice(pieces))] += 1
        first, second, origin = phi(wide), phi(moved), phi(0 * wide)
        second[(*somewhere, 0)] = first[(*somewhere, 0)]  # the only unit that may have changed
        affine = np.allclose(first + phi(-wide), 2 * origin, atol=1e-5) and np.allclose(phi(2 * wide) + origin, 2 * first, atol=1e-5)
    except Exception:  # a user's layer may raise anything
        return False
    return bool(np.array_equal(first, second)) and not affine


def _applied(function: Callable[..., Any], args: tuple, kwargs: dict, z: Any) -> Any:
    return function(z, *args, **kwargs)
