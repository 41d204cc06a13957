"""Build layers of the activation under test from its configuration, and compute its curve."""

import inspect
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import keras
import numpy as np
import pandas as pd

from actgrad.errors import UserError
from actgrad.monitor.backends import backend
from actgrad.monitor.hooks import first_line
from actgrad.networks.own_code import is_own, located

if TYPE_CHECKING:
    from actgrad.config.schema import Activation

CURVE = np.linspace(-6, 6, 241, dtype=np.float32)


class ActivationFactory:
    """Makes layers of the activation under test. Each network builder gets one as an argument.

    Attributes:
        pieces: number of pre-activations per unit: 1, more for maxout and similar functions.
        made: the layers made so far.
    """

    def __init__(self, activation: "Activation"):
        self._activation = activation
        self.pieces = pieces(build(activation))
        self.made: list[keras.Layer] = []

    def __call__(self, name: str | None = None) -> keras.Layer:
        """A new layer that applies the activation. It may have weights, so each place in a network needs its own layer.

        Raises:
            TypeError: if it is called on a tensor, as a layer would be.
        """
        if name is not None and not isinstance(name, str):
            raise TypeError("activation is no layer but makes one: write activation()(x), or layers.Dense(64, activation=activation())")
        self.made.append(build(self._activation, name))
        return self.made[-1]

    def width(self, units: int) -> int:
        """Number of pre-activations of a layer of about this many units: round(units / sqrt(pieces)) units of `pieces` each.

        Between two such layers, inputs shrink and outputs grow by sqrt(pieces), so the number of weights stays the same, apart from
        rounding and the first and last layer.
        """
        return max(1, round(units / self.pieces**0.5)) * self.pieces


def pieces(layer: keras.Layer) -> int:
    """Number of pre-activations per unit of this activation layer."""
    return getattr(layer, "pieces", 1)


def build(activation: "Activation", name: str | None = None) -> keras.layers.Layer:
    """The layer that a configuration names, from keras.layers or by a dotted path, whose module is imported.

    Raises:
        UserError: if there is no such layer, or it does not take these arguments.
    """
    path = activation.layer
    layer_class = located("activation.layer", path) if "." in path else getattr(keras.layers, path, None)
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise UserError(
            "not-a-layer",
            f"activation.layer={path} is not a Keras layer; "
            + (
                "is its module on PYTHONPATH, and a class of keras.layers.Layer in it?"
                if "." in path
                else "name a layer of keras.layers, or your own by a dotted path"
            ),
        )
    try:
        return layer_class(**activation.config, name=name)
    except Exception as error:  # a user's layer may raise anything
        if "'name'" in str(error):
            raise UserError(
                "wrong-arguments", f"{path} takes no name; give its __init__ a **kwargs that it hands to super().__init__(**kwargs)"
            ) from None
        raise UserError(
            "wrong-arguments",
            f"activation.config={activation.config} is not accepted by {path}, which takes "
            f"{', '.join(name for name in inspect.signature(layer_class).parameters if name != 'kwargs') or 'no arguments'}: {first_line(error)}",
        ) from None


def curve(activation: "Activation") -> pd.DataFrame:
    """z, value phi(z) and derivative phi'(z) at initialisation, for z from -6 to 6.

    A function of several pieces is shown along its first piece, the others at 0.

    Raises:
        UserError: if the layer does not act on each unit separately, as an activation function does.
    """
    layer = build(activation)
    width = pieces(layer)
    z = np.zeros((len(CURVE), 2 * width), np.float32)
    z[:, 0] = CURVE
    try:
        phi, again = layer(z), layer(z)
        if is_own(activation.layer):
            backend().traced(lambda: layer(keras.ops.convert_to_tensor(z), training=True))
    except Exception as error:  # a user's layer may raise anything
        reason = first_line(getattr(error, "__cause__", None) or error)
        raise UserError(
            "own-code-failed", f"activation.layer={activation.layer} fails on pre-activations of shape {z.shape}: {reason}; mend it"
        ) from None
    if not keras.ops.is_tensor(phi):
        raise UserError(
            "no-gradient", f"activation.layer={activation.layer} returns {type(phi).__name__}, of which there is no gradient; compute with keras.ops"
        )
    apart = keras.ops.convert_to_numpy(phi)
    if not np.issubdtype(apart.dtype, np.floating):
        raise UserError(
            "no-gradient", f"activation.layer={activation.layer} returns {apart.dtype}, of which there is no gradient; let it return what it is given"
        )
    if not np.array_equal(apart, keras.ops.convert_to_numpy(again), equal_nan=True):
        raise UserError(
            "random-activation",
            f"activation.layer={activation.layer} gives other values for the same pre-activations when it is called again; "
            "let it draw random numbers, or count, only where call() is given training=True",
        )
    alone = apart.shape == (len(CURVE), 2) and np.allclose(apart[:, 1], apart[0, 1], equal_nan=True)
    if not alone or (is_own(activation.layer) and _mixes(activation, width)):
        raise UserError(
            "not-an-activation",
            f"activation.layer={activation.layer} is not an activation function: a unit's output depends on another unit, or units are lost; "
            "use a layer that acts on each unit by itself",
        )
    slope = keras.ops.convert_to_numpy(backend().derivative(layer, keras.ops.convert_to_tensor(z)))
    return pd.DataFrame({"z": CURVE, "value": apart[:, 0], "derivative": slope[:, 0]})


def _mixes(activation: "Activation", width: int) -> bool:
    """Whether an output of an activation layer has a gradient from another unit, place or image, after a dense or a convolutional layer, in
    training or evaluation; or whether units are lost.

    Args:
        width: number of pre-activations per unit.
    """
    for places, training in itertools.product(((4,), (2, 2, 1)), (False, True)):
        layer = build(activation, "alone")
        z = keras.ops.convert_to_tensor(np.linspace(-3, 3, 8 * width, dtype=np.float32).reshape(*places, 2 * width))
        numbers = np.arange(8).reshape(*places, 2)
        with suppress(Exception):  # not for this shape; where the network has such a layer, it shows the reason
            if tuple(layer(z, training=training).shape) != numbers.shape:
                return True
            for bit in range(3):  # each pair of the 8 outputs differs in one of these
                half = (numbers >> bit) % 2
                for chosen in (half, 1 - half):
                    slopes = backend().derivative(lambda x, layer=layer, chosen=chosen, training=training: layer(x, training=training) * chosen, z)
                    if np.nan_to_num(keras.ops.convert_to_numpy(slopes).reshape(*places, 2, width)[chosen == 0]).any():
                        return True
    return False
