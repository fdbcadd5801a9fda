"""What the functions of pixels share: precision, range, and one number for each channel.

Numbers of 16 bits are computed in float32 and cast back. No single operation is known here.
"""

from typing import TypeAlias

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from .._checking import checked, is_checking, known
from .._text import spec_text
from ._arguments import image_of, like, numbers

PerChannel: TypeAlias = Shaped[ArrayLike, "..."] | tuple[float | int, ...] | list[float | int]
COLOURS = (1, 3)


def wide(image: Float[Array, "..."]) -> Float[Array, "..."]:
    """The image in at least float32, in which it is computed."""
    return image if image.dtype.itemsize > 2 else image.astype(jnp.float32)


def colours_of(
    function: str,
    image: Shaped[ArrayLike, "..."],
    *,
    channels: tuple[int, ...] = COLOURS,
    clip: bool = False,
) -> tuple[Float[Array, "h w c"], jnp.dtype]:
    """An image of floats in at least float32, and the dtype that the result is to have.

    **Errors:** those of `image_of`; those of `fit_to_clip` for one that is to be clipped.
    """
    value = image_of(function, image, channels=channels)
    if clip:
        fit_to_clip(function, wide(value))
    return wide(value), value.dtype


def finished(image: Float[Array, "h w c"], dtype: jnp.dtype, clip: bool) -> Float[Array, "h w c"]:
    """The image in this dtype, and in [0, 1] if it is to be clipped."""
    return (jnp.clip(image, 0, 1) if clip else image).astype(dtype)


def number(
    function: str, name: str, value: Shaped[ArrayLike, "..."], image: Shaped[Array, "h w c"]
) -> Float[Array, ""]:
    """One number in the dtype of the image. **Errors:** ValueError for several."""
    if jnp.ndim(value):
        raise ValueError(
            f"{function} takes one number as {name}, but was given {spec_text(value)}."
        )
    own = like(numbers(name, value), image)
    checked(~jnp.isnan(own), f"{function} was given NaN as {name}.")
    return own


def for_channels(
    function: str,
    name: str,
    value: PerChannel,
    image: Shaped[Array, "h w c"],
) -> Shaped[Array, "1 1 c"]:
    """A number, or one for each channel, to be used with the image.

    **Errors:** ValueError for another number of them.
    """
    array = like(numbers(name, value), image)
    channels = image.shape[2]
    if array.shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"{function} takes as {name} a number, or one for each of the {channels} channels, but "
            f"was given {spec_text(array)}."
        )
    return jnp.broadcast_to(array, (channels,))[None, None]


def fit_to_clip(
    function: str, image: Float[Array, "h w c"], otherwise: str = ", or pass clip=False"
) -> None:
    """Refuse, within `checking()`, an image of which a clip to [0, 1] would leave little, as of one
    in 0 … 255. Outside it is clipped, as the function says; NaN stays NaN."""
    if is_checking():
        checked(
            ~((image <= -0.5) | (image >= 1.5)),
            f"{function} takes an image in [0, 1], but was given values from {{low}} to {{high}}; "
            f"divide it before: image / 255{otherwise}.",
            low=image.min(),
            high=image.max(),
        )


def in_range(function: str, image: Float[Array, "h w c"]) -> None:
    """Refuse, where values are looked at, an image far from [0, 1], as one in 0 … 255 is."""
    if not (known(image) or is_checking()):
        return
    holds: Bool[Array, "h w c"] = (image > -0.5) & (image < 1.5)
    checked(~jnp.isnan(image), f"{function} takes an image in [0, 1], but was given NaN.")
    checked(
        holds,
        f"{function} takes an image in [0, 1], but was given values from {{low}} to {{high}}; "
        "divide it before: image / 255.",
        low=image.min(),
        high=image.max(),
    )


def planes(image: Float[Array, "h w c"]) -> tuple[Float[Array, "h w"], ...]:
    """The channels, one by one: what is computed of them fuses into loops over whole rows."""
    apart = jnp.moveaxis(image, 2, 0)
    return tuple(apart[channel] for channel in range(image.shape[2]))


def together(channels: tuple[Float[Array, "h w"], ...]) -> Float[Array, "h w c"]:
    """The image of these channels."""
    return jnp.moveaxis(jnp.stack(channels), 0, 2)
