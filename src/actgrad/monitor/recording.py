"""What each training step does to each weight: norms of its gradient, of its update, and of itself."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np

from actgrad.monitor.backends import backend

At = Literal["gradient", "update"]


class Recording:
    """Records the steps of one optimizer from `start` to `stop`, without changing what it computes.

    Args:
        optimizer: whose `apply` (on JAX `stateless_apply`) is called once a step with the gradients of all trained weights.
        at: `gradient` is what back-propagation gave, without the scale of a scaled loss; `update` is what is handed to the rule of the
            optimizer, after accumulation and clipping.
        capacity: steps that are kept between two calls of `read`.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, at: At, capacity: int):
        self._optimizer, self._at, self._capacity = optimizer, at, capacity
        self._store: Any = None
        self._undo: Callable[[], None] | None = None
        self.variables: list[keras.Variable] = []
        """Trained weights, in the order of the rows."""

    def start(self) -> None:
        self._undo = backend().hook(self._optimizer, self._record)

    def stop(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    def read(self) -> np.ndarray:
        """Norms of gradient, update and weight of the steps since the last call: (steps, variables, 3), float64."""
        return np.zeros((0, 0, 3)) if self._store is None else self._store.read().astype(np.float64)

    def _record(self, grads: list[Any], variables: list[keras.Variable]) -> Callable[[], None]:
        """Measure what there is before an update; returns what measures the rest after it."""
        tools = backend()
        if self._store is None:
            self.variables = variables
            self._store = tools.Store(len(variables), self._capacity)
        before = [keras.ops.cast(value, "float32") for value in tools.values(variables)]
        seen = self._seen(grads, variables)

        def finish() -> None:
            changes = [keras.ops.cast(new, "float32") - old for new, old in zip(tools.values(variables), before, strict=True)]
            norms = tools.norms([*seen, *changes, *before])
            self._store.write(keras.ops.transpose(keras.ops.reshape(norms, (3, len(variables)))))

        return finish

    def _seen(self, grads: Sequence[Any], variables: Sequence[keras.Variable]) -> list[Any]:
        """The gradients that are measured."""
        scale, optimizer = _loss_scale(self._optimizer), getattr(self._optimizer, "inner_optimizer", self._optimizer)
        seen = [backend().dense(gradient, variable) for gradient, variable in zip(grads, variables, strict=True)]
        if scale is not None:
            seen = [gradient / keras.ops.cast(scale, gradient.dtype) for gradient in seen]
        if self._at == "gradient":
            return seen
        seen = [keras.ops.broadcast_to(gradient, variable.shape) for gradient, variable in zip(seen, variables, strict=True)]
        steps = optimizer.gradient_accumulation_steps
        if not steps:
            return list(optimizer._clip_gradients(seen))
        if not optimizer.built:
            raise ValueError(
                "at='update' with gradient_accumulation_steps needs an optimizer that is built; call optimizer.build(model.trainable_variables)"
            )
        kept = [optimizer._accumulated_gradients[optimizer._get_variable_index(variable)] for variable in variables]
        mean = [(gradient + keras.ops.cast(one, gradient.dtype)) / steps for gradient, one in zip(seen, kept, strict=True)]
        updates = keras.ops.equal((optimizer._iterations + 1) % steps, 0)
        return [keras.ops.where(updates, gradient, float("nan")) for gradient in optimizer._clip_gradients(mean)]


def _loss_scale(optimizer: keras.optimizers.Optimizer) -> Any:
    """By what the loss was multiplied; None where it was not."""
    if hasattr(optimizer, "inner_optimizer"):
        return optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale
    return optimizer.loss_scale_factor
