"""The layers of a model that have trainable weights."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import pandas as pd

from actgrad.monitor.hooks import around

Within = tuple[keras.Layer, ...]
"""The layers that contain a layer, outermost first, without the model."""


@dataclass(frozen=True, eq=False)
class WeightedLayer:
    """A layer that has trainable weights itself, not only in a layer inside it.

    Attributes:
        name: unique in its model: the layer's name, or its path of names if another layer has the same name.
        layer: the layer.
        within: the layers that contain it.
        variables: its weights that are trained.
    """

    name: str
    layer: keras.Layer
    within: Within
    variables: tuple[keras.Variable, ...]

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(math.prod(variable.shape) for variable in self.variables)


def weighted_layers(model: keras.Model) -> list[WeightedLayer]:
    """The layers of a built model that have trained weights, nested ones too. A shared layer or weight is listed once.

    Raises:
        ValueError: if no weight is trained, or if two of these layers cannot be told apart by name and path.
    """
    if not model.trainable_variables:
        raise ValueError("the model has no trainable weight, so no gradient reaches any; set layer.trainable = True where you want to train")
    left = {id(variable): variable for variable in model.trainable_variables}
    placed = [(layer, within) for layer, within in all_layers(model) if layer._trainable_variables]  # frozen ones too, so that names do not change
    found = []
    for name, (layer, within) in reversed([*zip(names_of(placed), placed, strict=True)]):  # a weight belongs to the innermost layer that has it
        own = tuple(left.pop(id(variable)) for variable in layer._trainable_variables if id(variable) in left)
        if own:
            found.append(WeightedLayer(name, layer, within, own))
    found.reverse()
    if left:  # weights of something that Keras does not see as a layer
        found.append(WeightedLayer(model.name, model, (), tuple(left.values())))
    return found


def table_of(layers: Sequence[WeightedLayer]) -> pd.DataFrame:
    """layer, kind (its class), parameters (trained weights)."""
    rows = [(one.name, type(one.layer).__name__, one.parameters) for one in layers]
    return pd.DataFrame(rows, columns=["layer", "kind", "parameters"])


def all_layers(model: keras.Model) -> Iterator[tuple[keras.Layer, Within]]:
    """The model and every layer inside it, each once, with the layers that contain it. Outer layers come first."""
    seen: set[int] = set()

    def inside(layer: keras.Layer, within: Within) -> Iterator[tuple[keras.Layer, Within]]:
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer, within
            for inner in layer._flatten_layers(include_self=False, recursive=False):
                yield from inside(inner, () if layer is model else (*within, layer))

    return inside(model, ())


def names_of(placed: Sequence[tuple[keras.Layer, Within]]) -> list[str]:
    """A name for each layer: its own, or its path if another of these layers has the same name.

    Raises:
        ValueError: if two have the same path.
    """
    count = Counter(layer.name for layer, _ in placed)
    names = [layer.name if count[layer.name] == 1 else "/".join(one.name for one in (*within, layer)) for layer, within in placed]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"two layers of the model are called {twice[0]!r}, so that a table could not tell them apart; give each a name of its own")
    return names


class CallOrder:
    """The order in which layers are first called."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def watch(self, model: keras.Model) -> Callable[[], None]:
        """Note the order of layers that are called from now on. Returns a function that ends this."""
        undo = [around(layer, "call", self._noting(layer)) for layer, _ in all_layers(model) if layer is not model]

        def end() -> None:
            for back in undo:
                back()

        return end

    def __bool__(self) -> bool:
        return bool(self._places)

    def sort(self, layers: Sequence[WeightedLayer]) -> list[WeightedLayer]:
        """Layers in the order of calls. A layer that was made later takes the place of the layer that contains it, or comes last."""

        def place(one: WeightedLayer) -> float:
            return next((self._places[id(layer)] for layer in (one.layer, *reversed(one.within)) if id(layer) in self._places), math.inf)

        return sorted(layers, key=place)

    def _noting(self, layer: keras.Layer) -> Callable[..., Any]:
        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            self._places.setdefault(id(layer), len(self._places))
            return original(*args, **kwargs)

        return call
