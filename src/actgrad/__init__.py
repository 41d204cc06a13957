"""What the activation function does to a network, and to the gradient that reaches each of its layers.

`GradientMonitor` is a Keras callback for any model, `ActivationProbe` measures a fixed batch, `inspect` looks at a model before any
training, and `compare` trains a network with several activations. Importing this package imports neither Keras nor a backend.
"""

import importlib
from typing import Any

_HOMES = {
    "ActivationProbe": "actgrad.monitor.probe",
    "GradientMonitor": "actgrad.monitor.gradient_monitor",
    "compare": "actgrad.comparison",
    "inspect": "actgrad.monitor.inspection",
}
__all__ = ["ActivationProbe", "GradientMonitor", "compare", "inspect"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
