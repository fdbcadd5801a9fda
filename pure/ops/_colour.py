"""Colour, adjusted: saturation and hue, which leave grey as it is.

What a hue is stands in `_spaces`; the tone of images in `_tone`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from ._pixels import colours_of, finished, number, planes, together
from ._spaces import Hue, hue_of, luma, shift


def adjust_saturation(
    image: Shaped[ArrayLike, "..."], factor: Shaped[ArrayLike, "..."], clip: bool = True
) -> Float[Array, "h w c"]:
    """Move colours away from their own grey: 0 gives grey, 1 the image, 2 twice the colour.

    An image of 1 channel stays as it is. **Errors:** TypeError for integers; ValueError for
    anything but an image of 1 or 3 channels, and for several factors.
    """
    value, dtype = colours_of("adjust_saturation", image, clip=clip)
    more = number("adjust_saturation", "factor", factor, value) - 1
    if value.shape[2] == 1:
        return finished(value, dtype, clip)
    channels = planes(value)
    grey = luma(channels)
    moved = tuple(channel + more * (channel - grey) for channel in channels)
    return finished(together(moved), dtype, clip)


def adjust_hue(
    image: Shaped[ArrayLike, "..."], turn: Shaped[ArrayLike, "..."], clip: bool = True
) -> Float[Array, "h w c"]:
    """Turn the hue by a part of its circle, from red over yellow; 1 and 0 give the image.

    An image of 1 channel stays as it is. Nothing is divided by, so that derivatives are finite
    everywhere, and those of a turn of 0 are those of the image, at grey too.

    **Errors:** TypeError for integers; ValueError for anything but an image of 1 or 3 channels,
    and for several turns.
    """
    value, dtype = colours_of("adjust_hue", image, clip=clip)
    turns = number("adjust_hue", "turn", turn, value)
    if value.shape[2] == 1:
        return finished(value, dtype, clip)
    hue = hue_of(*planes(value))
    return finished(together(turned(hue, 6 * turns)), dtype, clip)


def turned(hue: Hue, sixths: Float[Array, ""]) -> tuple[Float[Array, "h w"], ...]:
    """The channels of a hue that is turned."""
    # Chroma times the hue is linear in the channels; the fraction only says in which of its pieces.
    start = hue.sector + sixths
    fraction = jax.lax.stop_gradient(hue.fraction())
    at = start + fraction
    rounds = 6 * jnp.floor(at / 6)
    start, at = start - rounds, at - rounds

    def channel(number: int) -> Float[Array, "h w"]:
        own = shift(at, number)
        where = at + own
        rising = hue.chroma * (start + own) + hue.rest
        falling = 4 * hue.chroma - rising
        full = jnp.where(where < 3, hue.chroma, jnp.where(where < 4, falling, 0))
        return hue.value - jnp.where(where < 1, rising, full)

    return channel(0), channel(1), channel(2)
