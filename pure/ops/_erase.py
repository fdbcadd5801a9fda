"""Rectangles of an image, erased: where it is said, or where it is drawn.

Floats and uint8 alike. Noise on single pixels stands in `_noise`.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, Shaped

from .._checking import checked, known
from .._random._keys import check_key
from ._arguments import image_of, like, numbers
from ._chance import happens
from ._pixels import PerChannel, for_channels
from ._sizes import Size, size_of
from ._whole import whole

Bounds: TypeAlias = Shaped[ArrayLike, "2"] | tuple[float | int, float | int]
_TRIES = 10


def erase(
    image: Shaped[ArrayLike, "..."],
    top: Shaped[ArrayLike, ""],
    left: Shaped[ArrayLike, ""],
    size: int | Size,
    value: PerChannel,
) -> Shaped[Array, "h w c"]:
    """Set the rectangle of this size at `(top, left)` to a value, or one for each channel.

    `top` and `left` may be traced. The image is of floats or uint8.

    **Errors:** TypeError for other integers, and for a size that is none; ValueError for anything
    but an image, another number of values, and a rectangle that leaves the image.
    """
    given = image_of("erase", image, exact=True)
    filling = _filling("erase", value, given)
    height, width = size_of(size)
    rows = _within("top", top, height, given.shape[0])
    columns = _within("left", left, width, given.shape[1])
    return _filled(given, rows[:, None] & columns[None], filling)


def _within(
    name: str, start: Shaped[ArrayLike, ""], length: int, whole_length: int
) -> Bool[Array, " places"]:
    first = numbers(name, start)
    holds = (first >= 0) & (first + length <= whole_length)
    text = (
        f"erase takes a rectangle within the image, but {name} is {{start}}, of {length} pixels, "
        f"where the image has {whole_length}."
    )
    if known(holds) and not bool(holds):
        raise ValueError(text.format(start=int(first)))
    checked(holds, text, start=first)
    places = jnp.arange(whole_length).astype(first.dtype)
    return (places >= first) & (places < first + length)


def coarse_dropout(
    image: Shaped[ArrayLike, "..."],
    holes: int,
    size: int | Size,
    value: PerChannel = 0,
    *,
    key: PRNGKeyArray,
) -> Shaped[Array, "h w c"]:
    """Set as many rectangles of this size as there are `holes` to a value.

    Each lies within the image, at every place as likely as at any other; they may overlap.

    **Errors:** those of `erase`; ValueError for a size that is larger than the image.
    """
    check_key("key", key)
    given = image_of("coarse_dropout", image, exact=True)
    filling = _filling("coarse_dropout", value, given)
    count, (height, width) = whole("holes", holes, least=0), size_of(size)
    rows, columns, _ = given.shape
    if height > rows or width > columns:
        raise ValueError(
            f"coarse_dropout makes holes of {height} x {width} pixels, but the image has "
            f"{rows} x {columns}; make them smaller: size={min(rows, columns)}."
        )
    for_rows, for_columns = jax.random.split(key)
    top = jax.random.randint(for_rows, (count, 1), 0, rows - height + 1, jnp.int32)
    left = jax.random.randint(for_columns, (count, 1), 0, columns - width + 1, jnp.int32)
    return _filled(given, _holes(top, left, height, width, (rows, columns)), filling)


def random_erase(
    image: Shaped[ArrayLike, "..."],
    p: Shaped[ArrayLike, ""] = 0.5,
    scale: Bounds = (0.02, 0.33),
    ratio: Bounds = (0.3, 3.3),
    value: PerChannel = 0,
    *,
    key: PRNGKeyArray,
) -> Shaped[Array, "h w c"]:
    """Erase, with probability `p`, one rectangle with a share of the area from `scale`.

    Its height by its width is from `ratio`, evenly in the logarithm. Of ten that are drawn the
    first counts that fits into the image; if none does, the image stays.

    **Errors:** those of `erase`.
    """
    check_key("key", key)
    given = image_of("random_erase", image, exact=True)
    filling = _filling("random_erase", value, given)
    rows, columns, _ = given.shape
    for_chance, for_shape = jax.random.split(key)
    drawn = jax.random.uniform(for_shape, (4, _TRIES))
    least, most = jnp.asarray(scale).astype(drawn.dtype)
    area = rows * columns * (least + (most - least) * drawn[0])
    flat, tall = jnp.log(jnp.asarray(ratio).astype(drawn.dtype))
    shape = jnp.exp(flat + (tall - flat) * drawn[1])
    height, width = _whole(jnp.sqrt(area * shape)), _whole(jnp.sqrt(area / shape))
    fits = (height <= rows) & (width <= columns)
    first = jnp.argmax(fits)
    height, width = height[first], width[first]
    top = jnp.floor(drawn[2, 0] * (rows - height + 1))
    left = jnp.floor(drawn[3, 0] * (columns - width + 1))
    top, left, height, width = jnp.stack([top, left, height, width]).astype(jnp.int32)
    some = fits[first] & happens(for_chance, jnp.asarray(p))
    hole = _holes(top[None, None], left[None, None], height, width, (rows, columns))
    return _filled(given, some & hole, filling)


def _whole(lengths: Float[Array, " tries"]) -> Float[Array, " tries"]:
    return jnp.maximum(jnp.round(lengths), 1)


def _holes(
    top: Int32[Array, "holes 1"],
    left: Int32[Array, "holes 1"],
    height: int | Int32[Array, ""],
    width: int | Int32[Array, ""],
    shape: tuple[int, int],
) -> Bool[Array, "h w"]:
    rows = jnp.arange(shape[0], dtype=jnp.int32)[None]
    columns = jnp.arange(shape[1], dtype=jnp.int32)[None]
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    return (in_rows[:, :, None] & in_columns[:, None]).any(0)


def _filled(
    image: Shaped[Array, "h w c"], hole: Bool[Array, "h w"], filling: Shaped[Array, "1 1 c"]
) -> Shaped[Array, "h w c"]:
    return jnp.where(hole[:, :, None], filling, image)


def _filling(
    function: str, value: PerChannel, image: Shaped[Array, "h w c"]
) -> Shaped[Array, "1 1 c"]:
    if image.dtype != jnp.uint8:
        return for_channels(function, "value", value, image)
    number = for_channels(function, "value", value, image.astype(jnp.float32))
    holds = (number == jnp.round(number)) & (number >= 0) & (number <= 255)
    text = f"{function} takes for an image of uint8 whole numbers from 0 to 255 as value"
    if known(holds) and not bool(holds.all()):
        raise ValueError(f"{text}, but was given {value!r}.")
    checked(holds, f"{text}, not {{value}}.", value=number)
    return like(jnp.round(number), image)
