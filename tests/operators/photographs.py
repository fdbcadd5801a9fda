"""Two photographs in small odd sizes, and how far a result is from what another library makes."""

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_sample_images

HEIGHT, WIDTH = 37, 52


@functools.cache
def _photographs() -> tuple[np.ndarray, ...]:
    return tuple(
        np.asarray(Image.fromarray(image[:, 40:560]).resize((WIDTH, HEIGHT)))
        for image in load_sample_images().images
    )


def photograph(channels: int = 3, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The temple as floats in [0, 1], `h w c`; its upper left part if it is asked to be smaller."""
    return (whole_pixels(channels, height, width) / 255).astype(np.float32)


def whole_pixels(channels: int = 3, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The temple as uint8."""
    return _photographs()[0][:height, :width, :channels].copy()


def flowers() -> np.ndarray:
    """The other photograph, as floats."""
    return (_photographs()[1] / 255).astype(np.float32)


def apart(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """The largest difference of two arrays of one shape."""
    assert np.shape(one) == np.shape(other)
    return float(np.max(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64))))
