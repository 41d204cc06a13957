"""What depth does to the gradient: the network's dense block, stacked, before any update."""

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from actgrad.config.schema import Activation
from actgrad.networks import activations, lenet5
from actgrad.networks.seeding import initializer

DEPTHS = range(2, 21)


def attenuation(
    activation: Activation, seed: int, images: np.ndarray, labels: np.ndarray, classes: int, units: int, kernel_initializer: str
) -> pd.DataFrame:
    """How much smaller the signal is in the first block than in the last, for stacks of DEPTHS blocks at initialisation.

    A block is a dense layer of `units` units and the activation. A block has the same weights in every stack that is
    high enough to have it; the output layer is the same in all.

    Args:
        images: float32 (n, …), scaled; labels: integers (n,).

    Returns:
        One row a depth: activation, seed, depth, and `attenuation`: decades by which the root mean square of dL/dz (of a
        single image's cross-entropy) is smaller in block 1 than in block `depth`; infinite or NaN where nothing arrives.
    """
    blocks = []
    for number in range(1, max(DEPTHS) + 1):
        function = activations.build(activation)
        width = lenet5.widened(units, activations.pieces(function))
        blocks.append((keras.layers.Dense(width, kernel_initializer=initializer(kernel_initializer, seed, f"block{number}")), function))
    output = keras.layers.Dense(classes, kernel_initializer=initializer(kernel_initializer, seed, "output"))
    rows = []
    for depth in DEPTHS:
        rms = _delta_rms(blocks[:depth], output, tf.constant(images.reshape(len(images), -1)), tf.constant(labels))
        with np.errstate(divide="ignore", invalid="ignore"):
            lost = float(np.log10(rms[-1]) - np.log10(rms[0]))
        rows.append({"activation": activation.name, "seed": seed, "depth": depth, "attenuation": lost})
    return pd.DataFrame(rows)


def _delta_rms(blocks: Sequence[tuple[keras.layers.Layer, keras.layers.Layer]], output: keras.layers.Layer, x, labels) -> tuple[float, float]:
    """Root mean square of dL/dz in the first and in the last block, float64."""
    pre_activations = []
    with tf.GradientTape() as tape:
        tape.watch(x)
        for dense, function in blocks:
            pre_activations.append(dense(x))
            x = function(pre_activations[-1])
        losses = keras.losses.sparse_categorical_crossentropy(labels, output(x), from_logits=True)
    ends = tape.gradient(losses, [pre_activations[0], pre_activations[-1]])
    return tuple(float(np.sqrt(np.mean(np.square(delta.numpy().astype(np.float64))))) for delta in ends)
