"""Every source of randomness, each a pure function of the seed and of what it is for."""

import hashlib

import keras
import numpy as np
import tensorflow as tf

from actgrad.errors import UserError


def make_deterministic(seed: int, threads: int) -> None:
    """Seed Python, NumPy and TensorFlow, make every operation deterministic, and fix the number of threads.

    Raises:
        UserError: if this process already computes with another number of threads.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            raise UserError(f"recipe.threads={threads} cannot be set in a process that already uses another number; train in a new process") from None
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def initializer(name: str, seed: int, layer: str) -> keras.initializers.Initializer:
    """A kernel initializer whose values depend on (seed, layer, shape) only, so that cells of one seed start alike."""
    digest = hashlib.sha256(f"{seed}/{layer}".encode()).digest()
    return keras.initializers.get({"class_name": name, "config": {"seed": int.from_bytes(digest[:4], "big") % 2**31}})


def order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """The order in which epoch `epoch` (from 1) visits the training examples: a permutation of 0 .. examples - 1."""
    return np.random.default_rng([seed, epoch]).permutation(examples)
