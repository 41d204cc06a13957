"""Which images a network sees, and in which order."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from actgrad.errors import UserError

if TYPE_CHECKING:
    from actgrad.config.schema import Config
    from actgrad.data.storage import Dataset

EVALUATION_BATCH = 1000


def order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """The order in which epoch `epoch` (from 1) visits the training examples: a permutation of 0 .. examples - 1."""
    return np.random.default_rng([seed, epoch]).permutation(examples)


def validation_split(images: Mapping[str, np.ndarray]) -> str:
    """The split that is used for validation: `test` if there is no validation split."""
    return "val" if len(images["val"]) else "test"


def probe_batch(images: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`size` evenly spaced images, so that each class gets its share even in a split sorted by class."""
    chosen = np.linspace(0, len(images) - 1, min(size, len(images))).round().astype(int)
    return images[chosen], labels[chosen]


def steps_per_epoch(config: "Config", dataset: "Dataset") -> int:
    """Optimizer steps of one epoch; the last batch may be smaller than the others.

    Raises:
        UserError: if not even one batch is full.
    """
    batch, examples = config.recipe.batch_size, len(dataset.images["train"])
    if batch > examples:
        raise UserError(
            "batch-too-large", f"recipe.batch_size={batch} is more than the {examples} training images of {config.data.name}; choose fewer"
        )
    return -(-examples // batch)


class Batches:
    """Batches of float32 images and their labels. The code that makes them is traced once for all orders."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int):
        on_device = tf.constant(images), tf.constant(labels)
        self._size, self._order = batch_size, tf.Variable(np.arange(len(images)), shape=[None])

        def gather(number):
            chosen = self._order[number * batch_size : (number + 1) * batch_size]
            return tf.cast(tf.gather(on_device[0], chosen), tf.float32), tf.gather(on_device[1], chosen)

        self._made = tf.data.Dataset.range(-(-len(images) // batch_size)).map(gather)

    def of(self, order: np.ndarray) -> tf.data.Dataset:
        """Batches of the examples with these numbers, in this order. Only the dataset of the last call can be used."""
        self._order.assign(order)
        return self._made.take(-(-len(order) // self._size)).prefetch(2)


def in_order(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Batches of EVALUATION_BATCH images in the order of the split."""
    return Batches(images, labels, EVALUATION_BATCH).of(np.arange(len(images)))
