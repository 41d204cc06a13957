"""What differs between Keras' backends: how a step is recorded, and how a gradient is taken.

Each module has the same names:

- `Recorder(variables, capacity)`: keeps, on the device, a row a training step: for each variable the norms of gradient, update and weight.
- `hook(optimizer, measure)`: has the optimizer call `measure` in each step; returns a function that undoes it.
- `SignalFunction`: what the probe computes, compiled where the backend compiles.
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
