"""The layers of a model that have weights to train."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class WeightedLayer:
    """A layer that has trainable weights of its own, not of a layer inside it.

    Attributes:
        name: unique in its model: the layer's own name, or the path of names that leads to it where another layer has the same one.
        layer: the layer.
        variables: its weights that are trained.
    """

    name: str
    layer: keras.Layer
    variables: tuple[keras.Variable, ...]

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(math.prod(variable.shape) for variable in self.variables)


def weighted_layers(model: keras.Model) -> list[WeightedLayer]:
    """The layers of a built model, also those inside other layers, that have trained weights; a shared layer once.

    Raises:
        ValueError: if two of them cannot be told apart by name and path.
    """
    trained = {id(variable) for variable in model.trainable_variables}
    found: list[tuple[keras.Layer, tuple[keras.Variable, ...]]] = []
    taken: set[int] = set()
    # from the inside out, so that a weight belongs to the innermost layer that has it
    for layer in reversed(list(all_layers(model))):
        own = tuple(v for v in layer.trainable_variables if id(v) in trained and id(v) not in taken)
        taken |= {id(variable) for variable in own}
        if own:
            found.append((layer, own))
    found.reverse()
    names = names_of([layer for layer, _ in found])
    return [WeightedLayer(name, layer, own) for name, (layer, own) in zip(names, found, strict=True)]


def all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The model and every layer inside it, an outer layer before those inside it."""
    seen: set[int] = set()
    for layer in model._flatten_layers(include_self=True, recursive=True):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer


def names_of(layers: list[keras.Layer]) -> list[str]:
    """A name for each layer: its own, or its path where another of these has the same name.

    Raises:
        ValueError: if two have the same path.
    """
    count = Counter(layer.name for layer in layers)
    names = [layer.name if count[layer.name] == 1 else _path(layer) for layer in layers]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"two layers of the model are called {twice[0]!r}, so that a table could not tell them apart; give each a name of its own")
    return names


def _path(layer: keras.Layer) -> str:
    """The path of names that leads to a layer: that of its weights, where it has some."""
    weights = [weight.path.rpartition("/")[0] for weight in layer.weights if "/" in weight.path]
    own = [path for path in weights if path.rpartition("/")[2] == layer.name]
    return (own or [layer.name])[0]


def call_order(model: keras.Model, order: list[int]) -> Callable[[], None]:
    """Note the id of each layer with weights when it is first called; returns what ends this."""
    undo: list[Callable[[], None]] = []

    def watch(layer: keras.Layer) -> None:
        original = layer.call

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if id(layer) not in order:
                order.append(id(layer))
            return original(*args, **kwargs)

        undo.append(replaced(layer, "call", call))

    for layer in all_layers(model):
        if layer is not model and layer.trainable_variables:
            watch(layer)
    return lambda: [back() for back in undo] and None


def replaced(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Set an attribute of one instance or module past Keras' tracking; returns what undoes it."""
    attributes = vars(owner)
    before = attributes.get(name, attributes)  # itself where there is none
    attributes[name] = value

    def undo() -> None:
        if before is attributes:
            del attributes[name]
        else:
            attributes[name] = before

    return undo
