"""Where two batches differ first: field, record, numbers. Floats are compared to rounding.

What the two are, and why they should be alike, is not known here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, Shaped

from .._text import path_text, spec_text

_ROUNDINGS = 200  # of the last place, by which programs that compute alike may differ


class Difference(NamedTuple):
    """A field, the row of it, and how both are written there; no row where the shapes differ."""

    field: str
    row: int | None
    one: str
    other: str

    @property
    def where(self) -> str:
        """` in field `x``, or nothing for a batch without fields."""
        return f" in field `{self.field}`" if self.field else ""


def difference(one: PyTree, other: PyTree) -> Difference | None:
    """The first difference of two batches, None where there is none.

    Whole numbers and booleans are compared exactly, but that images of uint8 may be one apart.
    """
    (leaves, structure), (others, another) = map(jax.tree_util.tree_flatten_with_path, (one, other))
    expected: object = structure
    if expected != another:
        return Difference("", None, spec_text(one), spec_text(other))
    for (path, x), (_, y) in zip(leaves, others, strict=True):
        if found := _difference(path_text(path) if path else "", numbers(x), numbers(y)):
            return found
    return None


def numbers(leaf: PyTree) -> Shaped[np.ndarray, "..."]:
    """An array as NumPy's, a key as its words."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def is_key(leaf: PyTree) -> bool:
    """Whether a leaf is an array of keys of JAX, which NumPy has not."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def unequal(
    one: Shaped[np.ndarray, "..."], other: Shaped[np.ndarray, "..."]
) -> Shaped[np.ndarray, "..."]:
    """Where two arrays of one shape and dtype differ."""
    if jnp.issubdtype(one.dtype, np.inexact):
        kind = np.complex128 if one.dtype.kind == "c" else np.float64
        x, y = one.astype(kind), other.astype(kind)
        finite = np.abs(y[np.isfinite(y)])
        room = _ROUNDINGS * last_place(one.dtype)
        scale = float(finite.max()) if finite.size else 0.0
        near: Shaped[np.ndarray, "..."] = np.isclose(
            x, y, rtol=room, atol=room * scale, equal_nan=True
        )
        return ~near
    if one.dtype == np.uint8 and one.ndim >= 3:
        return np.abs(one.astype(np.int16) - other.astype(np.int16)) > 1
    apart: Shaped[np.ndarray, "..."] = one != other
    return apart


def last_place(dtype: Any) -> float:  # of NumPy, or of ml_dtypes
    """The last place of a floating dtype, relative to 1."""
    told: Callable[..., Any] = jnp.finfo
    return float(told(dtype).eps)


def _difference(
    field: str, one: Shaped[np.ndarray, "..."], other: Shaped[np.ndarray, "..."]
) -> Difference | None:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return Difference(field, None, spec_text(one), spec_text(other))
    apart = unequal(one, other)
    if not apart.any():
        return None
    place = tuple(int(x) for x in np.argwhere(apart)[0])
    row = place[0] if place else None
    return Difference(field, row, _number(one[place]), _number(other[place]))


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)
