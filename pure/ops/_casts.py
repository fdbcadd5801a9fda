"""A number of one kind as one of another, where none is cut off in silence.

Which field it is, and why, is not known here.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Shaped

from .._checking import checked
from ._arguments import numbers


def cast(value: Shaped[ArrayLike, "..."], dtype: DTypeLike) -> Shaped[Array, "..."]:
    """The value in another dtype. What does not fit into integers is refused where values are
    looked at, and wraps elsewhere."""
    array = numbers("value", value)
    if jnp.issubdtype(dtype, jnp.integer) and not jnp.issubdtype(array.dtype, jnp.bool_):
        ends = jnp.iinfo(dtype)  # type: ignore[no-untyped-call]
        wide = array.astype(jnp.float32)
        fits = (wide >= float(ends.min)) & (wide <= float(ends.max))
        checked(fits, f"cast: a number is not from {ends.min} to {ends.max}")
    return array.astype(dtype)
