"""Data sets that can only be iterated over, as sources: their own order, and their own resume.

An epoch is a pass, which ends where the data set does. How a pass is read is told in `_pass`;
orders of ours, and threads, are not known here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ..._sources._fetched import at_record, buffers, reraise
from ..._sources._host_source import AbstractHostSource, Ended, Ids, checked_ids
from ..._sources._unknown import UNKNOWN
from ..._text import spec_text
from ._pass import Makes, Pass, checked_state
from ._records import Likeness
from ._remade import Remade


class _Wanted(NamedTuple):
    # What a loop has said of the next fetch.
    epoch: int
    offset: int
    until: int
    is_end: bool
    padding: int


class IterableSource(Remade, AbstractHostSource[PyTree[np.ndarray]]):
    """Records of a data set that gives them one after the other, in its own order.

    - `iterable`: Grain's IterDataset, tf.data, a WebDataset, Hugging Face's IterableDataset, a
      list, or a function that makes a generator: `lambda: records()`. A generator itself has one
      pass. An element is a record, a pytree of arrays and numbers; batches of Ray's `iter_batches`
      are taken apart.
    - `state`: what `get_state` has returned, to start from there.

    An epoch is a pass, of as many records as `len(iterable)` says; where it does not say, a pass
    ends where the data set does, and may be shorter or longer than the one before. What the library
    shuffles is shuffled, what it repeats is repeated; nothing more is promised. A position is found
    again by passing over the records before it, or from a `state`, where the library has one; so it
    is after an error, by a new pass.

    **Errors:** TypeError for what cannot be iterated over, and records that hold no numbers;
    ValueError for no records, for records unlike the first, for any order but its own, and for
    another pass over an iterator, which has one; those of the data set, with a note that names the
    record.
    """

    has_own_order = True

    def __init__(self, iterable: Iterable[object] | Makes, state: Mapping[str, Any] | None = None):
        self._made_of = (iterable, state)
        checked = checked_state(state)
        self._pass = Pass(iterable, checked)
        first = self._pass.records(int(checked["record"]), 1)
        if first is None:
            raise ValueError("iterable holds no records; expected at least one.")
        try:
            self._likeness = Likeness(first[0])
        except Exception as error:
            reraise(error, self._pass.base)
        self.element_spec = self._likeness.spec
        self._length = _length(iterable)
        self.size = UNKNOWN if self._length is None else self._length
        self._last = 0  # behind the last record that was given
        self._epoch: int | None = None  # that the pass is for, as soon as a loop has asked
        self._wanted: _Wanted | None = None
        self._start: int | None = None  # of a loop, which heeds an Ended itself
        self._is_beyond = False  # whether it has come to the pass behind the one it starts in

    def expect(
        self, epoch: int, offset: int, until: int, *, is_end: bool, padding: int = 0
    ) -> None:
        self._wanted = _Wanted(epoch, offset, until, is_end, padding)
        self._pass.keeps = padding

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> PyTree[np.ndarray]:
        """The records of these ids, which follow each other. **Errors:** those of the class; Ended,
        an EOFError, where a pass has another length than the one before. What was read of it is
        kept for whoever asks again."""
        ids = checked_ids(ids)
        wanted, self._wanted = self._wanted, None
        self._start = None if wanted is None else wanted.offset
        self._is_beyond = False
        filled: PyTree[np.ndarray] = buffers(self, len(ids)) if out is None else out
        leaves = jax.tree.leaves(filled)
        rows = self._rows(ids, wanted)
        for place, (record, given) in enumerate(zip(ids.tolist(), rows, strict=True)):
            try:
                arrays = self._likeness.arrays(given)
            except Exception as error:
                reraise(error, record)
            for there, array in zip(leaves, arrays, strict=True):
                there[place] = array
        return filled

    def __repr__(self) -> str:
        told = "" if self.size == UNKNOWN else f"{self.size} "
        return f"IterableSource of {told}records of {spec_text(self.element_spec)}"

    def get_state(self, record: int | None = None) -> dict[str, Any]:
        """Where to start again for a record, such as `pipeline.cursor.offset`: for `state=…`.

        Of the places from which was read on of late, the nearest one before it, or the newest.
        """
        return self._pass.state(record)

    def _rows(self, ids: Ids, wanted: _Wanted | None) -> Iterator[object]:
        # Across the border of an epoch it begins anew; a shard passes over what others have.
        steps = np.diff(ids)
        if (ids[1:][steps < 1]).any():
            raise ValueError(
                "The records of an IterableSource come in their own order; leave out the shuffle, "
                "or shuffle by the library that gives them."
            )
        ends = [*(np.flatnonzero(steps != 1) + 1).tolist(), len(ids)]
        starts, before = [0, *ends[:-1]], -1 if wanted is None else wanted.offset - 1
        lap = 0
        for start, end in zip(starts, ends, strict=True):
            first = int(ids[start]) if start < end else 0
            if first <= before:  # as the last batch of an epoch may, that of a pass before
                lap += 1
                self._is_beyond = True
                if lap == 1 and wanted is not None:
                    self._judge_end(wanted)
            if (padding := self._padding(lap, ids[start:end], wanted)) is not None:
                yield from padding
            elif start < end:
                self._go_to(None if wanted is None else wanted.epoch + lap, first)
                yield from self._run(first, end - start)
                before = int(ids[end - 1])
        if not lap and wanted is not None:
            self._judge_end(wanted)

    def _padding(self, lap: int, ids: Ids, wanted: _Wanted | None) -> list[object] | None:
        # What fills up a last batch counts for no epoch: no other pass is begun for it.
        if not lap or wanted is None or not wanted.padding:
            return None
        return self._pass.first(ids.tolist())

    def _go_to(self, epoch: int | None, first: int) -> None:
        if epoch is None:
            is_next = first == 0 and self._last == self.size
        else:
            is_next = self._epoch not in (None, epoch)
        if is_next or first < self._pass.base or self._pass.is_short:
            self._pass.begin(first)
            self._last = 0
        self._epoch = epoch

    def _run(self, first: int, count: int) -> list[object]:
        records = self._pass.records(first, count)
        if records is None:
            raise self._ended()
        self._last = first + count
        return records

    def _judge_end(self, wanted: _Wanted) -> None:
        # By every process alike, whichever of the records are its own.
        if self._length is not None or self._epoch not in (None, wanted.epoch):
            return
        if not self._pass.comes_to(wanted.until):
            raise self._ended()
        if wanted.is_end and self._pass.comes_to(wanted.until + 1):
            raise at_record(
                Ended(
                    UNKNOWN,
                    f"The data set goes on: this pass has at least {self._pass.found} records, the "
                    f"one before had {wanted.until}.",
                ),
                wanted.until - 1,
            )

    def _ended(self) -> BaseException:
        found = self._pass.found
        if self._length is None and found:
            if self._start is None:
                self.size = found
            elif self._start > found and self._is_beyond:
                told = (
                    f"A pass of the data set has ended after {found} records, within a batch that "
                    'reaches into it from the pass before; write remainder="drop" or "pad", by '
                    "which no batch does."
                )
                return at_record(EOFError(told), found)
            elif self._start > found:
                told = (
                    f"The data set has ended after {found} records, but was to go on at record "
                    f"{self._start}; go to a place that is there: pipeline.seek(offset=0)."
                )
                return at_record(EOFError(told), self._start)
            return at_record(Ended(found), found)
        promised = "" if self._length is None else f", of {self._length} that its length promises"
        if not found:
            promised += (
                "; expected that each pass begins anew: pass a function that makes it, "
                "host.IterableSource(lambda: records())"
            )
        return at_record(
            EOFError(f"The data set has ended after {found} records{promised}."), found
        )


def _length(iterable: object) -> int | None:
    if not isinstance(iterable, Sized):
        return None
    try:
        return len(iterable) or None
    except (ValueError, OverflowError) as error:
        told = f"iterable, of type {type(iterable).__name__}, has no proper length: {error}."
        raise ValueError(told) from error
    except TypeError:  # tf.data, where it does not know
        return None
