"""What moves with an image: masks, boxes and points; refused by name if they are none.

How they move stands elsewhere. A value for what lies outside must fit the array it stands in.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Shaped

from .._checking import known
from .._text import spec_text
from ._arguments import image_of, like, numbers

Fill: TypeAlias = Shaped[ArrayLike, "..."] | Sequence[object]


def mask_of(function: str, mask: Shaped[ArrayLike, "h w *c"]) -> Shaped[Array, "h w *c"]:
    """The mask as an array of JAX. **Errors:** TypeError for floats; ValueError for other ranks."""
    value = numbers("mask", mask)
    given = spec_text(value)
    if not _is_whole(value):
        raise TypeError(
            f"{function} takes a mask of integers or booleans, but was given {given}; cast it: "
            "mask.astype(jnp.int32), or move it as an image."
        )
    if value.ndim not in (2, 3) or not value.size:
        raise ValueError(
            f"{function} takes a mask `h w` or `h w c`, but was given {given}; one of many is "
            "reached by jax.vmap, or dagrax.pure.per_record."
        )
    return value


def picture_of(function: str, image: Shaped[ArrayLike, "h w *c"]) -> Shaped[Array, "h w *c"]:
    """An image or a mask, for a function that moves pixels and never mixes them."""
    value = numbers("image", image)
    if _is_whole(value) and (value.dtype != jnp.uint8 or value.ndim == 2):
        return mask_of(function, value)
    return image_of(function, value, exact=True)


def points_of(function: str, points: Shaped[ArrayLike, "n 2"]) -> Shaped[Array, "n 2"]:
    """Points (x, y) as an array of JAX. **Errors:** as `rows_of`."""
    return rows_of(function, points, "points", ("x", "y"))


def boxes_of(function: str, boxes: Shaped[ArrayLike, "n 4"]) -> Shaped[Array, "n 4"]:
    """Boxes (x0, y0, x1, y1) as an array of JAX. **Errors:** as `rows_of`."""
    return rows_of(function, boxes, "boxes", ("x0", "y0", "x1", "y1"))


def rows_of(
    function: str, rows: Shaped[ArrayLike, "n columns"], name: str, columns: tuple[str, ...]
) -> Shaped[Array, "n columns"]:
    """Rows of floats. **Errors:** TypeError for integers, ValueError for another shape."""
    value = numbers(name, rows)
    given = spec_text(value)
    if value.ndim != 2 or value.shape[1] != len(columns):
        raise ValueError(
            f"{function} takes {name} `n {len(columns)}`, each ({', '.join(columns)}), but was "
            f"given {given}."
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"{function} takes {name} of floats, but was given {given}; cast them: "
            f"{name}.astype(jnp.float32)."
        )
    return value


def filling(name: str, fill: Fill, image: Shaped[Array, "h w *c"]) -> Shaped[Array, "*c"]:
    """What lies outside an image: a number or one for each channel, in its dtype.

    **Errors:** ValueError for another count, and for a number that whole pixels cannot hold.
    """
    value = numbers(name, fill)
    channels = image.shape[2:]
    if value.shape not in ((), channels):
        raise ValueError(
            f"{name} is {spec_text(value)}, but the image is {spec_text(image)}; expected a number "
            "or one for each channel."
        )
    if _is_whole(image) and known(fill):
        with np.errstate(invalid="ignore"):
            kept = np.asarray(fill).astype(image.dtype)
        if not np.array_equal(kept, np.asarray(fill)):
            raise ValueError(
                f"{name} is {fill!r}, which {image.dtype} cannot hold; the image is "
                f"{spec_text(image)}: pass a whole number in its range."
            )
    return jnp.broadcast_to(like(value, image), channels)


def _is_whole(value: Shaped[Array, "..."]) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.integer) or value.dtype == jnp.bool_)
