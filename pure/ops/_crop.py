"""Windows of an image, and margins round it. They are exact for any dtype.

Nothing is clipped in silence: a window that leaves the image is refused, where its place is known
as an error of the call, where it is traced as an error of the run.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Integer, Shaped

from .._checking import certain, known
from .._text import spec_text, valued
from ._arguments import numbers
from ._sizes import Padding, Size, by, margins, size_of
from ._targets import Fill, filling, picture_of

Mode: TypeAlias = Literal["constant", "reflect", "edge"]
MODES: tuple[Mode, ...] = ("constant", "reflect", "edge")


def crop(
    image: Shaped[ArrayLike, "h w *c"],
    top: int | Integer[ArrayLike, ""],
    left: int | Integer[ArrayLike, ""],
    size: int | Size,
) -> Shaped[Array, "h2 w2 *c"]:
    """The window of `size` (height, width) whose first pixel is row `top`, column `left`.

    The image may be a mask. `top` and `left` may be traced. **Errors:** ValueError for a window
    that leaves the image, a run-time error where its place is traced; TypeError for a place that
    is no whole number.
    """
    value = picture_of("crop", image)
    window = fitting("crop", value, size)
    row, column = _place("top", top), _place("left", left)
    rows, columns = value.shape[0] - window[0], value.shape[1] - window[1]
    outside = (row < 0) | (row > rows) | (column < 0) | (column > columns)
    message = (
        f"crop was asked for the {by(window)} window at top {_told(top)}, left {_told(left)} of "
        f"{spec_text(value)}, which it leaves; expected top from 0 to {rows}, left from 0 to "
        f"{columns}."
    )
    return window_of(value, certain(row, outside, message), column, window)


def center_crop(image: Shaped[ArrayLike, "h w *c"], size: int | Size) -> Shaped[Array, "h2 w2 *c"]:
    """The window of `size` in the middle; an odd rest leaves the smaller half above and left.

    **Errors:** ValueError for a window that is larger than the image.
    """
    value = picture_of("center_crop", image)
    height, width = fitting("center_crop", value, size)
    top, left = (value.shape[0] - height) // 2, (value.shape[1] - width) // 2
    return value[top : top + height, left : left + width]


def pad(
    image: Shaped[ArrayLike, "h w *c"],
    padding: Padding,
    mode: Mode = "constant",
    fill: Fill = 0,
) -> Shaped[Array, "h2 w2 *c"]:
    """The image (or mask) with margins round it.

    Args:
        image: the image.
        padding: pixels, as one number, (vertical, horizontal) or ((top, bottom), (left, right)).
        mode: what stands in the margins: `fill`, the image again as in mirrors, whose edge is not
            repeated ("reflect"), or its nearest pixel ("edge").
        fill: a number, or one for each channel; a whole one for whole pixels.
    """
    value = picture_of("pad", image)
    sides = (*margins(padding), *[(0, 0)] * (value.ndim - 2))
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(map(repr, MODES))}.")
    if not any(map(sum, sides)):
        return value
    if mode != "constant":
        return jnp.pad(value, sides, mode)
    outside = filling("fill", fill, value)
    shape = [extent + sum(side) for extent, side in zip(value.shape, sides, strict=True)]
    start = [side[0] for side in sides]
    return jax.lax.dynamic_update_slice(jnp.broadcast_to(outside, shape), value, start)


def window_of(
    image: Shaped[Array, "h w *c"],
    top: Shaped[ArrayLike, ""],
    left: Shaped[ArrayLike, ""],
    size: Size,
) -> Shaped[Array, "h2 w2 *c"]:
    """A window that is known to lie in the image; its place may be traced."""
    starts = (top, left, *[0] * (image.ndim - 2))
    starts = tuple(jnp.asarray(start, jnp.int32) for start in starts)
    # Starts are inside: a negative one is not looked for.
    return jax.lax.dynamic_slice(
        image, starts, (*size, *image.shape[2:]), allow_negative_indices=False
    )


def fitting(function: str, image: Shaped[Array, "h w *c"], size: int | Size) -> Size:
    """The size of a window. **Errors:** ValueError for one that is larger than the image."""
    window = size_of(size)
    if window[0] > image.shape[0] or window[1] > image.shape[1]:
        raise ValueError(
            f"{function} was asked for a {by(window)} window of {spec_text(image)}, which is "
            f"{by(image.shape[:2])}; ask for a smaller size, or pad the image before."
        )
    return window


def _place(name: str, value: object) -> Shaped[Array, ""]:
    array = numbers(name, value)
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.ndim:
        raise TypeError(valued(name, value, "a whole number of pixels."))
    return array


def _told(value: object) -> str:
    return "(traced)" if not known(value) else str(value)
