"""Orders: which record stands at which position of an epoch.

Computed in the graph, for the positions asked for, without a table. Batches are not known here.
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32


class AbstractOrder(eqx.Module):
    """Which record stands at which position of an epoch.

    An order of your own defines `ids`. Where it does not visit every record exactly once, it says
    by `length` how many positions its epochs have, and by `turns` which visit of a record this is.
    """

    @abc.abstractmethod
    def ids(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
        """Record ids at `positions` of an `epoch` over `size` records.

        Positions and ids have shape `(batch,)`. `size` is static; outside 1 to 2**31 - 1 it is a
        `ValueError`. Each position must lie below `length(size)`, which is not checked.
        """

    def length(self, size: int) -> int:
        """The number of positions of an epoch over `size` records: `size`, unless said otherwise.

        It is static, from 1 to 2**31 - 1.
        """
        return size

    def turns(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"] | None:
        """For an order that may hand out a record twice in an epoch: a number for each position
        that tells these times apart, so that each gets draws of its own. None for the others."""
        return None

    def own_epochs(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"] | None:
        """For an order over several sources whose epochs end at different times: the epoch of the
        record's own source, of which its draws then are. None for the others."""
        return None


class Sequential(AbstractOrder):
    """The order of the source: every position is its own record id, in every epoch."""

    def ids(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
        """The `positions` themselves; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        _check_size(self, size)
        return positions


class Shuffled(AbstractOrder):
    """A new pseudorandom order each epoch, computed for the positions asked for, without a table.

    `key` is one JAX key, typed or raw. Time and memory grow with the positions, not with the size.

    The records lie on a grid whose last row may be short. A round shifts each column, then each
    row, cyclically by a keyed hash of its index, modulo its actual length: each shift is a
    bijection, so their composition is. A Feistel network on a mixed-radix grid, as in Black and
    Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002; not for cryptography.
    """

    key: PRNGKeyArray

    def ids(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
        """Ids at `positions`, same shape; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        _check_size(self, size)
        # Cyclic shifts of odd lengths are even permutations: were all lengths odd, half of all
        # orders would be out of reach.
        columns = max(2, (math.isqrt(size - 1) + 1) // 2 * 2)
        rows = -(-size // columns)
        last = size - (rows - 1) * columns
        # Four rounds still show the grid at 64 records, eight at 6: small grids mix more slowly.
        rounds = 12 if size < 64 else 6
        keys = _round_keys(self.key, epoch, rounds)
        row, column = positions // columns, positions % columns
        for down, along in keys:
            height = jnp.where(column < last, np.uint32(rows), np.uint32(rows - 1))
            row = _shift(row, height, _hash(column ^ down))
            width = jnp.where(row < rows - 1, np.uint32(columns), np.uint32(last))
            column = _shift(column, width, _hash(row ^ along))
        return row * columns + column


def _round_keys(key: PRNGKeyArray, epoch: Array, rounds: int) -> Array:
    # By the same hash: on a CPU, threefry would take longer than the order of a batch.
    keys = jnp.arange(1, 2 * rounds + 1, dtype=jnp.uint32) * np.uint32(0x9E3779B9)
    for word in (*jax.random.key_data(key).reshape(-1), epoch):
        keys = _hash(keys ^ word)
    return keys.reshape(rounds, 2)


def _shift(place: Array, length: Array, bits: Array) -> Array:
    # `bits * length >> 32` from two halves that do not overflow, since a length has 16 bits.
    moved = place + (((bits >> 16) * length + ((bits & 0xFFFF) * length >> 16)) >> 16)
    # The remainder: where `moved < length` the difference wraps to a huge number and loses.
    return jnp.minimum(moved, moved - length)


def _hash(x: Array) -> Array:
    # `lowbias32`, found by C. Wellons, "Prospecting for Hash Functions", nullprogram.com, 2018.
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _check_size(order: AbstractOrder, size: int) -> None:
    if not 1 <= size < 2**31:
        mend = "Split the source into smaller ones" if size > 0 else "Give the source a record"
        raise ValueError(
            f"`{type(order).__name__}.ids` was passed `size={size}`; "
            f"expected a number of records from 1 to {2**31 - 1}. {mend}."
        )
