"""Where a model applies an activation function: found by calling it once, and visited again whenever it is measured."""

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from actgrad.monitor.layers import all_layers, names_of, replaced

ACTIVATION_LAYERS = tuple(
    getattr(keras.layers, name) for name in ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax") if hasattr(keras.layers, name)
)
OPERATIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "swish",
    "sigmoid",
    "tanh",
    "softplus",
    "mish",
    "hard_sigmoid",
    "hard_silu",
)


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


@dataclass
class Visit:
    """A site, and what went in and came out: z and phi(z)."""

    name: str
    kind: str
    function: Callable[[Any], Any]
    layer: keras.Layer | None
    z: Any
    a: Any = None


Inject = Callable[[int, Any], Any]


class Sites:
    """The activation functions of a built model.

    Args:
        model: built.
        x: a few examples on which it is called, to see what it does.
        examples: how many these are.
    """

    def __init__(self, model: keras.Model, x: Any, examples: int):
        self._model = model
        layers = list(all_layers(model))
        self._owners = [layer for layer in layers if _applies_one(layer)]
        self._names = dict(zip(map(id, self._owners), names_of(self._owners), strict=True))
        self._normalizations = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
        self.has_normalization = bool(self._normalizations)
        outputs, visits, bare = self._discover(x)
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
        self.hidden_from_view = _unseen(layers, model, bare)

    def forward(
        self, x: Any, inject: Inject = lambda _, z: z, after: Inject = lambda _, a: a, batch_statistics: bool = False
    ) -> tuple[Any, list[Visit]]:
        """Call the model as in evaluation, and note each site. The caller opens a StatelessScope, in which nothing changes.

        Args:
            x: its input.
            inject: is given the number and z of each site before the function is applied, and returns what it is applied to.
            after: the same of its result.
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
            visits[at].a = a if place is None else after(place, a)
            return visits[at].a

        with self._watched(before, afterwards), self._normalized_by_batch(batch_statistics):
            outputs = self._model(x, training=False)
            flat = keras.tree.flatten(outputs)
            found = [visits[i] for i in self.kept]
            for place, i in enumerate(self._ends, start=len(found)):
                flat[i] = inject(place, flat[i])
                found.append(Visit(self.sites[place].name, "linear", self.sites[place].function, None, flat[i], flat[i]))
            return keras.tree.pack_sequence_as(outputs, flat), found

    def _discover(self, x: Any) -> tuple[Any, list[Visit], set[str]]:
        visits: list[Visit] = []
        bare: set[str] = set()
        inside = [0]

        def before(visit: Visit) -> Any:
            visits.append(visit)
            inside[0] += 1
            return visit.z

        def afterwards(at: int, a: Any) -> Any:
            inside[0] -= 1
            visits[at].a = a
            return a

        def noted(name: str, original: Callable) -> Callable:
            def operation(*args: Any, **kwargs: Any) -> Any:
                if not inside[0]:
                    bare.add(name)
                return original(*args, **kwargs)

            return operation

        places = [(space, name) for space in (keras.ops, keras.activations) for name in OPERATIONS if hasattr(space, name)]
        undo = [replaced(space, name, noted(name, getattr(space, name))) for space, name in places]
        try:
            with self._watched(before, afterwards), keras.StatelessScope():
                outputs = self._model(x, training=False)
        finally:
            for back in undo:
                back()
        return outputs, visits, bare

    @contextmanager
    def _watched(self, before: Callable[[Visit], Any], afterwards: Callable[[int, Any], Any]):
        undo = []
        count = [0]

        def watch(owner: keras.Layer, attribute: str) -> None:
            original = getattr(owner, attribute)
            kind = (type(owner).__name__ if attribute == "call" else getattr(original, "__name__", type(original).__name__)).lower()

            def applied(z: Any, *args: Any, **kwargs: Any) -> Any:
                at, count[0] = count[0], count[0] + 1
                function = functools.partial(_applied, original, args, kwargs)
                z = before(Visit(self._names[id(owner)], kind, function, owner if attribute == "call" else None, z))
                return afterwards(at, original(z, *args, **kwargs))

            undo.append(replaced(owner, attribute, applied))

        try:
            for owner in self._owners:
                watch(owner, _applies_one(owner))
            yield
        finally:
            for back in undo:
                back()

    @contextmanager
    def _normalized_by_batch(self, wanted: bool):
        undo = []

        def force(layer: keras.Layer) -> None:
            original = layer.call
            undo.append(replaced(layer, "call", lambda inputs, mask=None, **_: original(inputs, training=True, mask=mask)))

        try:
            for layer in self._normalizations if wanted else ():
                force(layer)
            yield
        finally:
            for back in undo:
                back()


def _applies_one(layer: keras.Layer) -> str | None:
    """By which attribute a layer applies an activation function to its argument: `activation`, `call`, or none.

    The functions inside a recurrent layer are called in a loop, from which nothing can be handed out.
    """
    module = type(layer).__module__
    if ".rnn." in module or isinstance(layer, keras.layers.RNN):
        return None
    activation = vars(layer).get("activation")
    if callable(activation):
        return None if activation is keras.activations.linear else "activation"
    if isinstance(layer, ACTIVATION_LAYERS):
        return "call"
    own = not module.startswith("keras.") and not isinstance(layer, keras.Model) and not list(layer._flatten_layers(include_self=False))
    return "call" if own else None


def _is_pointwise(visit: Visit) -> bool:
    """Whether a function acts on each unit by itself and is not affine, tried on the values that it was called with."""
    z = visit.z
    if (
        not hasattr(z, "shape")
        or not hasattr(visit.a, "shape")
        or len(z.shape) < 2
        or not keras.backend.is_float_dtype(keras.backend.standardize_dtype(z.dtype))
    ):
        return False
    values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(z, "float32")))
    pieces = int(getattr(visit.layer, "pieces", 1))
    if tuple(visit.a.shape[:-1]) != tuple(z.shape[:-1]) or visit.a.shape[-1] * pieces != z.shape[-1]:
        return False

    def phi(array: np.ndarray) -> np.ndarray:
        with keras.StatelessScope():
            return np.asarray(keras.ops.convert_to_numpy(visit.function(keras.ops.convert_to_tensor(array.astype(np.float32)))))

    try:
        wide = np.linspace(-3, 3, values.size, dtype=np.float32).reshape(values.shape)
        moved = wide.copy()
        moved[..., :pieces] += 1
        first, second = phi(wide), phi(moved)
        origin = phi(0 * wide)
        affine = np.allclose(first + phi(-wide), 2 * origin, atol=1e-5) and np.allclose(phi(2 * wide) + origin, 2 * first, atol=1e-5)
    except Exception:  # whatever a layer of the user's own does with other values
        return False
    return bool(np.array_equal(first[..., 1:], second[..., 1:])) and not affine


def _unseen(layers: Sequence[keras.Layer], model: keras.Model, bare: set[str]) -> str | None:
    """One sentence about what cannot be measured; None if there is nothing."""
    recurrent = sorted({type(layer).__name__ for layer in layers if isinstance(layer, keras.layers.RNN)})
    operations = {type(one).__name__.lower() for one in getattr(model, "operations", ()) if not isinstance(one, keras.Layer)}
    bare = bare | (operations & set(OPERATIONS))
    parts = []
    if bare:
        parts.append(f"functions that are called as operations ({', '.join(sorted(bare))}) have no layer; use keras.layers.Activation to see them")
    if recurrent:
        parts.append(f"what happens inside {', '.join(recurrent)} is a loop, so only its weights are measured")
    return "; ".join(parts) or None


def _applied(function: Callable[..., Any], args: tuple, kwargs: dict, z: Any) -> Any:
    return function(z, *args, **kwargs)


def say_once(text: str) -> None:
    warnings.warn(f"actgrad: {text}", stacklevel=3)
