"""One text for NumPy and for JAX: arithmetic of whole numbers that is read by both, bit for bit.

Orders are computed in the graph for data in memory, and on the host for sources that are read
there: by NumPy, and without JAX in the thread. What is counted is not known here.
"""

from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped, UInt

if TYPE_CHECKING:  # for a checker, as for those who write an order, they are arrays of JAX
    Words: TypeAlias = Array
    Batch: TypeAlias = Array
    Epoch: TypeAlias = Array
    Table: TypeAlias = Array
    Flags: TypeAlias = Array
else:
    # Words of 32 bits, on the host also of 64; NumPy gives scalars where arrays have no axes.
    Words: TypeAlias = UInt[Array, "..."] | UInt[np.ndarray, "..."] | np.unsignedinteger
    Batch: TypeAlias = UInt[Array, " batch"] | UInt[np.ndarray, " batch"]
    Epoch: TypeAlias = UInt[Array, ""] | UInt[np.ndarray, ""] | np.unsignedinteger
    Table: TypeAlias = Shaped[Array, "..."] | Shaped[np.ndarray, "..."]
    Flags: TypeAlias = Bool[Array, "..."] | Bool[np.ndarray, "..."] | np.bool_


def plain(numbers: np.ndarray | np.generic) -> Words:
    """Numbers of NumPy as they are, which a checker then takes for any others."""
    return cast(Words, numbers)


def namespace(*arrays: object) -> ModuleType:
    """`jax.numpy` where one of the arrays is JAX's, `numpy` otherwise."""
    return jnp if any(isinstance(x, jax.Array) for x in arrays) else np


def words(value: Words | np.unsignedinteger | int, like: Words) -> Words:
    """A number as a word like another: of as many bits, and of JAX where that is."""
    made: Words = namespace(like, value).asarray(value, like.dtype)
    return made


def word(value: Words | int) -> Words:
    """A number as a word of 32 bits."""
    made: Words = namespace(value).asarray(value, np.uint32)
    return made


def looked_up(table: Table, places: Words) -> Words:
    """The entries at these places, all of which there are."""
    if not isinstance(places, jax.Array):
        return plain(np.asarray(table)[places])
    found: Array = jnp.asarray(table).at[places].get(mode="promise_in_bounds")
    return found
