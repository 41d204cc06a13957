"""How pixels are scaled before the first layer."""

import numpy as np

BLOCK = 1000
"""Number of images that are counted together. Counting makes eight bytes of each pixel."""


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of uint8 (n, height, width, channels); a constant channel gets the deviation 1."""
    values = np.arange(256)
    counts = np.zeros((images.shape[-1], len(values)), int)
    for start in range(0, len(images), BLOCK):
        counts += [np.bincount(channel.ravel(), minlength=len(values)) for channel in np.moveaxis(images[start : start + BLOCK], -1, 0)]
    pixels = counts[0].sum()
    mean = counts @ values / pixels
    deviation = np.sqrt((counts * np.square(values - mean[:, None])).sum(axis=1) / pixels)
    return mean, np.where(deviation > 0, deviation, 1.0)
