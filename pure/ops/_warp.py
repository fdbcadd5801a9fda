"""An image and what belongs to it, moved by a matrix: the image resampled once, points mapped.

A result is made pixel by pixel: each looks back through the inverse to where it comes from. Which
matrix it is stands in `_matrices`, how an image is read between its pixels in `_sample`.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from .._text import spec_text
from ._arguments import image_of, numbers
from ._crop import Mode
from ._matrices import Matrix, Number, adjugate, rotation
from ._sample import Method, judged, sampled
from ._sizes import Size, size_of
from ._targets import Fill, boxes_of, filling, mask_of, points_of


def warp(
    image: Shaped[ArrayLike, "h w c"],
    matrix: Float[ArrayLike, "3 3"],
    size: int | Size | None = None,
    *,
    method: Method = "linear",
    fill: Fill = 0,
    mode: Mode = "constant",
) -> Shaped[Array, "h2 w2 c"]:
    """The image moved by a matrix that maps its points (x, y, 1) to those of the result.

    Args:
        image: floats; by "nearest" uint8 too, whose values are kept.
        matrix: as those of `rotation` and its like, composed by `@`.
        size: (height, width) of the result, the image's own if left out.
        method: "linear", "nearest" or "cubic" (Keys, a = -1/2).
        fill: what lies outside in mode "constant", a number or one for each channel; the edge of
            the image is mixed with it.
        mode: "constant", "reflect" (mirrored without repeating the edge, however far outside) or
            "edge".
    """
    judged(method, mode)
    value = image_of("warp", image, exact=method == "nearest")
    outside = filling("fill", fill, value)
    return sampled(value, *_origins("warp", matrix, value, size), method, outside, mode)


def warp_mask(
    mask: Shaped[ArrayLike, "h w *c"],
    matrix: Float[ArrayLike, "3 3"],
    size: int | Size | None = None,
    mask_fill: Fill = 0,
) -> Shaped[Array, "h2 w2 *c"]:
    """A mask of integers or booleans moved by a matrix, each pixel the nearest of the mask.

    What lies outside the mask is `mask_fill`.
    """
    value = mask_of("warp_mask", mask)
    outside = filling("mask_fill", mask_fill, value)
    return sampled(value, *_origins("warp_mask", matrix, value, size), "nearest", outside)


def warp_points(
    points: Float[ArrayLike, "n 2"], matrix: Float[ArrayLike, "3 3"]
) -> Float[Array, "n 2"]:
    """Points (x, y) moved by a matrix; those that leave the image are kept as they are."""
    value = points_of("warp_points", points)
    moved = _mapped(_matrix_of("warp_points", matrix), value[:, 0], value[:, 1])
    return jnp.stack(moved, 1).astype(value.dtype)


def warp_boxes(
    boxes: Float[ArrayLike, "n 4"], matrix: Float[ArrayLike, "3 3"], size: int | Size
) -> Float[Array, "n 4"]:
    """The boxes round the moved corners of boxes (x0, y0, x1, y1), clipped to `size` (h, w).

    The far edges are exclusive, as those of a slice: a box reaches from half a pixel before the
    centre of its first pixel to half a pixel behind that of its last. A box without width or
    height, which one that has left the image is, stays so: it comes back by no later motion.
    """
    value = boxes_of("warp_boxes", boxes)
    x0, y0, x1, y1 = (value[:, side] - 0.5 for side in range(4))
    x, y = jnp.stack([x0, x1, x1, x0]), jnp.stack([y0, y0, y1, y1])
    x, y = _mapped(_matrix_of("warp_boxes", matrix), x, y)
    return box_round(value, x + 0.5, y + 0.5, size_of(size))


def box_round(
    boxes: Float[Array, "n 4"],
    x: Float[Array, "corners n"],
    y: Float[Array, "corners n"],
    size: Size,
) -> Float[Array, "n 4"]:
    """What `boxes` whose moved corners these are become, clipped to an image of `size`."""
    height, width = size
    x, y = jnp.clip(x, 0, width), jnp.clip(y, 0, height)
    # Turned, the two sides of a line are apart again.
    is_wide, is_high = boxes[:, 2] > boxes[:, 0], boxes[:, 3] > boxes[:, 1]
    right, bottom = jnp.where(is_wide, x.max(0), x.min(0)), jnp.where(is_high, y.max(0), y.min(0))
    return jnp.stack([x.min(0), y.min(0), right, bottom], 1).astype(boxes.dtype)


def rotate(
    image: Shaped[ArrayLike, "h w c"],
    degrees: Number,
    *,
    method: Method = "linear",
    fill: Fill = 0,
    mode: Mode = "constant",
) -> Shaped[Array, "h w c"]:
    """The image turned about its centre, counter-clockwise as seen; its size is kept.

    Quarter turns of a square image, and half turns of any, are those of `rot90` to the bit. The
    keywords are those of `warp`.
    """
    value = image_of("rotate", image, exact=method == "nearest")
    matrix = rotation(degrees, (value.shape[0], value.shape[1]))
    return warp(value, matrix, method=method, fill=fill, mode=mode)


def _origins(
    function: str,
    matrix: Float[ArrayLike, "3 3"],
    image: Shaped[Array, "h w *c"],
    size: int | Size | None,
) -> tuple[Float[Array, "h2 w2"], Float[Array, "h2 w2"]]:
    # The places (x, y) in the image that the pixels of the result come from.
    height, width = image.shape[:2] if size is None else size_of(size)
    inverse = adjugate(_matrix_of(function, matrix))
    x, y = jnp.arange(width, dtype=inverse.dtype), jnp.arange(height, dtype=inverse.dtype)
    return _mapped(inverse, x[None, :], y[:, None])


def _mapped(
    matrix: Matrix, x: Float[Array, "..."], y: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    x, y = x.astype(matrix.dtype), y.astype(matrix.dtype)
    across, down, depth = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return across / depth, down / depth


def _matrix_of(function: str, matrix: Float[ArrayLike, "3 3"]) -> Matrix:
    value = numbers("matrix", matrix)
    if value.shape != (3, 3) or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"{function} takes a 3x3 matrix of floats, but was given {spec_text(value)}; make "
            "one by rotation, translation, scaling, shear or perspective, composed by @."
        )
    return value if value.dtype == jnp.float64 else value.astype(jnp.float32)
