"""Photographs for tests: small, of odd sizes that are no squares, uint8 or floats in [0, 1]."""

import functools

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

SIZE = (37, 52)


@functools.cache
def photograph(number: int = 0, channels: int = 3) -> np.ndarray:
    """A photograph as uint8: a temple under the sky (0), or a flower (1)."""
    height, width = SIZE
    whole = Image.fromarray(load_sample_images().images[number])
    small = whole.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(small.convert("L") if channels == 1 else small)
    pixels.setflags(write=False)
    return pixels.reshape(height, width, channels)


def floats(pixels: np.ndarray) -> np.ndarray:
    """The same in [0, 1]."""
    return pixels.astype(np.float32) / 255


def pillow(pixels: np.ndarray) -> Image.Image:
    """The same as an image of Pillow."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def pixels(image: Image.Image) -> np.ndarray:
    """An image of Pillow, its one channel on an axis."""
    array = np.array(image)
    return array[..., None] if array.ndim == 2 else array
