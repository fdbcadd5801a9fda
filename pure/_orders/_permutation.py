"""A keyed permutation of the first numbers, computed for those asked for, and its inverse.

The numbers lie on a grid whose last row may be short. A round shifts each column, then each row,
cyclically by a keyed hash of its index, modulo its actual length: each shift is a bijection, so
their composition is. A Feistel network on a mixed-radix grid, as in Black and Rogaway, "Ciphers
with Arbitrary Finite Domains", CT-RSA 2002; not for cryptography. Nothing of epochs is known here.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32

from .._namespace import Batch, Epoch, Words, namespace, words
from .._random._keys import words_of

Word = Words | int
RoundKeys = UInt32[Array, "rounds 2 ..."] | UInt32[np.ndarray, "rounds 2 ..."]


class Grid(NamedTuple):
    """The numbers below a size in rows: their number, the columns, and the length of the last row.

    Static numbers, or one array entry for each number that is permuted on a grid of its own.
    """

    rows: Word
    columns: Word
    last: Word

    @classmethod
    def of(cls, size: int) -> "Grid":
        """The grid that mixes this many numbers best."""
        # Cyclic shifts of odd lengths are even permutations: were all lengths odd, half of all
        # orders would be out of reach.
        columns = max(2, (math.isqrt(size - 1) + 1) // 2 * 2)
        rows = -(-size // columns)
        return cls(rows, columns, size - (rows - 1) * columns)


def rounds(size: int) -> int:
    """How many rounds mix so many numbers."""
    # Four rounds still show the grid at 64 records, eight at 6: small grids mix more slowly.
    return 12 if size < 64 else 6


def round_keys(key: PRNGKeyArray | np.ndarray, epoch: Epoch, count: int) -> RoundKeys:
    """Two words for each round."""
    # By the same hash: on a CPU, threefry would take longer than the order of a batch.
    xp = namespace(key, epoch)
    keys = xp.arange(1, 2 * count + 1, dtype=np.uint32) * np.uint32(0x9E3779B9)
    for word in (*words_of(key), epoch):
        keys = hashed(keys ^ word)
    own: RoundKeys = keys.reshape(count, 2)
    return own


def keys_of_each(keys: RoundKeys, words: Batch) -> RoundKeys:
    """Keys of its own for each number, by a word that is hashed well."""
    return keys[..., None] ^ words[None, None]


def permuted(numbers: Words, grid: Grid, keys: RoundKeys) -> Words:
    """Where a permutation takes these numbers, each of which lies on its grid."""
    row, column = numbers // grid.columns, numbers % grid.columns
    for down, along in keys:
        row = _shift(row, _height(grid, column), _bits(column, down))
        column = _shift(column, _width(grid, row), _bits(row, along))
    return row * grid.columns + column


def restored(numbers: Words, grid: Grid, keys: RoundKeys) -> Words:
    """The numbers that `permuted` takes there."""
    row, column = numbers // grid.columns, numbers % grid.columns
    for down, along in keys[::-1]:
        column = _shift_back(column, _width(grid, row), _bits(row, along))
        row = _shift_back(row, _height(grid, column), _bits(column, down))
    return row * grid.columns + column


# Sums in place of `where`, which in jax 0.11.1 loses the mesh of what `jax.vmap` maps over.
def _height(grid: Grid, column: Words) -> Words:
    return words(grid.rows - 1, column) + (column < grid.last).astype(column.dtype)


def _width(grid: Grid, row: Words) -> Words:
    more = words(grid.columns - grid.last, row)
    return words(grid.last, row) + more * (row < grid.rows - 1).astype(row.dtype)


def _shift(place: Words, length: Words, bits: Words) -> Words:
    moved = place + _part(length, bits)
    # The remainder: where `moved < length` the difference wraps to a huge number and loses.
    place = namespace(moved).minimum(moved, moved - length)
    return place


def _shift_back(place: Words, length: Words, bits: Words) -> Words:
    moved = place - _part(length, bits)
    # Likewise, where `moved` wrapped.
    place = namespace(moved).minimum(moved, moved + length)
    return place


def _bits(index: Words, key: Words) -> Words:
    # On the host, numbers of more than 32 bits have an index that is less.
    return hashed((index if index.dtype == np.uint32 else index.astype(np.uint32)) ^ key)


def _part(length: Words, bits: Words) -> Words:
    if length.dtype != np.uint32:
        return bits.astype(np.uint64) * length >> np.uint64(32)
    # `bits * length >> 32` from two halves that do not overflow, since a length has 16 bits.
    return ((bits >> 16) * length + ((bits & 0xFFFF) * length >> 16)) >> 16


def hashed(x: Words) -> Words:
    """A word that looks unlike its own."""
    # `lowbias32`, found by C. Wellons, "Prospecting for Hash Functions", nullprogram.com, 2018.
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)
