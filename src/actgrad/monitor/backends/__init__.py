"""What differs between Keras' backends: how a step is recorded, and how a gradient is taken.

Each module has the same names:

- `Store(variables, capacity)`: keeps, on the device, a row a training step: for each variable the norms of gradient, update and weight.
- `hook(optimizer, record)`: has the optimizer call `record` in each step; returns a function that undoes it.
- `values`, `dense`, `norms`: of weights and gradients, as float32.
- `gradients(run)`, `gains(run, signs)`: differentiate a forward pass at its sites.
- `derivative(function, z)`: phi'(z).
- `compiled(function)`: compiled, where the backend compiles.
"""

import importlib
from types import ModuleType

import keras


def backend() -> ModuleType:
    """The module of the backend that Keras uses.

    Raises:
        ValueError: if it is not one of TensorFlow, JAX and PyTorch.
    """
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax", "torch"):
        raise ValueError(f"Keras' backend {name!r} computes no gradients; choose tensorflow, jax or torch by the variable KERAS_BACKEND")
    return importlib.import_module(f"{__name__}.{name}")
