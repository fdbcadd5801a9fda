"""The order of a mixture: whose record comes at a position, and which of its records.

Positions are counted over all epochs. They fall into blocks, of which each holds the same number of
records of each source, spread evenly; so it is known how many a source has given before any
position, and from that its own epoch and its place in it. What the sources hold is not known.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Int64, PRNGKeyArray

from .._apart import settled, start_of
from .._namespace import Batch, Epoch, Words, looked_up, namespace, plain, words
from ._evenly import had_before, starts_of, turns_of
from ._order import AbstractOrder
from ._permutation import Grid, RoundKeys, hashed, keys_of_each, permuted, round_keys, rounds
from ._wide import Wide, divided, less, minus, plus, product, wide

_STARTS = 16  # places where a block may start: one of them is drawn for each block
_MIXED = 0x4D495845  # in place of an epoch, so that no other order has the same key


class Pattern(NamedTuple):
    """The turns in a block, or in one of each of several stretches, one behind the other.

    - `whose`: the source whose turn it is at each place.
    - `nth`: how many it has had before that.
    - `starts`: the places where a block may start, going round.
    - `before`: how many each source has had before each of these, row by row.
    """

    whose: Int64[np.ndarray, " places"]
    nth: Int64[np.ndarray, " places"]
    starts: Int64[np.ndarray, " starts"]
    before: Int64[np.ndarray, " starts*sources"]


class Stretch(NamedTuple):
    """Blocks alike, from a position on, before which the sources have given so many records."""

    start: int
    counts: tuple[int, ...]
    given: tuple[int, ...]

    @property
    def block(self) -> int:
        """The number of positions of a block."""
        return sum(self.counts)

    @property
    def pattern(self) -> Pattern:
        """The turns in a block."""
        turns = turns_of(self.counts)
        had = had_before(turns, len(self.counts))
        starts = starts_of(had, self.counts)
        starts = starts[np.arange(_STARTS) * len(starts) // _STARTS]
        return Pattern(turns, had[np.arange(self.block), turns], starts, had[starts].reshape(-1))

    def until(self, position: int, counts: tuple[int, ...]) -> "Stretch":
        """The stretch behind this one, from the first block at or behind a position."""
        blocks = -(-(position - self.start) // self.block)
        given = (a + blocks * b for a, b in zip(self.given, self.counts, strict=True))
        return Stretch(self.start + blocks * self.block, counts, tuple(given))


class Mixed(AbstractOrder):
    """Sources in fixed proportions, each in a new random order in each of its own epochs.

    The ids are those of the sources one behind the other.
    """

    reads_numpy: ClassVar[bool] = True
    key: PRNGKeyArray
    sizes: tuple[int, ...] = eqx.field(static=True)
    stretches: tuple[Stretch, ...] = eqx.field(static=True)

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """The records at `positions`, by their places among all records of all sources."""
        whose, own_epoch, rank = self._found(positions, epoch, size)
        starts = (np.cumsum(self.sizes) - self.sizes).tolist()
        columns = zip(*(Grid.of(size) for size in self.sizes), strict=True)
        grid = Grid(*(_pick(whose, [int(x) for x in column]) for column in columns))
        keys = keys_of_each(self._keys(max(map(rounds, self.sizes))), _word(whose, own_epoch))
        return _pick(whose, starts) + permuted(rank, grid, keys)

    def own_epochs(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """The epochs of the records' own sources, modulo 2**32."""
        return self._found(positions, epoch, size)[1].low

    def _found(self, positions: Batch, epoch: Epoch, size: int) -> tuple[Batch, Wide, Batch]:
        """Whose record it is at these positions, in which of its own epochs and where in it."""
        at = plus(product(epoch, words(self.length(size), positions)), wide(positions))
        stretch = namespace(positions).zeros_like(at.low)
        for later in self.stretches[1:]:
            stretch = stretch + (~less(at, wide_of(later.start))).astype(np.uint32)
        first = _pick_wide(stretch, [each.start for each in self.stretches])
        number, slot = divided(
            minus(at, first), _pick(stretch, [each.block for each in self.stretches])
        )
        whose, nth, before = self._turn(stretch, number, slot)

        columns = [*zip(*(each.counts for each in self.stretches), strict=True)]
        count = _pick(whose, [_pick(stretch, column) for column in columns])
        whole = product(number.low, count)
        blocks = Wide(whole.high + number.high * count, whole.low)
        given = [*zip(*(each.given for each in self.stretches), strict=True)]
        own = _pick_wide(whose, [_pick_wide(stretch, each) for each in given])
        # Where the block started behind it, its turn is one of those behind the last place.
        turn = namespace(nth).minimum(nth - before, nth - before + count)
        given_before = plus(plus(blocks, own), wide(turn))
        return whose, *divided(given_before, _pick(whose, self.sizes))

    def _turn(self, stretch: Batch, number: Wide, slot: Batch) -> tuple[Batch, Batch, Batch]:
        """Whose turn it is, how many it has had in the pattern, and how many before its start."""
        patterns = [each.pattern for each in self.stretches]
        joined = Pattern(*map(np.concatenate, zip(*patterns, strict=True)))
        blocks = [each.block for each in self.stretches]
        many = np.uint32(len(self.sizes))
        drawn = hashed(_word(many, number) ^ self._keys(1)[0, 0]) >> np.uint32(28)
        row = stretch * np.uint32(_STARTS) + drawn
        place = slot + _looked_up(joined.starts, row)
        place = namespace(place).minimum(place, place - _pick(stretch, blocks))
        place = place + _pick(stretch, (np.cumsum(blocks) - blocks).tolist())
        whose = _looked_up(joined.whose, place)
        return whose, _looked_up(joined.nth, place), _looked_up(joined.before, row * many + whose)

    def _keys(self, many: int) -> RoundKeys:
        return round_keys(self.key, plain(np.uint32(_MIXED)), many)


def _word(whose: Words | np.uint32, number: Wide) -> Words:
    """A word for an epoch, or for a block, by which its order is unlike all others."""
    return hashed(hashed(hashed(words(whose, number.low)) ^ number.high) ^ number.low)


def _looked_up(numbers: np.ndarray, places: Batch) -> Batch:
    # Finished before it is computed with, or no loop has vectors.
    return settled(looked_up(plain(numbers.astype(np.uint32)), places), start_of(places))


# Which of a few numbers it is for each record: chosen, for what is looked up has no vectors.


def _pick(which: Batch, numbers: Sequence[Words | int]) -> Batch:
    xp = namespace(which)
    first, *others = (words(x, which) for x in numbers)
    picked: Batch = xp.broadcast_to(first, which.shape)
    for index, number in enumerate(others, start=1):
        picked = xp.where(which == index, number, picked)
    return picked


def _pick_wide(which: Batch, numbers: Sequence[Wide | int]) -> Wide:
    words = [x if isinstance(x, Wide) else wide_of(x) for x in numbers]
    high, low = zip(*words, strict=True)
    return Wide(_pick(which, high), _pick(which, low))


def wide_of(number: int) -> Wide:
    """A number of Python as a wide one."""
    return Wide(*(plain(np.uint32(each)) for each in divmod(number, 2**32)))
