"""Rows of tables, labels and series: numbers that are no picture and no sound.

Which field of a record they are is not known here, nor how a mean is found: see `_moments`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, PRNGKeyArray, Shaped

from .._checking import certain, checked, known
from .._random._keys import check_key
from .._text import spec_text
from ._arguments import like, numbers
from ._kinds import check_rate, count_of, floats_of, integers_of


def one_hot(labels: Integer[ArrayLike, "*labels"], classes: int) -> Float[Array, "*labels classes"]:
    """One where the label is, zero elsewhere, along a new last axis.

    A label below 0 or from `classes` on is refused outside of a trace and under `checking()`, and
    has zeros alone elsewhere.
    """
    value = integers_of("one_hot", labels)
    count = count_of("classes", classes)
    first, last = (jnp.min(value), jnp.max(value)) if value.size else (jnp.asarray(0),) * 2
    checked(
        (first >= 0) & (last < count),
        f"one_hot takes labels from 0 to {count - 1} (classes={count}), not {{first}} to {{last}}.",
        first=first,
        last=last,
    )
    return jax.nn.one_hot(value, count)


def standardize(
    x: Float[ArrayLike, "*features"],
    mean: Shaped[ArrayLike, "..."],
    std: Shaped[ArrayLike, "..."],
) -> Float[Array, "*features"]:
    """`(x - mean) / std`; where the deviation is 0, as of a constant, it is not divided by.

    `mean` and `std` are numbers or arrays whose axes are the last ones of `x`. **Errors:**
    ValueError for other shapes.
    """
    value = floats_of("standardize", x)
    middle, spread = _against("mean", mean, value), _against("std", std, value)
    least = spread.min(initial=0)
    checked(spread >= 0, "standardize takes a std of at least 0, not {std}.", std=least)
    return (value - middle) / jnp.where(spread == 0, jnp.ones_like(spread), spread)


def quantile_clip(
    x: Float[ArrayLike, "*features"],
    low: Shaped[ArrayLike, "..."],
    high: Shaped[ArrayLike, "..."],
) -> Float[Array, "*features"]:
    """`x`, and the nearer bound where it is outside of `low` to `high`.

    The bounds are numbers or arrays whose axes are the last ones of `x`, such as quantiles of all
    records. **Errors:** ValueError for other shapes.
    """
    value = floats_of("quantile_clip", x)
    least, most = _against("low", low, value), _against("high", high, value)
    checked(
        least <= most, "quantile_clip takes a low bound that is at most the high one; swap them."
    )
    return jnp.clip(value, least, most)


def feature_dropout(
    x: Float[ArrayLike, "*features"], rate: Shaped[ArrayLike, ""], *, key: PRNGKeyArray
) -> Float[Array, "*features"]:
    """Each number set to zero with the probability `rate`; the others are not scaled."""
    check_key("key", key)
    value = floats_of("feature_dropout", x)
    check_rate("feature_dropout", rate)
    kept = jax.random.uniform(key, value.shape) >= jnp.asarray(rate, jnp.float32)
    return jnp.where(kept, value, jnp.zeros_like(value))


def window(
    series: Shaped[ArrayLike, "time *features"], start: Integer[ArrayLike, ""], length: int
) -> Shaped[Array, "length *features"]:
    """`length` numbers of a series along its first axis, from `start` on, which may be traced.

    **Errors:** ValueError for a window that leaves the series; where `start` is traced, an error at
    run time.
    """
    value = numbers("series", series)
    count = count_of("length", length)
    if not value.ndim or count > value.shape[0]:
        raise ValueError(f"length is {count}, but the series is {spec_text(value)}; take fewer.")
    last = value.shape[0] - count
    place = integers_of("window", start)
    where = f" from {place} on" if known(place) else ""
    message = (
        f"A window of {count}{where} leaves the series of {value.shape[0]}; it has to start at 0 "
        f"to {last}."
    )
    place = certain(place, (place < 0) | (place > last), message)
    return jax.lax.dynamic_slice_in_dim(value, place, count)


def _against(
    name: str, number: Shaped[ArrayLike, "..."], value: Float[Array, "..."]
) -> Float[Array, "..."]:
    """A number, or one for each of the last axes, as an array of the value's shape."""
    given = like(numbers(name, number), value)
    if given.ndim > value.ndim or any(
        own not in (1, size)
        for own, size in zip(given.shape[::-1], value.shape[::-1], strict=False)
    ):
        raise ValueError(
            f"{name} is {spec_text(given)}, but the field is {spec_text(value)}; expected a "
            "number, or one for each entry of the last axes."
        )
    return jnp.broadcast_to(given, value.shape)


def as_floats(x: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Floats as they are, other numbers as float32."""
    value = numbers("x", x)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.float32)
