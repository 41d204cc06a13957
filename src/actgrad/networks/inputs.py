"""How pixels are scaled before the first layer."""

import numpy as np


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of (n, height, width, channels); a constant channel gets the deviation 1."""
    mean = images.mean(axis=(0, 1, 2), dtype=np.float64)
    deviation = images.std(axis=(0, 1, 2), dtype=np.float64)
    return mean, np.where(deviation > 0, deviation, 1.0)
