"""An image looked up between its pixels: at any point (x, y), by the method and mode asked for.

Where those points come from is not known here. Each pixel round a point is read by itself, from
the image as it is, and replaced where it lies outside: a border would have to be written first,
and one gather of whole windows takes twice as long on a CPU.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Shaped

from ._crop import MODES, Mode
from ._targets import Fill, filling

Method: TypeAlias = Literal["linear", "nearest", "cubic"]
Numbers: TypeAlias = Float[Array, "..."]
METHODS: tuple[Method, ...] = ("linear", "nearest", "cubic")


def judged(method: Method, mode: Mode) -> None:
    """**Errors:** ValueError for a method or mode that is none."""
    for name, value, known in (("method", method, METHODS), ("mode", mode, MODES)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}.")


def precision_of(image: Shaped[Array, "..."]) -> jnp.dtype:
    """The dtype to compute in: single precision, for float64 double."""
    double: jnp.dtype = jnp.dtype(jnp.float64)
    return double if image.dtype == double else jnp.dtype(jnp.float32)


def sampled(
    image: Shaped[Array, "h w *c"],
    x: Float[Array, "h2 w2"],
    y: Float[Array, "h2 w2"],
    method: Method = "linear",
    fill: Fill = 0,
    mode: Mode = "constant",
) -> Shaped[Array, "h2 w2 *c"]:
    """The image at the points (x, y), in its dtype. At its edge it is mixed with what lies outside.

    "cubic" is the kernel of Keys with a = -1/2, whose overshoot is kept.
    """
    height, width = image.shape[:2]
    if mode == "reflect":
        x, y = _folded(x, width), _folded(y, height)
    (left, across), (top, down) = _split(x, width, method), _split(y, height, method)
    steps = (0,) if method == "nearest" else (0, 1) if method == "linear" else (-1, 0, 1, 2)
    rows = [_neighbours(top + step, height, mode) for step in steps]
    columns = [_neighbours(left + step, width, mode) for step in steps]
    pixels, outside = image.reshape(height * width, *image.shape[2:]), filling("fill", fill, image)

    def pixel(row: Neighbours, column: Neighbours) -> Shaped[Array, "h2 w2 *c"]:
        value = pixels.at[row.place * width + column.place].get(mode="promise_in_bounds")
        if mode != "constant":
            return value
        return jnp.where(_over(row.inside & column.inside, image), value, outside)

    if method == "nearest":
        return pixel(*rows, *columns)
    mix = _linear if method == "linear" else _cubic
    across, down = (_over(rest, image).astype(precision_of(image)) for rest in (across, down))

    def line(row: Neighbours) -> Float[Array, "h2 w2 *c"]:
        return mix([pixel(row, column).astype(across.dtype) for column in columns], across)

    return mix([line(row) for row in rows], down).astype(image.dtype)


class Neighbours(NamedTuple):
    """For each point one pixel beside it, along one axis."""

    place: Integer[Array, "..."]
    inside: Bool[Array, "..."]


def _neighbours(place: Integer[Array, "..."], extent: int, mode: Mode) -> Neighbours:
    last = extent - 1
    inside = (place >= 0) & (place <= last)
    if mode == "reflect" and last:
        place = last - jnp.abs(last - jnp.abs(place))
    return Neighbours(jnp.clip(place, 0, last), inside)


def _folded(at: Float[Array, "..."], extent: int) -> Float[Array, "..."]:
    # As between two mirrors, which stand on the centres of the first and the last pixel.
    last = extent - 1
    if not last:
        return jnp.zeros_like(at)
    at = jnp.remainder(at, 2 * last)
    return jnp.where(at > last, 2 * last - at, at)


def _split(
    at: Float[Array, "..."], extent: int, method: Method
) -> tuple[Integer[Array, "..."], Float[Array, "..."]]:
    # The pixel at or before a place and the rest of the way; places far outside are one.
    far = 2 if method == "cubic" else 1
    at = jnp.clip(at, -far, extent - 1 + far)
    pixel = jnp.floor(at + 0.5 if method == "nearest" else at)
    return pixel.astype(jnp.int32), at - pixel


def _over(value: Shaped[Array, "h2 w2"], image: Shaped[Array, "h w *c"]) -> Shaped[Array, "..."]:
    return jnp.expand_dims(value, tuple(range(2, image.ndim)))


def _linear(values: Sequence[Numbers], rest: Numbers) -> Numbers:
    first, second = values
    return first + rest * (second - first)


def _cubic(values: Sequence[Numbers], rest: Numbers) -> Numbers:
    # Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, with a = -1/2.
    a, b, c = rest, rest * rest, rest * rest * rest
    weights = (
        -0.5 * a + b - 0.5 * c,
        1 - 2.5 * b + 1.5 * c,
        0.5 * a + 2 * b - 1.5 * c,
        -0.5 * b + 0.5 * c,
    )
    first, *others = (value * weight for value, weight in zip(values, weights, strict=True))
    for other in others:
        first = first + other
    return first
