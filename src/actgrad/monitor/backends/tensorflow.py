"""Recording and gradients on TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from actgrad.monitor.backends import imperative

hook = imperative.hook

SMALL, LARGE = 1e-30, 1e30
"""Outside these, a sum of squares in float32 has lost digits, or all of them."""


class Store:
    """Rows (variables, 3) of float32 that stay on the device until they are read."""

    def __init__(self, variables: int, capacity: int):
        with tf.init_scope():
            self._rows = tf.Variable(tf.zeros((capacity, variables, 3)), trainable=False, name="gradient_monitor_rows")
            self._count = tf.Variable(0, dtype=tf.int64, trainable=False, name="gradient_monitor_count")
        self._capacity, self._read = capacity, 0

    def write(self, row: tf.Tensor) -> None:
        self._rows[self._count % self._capacity].assign(row)
        self._count.assign_add(1)

    def read(self) -> np.ndarray:
        """Those written since the last call; at most `capacity` may have been written meanwhile."""
        count = int(self._count.numpy())
        at = np.arange(self._read, count) % self._capacity
        self._read = count
        return self._rows.numpy()[at]


def values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Copies of what variables hold now."""
    return [tf.convert_to_tensor(v.value.read_value() if hasattr(v.value, "read_value") else v.value) for v in variables]


def dense(gradient: Any, _like: keras.Variable) -> tf.Tensor:
    """A gradient as a tensor; zeros where there is none."""
    if gradient is None:
        return tf.zeros((), tf.float32)
    if isinstance(gradient, tf.IndexedSlices):  # of an embedding; its rows may come twice
        gradient = tf.convert_to_tensor(gradient)
    return tf.cast(gradient, tf.float32)


def norms(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """L2 norm of each of some float32 tensors, also where its square is no float32."""
    squares = 2 * tf.stack([tf.nn.l2_loss(tensor) for tensor in tensors])
    fine = tf.reduce_all((squares > SMALL) & (squares < LARGE))
    return tf.cond(fine, lambda: tf.sqrt(squares), lambda: tf.stack([_scaled_norm(tensor) for tensor in tensors]))


def _scaled_norm(tensor: tf.Tensor) -> tf.Tensor:
    largest = tf.reduce_max(tf.abs(tensor))
    scale = tf.where((largest > 0) & tf.math.is_finite(largest), largest, 1.0)
    return scale * tf.sqrt(2 * tf.nn.l2_loss(tensor / scale))


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, autograph=False)  # op by op, as Python calls them, it takes twice as long


def derivative(function: Callable[[Any], Any], z: tf.Tensor) -> tf.Tensor:
    """phi'(z) of each element."""
    with tf.GradientTape() as tape:
        tape.watch(z)
        values = function(z)
    return tape.gradient(values, z, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def gradients(run: Callable[..., tuple[Any, list[Any]]], signs: Sequence[Any] | None) -> tuple[Any, list[Any], list[Any], list[Any]]:
    """Differentiate a forward pass at its sites.

    Args:
        run: `run(inject, after)` -> loss and visits.
        signs: for each site a tensor of the shape of its z, from which gains are estimated; None to leave them out.

    Returns:
        The loss; the visits; the gradient of the loss at each z; and for each site but the last, the product of the next site's
        sign with the Jacobian of its z with respect to this site's phi(z).
    """
    with tf.GradientTape(persistent=signs is not None) as tape:

        def inject(_: int, z: tf.Tensor) -> tf.Tensor:
            tape.watch(z)
            return z

        loss, visits = run(inject, lambda _, a: a)
    zero = tf.UnconnectedGradients.ZERO
    of_loss = tape.gradient(loss, [visit.z for visit in visits], unconnected_gradients=zero)
    backward = []
    if signs is not None:
        for here, there, sign in zip(visits, visits[1:], signs[1:], strict=False):
            backward.append(tape.gradient(there.z, here.a, output_gradients=tf.cast(sign, there.z.dtype), unconnected_gradients=zero))
    return loss, visits, of_loss, backward
