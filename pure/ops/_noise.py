"""Noise: what is added to each value, or takes the place of a pixel. Nothing is clipped unasked.

All that is drawn comes from the key and the shape of the image. Whole parts are erased elsewhere.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .._checking import checked
from .._random._keys import check_key
from ._arguments import image_of
from ._pixels import finished, fit_to_clip, in_range, number, wide

_FEW, _TERMS = 8, 25  # below this mean, more than so many are drawn once in 10^6 times


def gaussian_noise(
    image: Shaped[ArrayLike, "..."],
    std: Shaped[ArrayLike, "..."],
    clip: bool = False,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "h w c"]:
    """Add normal noise of deviation `std` to each value.

    **Errors:** TypeError for integers; ValueError for anything but an image, and for several
    deviations.
    """
    check_key("key", key)
    value = image_of("gaussian_noise", image)
    if clip:
        fit_to_clip("gaussian_noise", wide(value))
    noise = _normal("gaussian_noise", std, wide(value), key)
    return finished(wide(value) + noise, value.dtype, clip)


def speckle(
    image: Shaped[ArrayLike, "..."],
    std: Shaped[ArrayLike, "..."],
    clip: bool = False,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "h w c"]:
    """Multiply each value by normal noise of mean 1 and deviation `std`.

    **Errors:** those of `gaussian_noise`.
    """
    check_key("key", key)
    value = image_of("speckle", image)
    if clip:
        fit_to_clip("speckle", wide(value))
    noise = _normal("speckle", std, wide(value), key)
    return finished(wide(value) * (1 + noise), value.dtype, clip)


def _normal(
    function: str,
    std: Shaped[ArrayLike, "..."],
    image: Float[Array, "h w c"],
    key: PRNGKeyArray,
) -> Float[Array, "h w c"]:
    deviation = number(function, "std", std, image)
    checked(deviation >= 0, f"{function} takes a std of at least 0, not {{std}}.", std=deviation)
    return deviation * jax.random.normal(key, image.shape, image.dtype)


def salt_and_pepper(
    image: Shaped[ArrayLike, "..."], amount: Shaped[ArrayLike, "..."], *, key: PRNGKeyArray
) -> Float[Array, "h w c"]:
    """Strike each pixel with probability `amount`: all its channels become 0, or all 1.

    **Errors:** TypeError for integers; ValueError for anything but an image, and for several
    amounts.
    """
    check_key("key", key)
    value = image_of("salt_and_pepper", image)
    share = number("salt_and_pepper", "amount", amount, wide(value))
    checked(
        (share >= 0) & (share <= 1),
        "salt_and_pepper takes an amount from 0 to 1, not {amount}.",
        amount=share,
    )
    drawn = jax.random.uniform(key, (*value.shape[:2], 1), share.dtype)
    grain = (drawn < share / 2).astype(value.dtype)
    return jnp.where(drawn < share, grain, value)


def poisson_noise(
    image: Shaped[ArrayLike, "..."],
    peak: Shaped[ArrayLike, "..."],
    clip: bool = False,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "h w c"]:
    """Each value as a count of photons, of which 1 is `peak`, drawn and divided by it again.

    Each count comes from one number, by the inverse of the Poisson distribution function. Values
    below 0 count as 0. The derivative through the image is that of the mean, which is the image
    itself; that in `peak` is of the deviation of the noise, which is as its root.

    **Errors:** TypeError for integers; ValueError for anything but an image, and for several peaks.
    """
    check_key("key", key)
    value = image_of("poisson_noise", image)
    in_range("poisson_noise", value)
    photons = number("poisson_noise", "peak", peak, wide(value))
    checked(photons > 0, "poisson_noise takes a peak above 0, not {peak}.", peak=photons)
    mean = jnp.where(value < 0, 0, wide(value))
    counts = _photons(jax.lax.stop_gradient(mean * photons), key)
    noise = jax.lax.stop_gradient(counts / photons - mean)
    one = jnp.sqrt(jax.lax.stop_gradient(photons) / photons)
    return finished(mean + one * noise, value.dtype, clip)


def _photons(mean: Float[Array, "h w c"], key: PRNGKeyArray) -> Float[Array, "h w c"]:
    # By the inverse of the distribution function: one number for each value, and no loop that lasts
    # until all have theirs, as that of jax.random.poisson, where a draw can depend on the batch.
    low = jnp.nextafter(jnp.asarray(-1, mean.dtype), jnp.asarray(0, mean.dtype))
    drawn = jax.random.uniform(key, mean.shape, mean.dtype, low, 1)
    normal = jnp.sqrt(2).astype(mean.dtype) * jax.lax.erf_inv(drawn)
    few = _few(jnp.minimum(mean, _FEW), (1 + drawn) / 2)
    return jnp.where(mean < _FEW, few, _many(jnp.maximum(mean, _FEW), normal))


def _few(mean: Float[Array, "h w c"], below: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    # How many counts are at most as likely, with all that are less, as `below`. Rounding may leave
    # the last sums that much short of 1.
    below = jnp.minimum(below, 1 - 1e-6)
    total = term = jnp.exp(-mean)
    found = jnp.zeros_like(mean)
    for count in range(1, _TERMS + 1):
        found = jnp.where(below >= total, found + 1, found)
        term = term * (mean * (1 / count))
        total = total + term
    return found


def _many(mean: Float[Array, "h w c"], normal: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    # Giles, Algorithm 955: approximation of the inverse Poisson cumulative distribution function,
    # 2016: from a mean of 8 on no probability is wrong by more than 1e-4.
    root, square = jnp.sqrt(mean), normal * normal
    found = mean + root * normal + (2 + square) / 6 - normal * (2 + square) / (72 * root)
    found = found + ((square / 270 + 7 / 810) * square - 8 / 405) / mean
    return jnp.maximum(jnp.floor(found), 0)
