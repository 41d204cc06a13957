"""State of a user's network that Keras does not know of."""

from collections.abc import Sequence

import keras
import tensorflow as tf

PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
"""Operations that call Python, whose state is outside the graph."""


def unknown_state(model: keras.Model, image_shape: Sequence[int]) -> list[tf.Variable] | None:
    """The variables that training and evaluation use in addition to the model's, such as a counter. None if there is state that cannot be
    saved, as in tf.random and Python functions.
    """

    def step(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
        gradients = tape.gradient(outputs, [v.value for v in model.trainable_variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [*gradients, model(x, training=False)]

    traced = tf.function(step, autograph=False).get_concrete_function(tf.TensorSpec((None, *image_shape), tf.float32))
    definition = traced.graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    by_handle = {id(variable.handle): variable for variable in traced.graph.variables}
    used = [by_handle.get(id(tensor)) for tensor in traced.captured_inputs if tensor.dtype == tf.resource]  # in order of use
    if any(variable is None for variable in used) or any(node.op in PYTHON or _has_own_state(node) for node in nodes):
        return None
    known = {id(variable.value) for variable in model.variables}
    return list({id(variable): variable for variable in used if id(variable) not in known}.values())


def _has_own_state(node: tf.compat.v1.NodeDef) -> bool:
    """Whether an operation draws random numbers from its own state. Such operations have two seeds."""
    return "seed2" in node.attr
