"""Activation functions that Keras lacks, as Keras layers. Depends on Keras alone, so that a saved model can bring this file along."""

import keras


class ChannelPReLU(keras.layers.PReLU):
    """PReLU with one learned slope a channel (He et al. 2015, section 2.1), wherever it stands.

    Keras' own layer learns a slope for every position of an image unless it is told the axes to share, and those
    differ between convolutional and dense layers.
    """

    def __init__(self, initial_slope: float = 0.25, **kwargs):
        super().__init__(alpha_initializer=keras.initializers.Constant(initial_slope), **kwargs)
        self.initial_slope = initial_slope

    def build(self, input_shape):
        self.shared_axes = list(range(1, len(input_shape) - 1)) or None
        super().build(input_shape)

    def get_config(self):
        return keras.layers.Layer.get_config(self) | {"initial_slope": self.initial_slope}


class Maxout(keras.layers.Layer):
    """The largest of `pieces` neighbouring channels (Goodfellow et al. 2013, section 2).

    (…, units * pieces) becomes (…, units). The attribute `pieces` makes the network widen the layer before it.
    """

    def __init__(self, pieces: int = 2, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(pieces, int) or pieces < 2:
            raise ValueError(f"pieces must be a whole number of at least 2, got {pieces!r}")
        self.pieces = pieces

    def call(self, inputs):
        units = inputs.shape[-1] // self.pieces
        return keras.ops.max(keras.ops.reshape(inputs, (-1, *inputs.shape[1:-1], units, self.pieces)), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.pieces)

    def get_config(self):
        return super().get_config() | {"pieces": self.pieces}
