"""LeNet-5 for images of any size, with the activation under test after conv1, conv2, conv3 and dense1."""

from typing import TYPE_CHECKING

import keras
import numpy as np

from actgrad.monitor.derivatives import pieces
from actgrad.networks import activations
from actgrad.networks.initial_weights import initializer
from actgrad.networks.inputs import channel_statistics
from actgrad.networks.names import ACTIVATED_LAYERS, LAYERS

if TYPE_CHECKING:
    from actgrad.config.schema import Config


def build(config: "Config", train_images: np.ndarray, classes: int) -> keras.Model:
    """The network, from raw pixels to class probabilities.

    Args:
        config: of the run; its seed and recipe decide the initial weights.
        train_images: uint8 (n, height, width, channels); gives the input shape and, for standardized inputs, mean and standard deviation.
        classes: units of the output layer.

    Returns:
        A functional model: float pixels (batch, height, width, channels) -> probabilities (batch, classes). The output of
        layer `output` is the logits. What the layer `activation_name(L)` takes is the pre-activations z of a layer L of
        conv1 … dense1: its output, or that after batch normalisation (Ioffe and Szegedy 2015, section 3.2).
    """
    recipe, model = config.recipe, config.model
    keras.config.set_dtype_policy(recipe.precision)
    pooling = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[model.pooling]

    def activated(layer_type, units, name, x, **kwargs):
        activation = activations.build(config.activation, activation_name(name))
        width = widened(units, pieces(activation))
        kernel = initializer(recipe.kernel_initializer, config.seed, name)
        z = layer_type(width, kernel_initializer=kernel, name=name, **kwargs)(x)
        return activation(keras.layers.BatchNormalization(name=f"{name}_normalization")(z) if model.batch_normalization else z)

    inputs = keras.Input(train_images.shape[1:], name="image")
    x = inputs
    if recipe.input_scaling == "standardized":
        mean, deviation = channel_statistics(train_images)
        x = keras.layers.Rescaling(list(1 / deviation), list(-mean / deviation), name="input_scaling")(x)
    for i, filters in enumerate(model.filters):
        x = activated(keras.layers.Conv2D, filters, ACTIVATED_LAYERS[i], x, kernel_size=model.kernel_size, padding="same")
        if i < 2:
            x = pooling(2, name=f"pool{i + 1}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = activated(keras.layers.Dense, model.dense_units, "dense1", x)
    kernel = initializer(recipe.kernel_initializer, config.seed, LAYERS[-1])
    # float32, because a softmax over bfloat16 logits loses what it is to tell apart
    logits = keras.layers.Dense(classes, kernel_initializer=kernel, dtype="float32", name=LAYERS[-1])(x)
    return keras.Model(inputs, keras.layers.Softmax(dtype="float32", name="probabilities")(logits), name=model.name)


def activation_name(layer: str) -> str:
    return f"{layer}_activation"


ACTIVATION_LAYERS = {layer: activation_name(layer) for layer in ACTIVATED_LAYERS}
"""Each layer with an activation, and the name of its activation layer, in the order of the network."""


def widened(units: int, pieces: int) -> int:
    """Number of pre-activations of a layer whose units take `pieces` each: round(units / sqrt(pieces)) units of them.

    Between two such layers, inputs shrink and outputs grow by sqrt(pieces), which leaves the number of weights as it was but
    for rounding and for the first and the last layer.
    """
    return max(1, round(units / pieces**0.5)) * pieces
