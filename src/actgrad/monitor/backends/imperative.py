"""What TensorFlow and PyTorch share: their optimizers change variables in place."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from actgrad.monitor.layers import replaced


def hook(optimizer: keras.optimizers.Optimizer, record: Callable[..., Callable[[], None]]) -> Callable[[], None]:
    """Have `record(grads, variables)` called before each `optimizer.apply`, and what it returns afterwards; returns what undoes this."""
    original = optimizer.apply

    def apply(grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        if not optimizer.built and trainable_variables is not None:  # as it would be a moment later; what is recorded may be in it
            with keras.name_scope(optimizer.name, caller=optimizer):
                optimizer.build(list(trainable_variables))
            optimizer.built = True
        finish = record(list(grads), list(optimizer._trainable_variables if trainable_variables is None else trainable_variables))
        original(grads, trainable_variables)
        finish()

    return replaced(optimizer, "apply", apply)
