"""What depth does to the gradient: LeNet-5's dense block, stacked, before any update."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from actgrad.monitor.derivatives import pieces
from actgrad.networks import activations, lenet5
from actgrad.networks.initial_weights import initializer
from actgrad.networks.inputs import scaled
from actgrad.training import determinism
from actgrad.training.batches import probe_batch, validation_split

if TYPE_CHECKING:
    from actgrad.config.schema import Activation, Config
    from actgrad.data.dataset import Dataset

DEPTHS = range(2, 21)
COLUMNS = ("preact_grad_rms_first", "preact_grad_rms_last")


def of_run(config: "Config", dataset: "Dataset") -> pd.DataFrame:
    """`measure` with the values of a run: its activation, seed, recipe and number of dense units, on its probe batch."""
    recipe, split = config.recipe, validation_split(dataset.images)
    determinism.start(config.seed, recipe.threads)
    images, labels = probe_batch(dataset.images[split], dataset.labels[split], recipe.probe_size)
    images = scaled(images, recipe.input_scaling, dataset.images["train"])
    classes, units = len(dataset.class_names), config.model.dense_units
    return measure(config.activation, config.seed, images, labels, classes, units, recipe.kernel_initializer)


def measure(
    activation: "Activation", seed: int, images: np.ndarray, labels: np.ndarray, classes: int, units: int, kernel_initializer: str
) -> pd.DataFrame:
    """dL/dz in the first and in the last block, for stacks of DEPTHS blocks at initialisation.

    A block is a dense layer of `units` units and the activation. A block has the same weights in every stack that is
    high enough to have it; the output layer is the same in all.

    Args:
        images: float32 (n, …), scaled; labels: integers (n,).

    Returns:
        One row a depth: activation, seed, depth, and the root mean square of dL/dz (L: cross-entropy of a single image) in
        block 1 (`preact_grad_rms_first`) and in block `depth` (`preact_grad_rms_last`).
    """
    blocks = []
    for number in range(1, max(DEPTHS) + 1):
        function = activations.build(activation)
        width = lenet5.widened(units, pieces(function))
        blocks.append((keras.layers.Dense(width, kernel_initializer=initializer(kernel_initializer, seed, f"block{number}")), function))
    output = keras.layers.Dense(classes, kernel_initializer=initializer(kernel_initializer, seed, "output"))
    rows = []
    for depth in DEPTHS:
        rms = _preact_grad_rms(blocks[:depth], output, tf.constant(images.reshape(len(images), -1)), tf.constant(labels))
        rows.append({"activation": activation.name, "seed": seed, "depth": depth, **dict(zip(COLUMNS, rms, strict=True))})
    return pd.DataFrame(rows)


def _preact_grad_rms(blocks: Sequence[tuple[keras.layers.Layer, keras.layers.Layer]], output: keras.layers.Layer, x, labels) -> tuple[float, float]:
    """Root mean square of dL/dz in the first and in the last block, float64."""
    pre_activations = []
    with tf.GradientTape() as tape:
        tape.watch(x)
        for dense, function in blocks:
            pre_activations.append(dense(x))
            x = function(pre_activations[-1])
        losses = keras.losses.sparse_categorical_crossentropy(labels, output(x), from_logits=True)
    ends = tape.gradient(losses, [pre_activations[0], pre_activations[-1]])
    return tuple(float(np.sqrt(np.mean(np.square(gradient.numpy().astype(np.float64))))) for gradient in ends)
