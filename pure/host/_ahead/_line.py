"""Between the thread that gathers and the one that trains: a short line of chunks.

Whoever asks for a place that the line does not come to starts it anew from there, so that a seek, a
restored position and a loop broken off need no word of their own. What a chunk is is not known.
"""

import threading
import time
from collections import deque
from collections.abc import MutableMapping
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

Place = tuple[int, int]
_Item = TypeVar("_Item")
CAUSES = ("gather", "place", "compute")  # of which one waits for another
_DEPTH = 2  # chunks that stand ready
_IDLE = 0.1  # seconds that the thread waits for room before it goes; it is started again
_LOOK = 0.2  # seconds after which who waits looks whether the thread still lives


class Wanted(NamedTuple):
    """What is to be gathered next: from which place on, and for which start of the line."""

    line: int
    at: Place
    done: int  # batches that were gathered since that start


@runtime_checkable
class Work(Protocol):
    """A thread that can be started, and started again."""

    def start(self) -> None: ...

    def is_alive(self) -> bool: ...


class Failed(NamedTuple):
    """What came of a chunk that could not be gathered."""

    error: BaseException


class Line(Generic[_Item]):
    """The chunks that stand ready, and what the thread is to do next."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.is_closed = False
        self.doing = "gather"  # or "place": what one waits for
        self.waited: MutableMapping[str, float] = {name: 0.0 for name in CAUSES}
        self._ready: deque[tuple[Place, _Item | Failed]] = deque()
        self._next: Wanted | None = None
        self._runs = False
        self._lines = 0
        self._full_since: float | None = None

    # What the thread asks

    def wanted(self) -> Wanted | None:
        """What to gather next; None if the thread is to end."""
        with self.changed:
            end = time.monotonic() + _IDLE
            while not self.is_closed and self._next is not None:
                if len(self._ready) < _DEPTH:
                    return self._next
                if self._full_since is None:
                    self._full_since = time.perf_counter()
                if not self.changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    break
            self._runs = False
            return None

    def goes_on_with(self, doing: str) -> None:
        """What the thread does now."""
        with self.changed:
            self.doing = doing
            self.changed.notify_all()

    def put(
        self, wanted: Wanted, item: _Item | Failed, after: Place | None, batches: int = 0
    ) -> None:
        """So many batches that were gathered, and the place behind them, if anything is there."""
        with self.changed:
            self.doing = "gather"
            if self._next is not None and self._next.line == wanted.line:
                self._ready.append((wanted.at, item))
                done = wanted.done + batches
                self._next = None if after is None else Wanted(wanted.line, after, done)
            self.changed.notify_all()

    # What the one that trains asks

    def take(self, at: Place, work: Work) -> _Item | Failed:
        """The chunk that starts at a place; others that stand ready are let go."""
        with self.changed:
            if not self._comes_to(at):
                self._begin(at)
            self._count_full()
            while not self._ready:
                if self.is_closed:
                    raise RuntimeError("What is read was closed while it was waited for.")
                self._start(work)
                self._wait()
            _, item = self._ready.popleft()
            if isinstance(item, Failed):
                self._next = None
            self._start(work)
            self.changed.notify_all()
            return item

    def close(self) -> None:
        """Let go of everything, and have the thread end."""
        with self.changed:
            self.is_closed = True
            self._ready.clear()
            self._next = None
            self.changed.notify_all()

    def _comes_to(self, at: Place) -> bool:
        if self._ready:
            return self._ready[0][0] == at
        return self._next is not None and self._next.at == at

    def _begin(self, at: Place) -> None:
        self._ready.clear()
        self._lines += 1
        self._next = Wanted(self._lines, at, 0)

    def _start(self, work: Work) -> None:
        if self._next is not None and not (self._runs and work.is_alive()):
            self._runs = True
            work.start()

    def _wait(self) -> None:
        doing, start = self.doing, time.perf_counter()
        self.changed.wait(_LOOK)
        self.waited[doing] += time.perf_counter() - start

    def _count_full(self) -> None:
        if self._full_since is not None:
            self.waited["compute"] += time.perf_counter() - self._full_since
            self._full_since = None
