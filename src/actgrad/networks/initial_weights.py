"""Initial weights: a pure function of seed, layer and shape, so that runs of one seed start with equal weights."""

import hashlib
from collections.abc import Callable

import keras

Initializer = Callable[[str], keras.initializers.Initializer]
"""Name of a layer -> the initializer of its kernel."""


def initializers(name: str, seed: int) -> Initializer:
    """Kernel initializers of this kind, whose values depend on (seed, layer, shape) only."""

    def initializer(layer: str) -> keras.initializers.Initializer:
        digest = hashlib.sha256(f"{seed}/{layer}".encode()).digest()
        return keras.initializers.get({"class_name": name, "config": {"seed": int.from_bytes(digest[:4], "big") % 2**31}})

    return initializer
