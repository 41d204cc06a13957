"""Recording and gradients on TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from actgrad.monitor.backends import NOT_GIVEN, Run, Visit, imperative
from actgrad.monitor.hooks import say

hook = imperative.hook
FUNCTION_MODULES = (tf, tf.nn, tf.math)

ZERO = tf.UnconnectedGradients.ZERO
SMALL, LARGE = 1e-30, 1e30
"""Outside these, a sum of squares in float32 has lost some or all of its digits."""


class Store:
    """Rows (variables, 3) of float32 that stay on the device until they are read."""

    def __init__(self, variables: int, capacity: int):
        with tf.init_scope():
            self._rows = tf.Variable(tf.zeros((capacity, variables, 3)), trainable=False, name="gradient_monitor_rows")
            self._one = tf.Variable(1.0, trainable=False, name="gradient_monitor_one")
            self._count = tf.Variable(0, dtype=tf.int64, trainable=False, name="gradient_monitor_count")
        self._capacity, self._read = capacity, 0

    def write(self, row: tf.Tensor) -> None:
        self._rows[self._count % self._capacity].assign(row)
        self._count.assign_add(1)

    def apart(self, gradient: tf.Tensor, _iterations: tf.Tensor) -> tf.Tensor:
        return gradient * self._one

    def read(self) -> np.ndarray:
        """Rows since the last call. If there are more than `capacity`, the first ones are lost: NOT_GIVEN."""
        with tf.init_scope():
            count, ring = int(self._count.numpy()), self._rows.numpy()
        lost = max(0, count - self._read - self._capacity)
        if lost:
            say(f"{lost} updates of one step did not fit into the record and are missing")
        rows = ring[np.arange(self._read + lost, count) % self._capacity]
        self._read = count
        return np.concatenate([np.full((lost, *ring.shape[1:]), NOT_GIVEN, np.float32), rows])


def values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Copies of the variables' current values."""
    return [tf.convert_to_tensor(v.value.read_value() if hasattr(v.value, "read_value") else v.value) for v in variables]


def dense(gradient: Any, _like: keras.Variable) -> tf.Tensor:
    """A gradient as a tensor; zeros where there is none."""
    if gradient is None:
        return tf.zeros((), tf.float32)
    if isinstance(gradient, tf.IndexedSlices):  # of an embedding; a row may occur twice
        gradient = tf.convert_to_tensor(gradient)
    return tf.cast(gradient, tf.float32)


def norms(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """L2 norm of each of some float32 tensors, also where its square is no float32."""
    halves = tf.stack([tf.nn.l2_loss(tensor) for tensor in tensors])
    fine = tf.reduce_all((halves > SMALL) & (halves < LARGE))
    return tf.cond(fine, lambda: tf.sqrt(2 * halves), lambda: _norms_in_float64(tensors))


def _norms_in_float64(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.cast(tf.sqrt(2 * tf.stack([tf.nn.l2_loss(tf.cast(tensor, tf.float64)) for tensor in tensors])), tf.float32)


def traced(function: Callable[[], Any]) -> None:
    tf.function(function, autograph=False).get_concrete_function()


def place() -> Any:
    return tf.compat.v1.get_default_graph()


def random_state() -> Any:
    rng = getattr(context.context(), "_rng", None)  # it seeds each random operation outside a graph
    return rng and rng.getstate()


def set_random_state(state: Any) -> None:
    if state is not None:
        context.context()._rng.setstate(state)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Traced at the first call, for arguments of these shapes. Calling each op from Python takes twice as long."""
    graph: list[Callable[..., Any]] = []

    def call(*args: Any) -> Any:
        if not graph:  # tf.function's own call would warn of retracing if there are several probes
            graph.append(tf.function(function, autograph=False).get_concrete_function(*args))
        return graph[0](*args)

    return call


def derivative(function: Callable[[Any], Any], z: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(z)
        values = function(z)
    return tape.gradient(values, z, unconnected_gradients=ZERO)


def gradients(run: Run) -> tuple[Any, list[Visit], list[Any]]:
    loss, visits = run(lambda _, z: tf.identity(z))
    return loss, visits, tf.gradients(loss, [visit.z for visit in visits], unconnected_gradients=ZERO)
