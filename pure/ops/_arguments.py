"""What an operation is given: refused by name if it cannot work, with the edit that mends it.

Kinds, dtypes and ranks are known while a program is traced; values are looked at elsewhere.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Shaped

from .._text import spec_text, valued


def image_of(
    function: str,
    image: Shaped[ArrayLike, "..."],
    *,
    channels: tuple[int, ...] = (),
    exact: bool = False,
) -> Shaped[Array, "h w c"]:
    """The image as an array of JAX, if `function` can work on it.

    With `exact` it may be uint8 as well as floating-point; `channels` are the numbers of channels
    that will do, any if there are none. **Errors:** TypeError for another dtype; ValueError for
    another rank, an image without pixels, or another number of channels.
    """
    value = numbers("image", image)
    given = spec_text(value)
    if value.ndim != 3:
        raise ValueError(
            f"{function} takes an image `h w c`, but was given {given}; {_axes(value)}"
        )
    floating = jnp.issubdtype(value.dtype, jnp.floating)
    if not floating and not (exact and value.dtype == jnp.uint8):
        kinds = "floats or uint8" if exact else "floats"
        raise TypeError(
            f"{function} takes an image of {kinds}, but was given {given}; cast it before: "
            f"{_cast(value, exact)}."
        )
    if not value.size:
        raise ValueError(f"{function} takes an image, but was given {given}, which has no pixels.")
    if channels and value.shape[2] not in channels:
        expected = " or ".join(map(str, channels))
        raise ValueError(
            f"{function} takes an image of {expected} channels, but was given {given}; "
            f"{_channels(value.shape[2], channels)}."
        )
    return value


def _axes(image: Shaped[Array, "..."]) -> str:
    if image.ndim == 2:
        return "add an axis for its one channel: image[..., None]."
    if image.ndim > 3:
        return "map it over the leading axes: jax.vmap, or dagrax.pure.per_record."
    return "expected three axes: height, width and channels."


def _cast(image: Shaped[Array, "..."], exact: bool) -> str:
    if image.dtype == jnp.uint8:
        return "by ToFloat(), or image.astype(jnp.float32) / 255"
    return "image.astype(jnp.uint8)" if exact else "image.astype(jnp.float32) / 255"


def _channels(given: int, expected: tuple[int, ...]) -> str:
    if given >= max(expected):
        return f"pass some of them: image[..., :{max(expected)}]"
    if given == 1:
        return f"repeat its own: jnp.repeat(image, {max(expected)}, axis=2)"
    return "pass one of them: image[..., :1]"


def numbers(name: str, value: object) -> Shaped[Array, "..."]:
    """What an argument holds, as an array of JAX. **Errors:** TypeError for what is no number."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(valued(name, value, "a number, or an array of them.")) from None


def like(value: Shaped[ArrayLike, "..."], array: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """A number, or one for each channel, in the dtype of the array it is used with."""
    return jnp.asarray(value).astype(array.dtype)
