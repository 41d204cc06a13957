"""Code shared by TensorFlow and PyTorch, whose optimizers change variables in place."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from actgrad.monitor.backends import Record
from actgrad.monitor.hooks import around


def hook(optimizer: keras.optimizers.Optimizer, record: Record) -> Callable[[], None]:
    def apply(original: Callable[..., Any], grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        if not optimizer.built and trainable_variables is not None:  # Keras would build it a moment later, but record may need it
            with keras.name_scope(optimizer.name, caller=optimizer):
                optimizer.build(list(trainable_variables))
            optimizer.built = True
        finish = record(list(grads), list(optimizer._trainable_variables if trainable_variables is None else trainable_variables))
        original(grads, trainable_variables)
        finish()

    return around(optimizer, "apply", apply)
