"""A multilayer perceptron of any depth: dense blocks of one width, with or without normalisation and shortcuts."""

from typing import Literal

import keras
from pydantic import ConfigDict, PositiveInt, validate_call

from actgrad.networks.activations import ActivationFactory
from actgrad.networks.initial_weights import Initializer


@validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))
def build(
    input_shape: tuple[int, ...],
    classes: int,
    activation: ActivationFactory,
    initializer: Initializer,
    *,
    depth: PositiveInt,
    width: PositiveInt,
    residual: bool,
    normalization: Literal["none", "batch", "layer"],
) -> keras.Model:
    """The network, from scaled pixels to logits.

    A block is a dense layer of `width` units, a normalisation if one is wanted, and the activation. With `residual`, each block but the
    first adds its input to its output (He et al. 2016, section 3.1). A block starts with the same weights in networks of any
    depth.

    Returns:
        A functional model: (batch, *input_shape) -> (batch, classes), with the layers dense1 … dense<depth> and output.
    """
    normalizations = {"batch": keras.layers.BatchNormalization, "layer": keras.layers.LayerNormalization}
    inputs = keras.Input(input_shape, name="scaled_image")
    x = keras.layers.Flatten(name="flatten")(inputs)
    for number in range(1, depth + 1):
        name = f"dense{number}"
        y = keras.layers.Dense(activation.width(width), kernel_initializer=initializer(name), name=name)(x)
        if normalization != "none":
            y = normalizations[normalization](name=f"{name}_normalization")(y)
        y = activation(f"{name}_activation")(y)
        x = keras.layers.Add(name=f"{name}_shortcut")([x, y]) if residual and number > 1 else y
    # float32, because a softmax over bfloat16 logits cannot tell close classes apart
    return keras.Model(inputs, keras.layers.Dense(classes, kernel_initializer=initializer("output"), dtype="float32", name="output")(x))
