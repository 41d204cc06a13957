"""Record for each update and weight: norms of the gradient, of the change, and of the weight."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np

from actgrad.monitor.backends import NOT_GIVEN, backend

At = Literal["gradient", "update"]


class Recording:
    """Records the updates of one optimizer from `start` to `stop`, without changing what it computes.

    Args:
        optimizer: its `apply` (on JAX `stateless_apply`) must be called with the gradients.
        at: `gradient` records the gradient of back-propagation, without loss scaling; `update` records the gradient that the optimizer's
            rule uses, after accumulation and clipping.
        capacity: maximum number of updates between two calls of `read`.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, at: At, capacity: int):
        self._optimizer, self._at, self._capacity = optimizer, at, capacity
        self._rule = getattr(optimizer, "inner_optimizer", optimizer)
        self._store: Any = None
        self._undo: Callable[[], None] | None = None
        self.variables: list[keras.Variable] = []
        """Trained weights, in the order of the rows."""

    @property
    def may_skip(self) -> bool:
        """Whether some calls may change nothing: they accumulate, or their scaled gradient is not finite."""
        return self._rule is not self._optimizer or bool(self._rule.gradient_accumulation_steps)

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return self._undo is not None

    def start(self) -> None:
        if self._store is None and self._optimizer.built:  # TensorFlow traces a step twice that makes variables in its trace
            self._keep_rows_of(self._optimizer._trainable_variables)
        self._undo = backend().hook(self._optimizer, self._record)

    def stop(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    def read(self) -> np.ndarray:
        """Norms of gradient, update and weight since the last call: (updates, variables, 3), float64; NOT_GIVEN for a weight
        that an update did not include.
        """
        return np.zeros((0, 0, 3)) if self._store is None else self._store.read().astype(np.float64)

    def _record(self, grads: list[Any], variables: list[keras.Variable]) -> Callable[[], None]:
        """Measure before an update. Returns a function that measures the rest after the update."""
        tools, ops = backend(), keras.ops
        if self._store is None:
            self._keep_rows_of(getattr(self._optimizer, "_trainable_variables", None) or variables)
        before = [_at_least_float32(value) for value in tools.values(variables)]
        seen = self._seen(grads, variables)
        place = {id(variable): i for i, variable in enumerate(variables)}

        def finish() -> None:
            changes = [_at_least_float32(new) - old for new, old in zip(tools.values(variables), before, strict=True)]
            measured = [ops.cast(tensor, "float32") for tensor in (*seen, *changes, *before)]
            rows = ops.transpose(ops.reshape(tools.norms(measured), (3, len(variables))))
            if [id(variable) for variable in self.variables] != list(place):
                missing = ops.full((3,), NOT_GIVEN, dtype=rows.dtype)
                rows = ops.stack([rows[place[id(variable)]] if id(variable) in place else missing for variable in self.variables])
            self._store.write(rows)

        return finish

    def _keep_rows_of(self, variables: Sequence[keras.Variable]) -> None:
        self.variables = list(variables)
        self._store = backend().Store(len(self.variables), self._capacity)

    def _seen(self, grads: Sequence[Any], variables: Sequence[keras.Variable]) -> list[Any]:
        """The gradients to measure."""
        scale, rule = _loss_scale(self._optimizer), self._rule
        seen = [backend().dense(gradient, variable) for gradient, variable in zip(grads, variables, strict=True)]
        if scale is not None:
            seen = [gradient / keras.ops.cast(scale, gradient.dtype) for gradient in seen]
        if self._at == "gradient":
            return seen
        seen = [
            keras.ops.broadcast_to(self._store.apart(gradient, rule._iterations.value), variable.shape)
            for gradient, variable in zip(seen, variables, strict=True)
        ]
        steps = rule.gradient_accumulation_steps
        if not steps:
            return list(rule._clip_gradients(seen))
        if not rule.built:
            raise ValueError(
                "at='update' with gradient_accumulation_steps needs an optimizer that is built; call optimizer.build(model.trainable_variables)"
            )
        kept = [rule._accumulated_gradients[rule._get_variable_index(variable)] for variable in variables]
        mean = [(gradient + keras.ops.cast(one, gradient.dtype)) / steps for gradient, one in zip(seen, kept, strict=True)]
        updates = keras.ops.equal((rule._iterations + 1) % steps, 0)
        return [keras.ops.where(updates, gradient, float("nan")) for gradient in rule._clip_gradients(mean)]


def _at_least_float32(value: Any) -> Any:
    return value if keras.backend.standardize_dtype(value.dtype) == "float64" else keras.ops.cast(value, "float32")


def _loss_scale(optimizer: keras.optimizers.Optimizer) -> Any:
    """The factor by which the loss was scaled; None if it was not."""
    if hasattr(optimizer, "inner_optimizer"):
        return optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale
    return optimizer.loss_scale_factor
