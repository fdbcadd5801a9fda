"""Blur: means over what stands around a pixel, the image reflected at its border.

The edge is not repeated, as by OpenCV. Rows and columns are blurred one after the other.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from .._checking import checked, known
from .._text import valued
from ._arguments import image_of
from ._pixels import number, wide
from ._whole import whole

_ROWS = 11  # of weights: more are a loop, which takes longer to run and less to compile


def gaussian_blur(
    image: Shaped[ArrayLike, "..."], sigma: Shaped[ArrayLike, "..."], radius: int | None = None
) -> Float[Array, "h w c"]:
    """Blur by normal weights of deviation `sigma` pixels; 0 gives the image.

    Pixels up to `radius` away count: `gaussian_radius(sigma)` if it is None. A traced sigma needs
    one, since a radius is static.

    **Errors:** TypeError for integers, and for a radius that is none; ValueError for anything but
    an image, several sigmas, a negative sigma or radius, and a traced sigma without a radius.
    """
    value = image_of("gaussian_blur", image)
    if radius is None:
        radius = gaussian_radius(sigma, "gaussian_blur")
    radius = whole("radius", radius, least=0)
    deviation = number("gaussian_blur", "sigma", sigma, wide(value))
    checked(
        deviation >= 0, "gaussian_blur takes a sigma of at least 0, not {sigma}.", sigma=deviation
    )
    return _blurred(value, _normal_weights(deviation, radius))


def gaussian_radius(sigma: Shaped[ArrayLike, "..."], function: str = "gaussian_radius") -> int:
    """How far from a pixel others count: four deviations, rounded, and at least 1 pixel.

    **Errors:** ValueError for a sigma that is traced, negative or not finite.
    """
    if not known(sigma):
        raise ValueError(
            f"{function} is given a traced sigma, from which no static radius follows; pass one "
            "that is far enough for all sigmas: radius=8 for sigmas up to 2."
        )
    try:
        given = float(np.max(np.asarray(sigma, np.float64)))
    except (TypeError, ValueError):
        raise TypeError(valued("sigma", sigma, "a number, or an array of them.")) from None
    if not 0 <= given < math.inf:
        raise ValueError(f"sigma is {given}; expected a number of at least 0.")
    return max(1, int(4 * given + 0.5))


def _normal_weights(sigma: Float[Array, ""], radius: int) -> Float[Array, " taps"]:
    away = jnp.arange(-radius, radius + 1, dtype=sigma.dtype)
    some = sigma > 0
    weights = jnp.exp(-0.5 * (away / jnp.where(some, sigma, 1)) ** 2)
    weights = jnp.where(some, weights, (away == 0).astype(sigma.dtype))
    return weights / weights.sum()


def box_blur(image: Shaped[ArrayLike, "..."], radius: int) -> Float[Array, "h w c"]:
    """The mean over the `2 radius + 1` rows and columns around each pixel.

    **Errors:** TypeError for integers, and for a radius that is none; ValueError for anything but
    an image, and for a negative radius.
    """
    value = image_of("box_blur", image)
    taps = 2 * whole("radius", radius, least=0) + 1
    return _blurred(value, jnp.full(taps, 1 / taps, wide(value).dtype))


def _blurred(image: Float[Array, "h w c"], weights: Float[Array, " taps"]) -> Float[Array, "h w c"]:
    # Sums of shifted slices beat products with matrices on a CPU at most sizes, and convolutions
    # twentyfold. With width and channels as one axis, loops run along it.
    height, width, channels = image.shape
    radius = len(weights) // 2
    taps = range(len(weights))
    rows = _reflected(wide(image), radius, 0).reshape(-1, width * channels)
    rows = sum_of([weights[tap] * rows[tap : tap + height] for tap in taps])
    columns = _reflected(rows.reshape(height, width, channels), radius, 1).reshape(height, -1)
    starts = [tap * channels for tap in taps]
    columns = sum_of(
        [
            weights[tap] * columns[:, start : start + width * channels]
            for tap, start in zip(taps, starts, strict=True)
        ]
    )
    return columns.reshape(image.shape).astype(image.dtype)


def sum_of(parts: list[Float[Array, "rows columns"]]) -> Float[Array, "rows columns"]:
    """The sum of arrays, the outermost ones first, which are least in a blur."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _reflected(image: Float[Array, "h w c"], radius: int, axis: int) -> Float[Array, "..."]:
    # Written out once, and not computed again for each tap.
    width = [(radius, radius) if own == axis else (0, 0) for own in range(3)]
    padded: Float[Array, "..."] = jnp.pad(image, width, mode="reflect")
    padded = jax.lax.optimization_barrier(padded)
    return padded


def motion_blur(
    image: Shaped[ArrayLike, "..."], length: int, degrees: Shaped[ArrayLike, "..."]
) -> Float[Array, "h w c"]:
    """The mean over `length` points, a pixel apart, on a line through each pixel.

    The line turns counter-clockwise from the horizontal by `degrees`, which may be traced; between
    pixels values are interpolated linearly.

    **Errors:** TypeError for integers, and for a length that is none; ValueError for anything but
    an image, a length below 1, and several angles.
    """
    value = image_of("motion_blur", image)
    length = whole("length", length, least=1)
    angle = jnp.deg2rad(number("motion_blur", "degrees", degrees, wide(value)))
    weights = _line_weights(length, angle)
    radius = len(weights) // 2
    height, width, channels = value.shape
    padded = _reflected(_reflected(wide(value), radius, 0), radius, 1).reshape(
        height + 2 * radius, -1
    )

    total = jnp.zeros((height, width * channels), padded.dtype)
    taps = range(len(weights))

    def row(
        total: Float[Array, "h columns"], own: tuple[Array, Float[Array, " taps"]]
    ) -> tuple[Float[Array, "h columns"], None]:
        start, line = own
        # XLA refuses to compile a loop over weights that are known at once, without the barrier.
        line = jax.lax.optimization_barrier(line)
        rows = jax.lax.dynamic_slice_in_dim(padded, start, height)
        parts = [line[tap] * rows[:, tap * channels : (tap + width) * channels] for tap in taps]
        return jax.lax.optimization_barrier(total + sum_of(parts)), None

    if len(weights) > _ROWS:
        total, _ = jax.lax.scan(row, total, (jnp.arange(len(weights)), weights))
    else:
        for tap in taps:
            total, _ = row(total, (jnp.asarray(tap), weights[tap]))
    return total.reshape(value.shape).astype(value.dtype)


def _line_weights(length: int, angle: Float[Array, ""]) -> Float[Array, "taps taps"]:
    # How much each point of the line says of each pixel of a square around the middle.
    radius = length // 2
    along = jnp.arange(length, dtype=angle.dtype) - (length - 1) / 2
    pixels = jnp.arange(-radius, radius + 1, dtype=angle.dtype)
    down = _tent(-along * jnp.sin(angle), pixels)
    right = _tent(along * jnp.cos(angle), pixels)
    return jnp.einsum("pd,pr->dr", down, right, precision=jax.lax.Precision.HIGHEST) / length


def _tent(
    points: Float[Array, " points"], pixels: Float[Array, " taps"]
) -> Float[Array, "points taps"]:
    return jnp.maximum(1 - jnp.abs(points[:, None] - pixels[None]), 0)
