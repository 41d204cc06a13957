"""The derivative of an activation layer, unit by unit."""

import keras
import tensorflow as tf


def pieces(layer: keras.layers.Layer) -> int:
    """Number of pre-activations that a unit of this activation layer takes: 1, but for maxout and its like."""
    return getattr(layer, "pieces", 1)


def derivative(layer: keras.layers.Layer, pre_activations: tf.Tensor) -> tf.Tensor:
    """phi'(z) of each pre-activation, by automatic differentiation; same shape as z.

    The layer must act on each unit separately, as activation functions do. For maxout the derivative with respect to a
    piece is 1 where that piece is the largest and 0 elsewhere.
    """
    with tf.GradientTape() as tape:
        tape.watch(pre_activations)
        outputs = layer(pre_activations)
    return tape.gradient(outputs, pre_activations, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def slopes(layer: keras.layers.Layer, derivative: tf.Tensor) -> tf.Tensor:
    """|phi'(z)| of each unit: (examples, …, units). A unit of several pieces is as steep as its steepest piece."""
    steepness = tf.abs(tf.cast(derivative, tf.float32))
    width = pieces(layer)
    if width == 1:
        return steepness
    return tf.reduce_max(tf.reshape(steepness, (*steepness.shape[:-1], steepness.shape[-1] // width, width)), axis=-1)
