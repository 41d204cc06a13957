"""Where a model applies an activation function: found by calling it once, and visited again whenever it is measured."""

import functools
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
"""Layers that call those inside them once for each step of a sequence."""
FUNCTIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "hardswish", "hard_silu", "mish", "softplus", "softsign"),
    *("sigmoid", "hard_sigmoid", "hardsigmoid", "log_sigmoid", "logsigmoid", "tanh", "hard_tanh", "hardtanh", "tanhshrink"),
)
"""Names of activation functions in TensorFlow, JAX and PyTorch."""


@dataclass
class Site:
    """One call of an activation function in the forward pass.

    Attributes:
        name: of the layer that applies it; a layer that is called again has #2 and so on behind it.
        function: z -> phi(z).
        pieces: pre-activations that one unit takes: 1, but for maxout and its like.
        hidden: False for the output of the model.
        shape: of z, for one example.
        kind: what the function is called, in lower case: relu, tanh, …
    """

    name: str
    kind: str
    function: Callable[[Any], Any]
    pieces: int
    hidden: bool
    shape: tuple[int, ...]
    layer: keras.Layer | None = None


After = Callable[[int, Any, Any], Any]
"""(number of a site, z, phi(z)) -> what is handed on."""


class Sites:
    """The activation functions of a built model.

    Args:
        model: built.
        x: a few examples on which it is called, to see what it does.
        examples: how many these are.
    """

    def __init__(self, model: keras.Model, x: Any, examples: int):
        self._model = model
        placed = list(all_layers(model))
        layers = [layer for layer, _ in placed]
        self._loops = [layer for layer in layers if isinstance(layer, LOOPS)]
        looped = {id(inner) for loop in self._loops for inner in loop._flatten_layers()}
        owners = [(layer, within) for layer, within in placed if id(layer) not in looped and _applies_one(layer)]
        self._owners = [layer for layer, _ in owners]
        self._names = dict(zip(map(id, self._owners), names_of(owners), strict=True))
        self._normalizations = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
        self.has_normalization = bool(self._normalizations)
        outputs, visits, unseen = self._discover(x)
        ends = [id(output) for output in keras.tree.flatten(outputs)]
        self.kept: list[int] = []
        self.sites: list[Site] = []
        count: Counter[str] = Counter()
        for i, visit in enumerate(visits):
            last = id(visit.a) in ends
            if not (last or _is_pointwise(visit)):
                continue
            count[visit.name] += 1
            name = visit.name if count[visit.name] == 1 else f"{visit.name}#{count[visit.name]}"
            self.kept.append(i)
            shape = (visit.z.shape[0] // examples, *visit.z.shape[1:])
            self.sites.append(Site(name, visit.kind, visit.function, int(getattr(visit.layer, "pieces", 1)), not last, shape, visit.layer))
        seen = {id(visit.a) for visit in visits}
        self._ends = [i for i, end in enumerate(ends) if end not in seen]
        for i in self._ends:
            name = "output" if len(ends) == 1 else f"output_{i}"
            shape = keras.tree.flatten(outputs)[i].shape
            self.sites.append(Site(name, "linear", lambda z: z, 1, False, (shape[0] // examples, *shape[1:])))
        self.hidden_from_view = self._hidden_from_view(visits, unseen)

    def forward(
        self, x: Any, inject: Inject = lambda _, z: z, after: After = lambda _i, _z, a: a, batch_statistics: bool = False
    ) -> tuple[Any, list[Visit]]:
        """Call the model as in evaluation, and note each site. The caller opens a StatelessScope, in which nothing changes.

        Args:
            x: its input.
            inject: is given the number and z of each site before the function is applied, and returns what it is applied to.
            after: is given number, z and result, and returns what is handed on.
            batch_statistics: batch normalisation uses the mean and variance of this batch, as in training.

        Returns:
            What the model returns, and a visit for each of `sites`.
        """
        number = {visit: place for place, visit in enumerate(self.kept)}
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
            found = [visits[i] for i in self.kept]
            for place, i in enumerate(self._ends, start=len(found)):
                flat[i] = inject(place, flat[i])
                found.append(Visit(self.sites[place].name, "linear", self.sites[place].function, None, flat[i], flat[i]))
            return keras.tree.pack_sequence_as(outputs, flat), found

    def _discover(self, x: Any) -> tuple[Any, list[Visit], list[tuple[str, int | None]]]:
        """What the model returns; all calls of an owner; and the functions that were called, each with the innermost of these calls."""
        visits: list[Visit] = []
        running: list[int] = []
        functions: list[tuple[str, int | None]] = []
        in_loops = [0]

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
                if not in_loops[0]:
                    functions.append((name, running[-1] if running else None))
                return original(*args, **kwargs)

            return function

        def looping(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            in_loops[0] += 1
            try:
                return original(*args, **kwargs)
            finally:
                in_loops[0] -= 1

        with ExitStack() as stack:
            for space in backend().FUNCTION_MODULES:
                for name in FUNCTIONS:
                    if hasattr(space, name):
                        stack.callback(around(space, name, noted(name)))
            for loop in self._loops:
                stack.callback(around(loop, "call", looping))
            stack.enter_context(self._watched(before, afterwards))
            stack.enter_context(keras.StatelessScope())
            return self._model(x, training=False), visits, functions

    @contextmanager
    def _watched(self, before: Callable[[Visit], Any], afterwards: Callable[[int, Any], Any]) -> Iterator[None]:
        count = [0]

        def watching(owner: keras.Layer, attribute: str) -> Callable[..., Any]:
            kind, layer = _kind(owner, attribute), owner if attribute == "call" else None

            def applied(original: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
                at, count[0] = count[0], count[0] + 1
                z = before(Visit(self._names[id(owner)], kind, functools.partial(_applied, original, args, kwargs), layer, z))
                return afterwards(at, original(z, *args, **kwargs))

            return applied

        with ExitStack() as stack:
            for owner in self._owners:
                attribute = _applies_one(owner)
                stack.callback(around(owner, attribute, watching(owner, attribute)))
            yield

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
        unseen = {(name, None if at is None else visits[at].name) for name, at in functions if at is None or at not in self.kept}
        parts = []
        if unseen:
            called = ", ".join(sorted(name if place is None else f"{name} in {place}" for name, place in unseen))
            parts.append(f"functions that no layer of their own applies ({called}) are not measured; use keras.layers.Activation to see them")
        if self._loops:
            called = ", ".join(sorted({type(layer).__name__ for layer in self._loops}))
            parts.append(f"what happens inside {called} is a loop, so only its weights are measured")
        return "; ".join(parts) or None


def _applies_one(layer: keras.Layer) -> str | None:
    """By which attribute a layer applies an activation function to its argument: `activation`, `call`, or none."""
    activation = vars(layer).get("activation")
    if isinstance(activation, keras.Layer):  # which is found as a layer
        return None
    if callable(activation):
        return None if activation is keras.activations.linear else "activation"
    if isinstance(layer, ACTIVATION_LAYERS):
        return "call"
    own = not type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.Model)
    return "call" if own and not layer._flatten_layers(include_self=False) else None


def _kind(owner: keras.Layer, attribute: str) -> str:
    function = getattr(owner, attribute)
    if attribute == "activation":
        return getattr(function, "__name__", type(function).__name__).lower()
    return "leakyrelu" if getattr(owner, "negative_slope", 0) else type(owner).__name__.lower()


def _is_pointwise(visit: Visit) -> bool:
    """Whether a function acts on each unit by itself and is not affine, tried on values of the shape that it was called with."""
    z = visit.z
    if (
        not hasattr(z, "shape")
        or not hasattr(visit.a, "shape")
        or len(z.shape) < 2
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
        wide = np.linspace(-3, 3, int(np.prod(z.shape)), dtype=np.float32).reshape(z.shape)
        somewhere = tuple(size // 2 for size in z.shape[:-1])
        moved = wide.copy()
        moved[(*somewhere, slice(pieces))] += 1
        first, second, origin = phi(wide), phi(moved), phi(0 * wide)
        second[(*somewhere, 0)] = first[(*somewhere, 0)]  # the one unit that may have changed
        affine = np.allclose(first + phi(-wide), 2 * origin, atol=1e-5) and np.allclose(phi(2 * wide) + origin, 2 * first, atol=1e-5)
    except Exception:  # whatever a layer of the user's own does with other values
        return False
    return bool(np.array_equal(first, second)) and not affine


def _applied(function: Callable[..., Any], args: tuple, kwargs: dict, z: Any) -> Any:
    return function(z, *args, **kwargs)
