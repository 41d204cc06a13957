"""Recording and gradients on JAX."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from actgrad.monitor.backends import Record, Run, Visit
from actgrad.monitor.hooks import around

try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # an older JAX
    from jax.core import get_opaque_trace_state

FUNCTION_MODULES = (jax.nn, jnp)


class Store:
    """Rows (variables, 3) that compiled code hands to the host, in the order of the steps."""

    def __init__(self, variables: int, _capacity: int):
        self._rows: list[np.ndarray] = []
        self._variables = variables

    def write(self, row: jax.Array) -> None:
        jax.debug.callback(self._append, row, ordered=True)

    def apart(self, gradient: jax.Array, iterations: jax.Array) -> jax.Array:
        return gradient * (1 + 0 * iterations.astype(gradient.dtype))  # a 1 that XLA cannot see through; it removes a mere barrier

    def _append(self, row: np.ndarray) -> None:
        self._rows.append(np.asarray(row))

    def read(self) -> np.ndarray:
        jax.effects_barrier()
        rows, self._rows = self._rows, []
        return np.stack(rows) if rows else np.zeros((0, self._variables, 3))


def hook(optimizer: keras.optimizers.Optimizer, record: Record) -> Callable[[], None]:
    """As in the other modules; on JAX the optimizer is a function from old values to new ones."""

    def stateless_apply(
        original: Callable[..., Any], optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list, list]:
        variables = optimizer._trainable_variables
        now = [*zip(variables, trainable_variables, strict=True), *zip(optimizer.variables, optimizer_variables, strict=True)]
        with keras.StatelessScope(state_mapping=now):
            finish = record(list(grads), list(variables))
        after, state = original(optimizer_variables, grads, trainable_variables)
        with keras.StatelessScope(state_mapping=list(zip(variables, after, strict=True))):
            finish()
        return after, state

    return around(optimizer, "stateless_apply", stateless_apply)


def values(variables: Sequence[keras.Variable]) -> list[jax.Array]:
    return [variable.value for variable in variables]


def dense(gradient: Any, _like: keras.Variable) -> jax.Array:
    return jnp.zeros(()) if gradient is None else gradient.astype(jnp.float32)


def norms(tensors: Sequence[jax.Array]) -> jax.Array:
    """L2 norm of each, scaled before it is squared."""

    def norm(tensor: jax.Array) -> jax.Array:
        largest = jnp.max(jnp.abs(tensor), initial=0.0)
        scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
        return scale * jnp.sqrt(jnp.sum(jnp.square(tensor / scale)))

    return jnp.stack([norm(tensor.astype(jnp.float32)) for tensor in tensors])


def traced(function: Callable[[], Any]) -> None:
    jax.eval_shape(function)


def place() -> Any:
    return get_opaque_trace_state()


def random_state() -> None:
    return None


def set_random_state(_state: None) -> None:
    pass


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function)


def derivative(function: Callable[[Any], Any], z: jax.Array) -> jax.Array:
    values, back = jax.vjp(function, z)
    return back(jnp.ones_like(values))[0]


def gradients(run: Run) -> tuple[Any, list[Visit], list[Any]]:
    kept: list[Visit] = []

    def forward(added: list[Any]) -> tuple[Any, list[tuple[Any, Any]]]:
        loss, visits = run(lambda i, z: z + added[i])
        kept[:] = visits
        return loss, [(visit.z, visit.a) for visit in visits]

    (loss, values), of_loss = jax.value_and_grad(forward, has_aux=True)(_zeros(run))
    visits = [dataclasses.replace(visit, z=z, a=a) for visit, (z, a) in zip(kept, values, strict=True)]
    return loss, visits, of_loss


def _zeros(run: Run) -> list[jax.Array]:
    """Zeros like each z."""
    visits: list[Visit] = []

    def forward() -> int:
        visits.extend(run(lambda _, z: z)[1])
        return 0

    jax.eval_shape(forward)
    return [jnp.zeros(visit.z.shape, visit.z.dtype) for visit in visits]
