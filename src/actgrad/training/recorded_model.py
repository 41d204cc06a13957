"""The model that the study trains: it records the gradient norm of its layers at every step."""

from collections.abc import Sequence

import keras
import tensorflow as tf


class RecordedModel(keras.Model):
    """A model that, in every training step, keeps the norm of the gradient that it hands to the optimizer.

    `grad_norms` holds one row per step of the epoch and one column per layer of `monitored`: the L2 norm of the gradient of
    that layer's kernel and bias together. It stays on the device until it is read. In float32, gradients below about
    1e-19 square to 0.
    """

    def __init__(self, *args, monitored: Sequence[str], steps_per_epoch: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.grad_norms = tf.Variable(tf.zeros((steps_per_epoch, len(monitored))), trainable=False, name="grad_norms")
        self._monitored = tuple(monitored)
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
        layers = [self.get_layer(name) for name in self._monitored]
        return tf.stack([tf.linalg.global_norm([of_variable[id(layer.kernel)], of_variable[id(layer.bias)]]) for layer in layers])
