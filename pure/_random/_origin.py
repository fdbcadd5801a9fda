"""Where the records of a batch come from: what passes from the stream to the draws.

Neither knows the other; this is all that they share.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt32

if TYPE_CHECKING:  # for a checker they are arrays of JAX, which the host alone has not
    Numbers: TypeAlias = Array
    Flags: TypeAlias = Array
else:
    Numbers: TypeAlias = UInt32[Array, "..."] | UInt32[np.ndarray, "..."] | np.uint32
    Flags: TypeAlias = Bool[Array, "..."] | Bool[np.ndarray, "..."]


class Origin(eqx.Module):
    """Where the records of one batch come from: with the seed key, all that a draw depends on.

    `ids` are the record ids. `epochs` are the epochs that the batch touches: one, or several where
    it runs across the border of an epoch; `lap` says for each record which of them is its own.
    `offset` is the position of the first record in `epochs[0]`.

    `turn` tells the times apart that a record is handed out in one epoch, under an order that may
    hand it out twice. `own` is the epoch of each record's own source, where several are mixed.
    `counts` says which rows are records, where others may have been filled in; no draw depends on
    it.

    Where there are 2**31 records or more, `ids` and `offset` have a last axis of two words, the
    high one first.
    """

    ids: Numbers
    lap: Numbers
    epochs: Numbers
    offset: Numbers
    turn: Numbers | None = None
    own: Numbers | None = None
    counts: Flags | None = None

    @property
    def mark(self) -> UInt32[Array, ""]:
        """A number that no compiler knows, and that is never the last of 32 bits."""
        at: Array = jnp.asarray(self.offset)
        return at if at.ndim == 0 else at[0]

    @classmethod
    def numbered(cls, records: int) -> "Origin":
        """The origin of a batch that no stream gave out: its records are 0, 1, … of epoch 0."""
        ids = jnp.arange(records, dtype=jnp.uint32)
        zero = jnp.zeros((), jnp.uint32)
        return cls(ids=ids, lap=jnp.zeros_like(ids), epochs=zero[None], offset=zero)


def ids_of(origin: Origin) -> list[int]:
    """The ids of the records of a batch."""
    return [number(x) for x in np.asarray(origin.ids).tolist()]


def number(words: int | Sequence[int]) -> int:
    """A number of one word, or of the two that a source of 2**31 records and more has."""
    return words if isinstance(words, int) else words[0] * 2**32 + words[1]
