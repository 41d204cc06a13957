"""What TensorFlow and PyTorch share: their optimizers change variables in place."""

from collections.abc import Callable, Sequence
from typing import Any

import keras


def hook(optimizer: keras.optimizers.Optimizer, record: Callable[..., Callable[[], None]]) -> Callable[[], None]:
    """Have `record(grads, variables)` called before each `optimizer.apply`, and what it returns afterwards; returns what undoes this."""
    original = optimizer.apply

    def apply(grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        finish = record(list(grads), list(optimizer._trainable_variables if trainable_variables is None else trainable_variables))
        original(grads, trainable_variables)
        finish()

    object.__setattr__(optimizer, "apply", apply)
    return lambda: object.__delattr__(optimizer, "apply")
