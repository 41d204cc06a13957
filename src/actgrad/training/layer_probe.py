"""The probe: what the forward and the backward signal of a fixed batch do at each layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from actgrad.monitor.derivatives import derivative, pieces, slopes
from actgrad.monitor.names import COUNTS, PROBE_COLUMNS, SATURATION

GRID = np.linspace(-10, 10, 401, dtype=np.float32)
"""Where the largest derivative of an activation function is looked for."""


class LayerProbe:
    """Measures a network on one fixed batch, without changing it.

    The network is called as in training, so that batch normalisation uses the batch's own statistics; a pre-activation then
    has a part in the loss of every image of the batch, and a unit is hardly ever dead. Per layer:

    - `preact_grad_rms`: root mean square over examples and units of dL/dz, where L is the cross-entropy of a single example
      and z the layer's pre-activations.
    - `slope_ms`: mean of phi'(z)^2.
    - `weight_gain`, `pooling_gain`: factors by which the next layer's weights, and the pooling before it, multiply the mean
      square of dL/dz on its way back.
    - `dead`: units (channels, in convolutional layers) whose activation derivative is 0 for every example and position;
      `newly_dead` of them were not dead at the first measurement, and `revived` were dead then and are not now.
    - `saturated`: share of activations whose derivative is below SATURATION of the largest that the function has.

    The output layer has no activation under test. Were derivatives, weights and dL/dz independent of each other,
    preact_grad_rms would change from a layer's successor to itself by sqrt(slope_ms * weight_gain * pooling_gain): Glorot and
    Bengio (2010), equation 6, here with measured factors. Of a maxout unit's pieces all but the largest get no gradient: its
    preact_grad_rms, over all pieces, is smaller for that.

    Args:
        model: a functional model that has these layers.
        activated: name of each layer with an activation -> name of its activation layer, in the order of the network.
        output: name of the layer that gives the logits (batch, classes).
        images: (n, …); labels: integers (n,).
    """

    def __init__(self, model: keras.Model, activated: Mapping[str, str], output: str, images: np.ndarray, labels: np.ndarray):
        self._activated = dict(activated)
        self._layers = [*activated, output]
        self._activations = [model.get_layer(name) for name in activated.values()]
        self._outputs = keras.Model(model.input, [*(layer.input for layer in self._activations), model.get_layer(output).output])
        self._images = tf.constant(images, tf.float32)
        self._labels = tf.constant(labels)
        self._compute = tf.function(self._tensors)  # op by op, as Python calls them, it takes twice as long
        self._dead_at_first: dict[str, np.ndarray] = {}

    def measure(self) -> pd.DataFrame:
        """One row a layer, with the columns PROBE_COLUMNS."""
        kept = [variable.numpy() for variable in self._outputs.non_trainable_variables]
        preact_grad_rms, of_activations = self._compute()
        for variable, value in zip(self._outputs.non_trainable_variables, kept, strict=True):
            variable.assign(value)
        rows = [
            {"layer": layer, "units": z.shape[-1], "preact_grad_rms": float(rms)}
            for layer, z, rms in zip(self._layers, self._outputs.output, preact_grad_rms, strict=True)
        ]
        followers = self._layers[1:]
        for row, following, (slope_ms, dead, saturated) in zip(rows, followers, of_activations, strict=False):
            dead = dead.numpy()
            at_first = self._dead_at_first.setdefault(row["layer"], dead)
            row |= {
                "units": len(dead),
                "slope_ms": float(slope_ms),
                **gains(self._outputs, self._activated[row["layer"]], following),
                "dead": int(dead.sum()),
                "newly_dead": int((dead & ~at_first).sum()),
                "revived": int((at_first & ~dead).sum()),
                "saturated": float(saturated),
            }
        return probe_table(rows)

    def _tensors(self) -> tuple[list[tf.Tensor], list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
        """preact_grad_rms of each layer; slope_ms, dead units and share of saturated activations of each activated layer."""
        with tf.GradientTape() as tape:
            tape.watch(self._images)
            pre_activations = self._outputs(self._images, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(self._labels, pre_activations[-1], from_logits=True)
        gradients = tape.gradient(losses, pre_activations)
        of_activations = []
        for activation, z in zip(self._activations, pre_activations, strict=False):
            slope = derivative(activation, z)
            of_activations.append((_mean_square(slope), *unit_states(activation, z, slope)))
        return [tf.sqrt(_mean_square(gradient)) for gradient in gradients], of_activations


def _mean_square(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.square(tf.cast(values, tf.float32)))


def probe_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a layer: PROBE_COLUMNS."""
    return pd.DataFrame(rows, columns=list(PROBE_COLUMNS)).astype(dict.fromkeys(COUNTS, "Int64"))


