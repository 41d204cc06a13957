"""How pixels are scaled before the first layer."""

import numpy as np

BLOCK = 2**20
"""Number of pixels that are counted together. Counting makes eight bytes of each."""


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of uint8 (n, height, width, channels); a constant channel gets the deviation 1."""
    values = np.arange(256)
    pixels = images.reshape(-1, images.shape[-1])
    counts = np.zeros((images.shape[-1], len(values)), int)
    for start in range(0, len(pixels), BLOCK):
        counts += [np.bincount(channel, minlength=len(values)) for channel in pixels[start : start + BLOCK].T]
    mean = counts @ values / len(pixels)
    deviation = np.sqrt((counts * np.square(values - mean[:, None])).sum(axis=1) / len(pixels))
    return mean, np.where(deviation > 0, deviation, 1.0)
