"""Activation functions that Keras lacks, as Keras layers. Imports only Keras, so that this file can be saved along with a model."""

import keras


class ChannelPReLU(keras.layers.PReLU):
    """PReLU with one learned slope per channel (He et al. 2015, section 2.1), after any kind of layer.

    Keras' own layer learns a slope for every position of an image unless it gets the axes to share, which differ
    between convolutional and dense layers.
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

    (…, units * pieces) becomes (…, units). Because of the attribute `pieces`, networks widen the layer before it.
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


class RReLU(keras.layers.Layer):
    """Randomized leaky ReLU (Xu et al. 2015, section 2.4): z / a for negative z. In training, a is drawn uniformly from [lower, upper] for each
    element and step; in evaluation, it is their mean.
    """

    def __init__(self, lower: float = 3.0, upper: float = 8.0, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 < lower <= upper:
            raise ValueError(f"lower and upper must be 0 < lower <= upper, got {lower!r} and {upper!r}")
        self.lower, self.upper, self.seed = lower, upper, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        divisor = (self.lower + self.upper) / 2
        if training:
            divisor = keras.random.uniform(keras.ops.shape(inputs), self.lower, self.upper, dtype=inputs.dtype, seed=self.seed_generator)
        return keras.ops.where(inputs < 0, inputs / divisor, inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"lower": self.lower, "upper": self.upper, "seed": self.seed}
