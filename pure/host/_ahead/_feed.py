"""Batches of a stream that are read on the host, some at a time, and ahead of who trains.

The thread knows what is to be read and where it is to be put, and nothing of who asks: so that what
asks can end at any time, and the thread ends with it. What a batch is used for is not known.
"""

import threading
import time
import weakref
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Int32, PyTree

from ..._flow._batching import LAST
from ..._flow._fed import Fed, asks_the_host, on_the_host, origins
from ..._flow._shard import part_of
from ..._flow._stream import Stream
from ..._sources._fetched import record_of
from ..._sources._host_source import Ended
from ._buffers import Buffers
from ._chunk import Chunk, Place, Plan, batches_of_a_chunk, gathered, own_order_of, planned
from ._line import Failed, Line, Wanted
from ._place import place, rows_of_this_process

Some: TypeAlias = tuple[Fed, Int32[Array, ""] | None, Int32[Array, ""] | None]
_JOIN = 2.0  # seconds; a source that hangs must not keep a process from its end


class Feed:
    """The batches of a stream over a host source, from wherever they are asked for.

    - `stream`: one whose source is read on the host.
    - `limit`: how many batches are asked for in a row, at most; by default without end.
    - `waited`: where the seconds that were waited are added up, by their cause.
    """

    def __init__(
        self,
        stream: Stream[Any],
        *,
        limit: int | None = None,
        waited: MutableMapping[str, float] | None = None,
    ):
        line: Line[Chunk] = Line()
        self.waited = line.waited if waited is None else waited
        line.waited = self.waited
        room = batches_of_a_chunk(stream)
        job = _Job(on_the_host(stream), room, limit, Buffers(), line)
        self._line, self._worker = line, _Worker(job)
        self._own = own_order_of(stream)
        self._chunk: Chunk | None = None
        self._indices: dict[int, Int32[Array, ""]] = {}
        # Before JAX ends at the exit of the process, or the thread would end it.
        self._end = weakref.finalize(self, _end, line, self._worker)

    def take(self, at: Place) -> tuple[Chunk, int]:
        """The chunk with the batch that starts at a settled place, and which of it that is.

        **Errors:** those of the source, from that place on; RuntimeError once it is closed.
        """
        if self._chunk is not None and (index := self._chunk.starts.get(at)) is not None:
            return self._chunk, index
        self._chunk = None  # its memory may be needed
        item = self._line.take(at, self._worker)
        if isinstance(item, Failed):
            if self._own is not None and isinstance(item.error, Ended):
                self._own.size = item.error.records  # not before who asks has come to it
            raise item.error
        self._chunk = item
        return item, item.starts[at]

    def some(self, chunk: Chunk, index: int, many: int) -> Some:
        """What `looped` is given of a chunk, for so many of its batches from one on."""
        if asks_the_host() and many == len(chunk.fed.after):
            return chunk.fed, None, None
        return chunk.fed, self.index(index), self.index(many)

    def index(self, number: int) -> Int32[Array, ""]:
        """A number on the device, sent there once."""
        if number not in self._indices:
            self._indices[number] = jax.device_put(np.int32(number))
        return self._indices[number]

    def wait_for(self, results: PyTree) -> None:
        """Wait until a program has given its results."""
        start = time.perf_counter()
        jax.block_until_ready(results)
        self.waited["compute"] += time.perf_counter() - start

    def close(self) -> None:
        """End the thread, and let go of what it has gathered."""
        self._chunk = None
        self._end()


@dataclass(frozen=True)
class _Job:
    """All that the thread knows."""

    stream: Stream[Any]
    room: int
    limit: int | None
    buffers: Buffers
    line: Line[Chunk]


class _Worker:
    """The thread, which ends by itself when there is nothing to do, and is then started again."""

    def __init__(self, job: _Job):
        self._job = job
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(
            target=_work, args=(self._job,), name="dagrax-gather", daemon=True
        )
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN)


def _end(line: Line[Chunk], worker: _Worker) -> None:
    line.close()
    worker.join()


def _work(job: _Job) -> None:
    while (wanted := job.line.wanted()) is not None:
        left = job.room if job.limit is None else job.limit - wanted.done
        # The first are few, so that they come soon.
        most = min(job.room, wanted.done + 1, left)
        plan = planned(
            job.stream.batching, wanted.at, most, by_epoch=own_order_of(job.stream) is not None
        )
        if not plan.starts:
            job.line.put(wanted, Failed(_ended()), None)
            continue
        try:
            chunk = _made(job, plan)
        except BaseException as error:  # whatever it is, it is the caller's
            _fail(job, wanted, plan, error)
        else:
            after = plan.after if left > len(plan.starts) or job.limit is None else None
            job.line.put(wanted, chunk, after, len(plan.starts))
            del chunk  # or it would be held while the next is waited for


def _made(job: _Job, plan: Plan) -> Chunk:
    spread, rows = job.stream.spread, len(part_of(plan.length, job.stream.shard))
    own = rows_of_this_process(spread, rows)
    chunk = gathered(job.stream, job.buffers, plan, job.room, own)
    job.line.goes_on_with("place")
    return Chunk(place(chunk.fed, spread, rows=rows, own=own), chunk.starts, chunk.after)


def _fail(job: _Job, wanted: Wanted, plan: Plan, error: BaseException) -> None:
    # What comes before the record at fault is handed out first.
    good = _before(job, plan, record_of(error))
    if good is not None:
        try:
            chunk = _made(job, good)
        except BaseException:  # it is told as it was
            good = None
        else:
            job.line.put(wanted, chunk, good.after, len(good.starts))
            wanted = Wanted(wanted.line, good.after, wanted.done + len(good.starts))
    job.line.put(wanted, Failed(error), None)


def _before(job: _Job, plan: Plan, record: int | None) -> Plan | None:
    places, _, _ = origins(job.stream, plan.starts, plan.length)
    holds = (places == record).any(axis=1) if record is not None else np.zeros(1, np.bool_)
    many = int(holds.argmax())
    if not holds.any() or not many:
        return None
    return Plan(plan.starts[:many], plan.length, plan.starts[many])


def _ended() -> OverflowError:
    return OverflowError(
        f"The stream has come to the end of epoch {LAST}, the last that can be counted. Start at "
        "an earlier one, such as stream.start(0)."
    )
