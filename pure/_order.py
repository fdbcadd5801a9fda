"""Orders: which record stands at which position of an epoch."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32


class AbstractOrder(eqx.Module):
    """A bijection from the positions of an epoch to the ids of its records."""

    @abc.abstractmethod
    def ids(self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int) -> UInt32[Array, "batch"]:
        """Record ids at `positions` of an `epoch` over `size` records.

        `size` is static, from 1 to 2**31 - 1 (otherwise `ValueError`); each position must lie below it, which is not
        checked. Positions and ids have shape `(batch,)`.
        """


class Sequential(AbstractOrder):
    """The order of the source: every position is its own record id, in every epoch."""

    def ids(self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int) -> UInt32[Array, "batch"]:
        """The `positions` themselves, shape `(batch,)`; a `size` outside 1 to 2**31 - 1 is a `ValueError`."""
        _check_size(self, size)
        return positions


class Shuffled(AbstractOrder):
    """A new pseudorandom order each epoch, computed for the positions asked for, without a table.

    `key` is one JAX key, typed or raw. Ids cost time and memory in proportion to the positions, whatever the size.

    The records lie on a grid whose last row may be short. Half-rounds shift each column, then each row, cyclically by a
    keyed hash of its index, modulo its actual length: each is a bijection, so their composition is. After Black and
    Rogaway, "Ciphers with Arbitrary Finite Domains" (CT-RSA 2002). The orders suit statistics, not cryptography.
    """

    key: PRNGKeyArray

    def ids(self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int) -> UInt32[Array, "batch"]:
        """Ids at `positions`, both of shape `(batch,)`; a `size` outside 1 to 2**31 - 1 is a `ValueError`."""
        _check_size(self, size)
        # An even row shifted by one is an odd permutation: with odd lengths only, half of all orders are out of reach.
        columns = max(2, (math.isqrt(size - 1) + 1) // 2 * 2)
        rows = -(-size // columns)
        last = size - (rows - 1) * columns
        # Small grids mix more slowly: each half-round draws fewer bits.
        rounds = 12 if size < 64 else 6
        keys = jax.random.bits(jax.random.fold_in(self.key, epoch), (rounds, 2), "uint32")
        row, column = positions // columns, positions % columns
        for down, along in keys:
            row = _shift(row, jnp.where(column < last, np.uint32(rows), np.uint32(rows - 1)), _hash(column ^ down))
            column = _shift(column, jnp.where(row < rows - 1, np.uint32(columns), np.uint32(last)), _hash(row ^ along))
        return row * columns + column


def _shift(place: Array, length: Array, bits: Array) -> Array:
    # A length has at most 16 bits, so `bits * length >> 32` can be formed from two halves that do not overflow.
    moved = place + (((bits >> 16) * length + ((bits & 0xFFFF) * length >> 16)) >> 16)
    # The remainder: below `length` the difference wraps round to a huge number, and the minimum discards it.
    return jnp.minimum(moved, moved - length)


def _hash(x: Array) -> Array:
    # `lowbias32`, found by C. Wellons, "Prospecting for Hash Functions", nullprogram.com, 2018.
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _check_size(order: AbstractOrder, size: int) -> None:
    if not 1 <= size < 2**31:
        edit = "Give the source at least one record" if size < 1 else "Split the source into smaller ones"
        name = type(order).__name__
        raise ValueError(
            f"`{name}.ids` was passed `size={size}`; expected a number of records from 1 to {2**31 - 1}. {edit}."
        )
