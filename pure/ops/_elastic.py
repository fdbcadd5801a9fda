"""An image whose pixels are looked up beside their places, by a field of displacements.

It shares its lookup with `warp`. Points go the other way, so that they need the field's inverse.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, Shaped

from .._text import spec_text
from ._arguments import image_of, numbers
from ._crop import Mode
from ._sample import Method, judged, sampled
from ._targets import Fill, boxes_of, filling, mask_of, points_of
from ._warp import box_round

_ROUNDS = 20  # each divides the error by one over the steepness of the field


def elastic(
    image: Shaped[ArrayLike, "h w c"],
    displacement: Float[ArrayLike, "h w 2"],
    *,
    method: Method = "linear",
    fill: Fill = 0,
    mode: Mode = "constant",
) -> Shaped[Array, "h w c"]:
    """The image with each pixel taken from its own place plus `displacement` (dx, dy), in pixels.

    As `scipy.ndimage.map_coordinates` maps coordinates. The keywords are those of `warp`.
    """
    judged(method, mode)
    value = image_of("elastic", image, exact=method == "nearest")
    return sampled(
        value, *_origins("elastic", displacement, value), method, filling("fill", fill, value), mode
    )


def elastic_mask(
    mask: Shaped[ArrayLike, "h w *c"],
    displacement: Float[ArrayLike, "h w 2"],
    mask_fill: Fill = 0,
) -> Shaped[Array, "h w *c"]:
    """A mask of integers or booleans, as `elastic` moves an image, each pixel the nearest."""
    value = mask_of("elastic_mask", mask)
    outside = filling("mask_fill", mask_fill, value)
    return sampled(value, *_origins("elastic_mask", displacement, value), "nearest", outside)


def elastic_points(
    points: Float[ArrayLike, "n 2"], displacement: Float[ArrayLike, "h w 2"]
) -> Float[Array, "n 2"]:
    """Where `elastic` moves points (x, y): p = q - displacement(p), by repeated substitution.

    It settles where the field changes by less than a pixel from one pixel to the next; elsewhere
    the image folds, and a point has no one place. Outside, the field goes on as at its edge.
    """
    value = points_of("elastic_points", points)
    field = _field("elastic_points", displacement)
    target = value.astype(field.dtype)

    def closer(_: Integer[Array, ""], at: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
        x, y = at[None, :, 0], at[None, :, 1]
        return target - sampled(field, x, y, mode="edge")[0]

    moved: Float[Array, "n 2"] = jax.lax.fori_loop(0, _ROUNDS, closer, target)
    return moved.astype(value.dtype)


def elastic_boxes(
    boxes: Float[ArrayLike, "n 4"], displacement: Float[ArrayLike, "h w 2"]
) -> Float[Array, "n 4"]:
    """The boxes round the moved corners of boxes (x0, y0, x1, y1), clipped to the image."""
    value = boxes_of("elastic_boxes", boxes)
    field = _field("elastic_boxes", displacement)
    corners = value[:, jnp.asarray([[0, 1], [2, 1], [2, 3], [0, 3]])] - 0.5
    moved = elastic_points(corners.reshape(-1, 2), field).reshape(-1, 4, 2) + 0.5
    return box_round(value, moved[..., 0].T, moved[..., 1].T, (field.shape[0], field.shape[1]))


def _origins(
    function: str, displacement: Float[ArrayLike, "h w 2"], image: Shaped[Array, "h w *c"]
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    field = _field(function, displacement)
    height, width = field.shape[:2]
    if (height, width) != image.shape[:2]:
        raise ValueError(
            f"{function} was given {spec_text(image)} and displacements {spec_text(field)}; "
            "expected one (dx, dy) for each pixel: `h w 2` of the image's h and w."
        )
    x, y = jnp.arange(width, dtype=field.dtype), jnp.arange(height, dtype=field.dtype)
    return x[None, :] + field[..., 0], y[:, None] + field[..., 1]


def _field(function: str, displacement: Float[ArrayLike, "h w 2"]) -> Float[Array, "h w 2"]:
    value = numbers("displacement", displacement)
    floating = jnp.issubdtype(value.dtype, jnp.floating)
    if value.ndim != 3 or value.shape[2] != 2 or not floating:
        raise ValueError(
            f"{function} takes displacements `h w 2` of floats, each (dx, dy) in pixels, but was "
            f"given {spec_text(value)}."
        )
    return value if value.dtype == jnp.float64 else value.astype(jnp.float32)
