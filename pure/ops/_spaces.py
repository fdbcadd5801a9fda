"""Colours in other spaces: grey, hue with saturation and value, and luma with two differences.

The hue is told by three channels in one order, so that its derivative is that of one side where
two of them are alike. No image is adjusted here.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .._random._keys import check_key
from ._chance import happens
from ._pixels import colours_of, in_range, planes, together

LUMA = (0.299, 0.587, 0.114)
_YUV = (
    LUMA,
    (-0.14714119, -0.28886916, 0.43601035),
    (0.61497538, -0.51496512, -0.10001026),
)
# The inverse of the numbers above, in float64; what is below 1e-8 is zero.
_RGB = (
    (1.0, 0.0, 1.139883029764),
    (1.0, -0.394642333944, -0.580621849676),
    (1.0, 2.032061853297, 0.0),
)


class Hue(NamedTuple):
    """The hue of each pixel as `sector + rest / chroma` in sixths of a turn, with its value.

    `rest` is in units of `chroma`, so that nothing need be divided by a chroma of zero.
    """

    value: Float[Array, "h w"]
    chroma: Float[Array, "h w"]
    sector: Float[Array, "h w"]
    rest: Float[Array, "h w"]

    def fraction(self) -> Float[Array, "h w"]:
        """`rest / chroma`, and zero for grey."""
        return self.rest / jnp.where(self.chroma > 0, self.chroma, 1)


def hue_of(red: Float[Array, "h w"], green: Float[Array, "h w"], blue: Float[Array, "h w"]) -> Hue:
    """The hue of each pixel, from -1 up to 5 sixths of a turn.

    Of two largest channels the later one of red, green, blue, red counts: hues begin a sixth there.
    """
    is_red = (red > green) & (red >= blue)
    is_green = (green >= red) & (green > blue)

    def chosen(*of: ArrayLike) -> Float[Array, "h w"]:
        return jnp.where(is_red, of[0], jnp.where(is_green, of[1], of[2]))

    value = chosen(red, green, blue)
    following = chosen(green, blue, red)
    preceding = chosen(blue, red, green)
    sector = chosen(*(jnp.asarray(sixths, red.dtype) for sixths in (0, 2, 4)))
    least = jnp.where(following < preceding, following, preceding)
    return Hue(value, value - least, sector, following - preceding)


def rgb_to_hsv(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w 3"]:
    """Red, green and blue as hue (in turns, from 0 up to 1), saturation and value.

    Grey has hue 0, with derivative 0, and black saturation 0. **Errors:** TypeError for integers;
    ValueError for anything but an image of 3 channels.
    """
    rgb, dtype = colours_of("rgb_to_hsv", image, channels=(3,))
    in_range("rgb_to_hsv", rgb)
    hue = hue_of(*planes(rgb))
    grey = hue.chroma <= 0
    turns = jnp.where(grey, 0, (hue.sector + hue.fraction()) / 6)
    turns = jnp.where(turns < 0, turns + 1, turns)
    saturation = jnp.where(hue.value > 0, hue.chroma / jnp.where(hue.value > 0, hue.value, 1), 0)
    return together((turns, saturation, hue.value)).astype(dtype)


def hsv_to_rgb(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w 3"]:
    """Hue (in turns, any number of them), saturation and value as red, green and blue.

    **Errors:** those of `rgb_to_hsv`.
    """
    hsv, dtype = colours_of("hsv_to_rgb", image, channels=(3,))
    turns, saturation, value = planes(hsv)
    chroma = value * saturation
    sixths = 6 * (turns - jnp.floor(turns))
    return together(
        tuple(value - chroma * lacking(sixths, channel) for channel in range(3))
    ).astype(dtype)


def lacking(sixths: Float[Array, "h w"], channel: int) -> Float[Array, "h w"]:
    """Which part of the chroma a channel lacks to the value, at a hue from 0 up to 6 sixths."""
    at = sixths + shift(sixths, channel)
    return jnp.where(at < 1, at, jnp.where(at < 3, 1, jnp.where(at < 4, 4 - at, 0)))


def shift(sixths: Float[Array, "h w"], channel: int) -> Float[Array, "h w"]:
    """What is to be added to a hue, so that the channel begins to lack at 0 sixths."""
    # Red lacks nothing up to 1 sixth and from 5 on, green a third of a turn later, blue two.
    start = 5.0 - 2 * channel
    return jnp.where(sixths + start >= 6, start - 6, start).astype(sixths.dtype)


def luma(channels: tuple[Float[Array, "h w"], ...]) -> Float[Array, "h w"]:
    """The grey of each pixel: exactly its own value if it is grey."""
    if len(channels) == 1:
        return channels[0]
    red, green, blue = channels
    return green + LUMA[0] * (red - green) + LUMA[2] * (blue - green)


def rgb_to_grayscale(
    image: Shaped[ArrayLike, "..."], keep_channels: bool = False
) -> Float[Array, "h w c"]:
    """The luma `.299 R + .587 G + .114 B`, as one channel, or as many alike as the image has.

    **Errors:** TypeError for integers; ValueError for anything but an image of 1 or 3 channels.
    """
    rgb, dtype = colours_of("rgb_to_grayscale", image)
    grey = luma(planes(rgb))[..., None].astype(dtype)
    return jnp.broadcast_to(grey, rgb.shape) if keep_channels else grey


def random_grayscale(
    image: Shaped[ArrayLike, "..."], p: Shaped[ArrayLike, ""] = 0.1, *, key: PRNGKeyArray
) -> Float[Array, "h w c"]:
    """With probability `p` as many channels as the image has, each its luma.

    **Errors:** those of `rgb_to_grayscale`.
    """
    check_key("key", key)
    grey = rgb_to_grayscale(image, keep_channels=True)
    return jnp.where(happens(key, jnp.asarray(p)), grey, jnp.asarray(image))


def rgb_to_yuv(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w 3"]:
    """Red, green and blue as luma Y and the differences U and V, as `skimage.color.rgb2yuv`.

    **Errors:** those of `rgb_to_hsv`.
    """
    return _mixed("rgb_to_yuv", image, _YUV)


def yuv_to_rgb(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w 3"]:
    """The inverse of `rgb_to_yuv`. **Errors:** those of `rgb_to_hsv`."""
    return _mixed("yuv_to_rgb", image, _RGB)


def _mixed(
    function: str,
    image: Shaped[ArrayLike, "..."],
    matrix: tuple[tuple[float, float, float], ...],
) -> Float[Array, "h w 3"]:
    # Sums, not a product of matrices, which an accelerator may compute in fewer bits.
    value, dtype = colours_of(function, image, channels=(3,))
    first, second, third = planes(value)
    mixed = tuple(a * first + b * second + c * third for a, b, c in matrix)
    return together(mixed).astype(dtype)
