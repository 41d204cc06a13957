"""The instruments: the tap reads the gradient of every step, the probe a fixed batch of images."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from actgrad.networks import activations, lenet5
from actgrad.results.run import ACTIVATED_LAYERS, LAYERS, SATURATION

GRID = np.linspace(-10, 10, 401, dtype=np.float32)
"""Where the largest derivative of an activation function is looked for."""


class TappedModel(keras.Model):
    """A model that, in every training step, keeps the norm of the gradient that it hands to the optimizer.

    `grad_norms` holds one row per step of the epoch and one column per layer of LAYERS: the L2 norm of the gradient of
    that layer's kernel and bias together. It stays on the device until it is read. In float32, gradients below about
    1e-19 square to 0.
    """

    def __init__(self, *args, steps_per_epoch: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.grad_norms = tf.Variable(tf.zeros((steps_per_epoch, len(LAYERS))), trainable=False, name="grad_norms")
        self._steps_per_epoch = steps_per_epoch

    def train_step(self, data):
        images, labels = data
        with tf.GradientTape() as tape:
            logits = self(images, training=True)
            loss = self.compute_loss(images, labels, logits)
        gradients = tape.gradient(loss, self.trainable_variables)
        row = tf.cast(self.optimizer.iterations, tf.int64) % self._steps_per_epoch
        self.grad_norms[row].assign(self._norms(gradients))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=tf.shape(images)[0])
            else:
                metric.update_state(labels, logits)
        return {metric.name: metric.result() for metric in self.metrics}

    def _norms(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        of_variable = {id(variable): gradient for variable, gradient in zip(self.trainable_variables, gradients, strict=True)}
        layers = [self.get_layer(name) for name in LAYERS]
        return tf.stack([tf.linalg.global_norm([of_variable[id(layer.kernel)], of_variable[id(layer.bias)]]) for layer in layers])


class Probe:
    """Measures a network on one fixed batch, without changing it.

    The network is called as in training, so that batch normalisation uses the batch's own statistics; a pre-activation then
    has a part in the loss of every image of the batch, and a unit is hardly ever dead. Per layer:

    - `delta_rms`: root mean square over examples and units of dL/dz, where L is the cross-entropy of a single example and z
      the layer's pre-activations.
    - `slope_ms`: mean of phi'(z)^2.
    - `weight_gain`, `pooling_gain`: what the weights of the next layer, and the pooling before it, multiply the signal's mean
      square by on its way back.
    - `dead`: units (channels, in convolutional layers) whose activation derivative is 0 for every example and position;
      `died` of them were not dead at the first measurement, and `revived` were dead then and are not now.
    - `saturated`: share of activations whose derivative is below SATURATION of the largest that the function has.

    The output layer has no activation under test. Were derivatives, weights and the signal independent of each other,
    delta_rms would change from a layer's successor to itself by sqrt(slope_ms * weight_gain * pooling_gain): Glorot and Bengio
    (2010), equation 6, here with measured factors. Of a maxout unit's pieces all but the largest get no gradient: its delta_rms,
    over all pieces, is smaller for that.
    """

    def __init__(self, model: keras.Model, images: np.ndarray, labels: np.ndarray):
        self._activations = [model.get_layer(lenet5.activation_name(name)) for name in ACTIVATED_LAYERS]
        self._outputs = keras.Model(model.input, [*(layer.input for layer in self._activations), model.get_layer(LAYERS[-1]).output])
        self._images = tf.constant(images, tf.float32)
        self._labels = tf.constant(labels)
        self._compute = tf.function(self._tensors)  # op by op, as Python calls them, it takes twice as long
        self._dead_at_first: dict[str, np.ndarray] = {}

    def measure(self) -> pd.DataFrame:
        """One row a layer, as probe_table says."""
        kept = [variable.numpy() for variable in self._outputs.non_trainable_variables]
        delta_rms, of_activations = self._compute()
        for variable, value in zip(self._outputs.non_trainable_variables, kept, strict=True):
            variable.assign(value)
        rows = [
            {"layer": layer, "units": z.shape[-1], "delta_rms": float(rms)}
            for layer, z, rms in zip(LAYERS, self._outputs.output, delta_rms, strict=True)
        ]
        for row, (slope_ms, dead, saturated) in zip(rows, of_activations, strict=False):
            dead = dead.numpy()
            at_first = self._dead_at_first.setdefault(row["layer"], dead)
            row |= {
                "units": len(dead),
                "slope_ms": float(slope_ms),
                **gains(self._outputs, row["layer"]),
                "dead": int(dead.sum()),
                "died": int((dead & ~at_first).sum()),
                "revived": int((at_first & ~dead).sum()),
                "saturated": float(saturated),
            }
        return probe_table(rows)

    def _tensors(self) -> tuple[list[tf.Tensor], list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
        """delta_rms of each of LAYERS; slope_ms, dead units and share of saturated activations of each of ACTIVATED_LAYERS."""
        with tf.GradientTape() as tape:
            tape.watch(self._images)
            pre_activations = self._outputs(self._images, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(self._labels, pre_activations[-1], from_logits=True)
        deltas = tape.gradient(losses, pre_activations)
        of_activations = []
        for activation, z in zip(self._activations, pre_activations, strict=False):
            derivative = activations.derivative(activation, z)
            of_activations.append((_mean_square(derivative), *unit_census(activation, z, derivative)))
        return [tf.sqrt(_mean_square(delta)) for delta in deltas], of_activations


def _mean_square(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.square(tf.cast(values, tf.float32)))


def probe_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a layer: layer, units, delta_rms, slope_ms, weight_gain, pooling_gain, dead, died, revived, saturated."""
    columns = ["layer", "units", "delta_rms", "slope_ms", "weight_gain", "pooling_gain", "dead", "died", "revived", "saturated"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("dead", "died", "revived"), "Int64"))


