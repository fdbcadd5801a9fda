"""The tone of an image: brightness, contrast, gamma, sharpness, and levels that are turned or cut.

Colours are mixed in `_colour`, counted in `_histogram`.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped, UInt8

from .._checking import checked
from .._text import spec_text
from ._arguments import image_of
from ._pixels import COLOURS, colours_of, finished, fit_to_clip, in_range, number, planes, wide
from ._spaces import luma


def adjust_brightness(
    image: Shaped[ArrayLike, "..."], delta: Shaped[ArrayLike, "..."], clip: bool = True
) -> Float[Array, "h w c"]:
    """Add `delta` to each channel.

    **Errors:** TypeError for integers; ValueError for anything but an image of 1 or 3 channels,
    and for several deltas.
    """
    value, dtype = colours_of("adjust_brightness", image, clip=clip)
    return finished(value + number("adjust_brightness", "delta", delta, value), dtype, clip)


def adjust_contrast(
    image: Shaped[ArrayLike, "..."], factor: Shaped[ArrayLike, "..."], clip: bool = True
) -> Float[Array, "h w c"]:
    """Move values away from the mean of the grey image: 0 gives that mean, 1 the image.

    **Errors:** those of `adjust_brightness`.
    """
    value, dtype = colours_of("adjust_contrast", image, clip=clip)
    more = number("adjust_contrast", "factor", factor, value) - 1
    return finished(value + more * (value - exact_mean(luma(planes(value)))), dtype, clip)


def exact_mean(grey: Float[Array, "h w"]) -> Float[Array, ""]:
    """The mean, without rounding if all values are alike."""
    first = grey[0, 0]
    return first + jnp.mean(grey - first)


def adjust_gamma(
    image: Shaped[ArrayLike, "..."],
    gamma: Shaped[ArrayLike, "..."],
    gain: Shaped[ArrayLike, "..."] = 1,
    clip: bool = True,
) -> Float[Array, "h w c"]:
    """Raise values to the power `gamma`, and multiply them by `gain`.

    Values below 0 count as 0. At 0 the derivative is 0, where for `gamma` below 1 there is none.

    **Errors:** those of `adjust_brightness`.
    """
    value, dtype = colours_of("adjust_gamma", image)
    in_range("adjust_gamma", value)
    power = number("adjust_gamma", "gamma", gamma, value)
    checked(
        power >= 0, "adjust_gamma takes a gamma of at least 0, but was given {gamma}.", gamma=power
    )
    positive = value > 0
    # Three times as fast on a CPU as a power, and as good: both are of float32.
    raised = jnp.exp(power * jnp.log(jnp.where(positive, value, 1)))
    raised = jnp.where(positive, raised, (power == 0).astype(value.dtype))
    return finished(number("adjust_gamma", "gain", gain, value) * raised, dtype, clip)


def adjust_sharpness(
    image: Shaped[ArrayLike, "..."], factor: Shaped[ArrayLike, "..."], clip: bool = True
) -> Float[Array, "h w c"]:
    """Move values away from a smooth image: 0 gives that, 1 the image, 2 a sharper one.

    As the enhancer of Pillow: smooth is the mean over 3x3 in which the middle counts five times;
    the pixels of the border stay as they are. **Errors:** those of `adjust_brightness`.
    """
    value, dtype = colours_of("adjust_sharpness", image, clip=clip)
    more = number("adjust_sharpness", "factor", factor, value) - 1
    height, width, _ = value.shape
    if height < 3 or width < 3:
        return finished(value, dtype, clip)
    rows = value[:-2] + value[1:-1] + value[2:]
    around = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    middle = value[1:-1, 1:-1]
    detail = jnp.pad(middle - (around + 4 * middle) / 13, ((1, 1), (1, 1), (0, 0)))
    return finished(value + more * detail, dtype, clip)


def invert(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w c"] | UInt8[Array, "h w c"]:
    """The negative: 1 - image, or 255 - image of uint8.

    **Errors:** TypeError for other integers; ValueError for anything but an image of 1 or 3
    channels.
    """
    value = image_of("invert", image, channels=COLOURS, exact=True)
    return _white(value) - value


def solarize(
    image: Shaped[ArrayLike, "..."], threshold: Shaped[ArrayLike, "..."]
) -> Float[Array, "h w c"] | UInt8[Array, "h w c"]:
    """Invert what is at least `threshold`, which is in the units of the image: 128 for uint8.

    **Errors:** those of `invert`; ValueError for several thresholds.
    """
    value = image_of("solarize", image, channels=COLOURS, exact=True)
    level = wide(value) if value.dtype != jnp.uint8 else value.astype(jnp.float32)
    above = level >= number("solarize", "threshold", threshold, level)
    return jnp.where(above, _white(value) - value, value)


def posterize(
    image: Shaped[ArrayLike, "..."], bits: Shaped[ArrayLike, "..."]
) -> Float[Array, "h w c"] | UInt8[Array, "h w c"]:
    """Keep the highest `bits` of the 8 of each channel, from 0 to 8; they may be traced.

    Floats are rounded to the nearest of 256 levels before. **Errors:** those of `invert`;
    ValueError for several numbers of bits.
    """
    value = image_of("posterize", image, channels=COLOURS, exact=True)
    kept = number("posterize", "bits", bits, value.astype(jnp.float32))
    kept = jnp.round(kept).astype(jnp.int32)
    checked(
        (kept >= 0) & (kept <= 8), "posterize takes 0 to 8 bits, but was given {bits}.", bits=kept
    )
    step = jnp.left_shift(1, 8 - jnp.clip(kept, 0, 8))
    if value.dtype == jnp.uint8:
        return value & (256 - step).astype(jnp.uint8)
    fit_to_clip("posterize", value, "")
    # Exact in floats too, and on a CPU half the time of a way there and back.
    width = step.astype(wide(value).dtype)
    return (jnp.floor(_levels(value) * (1 / width)) * width).astype(value.dtype) / 255


def levels(image: Float[Array, "h w c"]) -> UInt8[Array, "h w c"]:
    """The nearest of the 256 levels of each value."""
    return _levels(image).astype(jnp.uint8)


def _levels(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    return jnp.round(jnp.clip(wide(image), 0, 1) * 255)


def unit(image: UInt8[Array, "h w c"], dtype: jnp.dtype) -> Float[Array, "h w c"]:
    """The levels 0 … 255 as floats in [0, 1]."""
    return image.astype(dtype) / 255


def _white(image: Shaped[Array, "h w c"]) -> Shaped[Array, ""]:
    return jnp.asarray(255 if image.dtype == jnp.uint8 else 1, image.dtype)


def to_float(image: Shaped[ArrayLike, "..."]) -> Float[Array, "h w c"]:
    """The levels 0 … 255 of uint8 as float32 in [0, 1].

    **Errors:** TypeError for anything but uint8; ValueError for anything but an image.
    """
    value = image_of("to_float", image, exact=True)
    if value.dtype != jnp.uint8:
        raise TypeError(
            f"to_float takes an image of uint8, but was given {spec_text(value)}, which is of "
            "floats already; leave it out."
        )
    return unit(value, jnp.dtype(jnp.float32))


def to_uint8(image: Shaped[ArrayLike, "..."]) -> UInt8[Array, "h w c"]:
    """Floats in [0, 1] as the nearest of the levels 0 … 255, and what is outside as 0 or 255.

    **Errors:** TypeError for integers; ValueError for anything but an image.
    """
    value = image_of("to_uint8", image)
    in_range("to_uint8", value)
    return levels(value)
