"""LeNet-5 for images of any size, with the activation under test after conv1, conv2, conv3 and dense1."""

from typing import Annotated, Literal

import keras
from pydantic import ConfigDict, Field, PositiveInt, validate_call

from actgrad.networks.activations import ActivationFactory
from actgrad.networks.initial_weights import Initializer


@validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))
def build(
    input_shape: tuple[int, ...],
    classes: int,
    activation: ActivationFactory,
    initializer: Initializer,
    *,
    filters: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)],
    kernel_size: PositiveInt,
    dense_units: PositiveInt,
    pooling: Literal["max", "average"],
    batch_normalization: bool,
) -> keras.Model:
    """The network, from scaled pixels to logits.

    Returns:
        A functional model: (batch, *input_shape) -> (batch, classes). The input of the layer `<L>_activation` is the
        pre-activations z of L (conv1 … dense1), after batch normalisation if there is one (Ioffe and Szegedy 2015, section 3.2).
    """
    pool = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[pooling]

    def activated(layer_type, units, name, x, **kwargs):
        z = layer_type(activation.width(units), kernel_initializer=initializer(name), name=name, **kwargs)(x)
        if batch_normalization:
            z = keras.layers.BatchNormalization(name=f"{name}_normalization")(z)
        return activation(f"{name}_activation")(z)

    inputs = x = keras.Input(input_shape, name="scaled_image")
    for number, count in enumerate(filters, 1):
        x = activated(keras.layers.Conv2D, count, f"conv{number}", x, kernel_size=kernel_size, padding="same")
        if number < len(filters):
            x = pool(2, name=f"pool{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = activated(keras.layers.Dense, dense_units, "dense1", x)
    # float32, because a softmax over bfloat16 logits cannot tell close classes apart
    return keras.Model(inputs, keras.layers.Dense(classes, kernel_initializer=initializer("output"), dtype="float32", name="output")(x))
