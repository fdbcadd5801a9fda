"""An image in units of a mean and a standard deviation for each channel, and back.

These are given; where they come from is not known here.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from .._checking import checked
from ._pixels import PerChannel, colours_of, for_channels


def normalize(
    image: Shaped[ArrayLike, "..."], mean: PerChannel, std: PerChannel
) -> Float[Array, "h w c"]:
    """`(image - mean) / std`, each a number, or one for each channel.

    **Errors:** TypeError for integers; ValueError for anything but an image of 1 or 3 channels,
    and for another number of means or deviations.
    """
    value, dtype = colours_of("normalize", image)
    centre, unit = _given("normalize", mean, std, value)
    checked(jnp.all(unit > 0), "normalize takes a positive std, but was given {std}.", std=unit)
    return ((value - centre) / unit).astype(dtype)


def denormalize(
    image: Shaped[ArrayLike, "..."], mean: PerChannel, std: PerChannel
) -> Float[Array, "h w c"]:
    """`image * std + mean`, the inverse of `normalize`. **Errors:** those of `normalize`."""
    value, dtype = colours_of("denormalize", image)
    centre, unit = _given("denormalize", mean, std, value)
    return (value * unit + centre).astype(dtype)


def _given(
    function: str, mean: PerChannel, std: PerChannel, image: Float[Array, "h w c"]
) -> tuple[Float[Array, "1 1 c"], Float[Array, "1 1 c"]]:
    return (
        for_channels(function, "mean", mean, image),
        for_channels(function, "std", std, image),
    )