def records(probe: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows that `probe_table` made a table of, as plain values."""
    return [{name: value for name, value in row.items() if not pd.isna(value)} for row in probe.to_dict("records")]


def gains(model: keras.Model, layer: str) -> dict[str, float]:
    """What the mean square of an independent signal is multiplied by on its way back to the outputs of a layer's activation.

    Returns:
        weight_gain: ||J||^2 / inputs of the next layer's linear map J (Frobenius norm); NaN where batch normalisation, which
            scales the signal too, stands in between.
        pooling_gain: what the pooling before the next layer leaves of it; 1 where there is none.
    """
    following = model.get_layer(LAYERS[LAYERS.index(layer) + 1])
    inputs = following.input.shape[1:]
    weights = np.square(following.kernel.numpy().astype(np.float64))
    if len(inputs) == 3:  # a tap of a convolution with `same` padding acts on those positions whose neighbour it reaches
        reached = [[max(0, n - abs(i - (size - 1) // 2)) for i in range(size)] for n, size in zip(inputs[:2], weights.shape[:2], strict=True)]
        squared_norm = np.einsum("i,j,ijco->", *reached, weights)
    else:
        squared_norm = weights.sum()
    normalised = any(isinstance(other, keras.layers.BatchNormalization) for other in model.layers)
    activation = model.get_layer(lenet5.activation_name(layer))
    pooling = np.prod(inputs) / np.prod(activation.output.shape[1:])
    for other in (other for other in model.layers if isinstance(other, keras.layers.AveragePooling2D)):
        if other.input is activation.output:
            pooling /= np.prod(other.pool_size)  # each of the pooled gets an equal part of the gradient, not one of them all
    return {"weight_gain": float("nan") if normalised else float(squared_norm / np.prod(inputs)), "pooling_gain": float(pooling)}


def unit_census(layer: keras.layers.Layer, pre_activations: tf.Tensor, derivative: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which units of an activation layer are dead, bool (units,), and the share of saturated activations, on given
    pre-activations (examples, …, channels) and the layer's derivative there.

    A unit of several pieces is as steep as its steepest piece.
    """
    slopes = _slopes(layer, derivative)
    everywhere = list(range(slopes.shape.rank - 1))
    grid = tf.constant(_grid(layer, pre_activations.shape), pre_activations.dtype)
    steepest = tf.reduce_max(_slopes(layer, activations.derivative(layer, grid)), everywhere)
    saturated = tf.cast(slopes < SATURATION * steepest, tf.float32)
    return tf.reduce_max(slopes, everywhere) == 0, tf.reduce_mean(saturated)


def _grid(layer: keras.layers.Layer, shape: tf.TensorShape) -> np.ndarray:
    """GRID on the first piece of each unit, the other pieces at 0; at one position, unless the layer has weights for each."""
    one_for_all = all(np.prod(weight.shape[:-1]) == 1 for weight in layer.weights)
    positions = [1] * (len(shape) - 2) if one_for_all else shape[1:-1]
    grid = np.zeros((len(GRID), *positions, shape[-1]), np.float32)
    grid[..., :: activations.pieces(layer)] = GRID.reshape(-1, *[1] * (len(shape) - 1))
    return grid


def _slopes(layer: keras.layers.Layer, derivative: tf.Tensor) -> tf.Tensor:
    """|phi'(z)| of each unit: (examples, …, units)."""
    slopes = tf.abs(tf.cast(derivative, tf.float32))
    pieces = activations.pieces(layer)
    if pieces == 1:
        return slopes
    return tf.reduce_max(tf.reshape(slopes, (*slopes.shape[:-1], slopes.shape[-1] // pieces, pieces)), axis=-1)
