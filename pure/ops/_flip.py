"""Turns that move whole pixels: flips, quarter turns, the transpose. They are exact for any dtype.

What a flip does to points stands in `_matrices`; a random one is drawn in `_random_geometry`.
"""

import operator

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Integer, Shaped

from .._checking import known
from .._text import spec_text, valued
from ._targets import picture_of


def flip_left_right(image: Shaped[ArrayLike, "h w *c"]) -> Shaped[Array, "h w *c"]:
    """The image (or mask) seen in a mirror: its columns in the other order."""
    return picture_of("flip_left_right", image)[:, ::-1]


def flip_up_down(image: Shaped[ArrayLike, "h w *c"]) -> Shaped[Array, "h w *c"]:
    """The image (or mask) upside down: its rows in the other order."""
    return picture_of("flip_up_down", image)[::-1]


def transpose(image: Shaped[ArrayLike, "h w *c"]) -> Shaped[Array, "w h *c"]:
    """The image (or mask) with its rows as columns."""
    return jnp.swapaxes(picture_of("transpose", image), 0, 1)


def rot90(
    image: Shaped[ArrayLike, "h w *c"], k: int | Integer[ArrayLike, ""] = 1
) -> Shaped[Array, "..."]:
    """The image (or mask) after `k` quarter turns, counter-clockwise as seen.

    A `k` that is known only at run time turns square images alone. **Errors:** TypeError for a `k`
    that is no whole number; ValueError for such a `k` and an image that is not square.
    """
    value = picture_of("rot90", image)
    if known(k):
        return jnp.rot90(value, _turns(k))
    height, width = value.shape[:2]
    if height != width:
        raise ValueError(
            f"rot90 was given {spec_text(value)} and a k that is known only at run time; expected "
            "a square image, or k as a Python int: its result has another shape for odd k."
        )
    return quarter_turned(value, k)


def quarter_turned(
    image: Shaped[Array, "side side *c"], k: Shaped[ArrayLike, ""]
) -> Shaped[Array, "side side *c"]:
    """A square image after `k` quarter turns; `k` may be traced."""
    turns = jnp.remainder(jnp.asarray(k), 4)
    half = jnp.where(turns >= 2, image[::-1, ::-1], image)
    other = jnp.swapaxes(half, 0, 1)[::-1]
    return jnp.where(turns % 2 == 1, other, half)


def _turns(k: object) -> int:
    expected = "a whole number of quarter turns."
    if isinstance(k, bool) or np.ndim(np.asarray(k)):
        raise TypeError(valued("k", k, expected))
    try:
        return operator.index(np.asarray(k).item())
    except TypeError:
        raise TypeError(valued("k", k, expected)) from None
