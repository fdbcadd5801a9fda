"""An image in another size, and a part of one: each axis by a small matrix of weights of its own.

The conventions are those of Pillow and of `jax.image`, whose function does the work: pixels are
areas, the kernel grows with the reduction if `antialias`, and at the edge its weights are made to
sum to 1.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from ._arguments import image_of
from ._sample import Method, judged, precision_of
from ._sizes import Size, size_of
from ._targets import picture_of


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
    """The image scaled, then moved by `shift`, each (vertical, horizontal), from its edges on."""
    wide = image.astype(precision_of(image))
    shape = (*size, image.shape[2])
    found = jax.image.scale_and_translate(
        wide, shape, (0, 1), scale.astype(wide.dtype), shift.astype(wide.dtype), method, antialias
    )
    return found.astype(image.dtype)


def _nearest(before: int, after: int) -> Shaped[Array, " after"]:
    # In whole numbers, so that no rounding moves the middle of a pixel across an edge.
    return (2 * jnp.arange(after) + 1) * before // (2 * after)
