"""An image in another size, and a part of one: each axis by the few pixels that make up a new one.

The conventions are those of Pillow and of `jax.image`: pixels are areas, the kernel grows with the
reduction if `antialias`, and at the edge its weights are made to sum to 1. Their number is known
from the sizes alone, so that on a CPU few gathers of whole rows do what dense weights would.
"""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from ._arguments import image_of
from ._sample import Method, judged, precision_of
from ._sizes import Size, size_of
from ._targets import picture_of

_FEW = 16  # more pixels for one are summed by a product of matrices


def resize(
    image: Shaped[ArrayLike, "h w *c"],
    size: int | Size,
    method: Method = "linear",
    antialias: bool = True,
) -> Shaped[Array, "h2 w2 *c"]:
    """The image in the size (height, width).

    Args:
        image: floats; by "nearest" uint8 and masks too, whose values are kept.
        size: of the result.
        method: "linear", "nearest" or "cubic" (Keys, a = -1/2): Pillow's BILINEAR, NEAREST and
            BICUBIC.
        antialias: whether a reduction takes the mean of what it covers, as Pillow does; without it
            "linear" is OpenCV's INTER_LINEAR. "nearest" has none.
    """
    judged(method, "constant")
    height, width = size_of(size)
    if method == "nearest":
        value = picture_of("resize", image)
        rows, columns = _nearest(value.shape[0], height), _nearest(value.shape[1], width)
        return value[rows][:, columns]
    value = image_of("resize", image)
    scale = jnp.asarray([height / value.shape[0], width / value.shape[1]], jnp.float32)
    return scaled(value, (height, width), scale, jnp.zeros(2), method, antialias)


def scaled(
    image: Float[Array, "h w c"],
    size: Size,
    scale: Float[Array, "2"],
    shift: Float[Array, "2"],
    method: Method,
    antialias: bool,
) -> Float[Array, "h2 w2 c"]:
    """The image scaled, then moved by `shift`, each (vertical, horizontal), from its edges on.

    It is enlarged at least as much as to fill `size`.
    """
    found = image.astype(precision_of(image))
    # The smaller result of the first axis makes less of the second.
    for axis in sorted((0, 1), key=lambda axis: size[axis] / image.shape[axis]):
        found = _along(axis, found, size[axis], scale[axis], shift[axis], method, antialias)
    return found.astype(image.dtype)


def _along(
    axis: int,
    image: Float[Array, "h w c"],
    after: int,
    scale: Float[Array, ""],
    shift: Float[Array, ""],
    method: Method,
    antialias: bool,
) -> Float[Array, "h2 w2 c"]:
    before = image.shape[axis]
    scale, shift = scale.astype(image.dtype), shift.astype(image.dtype)
    reach = 1 if method == "linear" else 2
    widest = max(1.0, before / after) if antialias else 1.0
    count = math.ceil(2 * reach * widest) + 1
    centre = (jnp.arange(after, dtype=image.dtype) + 0.5 - shift) / scale - 0.5
    width = jnp.maximum(1 / scale, 1) if antialias else jnp.ones_like(scale)
    dense = min(count, before) > _FEW or count >= before
    first = jnp.zeros_like(centre) if dense else jnp.floor(centre - reach * width) + 1
    pixels = first[:, None] + jnp.arange(before if dense else count, dtype=image.dtype)[None]
    weights = _kernel(method, jnp.abs(pixels - centre[:, None]) / width)
    weights = jnp.where((pixels >= 0) & (pixels < before), weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    if dense:
        product = jnp.einsum(
            "ij,j...->i...", weights, jnp.moveaxis(image, axis, 0), precision="highest"
        )
        return jnp.moveaxis(product, 0, axis)
    shape = [1, 1, 1]
    shape[axis] = after
    total = jnp.zeros((), image.dtype)
    for place in range(count):
        at = jnp.clip(pixels[:, place], 0, before - 1).astype(jnp.int32)
        rows = jnp.take(image, at, axis, mode="clip")
        total = total + weights[:, place].reshape(shape) * rows
    return total


def _kernel(method: Method, away: Float[Array, "..."]) -> Float[Array, "..."]:
    if method == "linear":
        return jnp.maximum(1 - away, 0)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((2.5 - 0.5 * away) * away - 4) * away + 2
    return jnp.where(away < 1, near, jnp.where(away < 2, far, 0))


def _nearest(before: int, after: int) -> Shaped[Array, " after"]:
    # In whole numbers, so that no rounding moves the middle of a pixel across an edge.
    return (2 * jnp.arange(after) + 1) * before // (2 * after)