def records(probe: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows that `probe_table` made a table of, as plain values."""
    return [{name: value for name, value in row.items() if not pd.isna(value)} for row in probe.to_dict("records")]


def gains(model: keras.Model, activation_layer: str, following_layer: str) -> dict[str, float]:
    """Factors for the mean square of an independent dL/dz on its way back to the output of an activation layer.

    Returns:
        weight_gain: ||J||^2 / inputs of the next layer's linear map J (Frobenius norm); NaN where batch normalisation, which
            scales dL/dz too, stands in between.
        pooling_gain: what the pooling before the next layer leaves of it; 1 where there is none.
    """
    following = model.get_layer(following_layer)
    inputs = following.input.shape[1:]
    weights = np.square(following.kernel.numpy().astype(np.float64))
    if len(inputs) == 3:  # a weight of a convolution with `same` padding acts on those positions whose neighbour it reaches
        reached = [[max(0, n - abs(i - (size - 1) // 2)) for i in range(size)] for n, size in zip(inputs[:2], weights.shape[:2], strict=True)]
        squared_norm = np.einsum("i,j,ijco->", *reached, weights)
    else:
        squared_norm = weights.sum()
    normalised = any(isinstance(other, keras.layers.BatchNormalization) for other in model.layers)
    activation = model.get_layer(activation_layer)
    pooling = np.prod(inputs) / np.prod(activation.output.shape[1:])
    for other in (other for other in model.layers if isinstance(other, keras.layers.AveragePooling2D)):
        if other.input is activation.output:
            pooling /= np.prod(other.pool_size)  # each of the pooled gets an equal part of the gradient, not one of them all
    return {"weight_gain": float("nan") if normalised else float(squared_norm / np.prod(inputs)), "pooling_gain": float(pooling)}


def unit_states(layer: keras.layers.Layer, pre_activations: tf.Tensor, derivative_there: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which units of an activation layer are dead, bool (units,), and the share of saturated activations, on given
    pre-activations (examples, …, channels) and the layer's derivative there.
    """
    steepness = slopes(layer, derivative_there)
    everywhere = list(range(steepness.shape.rank - 1))
    grid = tf.constant(_grid(layer, pre_activations.shape), pre_activations.dtype)
    steepest = tf.reduce_max(slopes(layer, derivative(layer, grid)), everywhere)
    saturated = tf.cast(steepness < SATURATION * steepest, tf.float32)
    return tf.reduce_max(steepness, everywhere) == 0, tf.reduce_mean(saturated)


def _grid(layer: keras.layers.Layer, shape: tf.TensorShape) -> np.ndarray:
    """GRID on the first piece of each unit, the other pieces at 0; at one position, unless the layer has weights for each."""
    one_for_all = all(np.prod(weight.shape[:-1]) == 1 for weight in layer.weights)
    positions = [1] * (len(shape) - 2) if one_for_all else shape[1:-1]
    grid = np.zeros((len(GRID), *positions, shape[-1]), np.float32)
    grid[..., :: pieces(layer)] = GRID.reshape(-1, *[1] * (len(shape) - 1))
    return grid
