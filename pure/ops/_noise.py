"""Noise: what is added to each value, or takes the place of a pixel. Nothing is clipped unasked.

All that is drawn comes from the key and the shape of the image. Whole parts are erased elsewhere.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ._arguments import checked, image_of
from ._pixels import finished, in_range, number, wide


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
    value = image_of("gaussian_noise", image)
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
    value = image_of("speckle", image)
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

    Values below 0 count as 0. The derivative through the image is that of the mean, which is the
    image itself; that in `peak` is of the deviation of the noise, which is as its root.

    **Errors:** TypeError for integers; ValueError for anything but an image, and for several peaks.
    """
    value = image_of("poisson_noise", image)
    in_range("poisson_noise", value)
    photons = number("poisson_noise", "peak", peak, wide(value))
    checked(photons > 0, "poisson_noise takes a peak above 0, not {peak}.", peak=photons)
    mean = jnp.where(value < 0, 0, wide(value))
    counts = jax.random.poisson(_threefry(key), jax.lax.stop_gradient(mean * photons))
    noise = jax.lax.stop_gradient(counts.astype(mean.dtype) / photons - mean)
    one = jnp.sqrt(jax.lax.stop_gradient(photons) / photons)
    return finished(mean + one * noise, value.dtype, clip)


def _threefry(key: PRNGKeyArray) -> PRNGKeyArray:
    # The only kind of key that jax.random.poisson takes.
    bits = jax.random.bits(key, (2,), jnp.uint32)
    return jax.random.wrap_key_data(bits, impl="threefry2x32")
