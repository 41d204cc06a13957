"""How far a network is from one affine map. Without a non-linearity, all layers together are one affine map."""

import keras
import numpy as np
import tensorflow as tf

BATCH = 1000
IMAGES = 2000
"""Maximum number of images for the errors; three passes over ten thousand images would take a second."""


def fold(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """The affine map that agrees with a network at the black image, in value and in every derivative.

    Args:
        model: float images (batch, *shape) -> logits (batch, classes).

    Returns:
        Matrix (classes, pixels) and offset (classes,), float64: logits = matrix @ image.ravel() + offset, if the network is affine.
    """
    black = tf.zeros((1, *model.input_shape[1:]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(black)
        logits = tf.unstack(model(black, training=False)[0])
    matrix = [tf.reshape(tape.gradient(logit, black, unconnected_gradients=tf.UnconnectedGradients.ZERO), [-1]).numpy() for logit in logits]
    return np.array(matrix, np.float64), np.array(logits, np.float64)


def errors(model: keras.Model, images: np.ndarray) -> dict[str, float]:
    """How far a network is from affine on the first IMAGES of these, as a share of its largest logit there.

    `folding_error`: the largest difference between its logits and those of `fold`. `superposition_error`: the largest
    difference between the logits of the mean of two images and the mean of their logits. Both are 0 for an affine map, apart from rounding.
    Empty if a logit is not finite.
    """
    matrix, offset = fold(model)
    if not (np.isfinite(matrix).all() and np.isfinite(offset).all()):
        return {}
    images = images[:IMAGES]
    half = -(-len(images) // 2)
    largest, folding, superposition = 0.0, 0.0, 0.0
    for start in range(0, half, BATCH):
        first, second = (part[start : start + BATCH].astype(np.float32) for part in (images[:half], images[-half:]))
        logits = [model(x, training=False).numpy().astype(np.float64) for x in (first, second, (first + second) / 2)]
        if not np.isfinite(np.concatenate(logits)).all():
            return {}
        for x, y in zip((first, second), logits, strict=False):
            folding = max(folding, np.abs(x.reshape(len(x), -1).astype(np.float64) @ matrix.T + offset - y).max())
            largest = max(largest, np.abs(y).max())
        superposition = max(superposition, np.abs((logits[0] + logits[1]) / 2 - logits[2]).max())
    scale = largest or 1.0  # a network that returns 0 everywhere is affine
    return {"folding_error": float(folding / scale), "superposition_error": float(superposition / scale)}
