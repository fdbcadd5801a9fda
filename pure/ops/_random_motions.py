"""What random motions draw: a turn, a window, a matrix, a field; nothing is moved here.

A magnitude is `centre + range * u`, with `u` fixed by the key, so that gradients reach the range.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, PRNGKeyArray

from .._checking import checked
from ._draws import about, between
from ._matrices import (
    Matrix,
    composed,
    part_matrix,
    perspective,
    rotation,
    scaling,
    shear,
    translation,
)
from ._sizes import Margins, Size, by

_TRIES = 10


def within(limits: Float[Array, "..."], *, key: PRNGKeyArray) -> Float[Array, ""]:
    """Uniform between two limits (low, high), or from -limit to limit."""
    return between(limits, key=key) if limits.ndim else about(0.0, limits, key=key)


def quarters(*, key: PRNGKeyArray) -> Integer[Array, ""]:
    """0, 1, 2 or 3."""
    return jax.random.randint(key, (), 0, 4)


def place(before: Size, size: Size, *, key: PRNGKeyArray) -> Integer[Array, "2"]:
    """(top, left) of a window in an image, each place as likely. **Errors:** as `_rests`."""
    rests = jnp.asarray(_rests(before, size), jnp.int32)
    return jax.random.randint(key, (2,), 0, rests + 1)


def middle(before: Size, size: Size, padding: Margins) -> Integer[Array, "2"]:
    """(top, left) in the padded image of the window in the middle of the image itself.

    **Errors:** as `_rests`.
    """
    rests = _rests(padded_size(before, padding), size)
    wanted = [
        side[0] + (old - new) // 2 for side, old, new in zip(padding, before, size, strict=True)
    ]
    return jnp.asarray(
        [min(max(start, 0), most) for start, most in zip(wanted, rests, strict=True)]
    )


def padded_size(size: Size, padding: Margins) -> Size:
    """The size of an image with these margins."""
    height, width = (extent + sum(side) for extent, side in zip(size, padding, strict=True))
    return height, width


def _rests(before: Size, size: Size) -> Size:
    # By how much a window may be moved; ValueError for one that is too large.
    down, right = (old - new for old, new in zip(before, size, strict=True))
    if min(down, right) < 0:
        raise ValueError(
            f"a window of {by(size)} was asked for, but there are {by(before)} pixels; ask for a "
            "smaller size, or for larger margins."
        )
    return down, right


def random_rotation(degrees: Float[Array, "..."], size: Size, *, key: PRNGKeyArray) -> Matrix:
    """A turn by at most so many degrees."""
    return rotation(within(degrees, key=key), size)


def random_translation(
    x: Float[Array, ""], y: Float[Array, ""], size: Size, *, key: PRNGKeyArray
) -> Matrix:
    """A move by at most these fractions of width and height."""
    right, down = jax.random.uniform(key, (2,), x.dtype, -1.0)
    return translation(x * size[1] * right, y * size[0] * down)


def random_affine(
    degrees: Float[Array, "..."],
    translate: Float[Array, "2"],
    scale: Float[Array, "2"],
    shears: Float[Array, "..."],
    size: Size,
    *,
    key: PRNGKeyArray,
) -> Matrix:
    """Scaled, sheared, turned and then moved, each uniformly within its limits."""
    keys = jax.random.split(key, 5)
    factor = within(scale, key=keys[0])
    along, down = (shears[:2], shears[2:]) if shears.shape == (4,) else (shears, None)
    x = within(along, key=keys[1])
    y = jnp.zeros_like(x) if down is None else within(down, key=keys[2])
    return composed(
        random_translation(translate[0], translate[1], size, key=keys[3]),
        random_rotation(degrees, size, key=keys[4]),
        shear(x, y, size),
        scaling(factor, factor, size),
    )


def random_perspective(distortion: Float[Array, ""], size: Size, *, key: PRNGKeyArray) -> Matrix:
    """Each corner moved inwards by at most distortion / 2 of the side, each way."""
    # The corners of one pixel would be one point, of which there is no perspective.
    last = jnp.asarray([max(size[1] - 1, 1), max(size[0] - 1, 1)], distortion.dtype)
    corner = jnp.asarray([(0, 0), (1, 0), (1, 1), (0, 1)], distortion.dtype)
    inwards = (1 - 2 * corner) * jax.random.uniform(key, (4, 2), distortion.dtype)
    source = corner * last[None]
    return perspective(source, source + distortion / 2 * last[None] * inwards)


def random_displacement(
    alpha: Float[Array, ""], sigma: Float[Array, ""], size: Size, *, key: PRNGKeyArray
) -> Float[Array, "h w 2"]:
    """Uniform from -1 to 1, smoothed by a Gaussian of width `sigma`, times `alpha`; in pixels.

    The Gaussian is cut at the edges and its weights there made to sum to 1.
    """
    checked(sigma >= 0, "sigma is {sigma}; expected at least 0.", sigma=sigma)
    noise = jax.random.uniform(key, (2, *size), sigma.dtype, -1.0)
    rows, columns = (_smoothing(extent, sigma) for extent in size)
    smooth = jnp.einsum("ij,cjk,lk->ilc", rows, noise, columns, precision="highest")
    return alpha * smooth


def _smoothing(extent: int, sigma: Float[Array, ""]) -> Float[Array, "extent extent"]:
    steps = jnp.arange(extent, dtype=sigma.dtype) / jnp.maximum(sigma, 1e-3)
    weights = jnp.exp(-0.5 * (steps[:, None] - steps[None, :]) ** 2)
    return weights / weights.sum(1, keepdims=True)


def random_box(
    scale: Float[Array, "2"],
    ratio: Float[Array, "2"],
    before: Size,
    size: Size,
    *,
    key: PRNGKeyArray,
) -> Matrix:
    """Brings a part of an image to `size`.

    Its share of the area is uniform in `scale`, the logarithm of width / height in that of
    `ratio`. The first of ten that fits is taken; if none does, the largest in the middle.
    """
    share, aspect, place = jax.random.uniform(key, (3, _TRIES), scale.dtype)
    height, width = before
    area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
    low, high = jnp.log(ratio)
    aspect = jnp.exp(low + (high - low) * aspect)
    sides = jnp.stack([jnp.sqrt(area / aspect), jnp.sqrt(area * aspect)], 1)
    whole = jnp.asarray(before, scale.dtype)
    fits = (sides <= whole[None]).all(1)
    shape = jnp.clip(width / height, ratio[0], ratio[1])
    largest = jnp.stack([jnp.minimum(height, width / shape), jnp.minimum(width, height * shape)])
    box = jnp.where(fits.any(), sides[jnp.argmax(fits)], largest)
    top, left = (whole - box) * jnp.where(fits.any(), place[:2], 0.5)
    return part_matrix(top, left, box, size)
