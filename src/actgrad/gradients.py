"""The instruments: the tap reads the gradient of every step, the probe a fixed batch of images."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from actgrad import activations, lenet5
from actgrad.results import ACTIVATED_LAYERS, LAYERS, SATURATION

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

    Per layer: `delta_rms`, the root mean square over examples and units of dL/dz, where L is the cross-entropy of a
    single example and z the layer's pre-activations; `dead`, the number of units (channels, in convolutional layers)
    whose activation derivative is 0 for every example and position; `saturated`, the share of activations whose
    derivative is below SATURATION of the largest that the function has. The output layer has no activation under test.
    Of a maxout unit's pieces all but the largest get no gradient: its delta_rms, over all pieces, is smaller for that.
    """

    def __init__(self, model: keras.Model, images: np.ndarray, labels: np.ndarray):
        self._outputs = keras.Model(model.input, [model.get_layer(name).output for name in LAYERS])
        self._activations = [model.get_layer(lenet5.activation_name(name)) for name in ACTIVATED_LAYERS]
        self._images = tf.constant(images, tf.float32)
        self._labels = tf.constant(labels)

    def measure(self) -> pd.DataFrame:
        """One row a layer: layer, units, delta_rms, dead, saturated."""
        with tf.GradientTape() as tape:
            tape.watch(self._images)
            pre_activations = self._outputs(self._images, training=False)
            losses = keras.losses.sparse_categorical_crossentropy(self._labels, pre_activations[-1], from_logits=True)
        deltas = tape.gradient(losses, pre_activations)
        rows = []
        for i, layer in enumerate(LAYERS):
            delta = tf.cast(deltas[i], tf.float32)
            row = {"layer": layer, "units": delta.shape[-1], "delta_rms": float(tf.sqrt(tf.reduce_mean(tf.square(delta))))}
            if layer in ACTIVATED_LAYERS:
                row |= unit_census(self._activations[i], pre_activations[i])
            rows.append(row)
        return pd.DataFrame(rows, columns=["layer", "units", "delta_rms", "dead", "saturated"]).astype({"dead": "Int64"})


def unit_census(layer: keras.layers.Layer, pre_activations: tf.Tensor) -> dict[str, float]:
    """units, dead and saturated, of an activation layer on given pre-activations (examples, …, channels).

    A unit of several pieces is as steep as its steepest piece.
    """
    slopes = _slopes(layer, pre_activations)
    everywhere = tuple(range(slopes.ndim - 1))
    steepest = _slopes(layer, tf.constant(_grid(layer, pre_activations.shape), pre_activations.dtype)).max(axis=everywhere)
    return {
        "units": slopes.shape[-1],
        "dead": int((slopes.max(axis=everywhere) == 0).sum()),
        "saturated": float((slopes < SATURATION * steepest).mean()),
    }


def _grid(layer: keras.layers.Layer, shape: tf.TensorShape) -> np.ndarray:
    """GRID on the first piece of each unit, the other pieces at 0; at one position, unless the layer has weights for each."""
    one_for_all = all(np.prod(weight.shape[:-1]) == 1 for weight in layer.weights)
    positions = [1] * (len(shape) - 2) if one_for_all else shape[1:-1]
    grid = np.zeros((len(GRID), *positions, shape[-1]), np.float32)
    grid[..., :: activations.pieces(layer)] = GRID.reshape(-1, *[1] * (len(shape) - 1))
    return grid


def _slopes(layer: keras.layers.Layer, pre_activations: tf.Tensor) -> np.ndarray:
    """|phi'(z)| of each unit: (examples, …, units)."""
    slopes = np.abs(tf.cast(activations.derivative(layer, pre_activations), tf.float32).numpy())
    pieces = activations.pieces(layer)
    return slopes.reshape(*slopes.shape[:-1], slopes.shape[-1] // pieces, pieces).max(axis=-1)
