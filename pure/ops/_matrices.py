"""Matrices that map points (x, y, 1) of an image to points of its result; `b @ a` is a, then b.

Pixel centres lie at whole numbers and an image turns about ((h-1)/2, (w-1)/2). Nothing is
sampled here.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from .._checking import checked
from .._text import spec_text
from ._arguments import numbers
from ._sizes import Margins, Size, size_of

Matrix: TypeAlias = Float[Array, "3 3"]
Points: TypeAlias = Shaped[ArrayLike, "4 2"] | Sequence[object]
Number: TypeAlias = Shaped[ArrayLike, ""]


def translation(dx: Number, dy: Number) -> Matrix:
    """Moves points right by `dx` and down by `dy` pixels."""
    return _matrix((1, 0, numbers("dx", dx)), (0, 1, numbers("dy", dy)), (0, 0, 1))


def rotation(degrees: Number, size: int | Size) -> Matrix:
    """Turns points counter-clockwise as seen, about the centre of an image of `size` (h, w).

    A multiple of 90 degrees is exact.
    """
    (turned,) = _floats(numbers("degrees", degrees))
    quarters = jnp.round(turned / 90)
    rest = jnp.deg2rad(turned - 90 * quarters)  # 0 for a quarter turn, whose cosine is then 0
    cosine, sine = jnp.cos(rest), jnp.sin(rest)
    odd = jnp.remainder(quarters, 2) == 1
    sign = jnp.where(jnp.remainder(quarters, 4) >= 2, -1.0, 1.0).astype(turned.dtype)
    cosine, sine = sign * jnp.where(odd, -sine, cosine), sign * jnp.where(odd, cosine, sine)
    return about_centre(cosine, sine, -sine, cosine, size_of(size))


def scaling(sx: Number, sy: Number, size: int | Size) -> Matrix:
    """Scales by `sx` and `sy` about the centre of an image of `size` (h, w); above 1 enlarges."""
    return about_centre(numbers("sx", sx), 0, 0, numbers("sy", sy), size_of(size))


def shear(x_degrees: Number, y_degrees: Number, size: int | Size) -> Matrix:
    """[[1, tan x], [tan y, 1]] about the centre of an image of `size` (h, w)."""
    degrees = _floats(numbers("x_degrees", x_degrees), numbers("y_degrees", y_degrees))
    x, y = (jnp.tan(jnp.deg2rad(angle)) for angle in degrees)
    return about_centre(1, x, y, 1, size_of(size))


def perspective(source_points: Points, target_points: Points) -> Matrix:
    """The matrix that maps four points (x, y) to four others.

    **Errors:** ValueError for three points of either in one line, where values are looked at.
    """
    source = _corners("source_points", source_points)
    target = _corners("target_points", target_points)
    mapped = composed(_from_square(target), adjugate(_from_square(source)))
    return mapped / mapped[2, 2]


def flip(axis: int, size: Size) -> Matrix:
    """Rows (axis 0) or columns (axis 1) of an image of `size` in the other order."""
    height, width = size
    return (
        _matrix((-1, 0, width - 1), (0, 1, 0), (0, 0, 1))
        if axis
        else _matrix((1, 0, 0), (0, -1, height - 1), (0, 0, 1))
    )


def window_matrix(top: Number, left: Number, padding: Margins) -> Matrix:
    """Points of an image to those of a window of the padded one."""
    (above, _), (before, _) = padding
    return translation(before - left, above - top)


def resize_matrix(before: Size, after: Size) -> Matrix:
    """Points of an image to those of the resized one, whose edges are where its own are."""
    y, x = (new / old for old, new in zip(before, after, strict=True))
    return _matrix((x, 0, (x - 1) / 2), (0, y, (y - 1) / 2), (0, 0, 1))


def part_matrix(top: Number, left: Number, sides: Float[Array, "2"], size: Size) -> Matrix:
    """Points of an image to those of a part of it, from its edges (height, width), as `size`."""
    y, x = (new / sides[axis] for axis, new in enumerate(size))
    return _matrix((x, 0, (0.5 - left) * x - 0.5), (0, y, (0.5 - top) * y - 0.5), (0, 0, 1))


def composed(*matrices: Matrix) -> Matrix:
    """Their product, in full precision on every device, which `@` has not on some."""
    product, *others = _floats(*matrices)
    for other in others:
        product = jnp.sum(product[:, :, None] * other[None], 1)
    return product


def adjugate(matrix: Matrix) -> Matrix:
    """The inverse but for a factor, which a map of points does not have; exact where it can be."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    rows = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return jnp.stack([jnp.stack(row) for row in rows])


def about_centre(xx: Number, xy: Number, yx: Number, yy: Number, size: Size) -> Matrix:
    """[[xx, xy], [yx, yy]] about the centre of an image of `size`."""
    y, x = ((extent - 1) / 2 for extent in size)
    xx, xy, yx, yy = _floats(xx, xy, yx, yy)
    return _matrix((xx, xy, x - xx * x - xy * y), (yx, yy, y - yx * x - yy * y), (0, 0, 1))


def _from_square(corners: Float[Array, "4 2"]) -> Matrix:
    # The corners of the unit square, in turn, to these (Heckbert, Fundamentals of Texture Mapping
    # and Image Warping, 1989, 2.2.3), times a factor in place of a division.
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    x_skew, y_skew = (x0 - x1) + (x2 - x3), (y0 - y1) + (y2 - y3)
    w = (x1 - x2) * (y3 - y2) - (x3 - x2) * (y1 - y2)
    g = x_skew * (y3 - y2) - (x3 - x2) * y_skew
    h = (x1 - x2) * y_skew - x_skew * (y1 - y2)
    return _matrix(
        (w * (x1 - x0) + g * x1, w * (x3 - x0) + h * x3, w * x0),
        (w * (y1 - y0) + g * y1, w * (y3 - y0) + h * y3, w * y0),
        (g, h, w),
    )


def _matrix(*rows: tuple[Number, Number, Number]) -> Matrix:
    return jnp.stack([*_floats(*(entry for row in rows for entry in row))]).reshape(3, 3)


def _corners(name: str, points: Points) -> Float[Array, "4 2"]:
    rows = numbers(name, points)
    if rows.shape != (4, 2):
        raise ValueError(f"perspective maps four points (x, y), but was given {spec_text(rows)}.")
    (corners,) = _floats(rows)
    sides = jnp.roll(corners, -1, 0) - corners
    areas = sides[:, 0] * jnp.roll(sides, -1, 0)[:, 1] - sides[:, 1] * jnp.roll(sides, -1, 0)[:, 0]
    message = f"perspective: three of the {name} lie in one line; move one of them."
    checked(jnp.abs(areas).min() > 1e-6 * jnp.sum(sides**2), message)
    return corners


def _floats(*values: Shaped[ArrayLike, "..."]) -> Iterator[Float[Array, "..."]]:
    # In single precision, or in double if some are.
    arrays = [jnp.asarray(value) for value in values]
    double = any(array.dtype == jnp.float64 for array in arrays)
    return (array.astype(jnp.float64 if double else jnp.float32) for array in arrays)
