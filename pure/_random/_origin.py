"""Where the records of a batch come from: what passes from the stream to the draws.

Neither knows the other; this is all that they share.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, UInt32


class Origin(eqx.Module):
    """Where the records of one batch come from: with the seed key, all that a draw depends on.

    `ids` are the record ids. `epochs` are the epochs that the batch touches: one, or several where
    it runs across the border of an epoch; `lap` says for each record which of them is its own.
    `offset` is the position of the first record in `epochs[0]`.

    `turn` tells the times apart that a record is handed out in one epoch, under an order that may
    hand it out twice. `own` is the epoch of each record's own source, where several are mixed.
    """

    ids: UInt32[Array, " batch"]
    lap: UInt32[Array, " batch"]
    epochs: UInt32[Array, " laps"]
    offset: UInt32[Array, ""]
    turn: UInt32[Array, " batch"] | None = None
    own: UInt32[Array, " batch"] | None = None

    @classmethod
    def numbered(cls, records: int) -> "Origin":
        """The origin of a batch that no stream gave out: its records are 0, 1, … of epoch 0."""
        ids = jnp.arange(records, dtype=jnp.uint32)
        zero = jnp.zeros((), jnp.uint32)
        return cls(ids=ids, lap=jnp.zeros_like(ids), epochs=zero[None], offset=zero)
