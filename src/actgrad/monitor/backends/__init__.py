"""What differs between Keras' backends: how a step is recorded, and how a gradient is taken.

Each module has the same names:

- `Store(variables, capacity)`: keeps, on the device, a row an update: for each variable the norms of gradient, update and weight. Its
  `apart(gradient, iterations)` is the same gradient as a tensor of its own: what is computed from it is not merged with what the optimizer
  computes from the gradient, which would then be rounded otherwise.
- `hook(optimizer, record)`: has `record(grads, variables)` called before each update, and what it returns afterwards; returns what undoes
  this.
- `values`, `dense`, `norms`: of weights and gradients, as float32.
- `gradients(run)`: differentiates a forward pass at its sites: the loss, the visits, and the gradient of the loss at each z.
- `derivative(function, z)`: phi'(z) of each element.
- `compiled(function)`: compiled, where the backend compiles. `traced(function)`: called once as when it is compiled, for its effects in Python.
- `place()`: what is traced right now: another one inside a loop or a rematerialised layer.
- `random_state()`, `set_random_state(state)`: of the backend's own generator.
- `FUNCTION_MODULES`: where the backend has its activation functions.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras

NOT_GIVEN = -1.0
"""Stands for the norms of a weight that an update was not given, or that were lost; NaN is what a diverged one has."""
Record = Callable[[list[Any], list[keras.Variable]], Callable[[], None]]
"""(gradients, variables) -> what is called after the update."""
Inject = Callable[[int, Any], Any]
"""(number of a site, z) -> what its function is applied to."""


@dataclass
class Visit:
    """A call of an activation function.

    Attributes:
        name: of the layer that applies it.
        kind: what the function is called, in lower case: relu, tanh, …
        function: z -> phi(z), as in this call.
        layer: the function, where it is a layer itself.
        owner: the layer that applies it, the same one or that which has it as its `activation`.
        z, a: what went in and came out: z and phi(z).
    """

    name: str
    kind: str
    function: Any
    layer: keras.Layer | None
    owner: keras.Layer | None
    z: Any
    a: Any = None


Run = Callable[[Inject], tuple[Any, list[Visit]]]
"""A forward pass: inject -> loss and visits."""


def backend() -> ModuleType:
    """The module of the backend that Keras uses.

    Raises:
        ValueError: if it is not one of TensorFlow, JAX and PyTorch.
    """
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax", "torch"):
        raise ValueError(f"Keras' backend {name!r} computes no gradients; choose tensorflow, jax or torch by the variable KERAS_BACKEND")
    return importlib.import_module(f"{__name__}.{name}")
