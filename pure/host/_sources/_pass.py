"""A pass over a data set that can only be iterated over: its records by number, as they come.

A pass that an error has ended is begun anew, for what is left of a generator looks like its end.
Which epoch a pass is for, and how many records it should have, is not known here.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from ..._sources._fetched import at_record, reraise
from ..._text import of_type
from ._records import kept

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


class Pass:
    """The pass that is being read, begun at its first record, or at that of the state given.

    **Errors:** TypeError for what cannot be iterated over; those of the data set, by record.
    """

    def __init__(self, iterable: Iterable[object] | Makes, state: Mapping[str, Any]):
        self._iterable, self._makes, self._state = iterable, _maker(iterable), state
        self._states: dict[int, Any] = {}
        self._asked: deque[int] = deque(maxlen=_KEPT)
        self._held: list[object] = []
        self._first: list[object] = []  # of the first records, those that are held no more
        self._failed: tuple[int, BaseException] | None = None
        self._least = 0  # records that it must have
        self._has_ended = False
        self.base = 0  # the number of the first record that is held
        self.keeps = 0  # how many of the first records are kept to the end
        self.begin(int(state["record"]))

    @property
    def found(self) -> int:
        """How many records were found so far."""
        return self.base + len(self._held)

    @property
    def is_short(self) -> bool:
        """Whether it has ended before a record at which it was to go on."""
        return self._has_ended and self.found < self._least

    def begin(self, record: int) -> None:
        """A new pass, to some record. **Errors:** EOFError for one that ends before it; ValueError
        for an iterator, which has one pass."""
        self._begin(record, record)

    def _begin(self, record: int, least: int) -> None:
        try:
            iterator, at = self._started(record)
        except Exception as error:
            reraise(error, least)
        self._iterator, self._raw = _taken_apart(iterator), iterator
        self._held, self._first, self.base = [], [], at
        self._failed, self._least, self._has_ended = None, least, False
        self._asked.clear()
        self._passes_over(record)

    def records(self, first: int, count: int) -> list[object] | None:
        """So many records from one on, which is not before `base`; None where the pass ends."""
        self._asked.append(first)
        if not self._passes_over(first):
            return None
        self._keep_state()
        if not self.comes_to(first + count):
            return None
        return self._held[first - self.base :][:count]

    def first(self, ids: Sequence[int]) -> list[object] | None:
        """Some of the first records of the pass, if they were kept."""
        kept = self._first if self.base > len(self._first) else [*self._first, *self._held]
        return [kept[i] for i in ids] if max(ids, default=0) < len(kept) else None

    def comes_to(self, record: int) -> bool:
        """Whether the pass has so many records; they are held. **Errors:** those of the data set;
        EOFError for a pass that was begun anew, and ends before the record that had failed."""
        if self._failed is not None and self.found < record:
            asked = [*self._asked]
            self._begin(self.base, self._failed[0])
            self._asked.extend(asked)
        while self.found < record:
            if not self._pulls():
                self._has_ended = True
                self._check_whole()
                return False
        return True

    def state(self, record: int | None) -> dict[str, Any]:
        """Where to start again for a record."""
        near = [at for at in self._states if record is None or at <= record]
        at = max(near, default=0)
        return {"record": at, "state": self._states.get(at)}

    def _started(self, record: int) -> tuple[Iterator[Any], int]:
        # From the state that was given, if that lies before the record.
        if isinstance(self._makes, _Once):
            self._makes.check(self._failed)
        iterator, at = _iterator(self._makes), 0
        if self._state["state"] is not None and self._state["record"] <= record:
            at = int(self._state["record"])
            if isinstance(iterator, _Seekable):
                iterator.set_state(self._state["state"])
            elif isinstance(self._iterable, _Stateful):
                self._iterable.load_state_dict(self._state["state"])
                iterator = _iterator(self._makes)
        return iterator, at

    def _pulls(self) -> bool:
        try:
            self._held.append(kept(next(self._iterator)))
        except StopIteration:
            return False
        except BaseException as error:
            self._failed = self.found, error
            if not isinstance(error, Exception):
                raise
            reraise(error, self.found)
        return True

    def _check_whole(self) -> None:
        if self.is_short:
            raise at_record(
                EOFError(
                    f"A new pass over the data set has ended after {self.found} records, but was "
                    f"to go on at record {self._least}. Each pass must begin with the first "
                    "record: pass a function that makes it, host.IterableSource(lambda: records())."
                ),
                self._least,
            )

    def _passes_over(self, record: int) -> bool:
        # What nobody has asked for of late is let go.
        while self.found < record:
            if record - self.found > _AT_ONCE:
                self._drop(self.found)
            if not self.comes_to(min(record, self.found + _AT_ONCE)):
                return False
        self._drop(min([record, *self._asked]))
        return True

    def _drop(self, before: int) -> None:
        gone = max(0, before - self.base)
        if self.base == len(self._first) < self.keeps:
            self._first += self._held[: min(gone, self.keeps - self.base)]
        self._held = self._held[gone:]
        self.base += gone

    def _keep_state(self) -> None:
        state = None
        if isinstance(self._raw, _Seekable):
            state = self._raw.get_state()
        elif isinstance(self._iterable, _Stateful):
            state = self._iterable.state_dict()
        if state is not None:
            self._states[self.found] = state
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
    _check_no_loader("iterable", iterable)
    if isinstance(iterable, Iterator):
        return _Once(iterable)
    if _is_of_records(iterable):
        return lambda: iterable
    if callable(iterable) and not isinstance(iterable, type):
        return cast(Makes, iterable)
    expected = "a data set that can be iterated over, or a function that makes one."
    raise TypeError(of_type("iterable", iterable, expected))


def _iterator(makes: Makes) -> Iterator[Any]:
    given: object = makes()
    _check_no_loader("What the function iterable returns", given)
    if not isinstance(given, Iterable) or not _is_of_records(given):
        expected = "a data set that can be iterated over, or a generator: lambda: records()."
        raise TypeError(of_type("What the function iterable returns", given, expected))
    return iter(given)


def _is_of_records(given: object) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str | bytes | type | Mapping)


def _check_no_loader(told: str, given: object) -> None:
    names = {(x.__module__.partition(".")[0], x.__name__) for x in type(given).__mro__}
    if ("torch", "DataLoader") in names:
        raise TypeError(
            f"{told} is a DataLoader, which gives batches; pass its data set: "
            "host.RandomAccessSource(loader.dataset, threads=4)."
        )


class _Once:
    """An iterator, for its one pass."""

    def __init__(self, iterator: Iterator[object]):
        self._left = [iterator]

    def check(self, failed: tuple[int, BaseException] | None) -> None:
        """Refuse a second pass. **Errors:** ValueError."""
        if self._left:
            return
        ended = " and has begun it; to start anew"
        if failed is not None:
            ended = (
                f", and the {type(failed[1]).__name__} at record {failed[0]} has ended it; to go on"
            )
        raise ValueError(
            f"iterable is an iterator, which has one pass{ended}, pass a function that makes it: "
            "host.IterableSource(lambda: records())."
        )

    def __call__(self) -> Iterator[object]:
        return self._left.pop()


def _taken_apart(iterator: Iterator[Any]) -> Iterator[object]:
    # What Ray gives are batches.
    if type(iterator).__module__.partition(".")[0] != "ray":
        return iterator
    return (
        {k: x[i] for k, x in batch.items()} for batch in iterator for i in range(_rows_of(batch))
    )


def _rows_of(batch: Mapping[str, Any]) -> int:
    return len(next(iter(batch.values())))
