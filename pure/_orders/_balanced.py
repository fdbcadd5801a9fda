"""An order in which each class comes equally often, however many records it has.

The records of a class are dealt out without replacement; places are counted through all epochs, in
pairs of words. What the classes mean is not known here.
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray, UInt32

from .._apart import settled, start_of
from .._namespace import Batch, Epoch, Table, looked_up, words
from .._random._keys import check_key
from .._text import listed, of_type
from ._order import AbstractOrder, check_size
from ._permutation import Grid, hashed, keys_of_each, permuted, round_keys
from ._wide import Wide, divided, plus, product, wide

_ROUNDS = 12  # enough for a class of any size


class _Places(NamedTuple):
    classes: Batch
    laps: Wide  # how often the class has been dealt out
    places: Batch  # in the class


class Balanced(AbstractOrder):
    """The classes in turn, and of each its records, shuffled, without replacement until all are
    used up; then they are shuffled anew.

    So each stretch of as many positions as there are classes holds each class once, and batches of
    a multiple of that are balanced. An epoch is `size` positions; the next one goes on where it
    stopped, in the turn and in each class. A record of a small class comes several times in an
    epoch, each time with draws of its own.

    - `key`: one JAX key, typed or raw.
    - `labels`: for each record the label of its class: integers or strings.
    - `classes`: the labels that there should be; by default those that there are.

    It holds four bytes for each record. **Errors:** TypeError for labels that are neither integers
    nor strings, or are traced; ValueError for labels that are not of one axis, a class without
    records, a label that is none of `classes`, and, where a stream is made, for another number of
    labels than records.
    """

    reads_numpy: ClassVar[bool] = True
    key: PRNGKeyArray
    members: UInt32[Array, "... records"]
    starts: UInt32[Array, "... classes"]
    counts: UInt32[Array, "... classes"]
    grids: Grid

    def __init__(
        self,
        key: PRNGKeyArray,
        labels: ArrayLike | Iterable[str],
        classes: Iterable[int | str] | None = None,
    ):
        check_key("key", key)
        known = _judged(labels)
        found, inverse, counts = np.unique(known, return_inverse=True, return_counts=True)
        if classes is not None:
            if not isinstance(classes, Iterable):
                expected = "the labels that there should be: write range(10)."
                raise TypeError(of_type("classes", classes, expected))
            _check_classes(found.tolist(), list(classes))
        grids = zip(*(Grid.of(int(count)) for count in counts), strict=True)
        self.key = key
        self.members = jnp.asarray(np.argsort(inverse, kind="stable").astype(np.uint32))
        self.starts = jnp.asarray((np.cumsum(counts) - counts).astype(np.uint32))
        self.counts = jnp.asarray(counts.astype(np.uint32))
        self.grids = Grid(*(jnp.asarray(np.array(column, np.uint32)) for column in grids))

    def check(self, size: int) -> None:
        if (count := self.members.shape[-1]) != size:
            raise ValueError(
                f"labels has {count} entries, but the source has {size} records; expected one "
                "label for each record."
            )

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """Ids at `positions`, same shape; `ValueError` for a `size` other than that of labels."""
        check_size(self, size)
        self.check(size)
        which, laps, places = self._places(positions, epoch, size)
        # A word for each class and lap, by which its order is unlike all others.
        word = hashed(hashed(hashed(which) ^ laps.high) ^ laps.low)
        keys = keys_of_each(round_keys(self.key, words(0, epoch), _ROUNDS), word)
        there = permuted(places, Grid(*(self._of(x, which, positions) for x in self.grids)), keys)
        members: Batch = self.members[self.starts[which] + there]
        return members

    def turns(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """How often the record's class was used up before."""
        return self._places(positions, epoch, size).laps.low

    def _places(self, positions: Batch, epoch: Epoch, size: int) -> _Places:
        since_the_start = plus(product(epoch, words(size, positions)), wide(positions))
        turn, which = divided(since_the_start, words(self.counts.shape[0], positions))
        which = settled(which, start_of(positions))
        return _Places(which, *divided(turn, self._of(self.counts, which, positions)))

    def _of(
        self,
        numbers: Table | int,
        which: Batch,
        positions: Batch,
    ) -> Batch:
        # What is looked up is finished before it is computed with, or no loop has vectors.
        return settled(
            looked_up(jnp.asarray(numbers) if isinstance(numbers, int) else numbers, which),
            start_of(positions),
        )


def _judged(labels: ArrayLike | Iterable[str]) -> np.ndarray:
    if isinstance(labels, Tracer):
        raise TypeError(
            "labels is traced, but the classes must be known when the order is made: make "
            "Balanced(key, labels) outside the function and pass it."
        )
    known = np.asarray(labels)
    if known.dtype == object and all(isinstance(label, str) for label in known.ravel()):
        known = known.astype(str)  # as a column of a table has them
    if known.dtype.kind not in "iubUS":
        mend = "labels.astype(str)" if known.dtype.kind in "OT" else "labels.astype(int)"
        raise TypeError(
            f"labels are of dtype {known.dtype}; expected integers or strings, one for each "
            f"record: write {mend}."
        )
    if known.ndim != 1 or known.size == 0:
        raise ValueError(
            f"labels has shape {known.shape}; expected one axis, with a label for each record."
        )
    return known


def _check_classes(found: list[int | str], classes: list[int | str]) -> None:
    if missing := [name for name in classes if name not in found]:
        raise ValueError(
            f"classes has {listed(repr(name) for name in missing)}, which no record of labels is "
            "of; leave out a class without records."
        )
    if unknown := [name for name in found if name not in classes]:
        raise ValueError(
            f"labels has {listed(repr(name) for name in unknown)}, which classes does not have; "
            "add it, or leave its records out."
        )
