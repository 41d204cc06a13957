"""Recording and gradients on TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from actgrad.monitor.backends import imperative

hook = imperative.hook

ZERO = tf.UnconnectedGradients.ZERO
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
    return tape.gradient(values, z, unconnected_gradients=ZERO)


def gradients(run: Callable[..., tuple[Any, list[Any]]]) -> tuple[Any, list[Any], list[Any]]:
    """Differentiate a forward pass at its sites.

    Args:
        run: `run(inject, after)` -> loss and visits.

    Returns:
        The loss; the visits; and the gradient of the loss at each z.
    """
    loss, visits = run(lambda _, z: tf.identity(z), lambda _, a: a)
    return loss, visits, tf.gradients(loss, [visit.z for visit in visits], unconnected_gradients=ZERO)


def gains(run: Callable[..., tuple[Any, list[Any]]], signs: Sequence[Any]) -> Any:
    """For each site but the last, the mean square of the next site's sign times the Jacobian of its z with respect to this phi(z)."""
    _, visits = run(lambda _, z: tf.identity(z), lambda _, a: tf.identity(a))
    found = []
    for here, there, sign in zip(visits, visits[1:], signs[1:], strict=False):
        # of the graph, which has no more of a backward pass than lies between the two
        (product,) = tf.gradients(there.z, here.a, tf.cast(sign, there.z.dtype), unconnected_gradients=ZERO)
        found.append(tf.reduce_mean(tf.square(tf.cast(product, tf.float32))))
    return found
