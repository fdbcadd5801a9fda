"""What depends on the levels that an image has: equalized, or spread over the whole range.

Each channel by itself, as Pillow does it.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, Shaped, UInt8

from ._arguments import image_of
from ._pixels import COLOURS, colours_of, in_range
from ._tone import levels, unit


def equalize(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w c"] | UInt8[Array, "h w c"]:
    """Spread the levels so that each is as frequent as the others, as `ImageOps.equalize`.

    Floats are rounded to the nearest of 256 levels before, so that their derivative is 0.

    **Errors:** TypeError for integers other than uint8; ValueError for anything but an image of 1
    or 3 channels.
    """
    value = image_of("equalize", image, channels=COLOURS, exact=True)
    if value.dtype == jnp.uint8:
        return _equal(value)
    in_range("equalize", value)
    return unit(_equal(levels(value)), value.dtype)


def _equal(image: UInt8[Array, "h w c"]) -> UInt8[Array, "h w c"]:
    height, width, channels = image.shape
    apart = jnp.moveaxis(image, 2, 0).reshape(channels, -1)
    return jnp.moveaxis(jax.vmap(_equal_channel)(apart).reshape(channels, height, width), 0, 2)


def _equal_channel(values: UInt8[Array, " pixels"]) -> UInt8[Array, " pixels"]:
    # Indices of two kinds: shared ones would be written out, which takes four times as long on a
    # CPU. A scatter beats sorting, comparing with each level, and products of matrices there.
    counted, looked_up = values.astype(jnp.uint32), values.astype(jnp.int32)
    counts = jnp.zeros(256, jnp.int32).at[counted].add(1, mode="promise_in_bounds")
    return _table(counts).at[looked_up].get(mode="promise_in_bounds")


def _table(counts: Int32[Array, "256"]) -> UInt8[Array, "256"]:
    # The last level that occurs does not count, and no step of less than a pixel is made.
    last = 255 - jnp.argmax(counts[::-1] > 0)
    step = (counts.sum() - counts[last]) // 255
    below = jnp.cumsum(counts) - counts
    spread = (below + step // 2) // jnp.maximum(step, 1)
    kept = jnp.arange(256, dtype=jnp.int32)
    return jnp.where(step > 0, jnp.minimum(spread, 255), kept).astype(jnp.uint8)


def autocontrast(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w c"]:
    """Stretch each channel, so that its least value is 0 and its largest 1; a flat one stays.

    **Errors:** TypeError for integers; ValueError for anything but an image of 1 or 3 channels.
    """
    value, dtype = colours_of("autocontrast", image)
    least = value.min((0, 1), keepdims=True)
    range_ = value.max((0, 1), keepdims=True) - least
    flat = range_ <= 0
    stretched = (value - least) / jnp.where(flat, 1, range_)
    return jnp.where(flat, value, stretched).astype(dtype)
