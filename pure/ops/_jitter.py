"""Brightness, contrast, saturation and hue, each changed by chance, in an order by chance.

Three of them are one sum with other factors: hue alone is computed apart, and once, with as many
sums before it and after it as there are others. What each does stands in `_tone` and `_colour`.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, PRNGKeyArray, Shaped

from .._random._keys import check_key
from ._colour import turned
from ._draws import ranks
from ._pixels import colours_of, finished, number, planes, together
from ._spaces import hue_of, luma
from ._tone import exact_mean

Planes: TypeAlias = tuple[Float[Array, "h w"], ...]
Range: TypeAlias = Shaped[ArrayLike, "..."] | None
_NAMES = ("brightness", "contrast", "saturation", "hue")


class _Sum(NamedTuple):
    """What one place of the order adds, and to what it clips: nothing at a place without one."""

    delta: Float[Array, "*places"]
    contrast: Float[Array, "*places"]
    saturation: Float[Array, "*places"]
    bound: Float[Array, "*places"]


def color_jitter(
    image: Shaped[ArrayLike, "..."],
    brightness: Range = None,
    contrast: Range = None,
    saturation: Range = None,
    hue: Range = None,
    clip: bool = True,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "h w c"]:
    """Adjust what is not None, each by a draw up to its range, in an order that is drawn too.

    The brightness moves by up to `brightness`, the factors of contrast and saturation by up to
    theirs about 1, the hue by up to `hue` of a turn. With `clip` each is clipped to [0, 1].

    **Errors:** TypeError for integers; ValueError for anything but an image of 1 or 3 channels,
    and for several numbers as a range.
    """
    check_key("key", key)
    value, dtype = colours_of("color_jitter", image, clip=clip)
    given = (brightness, contrast, saturation, hue)
    moves, order = _drawn(given, value, key)
    places = jnp.arange(sum(own is not None for own in given[:3]), dtype=jnp.int32)
    if saturation is None and hue is None:
        return finished(_toned(value, _sums(moves, order, places, clip)), dtype, clip)
    channels = planes(value)
    if hue is None:
        channels = _summed(channels, moves, order, places, clip)
    else:
        before = jnp.where(places < order[3], places, -1)
        channels = _summed(channels, moves, order, before, clip)
        if len(channels) == 3:
            channels = turned(hue_of(*channels), 6 * moves[3])
        channels = _summed(channels, moves, order, order[3] + 1 + places, clip)
    return finished(together(channels), dtype, clip)


def _drawn(
    given: Sequence[Range], image: Float[Array, "h w c"], key: PRNGKeyArray
) -> tuple[Float[Array, "4"], Int32[Array, "4"]]:
    # By how much each adjusts, and in which place. What is None comes last, where none is left.
    drawn = jax.random.uniform(key, (2, len(given)), image.dtype)
    reach = [
        number("color_jitter", name, 0 if own is None else own, image)
        for name, own in zip(_NAMES, given, strict=True)
    ]
    absent = jnp.array([own is None for own in given])
    order = ranks(jnp.where(absent, 2, drawn[1]))
    return jnp.stack(reach) * (2 * drawn[0] - 1), order


def _sums(
    moves: Float[Array, "4"], order: Int32[Array, "4"], places: Int32[Array, " places"], clip: bool
) -> _Sum:
    here = order[None, :3] == places[:, None]
    delta, contrast, saturation = jnp.where(here, moves[None, :3], 0).T
    bound = jnp.where(here.any(1) & clip, 0, jnp.inf).astype(moves.dtype)
    return _Sum(delta, contrast, saturation, bound)


def _toned(image: Float[Array, "h w c"], sums: _Sum) -> Float[Array, "h w c"]:
    # Without saturation only means cross pixels, and what stands before one costs less to compute
    # again than to keep: a third less time on a CPU than a loop.
    for place in range(sums.delta.shape[0]):
        own = jax.tree.map(lambda values, place=place: values[place], sums)
        more = own.contrast * (image - exact_mean(luma(planes(image))))
        image = jnp.clip(image + (own.delta + more), -own.bound, 1 + own.bound)
    return image


def _summed(
    channels: Planes,
    moves: Float[Array, "4"],
    order: Int32[Array, "4"],
    places: Int32[Array, " places"],
    clip: bool,
) -> Planes:
    # A loop writes its channels out after each turn. Unrolled, XLA would fuse all of them, and
    # compute the earlier ones again for each of the means: ten times as long on a CPU.
    sums = _sums(moves, order, places, clip)
    return jax.lax.scan(lambda now, own: (_sum(now, own), None), channels, sums)[0]


def _sum(channels: Planes, own: _Sum) -> Planes:
    grey = luma(channels)
    mean = exact_mean(grey)

    def moved(channel: Float[Array, "h w"]) -> Float[Array, "h w"]:
        more = own.contrast * (channel - mean) + own.saturation * (channel - grey)
        return jnp.clip(channel + (own.delta + more), -own.bound, 1 + own.bound)

    return tuple(moved(channel) for channel in channels)
