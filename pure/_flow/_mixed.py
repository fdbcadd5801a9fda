"""The order of a mixture: whose record comes at a position, and which of its records.

Positions are counted over all epochs. They fall into blocks, of which each holds the same number of
records of each source, in a random order; so it is known how many a source has given before any
position, and from that its own epoch and its place in it. What the sources hold is not known.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32

from ._order import AbstractOrder
from ._permutation import Grid, hashed, keys_of_each, permuted, round_keys
from ._wide import Wide, divided, less, minus, plus, product, wide

_ROUNDS = 12  # enough for a block, and for a source, of any size
_MIXED = 0x4D495845  # in place of an epoch, so that no other order has the same key


class Stretch(NamedTuple):
    """Blocks alike, from a position on, before which the sources have given so many records."""

    start: int
    counts: tuple[int, ...]
    given: tuple[int, ...]

    @property
    def block(self) -> int:
        """The number of positions of a block."""
        return sum(self.counts)

    def until(self, position: int, counts: tuple[int, ...]) -> "Stretch":
        """The stretch behind this one, from the first block at or behind a position."""
        blocks = -(-(position - self.start) // self.block)
        given = (a + blocks * b for a, b in zip(self.given, self.counts, strict=True))
        return Stretch(self.start + blocks * self.block, counts, tuple(given))


class Mixed(AbstractOrder):
    """Sources in fixed proportions, each in a new random order in each of its own epochs.

    The ids are those of the sources one behind the other.
    """

    key: PRNGKeyArray
    sizes: tuple[int, ...] = eqx.field(static=True)
    stretches: tuple[Stretch, ...] = eqx.field(static=True)

    def ids(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
        """The records at `positions`, by their places among all records of all sources."""
        whose, own_epoch, rank = self._found(positions, epoch, size)
        grid = _grid(whose, self.sizes)
        starts = (np.cumsum(self.sizes) - self.sizes).tolist()
        return _pick(whose, starts) + self._permuted(rank, grid, whose, own_epoch)

    def own_epochs(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
        """The epochs of the records' own sources, modulo 2**32."""
        return self._found(positions, epoch, size)[1].low

    def _found(self, positions: Array, epoch: Array, size: int) -> tuple[Array, Wide, Array]:
        """Whose record it is at these positions, in which of its own epochs and where in it."""
        at = plus(product(epoch, jnp.uint32(self.length(size))), wide(positions))
        whose, given = self._turn(at)
        return whose, *divided(given, _pick(whose, self.sizes))

    def _turn(self, at: Wide) -> tuple[Array, Wide]:
        """Whose turn it is at these positions, and how many records it has given before."""
        stretch = jnp.zeros_like(at.low)
        for later in self.stretches[1:]:
            stretch += (~less(at, wide_of(later.start))).astype(jnp.uint32)
        first = _pick_wide(stretch, [each.start for each in self.stretches])
        blocks = [each.block for each in self.stretches]
        number, slot = divided(minus(at, first), _pick(stretch, blocks))
        place = self._permuted(slot, _grid(stretch, blocks), np.uint32(len(self.sizes)), number)

        columns = [*zip(*(each.counts for each in self.stretches), strict=True)]
        ends = np.cumsum(columns, axis=0).tolist()
        whose = jnp.zeros_like(place)
        for end in ends[:-1]:
            whose += (place >= _pick(stretch, end)).astype(jnp.uint32)
        count, end = (_pick(whose, [_pick(stretch, x) for x in each]) for each in (columns, ends))
        whole = product(number.low, count)
        before = Wide(whole.high + number.high * count, whole.low)
        given = [*zip(*(each.given for each in self.stretches), strict=True)]
        own = _pick_wide(whose, [_pick_wide(stretch, each) for each in given])
        return whose, plus(plus(before, own), wide(place + count - end))

    def _permuted(self, places: Array, grid: Grid, whose: Array | np.uint32, number: Wide) -> Array:
        """Where the places of an epoch, or of a block, go: each has an order of its own."""
        word = hashed(hashed(hashed(jnp.uint32(whose)) ^ number.high) ^ number.low)
        keys = round_keys(self.key, jnp.uint32(_MIXED), _ROUNDS)
        return permuted(places, grid, keys_of_each(keys, word))


# Which of a few numbers it is for each record: chosen, for what is looked up has no vectors.


def _pick(which: Array, numbers: Sequence[Array | int]) -> Array:
    first, *others = (jnp.asarray(x, jnp.uint32) for x in numbers)
    picked = jnp.broadcast_to(first, which.shape)
    for index, number in enumerate(others, start=1):
        picked = jnp.where(which == index, number, picked)
    return picked


def _pick_wide(which: Array, numbers: Sequence[Wide | int]) -> Wide:
    words = [x if isinstance(x, Wide) else wide_of(x) for x in numbers]
    high, low = zip(*words, strict=True)
    return Wide(_pick(which, high), _pick(which, low))


def _grid(which: Array, sizes: Sequence[int]) -> Grid:
    columns = zip(*(Grid.of(size) for size in sizes), strict=True)
    return Grid(*(_pick(which, [int(x) for x in column]) for column in columns))


def wide_of(number: int) -> Wide:
    """A number of Python as a wide one."""
    return Wide(*(jnp.uint32(word) for word in divmod(number, 2**32)))
