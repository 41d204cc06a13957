"""How pixels are scaled before the first layer."""

import numpy as np


def scaled(images: np.ndarray, input_scaling: str, train_images: np.ndarray) -> np.ndarray:
    """Pixels (n, height, width, channels) as float32, scaled as the network scales them."""
    if input_scaling == "none":
        return images.astype(np.float32)
    mean, deviation = channel_statistics(train_images)
    return ((images - mean) / deviation).astype(np.float32)


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of (n, height, width, channels); a constant channel counts 1."""
    mean = images.mean(axis=(0, 1, 2), dtype=np.float64)
    deviation = images.std(axis=(0, 1, 2), dtype=np.float64)
    return mean, np.where(deviation > 0, deviation, 1.0)
