"""An image looked up between its pixels: at any point (x, y), by the method and mode asked for.

Where those points come from is not known here. The four pixels round a point are read as one
window of the image with a border, so that nothing is masked: on a CPU the fastest of gathers.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from ._crop import MODES, Mode
from ._crop import pad as padded
from ._targets import Fill

Method: TypeAlias = Literal["linear", "nearest", "cubic"]
METHODS: tuple[Method, ...] = ("linear", "nearest", "cubic")
_TAPS = (-1, 0, 1, 2)
Four: TypeAlias = tuple[
    Float[Array, "..."], Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]
]


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
    border = 3 if method == "cubic" else 1
    pixels = padded(image, border, mode, fill)
    (column, across), (row, down) = _split(x, width, method), _split(y, height, method)
    row, column = row + border, column + border
    if method == "nearest":
        return _window(pixels, row, column, 1)[:, :, 0, 0]
    across, down = _beside(across, image), _beside(down, image)
    if method == "linear":
        window = _window(pixels, row, column, 2).astype(across.dtype)
        above, below = (_linear(window[:, :, at, 0], window[:, :, at, 1], across) for at in (0, 1))
        return _linear(above, below, down).astype(image.dtype)

    def line(at: int) -> Float[Array, "..."]:
        # One gather of windows of 4x4 takes four times as long on a CPU.
        pixel = (_window(pixels, row + at, column + step, 1)[:, :, 0, 0] for step in _TAPS)
        return _total((x.astype(across.dtype) for x in pixel), _keys(across))

    return _total((line(at) for at in _TAPS), _keys(down)).astype(image.dtype)


def _window(
    pixels: Shaped[Array, "h w *c"],
    row: Integer[Array, "h2 w2"],
    column: Integer[Array, "h2 w2"],
    side: int,
) -> Shaped[Array, "h2 w2 side side *c"]:
    # What is read for one point lies side by side.
    dimensions = jax.lax.GatherDimensionNumbers(
        offset_dims=tuple(range(2, 2 + pixels.ndim)),
        collapsed_slice_dims=(),
        start_index_map=(0, 1),
    )
    starts = jnp.stack(jnp.broadcast_arrays(row, column), -1)
    size = (side, side, *pixels.shape[2:])
    mode = jax.lax.GatherScatterMode.CLIP  # of a place that is NaN
    return jax.lax.gather(pixels, starts, dimensions, size, mode=mode)


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
    # The pixel at or before a place and the rest of the way; beyond the border all places are one.
    if method == "nearest":
        pixel = jnp.clip(jnp.floor(at + 0.5), -1, extent)
        return pixel.astype(jnp.int32), at
    beyond = 2 if method == "cubic" else 1
    at = jnp.clip(at, -beyond, extent - 1 + beyond)
    pixel = jnp.minimum(jnp.floor(at), extent - 2 + beyond)
    return pixel.astype(jnp.int32), at - pixel


def _beside(rest: Float[Array, "h2 w2"], image: Shaped[Array, "h w *c"]) -> Float[Array, "..."]:
    return jnp.expand_dims(rest, tuple(range(2, image.ndim))).astype(precision_of(image))


def _linear(
    first: Float[Array, "..."], second: Float[Array, "..."], rest: Float[Array, "..."]
) -> Float[Array, "..."]:
    return first + rest * (second - first)


def _keys(rest: Float[Array, "..."]) -> Four:
    # Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, with a = -1/2.
    a, b, c = rest, rest * rest, rest * rest * rest
    return (
        -0.5 * a + b - 0.5 * c,
        1 - 2.5 * b + 1.5 * c,
        0.5 * a + 2 * b - 1.5 * c,
        -0.5 * b + 0.5 * c,
    )


def _total(values: Iterator[Float[Array, "..."]], weights: Four) -> Float[Array, "..."]:
    first, *others = (value * weight for value, weight in zip(values, weights, strict=True))
    for other in others:
        first = first + other
    return first
