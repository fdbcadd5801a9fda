"""An image looked up between its pixels: at any point (x, y), by the method and mode asked for.

Where those points come from is not known here. Each of the pixels round a point is read as one row
of channels from the flat image with a border, so that nothing is masked: on a CPU the fastest form
of a gather.
"""

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from ._crop import MODES, Mode
from ._crop import pad as padded
from ._targets import Fill

Method: TypeAlias = Literal["linear", "nearest", "cubic"]
METHODS: tuple[Method, ...] = ("linear", "nearest", "cubic")
Four: TypeAlias = tuple[
    Float[Array, "..."], Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]
]
Read: TypeAlias = Callable[[int, int], Shaped[Array, "h2 w2 *c"]]


def judged(method: Method, mode: Mode) -> None:
    """**Errors:** ValueError for a method or mode that is none."""
    for name, value, known in (("method", method, METHODS), ("mode", mode, MODES)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}.")


def precision_of(image: Shaped[Array, "..."]) -> jnp.dtype:
    """The dtype to compute in: single precision, for float64 double."""
    return jnp.dtype(jnp.float64 if image.dtype == jnp.float64 else jnp.float32)


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
    row_length = pixels.shape[1]
    pixels = pixels.reshape(-1, *image.shape[2:])
    (column, across), (row, down) = _split(x, width, method), _split(y, height, method)
    first = (row + border) * row_length + (column + border)

    def read(below: int, right: int) -> Shaped[Array, "h2 w2 *c"]:
        return jnp.take(pixels, first + (below * row_length + right), 0, mode="clip")

    if method == "nearest":
        return read(0, 0)
    across, down = _beside(across, image), _beside(down, image)
    mixed = _linear(read, across, down) if method == "linear" else _cubic(read, across, down)
    return mixed.astype(image.dtype)


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
    read: Read, across: Float[Array, "..."], down: Float[Array, "..."]
) -> Float[Array, "..."]:
    def along(below: int) -> Float[Array, "..."]:
        left, right = (read(below, step).astype(across.dtype) for step in (0, 1))
        return left + across * (right - left)

    above, below = along(0), along(1)
    return above + down * (below - above)


def _cubic(
    read: Read, across: Float[Array, "..."], down: Float[Array, "..."]
) -> Float[Array, "..."]:
    columns, rows = _keys(across), _keys(down)

    def along(below: int) -> Float[Array, "..."]:
        taps = (read(below, step).astype(across.dtype) for step in (-1, 0, 1, 2))
        return _total(taps, columns)

    return _total((along(step) for step in (-1, 0, 1, 2)), rows)


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
