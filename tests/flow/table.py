"""The sources, the orders and the remainders, each with its twin in plain NumPy.

The twin of a source is its records in an array, and the ids by which they draw. That of an order is
a table of whole epochs, asked for in one go, where a stream asks for the positions of a batch; what
the table must promise is checked in `test_promises`. Neither pipelines nor drivers are known here.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import dagrax.pure as dp
from tests import reference
from tests.zoo import Remainder, Rotated, records

SIZE = 12
KEY = dp.fast_key(11)
EPOCHS = 18
LABELS = np.array([0, 1, 0, 0, 2, 1, 0, 0, 1, 2, 0, 0])
WEIGHTS = np.array([3, 0, 1, 1, 0, 2, 5, 1, 1, 0, 2, 1])
BLOCK, WINDOW = 5, 2

# Compiling is what costs, and what is compiled here runs once.
quickly = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


class Held(NamedTuple):
    """A source; its records, of each id; and the ids by which they draw."""

    source: dp.AbstractSource
    rows: Any
    drawn: np.ndarray

    def at(self, ids: list[int]) -> "Held":
        """What a view of these records holds, without the view."""
        rows = jax.tree.map(lambda x: x[ids], self.rows)
        return self._replace(rows=rows, drawn=self.drawn[ids])


def array(size: int, seed: int = 0) -> Held:
    data = records(size, seed)
    return Held(dp.ArraySource(data), data, np.arange(size, dtype=np.uint32))


def windows(length: int, width: int, stride: int, documents: list[tuple[int, int]]) -> Held:
    data = records(length)
    inner = [start for start, _ in documents[1:]]
    source = dp.Windows(data, width, stride, boundaries=inner or None)
    starts = [i for a, b in documents for i in range(a, b - width + 1, stride)]
    rows = {k: np.stack([x[i : i + width] for i in starts]) for k, x in data.items()}
    return Held(source, rows, np.arange(len(starts), dtype=np.uint32))


def subset(whole: Held, ids: Any) -> Held:
    return whole.at([*ids])._replace(source=dp.Subset(whole.source, ids))


def masked(whole: Held, mask: np.ndarray) -> Held:
    found = np.flatnonzero(mask).tolist()
    return whole.at(found)._replace(source=dp.where(whole.source, mask))


def split(whole: Held, parts: list[int], index: int, key: jax.Array | None = None) -> Held:
    start = sum(parts[:index])
    ids = np.arange(sum(parts)) if key is None else _all_of(whole.source, parts, key)
    view = dp.split(whole.source, parts, key=key)[index]
    return whole.at(ids[start : start + parts[index]].tolist())._replace(source=view)


def _all_of(source: dp.AbstractSource, parts: list[int], key: jax.Array) -> np.ndarray:
    views = dp.split(source, parts, key=key)
    ids = np.concatenate([_places(view) for view in views])
    assert sorted(ids.tolist()) == [*range(source.size)]
    return ids


@quickly
def _places(view: dp.AbstractSource) -> jax.Array:
    return view.places(jnp.arange(view.size, dtype=jnp.uint32))


def concat(*parts: Held) -> Held:
    rows = jax.tree.map(lambda *xs: np.concatenate(xs), *(part.rows for part in parts))
    source = dp.Concat([part.source for part in parts])
    return Held(source, rows, np.arange(source.size, dtype=np.uint32))


def zipped(**parts: Held) -> Held:
    source = dp.Zip({name: part.source for name, part in parts.items()})
    rows = {name: part.rows for name, part in parts.items()}
    return Held(source, rows, np.arange(source.size, dtype=np.uint32))


def mixture(changes: Any, **parts: tuple[Held, float]) -> Held:
    sources = {name: (part.source, weight) for name, (part, weight) in parts.items()}
    both = concat(*(part for part, _ in parts.values()))
    drawn = np.concatenate([part.drawn for part, _ in parts.values()])
    return both._replace(source=dp.Mixture(sources, KEY, changes), drawn=drawn)


MASK = np.isin(np.arange(20), [0, 2, 3, 5, 7, 8, 11, 12, 13, 16, 17, 19])
SOME = [5, 0, 13, 3, 2, 11, 9, 12, 7, 8, 1, 4]  # twelve of fourteen
REVERSED = range(39, -1, -1)


_SOURCES: dict[str, Callable[[], Held]] = {
    "array": lambda: array(SIZE),
    "windows": lambda: windows(14, 3, 1, [(0, 14)]),
    "documents": lambda: windows(35, 4, 2, [(0, 9), (9, 12), (12, 19), (19, 35)]),
    "ids": lambda: subset(array(20), [19, *range(1, 11), 0]),
    "range": lambda: subset(array(40), range(38, 2, -3)),
    "mask": lambda: masked(array(20), MASK),
    "part": lambda: split(array(20), [8, 12], 1),
    "random part": lambda: split(array(20), [5, 12, 3], 1, KEY),
    "views of views": lambda: subset(masked(subset(array(40), REVERSED), np.repeat(MASK, 2)), SOME),
    "concat": lambda: concat(array(5, 1), subset(array(9, 2), [8, 0, 4]), array(4, 3)),
    "view of a concat": lambda: subset(concat(array(8, 1), array(1, 2), array(7, 3)), SOME),
    "zip": lambda: zipped(a=array(SIZE), b=split(array(20), [12, 8], 0, KEY)),
    "view of a zip": lambda: subset(zipped(w=windows(16, 3, 1, [(0, 16)]), r=array(14)), SOME),
}


def _mixture() -> Held:
    part = split(array(9, 5), [4, 5], 1, KEY)
    later = [(17, {"a": 1, "b": 2})]
    return mixture(later, a=(array(7, 4), 3), b=(part, 1))


# Each is made when it is first asked for.
SOURCES = {name: functools.cache(made) for name, made in _SOURCES.items()}
MIXTURES = {"mixture": functools.cache(_mixture)}


class Few(dp.AbstractOrder):
    """An order of one's own whose epochs are shorter than the source."""

    by: Any

    def length(self, size: int) -> int:
        return size - 5

    def ids(self, positions: jax.Array, epoch: jax.Array, size: int) -> Any:
        return (positions * 5 + epoch + self.by) % size


