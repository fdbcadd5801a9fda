"""One motion of a record: what it does to an image, a mask, boxes and keypoints, all by one draw.

Four functions, made from a matrix or a field of displacements. Which field of a record is which,
and what is drawn, is not known here.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Shaped

from .._text import valued
from ._arguments import image_of
from ._crop import Mode as Mode
from ._crop import fitting, pad, window_of
from ._elastic import elastic, elastic_boxes, elastic_mask, elastic_points
from ._flip import quarter_turned
from ._matrices import Matrix, flip, resize_matrix, rotation, window_matrix
from ._random_motions import middle
from ._resize import resize, scaled
from ._sample import Method as Method
from ._sample import judged
from ._sizes import Margins, Size, by, margins
from ._targets import Fill as Fill
from ._targets import mask_of, picture_of
from ._warp import warp, warp_boxes, warp_mask, warp_points

Axis: TypeAlias = Literal["horizontal", "vertical"]
Change: TypeAlias = Callable[[Shaped[Array, "..."]], Shaped[Array, "..."]]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How an image is read between its pixels, and what lies outside it and its mask."""

    method: Method = "linear"
    fill: Fill = 0
    mode: Mode = "constant"
    mask_fill: int = 0

    def __post_init__(self) -> None:
        judged(self.method, self.mode)


def sampling(
    method: Method = "linear", fill: Fill = 0, mode: Mode = "constant", mask_fill: int = 0
) -> Sampling:
    """What is written, in a form that can be compared. **Errors:** for what is none, by name."""
    values = np.asarray(fill)
    if values.ndim > 1 or not np.issubdtype(values.dtype, np.number) or np.isnan(values).any():
        raise ValueError(f"fill is {fill!r}; expected a number, or one for each channel.")
    if isinstance(mask_fill, bool) or not isinstance(mask_fill, int | np.integer):
        raise TypeError(valued("mask_fill", mask_fill, "a whole number."))
    kept = tuple(values.tolist()) if values.ndim else values.item()
    return Sampling(method, kept, mode, int(mask_fill))


@dataclasses.dataclass(frozen=True)
class Changes:
    """What becomes of an image, a mask, boxes and keypoints."""

    image: Change
    mask: Change
    boxes: Change
    keypoints: Change


@dataclasses.dataclass(frozen=True)
class Motion:
    """Changes of which a matrix tells where points go, in a result of `size`."""

    changes: Changes
    matrix: Matrix
    size: Size


def warping(matrix: Matrix, size: Size, how: Sampling) -> Motion:
    """The motion by a matrix into a result of `size`."""

    def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return warp(value, matrix, size, method=how.method, fill=how.fill, mode=how.mode)

    def mask(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return warp_mask(value, matrix, size, how.mask_fill)

    return _by_matrix(image, mask, matrix, size)


def staying(size: Size) -> Motion:
    """None at all."""
    return _by_pixels(lambda x: x, jnp.eye(3, dtype=jnp.float32), size)


def displacing(displacement: Float[Array, "h w 2"], how: Sampling) -> Changes:
    """The changes by a field of displacements, whose inverse moves boxes and keypoints."""
    return Changes(
        lambda image: elastic(image, displacement, method=how.method, fill=how.fill, mode=how.mode),
        lambda mask: elastic_mask(mask, displacement, how.mask_fill),
        lambda boxes: elastic_boxes(boxes, displacement),
        lambda points: elastic_points(points, displacement),
    )


def flipping(flipped: Bool[Array, ""], axis: Axis, size: Size) -> Motion:
    """Left and right, or top and bottom, changed if `flipped`."""
    along = 1 if axis == "horizontal" else 0
    matrix = jnp.where(flipped, flip(along, size), jnp.eye(3, dtype=jnp.float32))
    return _by_pixels(lambda x: jnp.where(flipped, jnp.flip(x, along), x), matrix, size)


def quarter_turning(k: Integer[Array, ""], size: Size) -> Motion:
    """`k` quarter turns of a square. **Errors:** ValueError for another `size`."""
    if size[0] != size[1]:
        raise ValueError(
            f"it turns squares alone, but the record is {by(size)}; crop it to a square before."
        )
    matrix = rotation(90.0 * k.astype(jnp.float32), size)
    return _by_pixels(lambda x: quarter_turned(x, k), matrix, size)


def cropping(
    top: Shaped[Array, ""], left: Shaped[Array, ""], size: Size, padding: Margins, how: Sampling
) -> Motion:
    """A window of the padded record; its place is known to lie inside."""

    def window(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return window_of(value, top, left, fitting("a crop", value, size))

    padded = padding_by(padding, size, how)
    return _by_matrix(
        lambda image: window(padded.changes.image(image)),
        lambda mask: window(padded.changes.mask(mask)),
        window_matrix(top, left, padding),
        size,
    )


def centring(before: Size, size: Size) -> Motion:
    """The window of `size` in the middle."""
    none = margins(0)
    top, left = middle(before, size, none)
    return cropping(top, left, size, none, Sampling())


def padding_by(padding: Margins, size: Size, how: Sampling) -> Motion:
    """The record with margins; `size` is that of the result."""
    return _by_matrix(
        lambda image: pad(image, padding, how.mode, how.fill),
        lambda mask: pad(mask_of("pad", mask), padding, fill=how.mask_fill),
        window_matrix(0, 0, padding),
        size,
    )


def rescaling(matrix: Matrix, size: Size, method: Method, antialias: bool) -> Motion:
    """The motion by a matrix that scales and moves along the axes alone, into `size`."""
    scale = jnp.stack([matrix[1, 1], matrix[0, 0]])
    # From centres of pixels to their edges, on both sides.
    shift = jnp.stack([matrix[1, 2], matrix[0, 2]]) + 0.5 - 0.5 * scale

    def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        if method == "nearest":
            return warp(value, matrix, size, method="nearest", mode="edge")
        return scaled(image_of("resize", value), size, scale, shift, method, antialias)

    return _by_matrix(image, lambda mask: warp_mask(mask, matrix, size), matrix, size)


def resizing(before: Size, size: Size, method: Method, antialias: bool) -> Motion:
    """The whole record in another size."""
    return _by_matrix(
        lambda image: resize(image, size, method, antialias),
        lambda mask: resize(mask_of("resize", mask), size, "nearest"),
        resize_matrix(before, size),
        size,
    )


def _by_pixels(move: Change, matrix: Matrix, size: Size) -> Motion:
    return _by_matrix(
        lambda image: move(picture_of("it", image)),
        lambda mask: move(mask_of("it", mask)),
        matrix,
        size,
    )


def _by_matrix(image: Change, mask: Change, matrix: Matrix, size: Size) -> Motion:
    changes = Changes(
        image,
        mask,
        lambda boxes: warp_boxes(boxes, matrix, size),
        lambda points: warp_points(points, matrix),
    )
    return Motion(changes, matrix, size)
