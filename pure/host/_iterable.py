"""Data sets that can only be iterated over, as sources: their own order, and their own resume.

Records are numbered as they come. One pass after the other is taken from the data set; whoever asks
for a record that lies behind gets a new pass. Orders of ours, and threads, are not known here.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import jax
import numpy as np
from jaxtyping import PyTree

from .._flow._fetched import at_record, buffers, reraise
from .._flow._host_source import UNKNOWN, AbstractHostSource, Ended, Ids, checked_ids
from .._text import of_type, spec_text
from ._records import Likeness, kept

Makes: TypeAlias = Callable[[], Iterable[object]]
_KEPT = 4  # chunks that were asked for of late, so that a loop that was broken off goes on
_STATES = 8
_AT_ONCE = 1024  # records that are passed over


@runtime_checkable
class _Seekable(Protocol):
    def get_state(self) -> Any: ...
    def set_state(self, state: Any, /) -> object: ...


@runtime_checkable
class _Stateful(Protocol):
    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> object: ...


class IterableSource(AbstractHostSource[PyTree[np.ndarray]]):
    """Records of a data set that gives them one after the other, in its own order.

    - `iterable`: Grain's IterDataset, tf.data, a WebDataset, Hugging Face's IterableDataset, a
      list, or a function that makes a generator: `lambda: records()`. A generator itself has one
      pass. An element is a record, a pytree of arrays and numbers; batches of Ray's `iter_batches`
      are taken apart.
    - `state`: what `get_state` has returned, to start from there.

    An epoch is a pass, of as many records as `len(iterable)` says; where it does not say, a pass
    ends where the data set does. What the library shuffles is shuffled, what it repeats is
    repeated; nothing more is promised. A position is found again by passing over the records before
    it, or from a `state`, where the library has one.

    **Errors:** TypeError for what cannot be iterated over, and records that hold no numbers;
    ValueError for no records, for records unlike the first, and for any order but its own.
    """

    has_own_order = True

    def __init__(self, iterable: Iterable[object] | Makes, state: Mapping[str, Any] | None = None):
        self._iterable, self._makes = iterable, _maker(iterable)
        self._state = checked_state(state)
        self._states: dict[int, Any] = {}
        self._last: int = 0  # behind the last record that was given
        self._asked: deque[int] = deque(maxlen=_KEPT)
        self._begin(int(self._state["record"]))
        if not self._pull(1):
            raise ValueError("iterable holds no records; expected at least one.")
        try:
            self._likeness = Likeness(self._held[0])
        except Exception as error:
            reraise(error, self._base)
        self.element_spec = self._likeness.spec
        self._length = _length(iterable)
        self.size = UNKNOWN if self._length is None else self._length

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> PyTree[np.ndarray]:
        """The records of these ids, which follow each other. **Errors:** those of the class; Ended,
        an EOFError, behind the last record. Those before it are kept for whoever asks again."""
        ids = checked_ids(ids)
        filled: PyTree[np.ndarray] = buffers(self, len(ids)) if out is None else out
        leaves = jax.tree.leaves(filled)
        for place, (record, given) in enumerate(zip(ids.tolist(), self._rows(ids), strict=True)):
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
        near = [at for at in self._states if record is None or at <= record]
        at = max(near, default=0)
        return {"record": at, "state": self._states.get(at)}

    def _rows(self, ids: Ids) -> Iterator[object]:
        # Across the border of an epoch it begins anew; a shard passes over what others have.
        ends = [*(np.flatnonzero(np.diff(ids) != 1) + 1).tolist(), len(ids)]
        starts = [0, *ends[:-1]]
        if (ids[1:][np.diff(ids) < 1]).any():
            raise ValueError(
                "The records of an IterableSource come in their own order; leave out the shuffle, "
                "or shuffle by the library that gives them."
            )
        for start, end in zip(starts, ends, strict=True):
            if start < end:
                yield from self._run(int(ids[start]), end - start)

    def _run(self, first: int, count: int) -> list[object]:
        if first < self._base or (first == 0 and self._last == self.size):
            self._begin(first)
        self._asked.append(first)
        self._pass_over(first)
        self._keep_state()
        if not self._pull(first - self._base + count):
            raise self._ended()
        self._last = first + count
        return self._held[first - self._base :][:count]

    def _begin(self, record: int) -> None:
        """A new pass, to some record: from the state that was given, if that lies before it."""
        iterator, at = iter(self._makes()), 0
        if self._state["state"] is not None and self._state["record"] <= record:
            at = int(self._state["record"])
            if isinstance(iterator, _Seekable):
                iterator.set_state(self._state["state"])
            elif isinstance(self._iterable, _Stateful):
                self._iterable.load_state_dict(self._state["state"])
                iterator = iter(self._makes())
        self._iterator: Iterator[object] = _taken_apart(iterator)
        self._raw = iterator
        self._held: list[object] = []
        self._base = at
        self._last = 0
        self._asked.clear()
        self._pass_over(record)

    def _pass_over(self, record: int) -> None:
        """Let go of what nobody has asked for of late, and come to a record."""
        while self._base + len(self._held) < record:
            self._drop(self._base + len(self._held))
            if not self._pull(min(record - self._base, _AT_ONCE)):
                raise self._ended()
        self._drop(min([record, *self._asked]))

    def _drop(self, before: int) -> None:
        kept = max(0, before - self._base)
        self._held = self._held[kept:]
        self._base += kept

    def _pull(self, count: int) -> bool:
        """Whether so many records are held; as many as there are, if there are fewer."""
        while len(self._held) < count:
            try:
                self._held.append(kept(next(self._iterator)))
            except StopIteration:
                return False
            except Exception as error:
                reraise(error, self._base + len(self._held))
        return True

    def _ended(self) -> BaseException:
        found = self._base + len(self._held)
        if self._length is None and found:
            self.size = found
            return at_record(Ended(found), found)
        return EOFError(
            f"The data set has ended after {found} records, of {self._length or self.size} that it "
            "has had before, or that its length promises."
        )

    def _keep_state(self) -> None:
        state = None
        if isinstance(self._raw, _Seekable):
            state = self._raw.get_state()
        elif isinstance(self._iterable, _Stateful):
            state = self._iterable.state_dict()
        if state is not None:
            self._states[self._base + len(self._held)] = state
            while len(self._states) > _STATES:
                del self._states[next(iter(self._states))]


def checked_state(state: object) -> dict[str, Any]:
    """The state to start from. **Errors:** TypeError for what `get_state` has not returned."""
    if state is None:
        return {"record": 0, "state": None}
    if not isinstance(state, Mapping) or {*state} != {"record", "state"}:
        raise TypeError(of_type("state", state, "what `source.get_state()` has returned."))
    return dict(state)


def _maker(iterable: Any) -> Makes:
    """A function that begins a pass. **Errors:** TypeError for what cannot be iterated over."""
    names = {(x.__module__.partition(".")[0], x.__name__) for x in type(iterable).__mro__}
    if ("torch", "DataLoader") in names:
        raise TypeError(
            "iterable is a DataLoader, which gives batches; pass its data set: "
            "host.RandomAccessSource(loader.dataset, threads=4)."
        )
    if isinstance(iterable, Iterator):
        return _Once(iterable)
    if isinstance(iterable, Iterable) and not isinstance(iterable, str | bytes | type | Mapping):
        return lambda: iterable
    if callable(iterable) and not isinstance(iterable, type):
        return cast(Makes, iterable)
    expected = "a data set that can be iterated over, or a function that makes one."
    raise TypeError(of_type("iterable", iterable, expected))


class _Once:
    """An iterator, for its one pass."""

    def __init__(self, iterator: Iterator[object]):
        self._left = [iterator]

    def __call__(self) -> Iterator[object]:
        if not self._left:
            raise ValueError(
                "iterable is an iterator, which has one pass and has begun it; to start anew, pass "
                "a function that makes it: host.IterableSource(lambda: records())."
            )
        return self._left.pop()


def _length(iterable: object) -> int | None:
    if not isinstance(iterable, Sized):
        return None
    try:
        return len(iterable) or None
    except TypeError:  # tf.data, where it does not know
        return None


def _taken_apart(iterator: Iterator[Any]) -> Iterator[object]:
    # What Ray gives are batches.
    if type(iterator).__module__.partition(".")[0] != "ray":
        return iterator
    return (
        {k: x[i] for k, x in batch.items()} for batch in iterator for i in range(_rows_of(batch))
    )


def _rows_of(batch: Mapping[str, Any]) -> int:
    return len(next(iter(batch.values())))