# By a seed, so that variants may have orders of their own.
ORDERS: dict[str, Callable[[int], dp.AbstractOrder]] = {
    "sequential": lambda seed: dp.Sequential(),
    "shuffled": lambda seed: dp.Shuffled(dp.fast_key(seed)),
    "with replacement": lambda seed: dp.WithReplacement(dp.fast_key(seed)),
    "weighted": lambda seed: dp.Weighted(dp.fast_key(seed), np.roll(WEIGHTS, seed)),
    "balanced": lambda seed: dp.Balanced(dp.fast_key(seed), LABELS),
    "windowed": lambda seed: dp.Windowed(dp.fast_key(seed), BLOCK, WINDOW),
    "repeat": lambda seed: dp.Repeat(dp.Shuffled(dp.fast_key(seed)), 2),
    "repeat of repeats": lambda seed: dp.Repeat(dp.Repeat(_balanced(seed), 1), 3),
    "of one's own": lambda seed: Rotated(),
    "of another length": lambda seed: Few(jnp.uint32(seed)),
}


def _balanced(seed: int) -> dp.AbstractOrder:
    return dp.Balanced(dp.fast_key(seed), LABELS)


class Tabled(dp.AbstractOrder):
    """An order by the table of another: what costs nothing to compile, and is data."""

    table: Any  # ids, turns, own epochs, each of epochs x positions

    def length(self, size: int) -> int:
        return int(self.table[0].shape[-1])

    def ids(self, positions: jax.Array, epoch: jax.Array, size: int) -> Any:
        return self.table[0][epoch, positions]

    def turns(self, positions: jax.Array, epoch: jax.Array, size: int) -> Any:
        return self.table[1][epoch, positions]

    def own_epochs(self, positions: jax.Array, epoch: jax.Array, size: int) -> Any:
        return self.table[2][epoch, positions]


class Epochs(NamedTuple):
    """What stands at each position of the first epochs: the twin of an order."""

    ids: np.ndarray
    turns: np.ndarray | None
    own: np.ndarray | None

    @property
    def length(self) -> int:
        """The number of positions of an epoch."""
        return int(self.ids.shape[1])

    def full(self) -> "Epochs":
        """With numbers for the turns and own epochs that it has not."""
        none = np.zeros_like(self.ids)
        return Epochs(self.ids, *(none if x is None else x for x in self[1:]))


@functools.cache
def epochs_of(order: str, seed: int = 0) -> Epochs:
    """The twin of an order, by its name, or of that of a mixture."""
    own = MIXTURES[order]().source.order if order in MIXTURES else ORDERS[order](seed)
    assert own is not None
    return Epochs(*jax.tree.map(np.asarray, _tabled(own)))


@quickly
def _tabled(order: dp.AbstractOrder) -> tuple[Any, ...]:
    positions = jnp.arange(order.length(SIZE), dtype=jnp.uint32)

    def one(epoch: jax.Array) -> tuple[Any, ...]:
        asked = order.ids, order.turns, order.own_epochs
        return tuple(what(positions, epoch, SIZE) for what in asked)

    return jax.vmap(one)(jnp.arange(EPOCHS, dtype=jnp.uint32))


class Expected(NamedTuple):
    """A batch: where the next one starts, and for each of its rows what stands there."""

    start: tuple[int, int]
    after: tuple[int, int]
    ids: np.ndarray  # of the source
    drawn: np.ndarray  # by which it draws
    epochs: np.ndarray  # of the stream
    turns: np.ndarray | None
    own: np.ndarray | None
    valid: np.ndarray | None

    def part(self, shard: tuple[int, int] | None) -> "Expected":
        """The rows of a shard."""
        if shard is None:
            return self
        rows = np.array_split(np.arange(len(self.ids)), shard[1])[shard[0]]
        columns: Any = (None if x is None else x[rows] for x in self[2:])
        return Expected(self.start, self.after, *columns)


def batches(
    held: Held, epochs: Epochs, batch_size: int, remainder: Remainder, cursor: tuple[int, int]
) -> Iterator[Expected]:
    """The endless batches from a cursor, by the reference."""
    positions = range(epochs.length)
    for batch in reference.batches(
        epochs.length, batch_size, remainder, lambda epoch: positions, cursor
    ):
        at = (np.asarray(batch.epochs), np.asarray(batch.ids))
        ids = epochs.ids[at]
        yield Expected(
            start=batch.start,
            after=batch.after,
            ids=ids,
            drawn=held.drawn[ids],
            epochs=at[0].astype(np.uint32),
            turns=None if epochs.turns is None else epochs.turns[at],
            own=None if epochs.own is None else epochs.own[at],
            valid=None if batch.valid is None else np.asarray(batch.valid),
        )
