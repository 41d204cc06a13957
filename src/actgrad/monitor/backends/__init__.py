"""How each Keras backend records a step and takes a gradient.

Each module has the same names:

- `Store(variables, capacity)`: keeps one row per update on the device: for each variable the norms of gradient, update and weight. Its
  `apart(gradient, iterations)` returns the same gradient as a separate tensor, so that the compiler cannot merge computations on it with
  the optimizer's, which would change the optimizer's rounding.
- `hook(optimizer, record)`: calls `record(grads, variables)` before each update, and the function that it returns after the update.
  Returns a function that undoes this.
- `values`, `dense`, `norms`: of weights and gradients, as float32.
- `gradients(run)`: differentiates a forward pass at its sites; returns the loss, the visits, and the loss's gradient at each z.
- `derivative(function, z)`: phi'(z) of each element.
- `compiled(function)`: compiled, if the backend compiles. `traced(function)`: traces it once, for its side effects in Python.
- `place()`: the current trace. It differs inside a loop or a rematerialised layer.
- `random_state()`, `set_random_state(state)`: of the backend's own generator.
- `FUNCTION_MODULES`: modules with the backend's activation functions.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras

NOT_GIVEN = -1.0
"""Marks norms that are missing: the update did not include the weight, or its row was lost. NaN is different: it comes from divergence."""
Record = Callable[[list[Any], list[keras.Variable]], Callable[[], None]]
"""(gradients, variables) -> function that is called after the update."""
Inject = Callable[[int, Any], Any]
"""(number of a site, z) -> the z that its function is applied to."""


@dataclass
class Visit:
    """A call of an activation function.

    Attributes:
        name: of the layer that applies it.
        kind: name of the function in lower case: relu, tanh, …
        function: z -> phi(z), as in this call.
        layer: the function, if it is a layer itself.
        owner: the layer that applies it: the same layer, or the one with the attribute `activation`.
        z, a: input z and output phi(z).
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
