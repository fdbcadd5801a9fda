"""Loops of the core over records that are read on the host: `scan` and `epoch`, as in memory.

One program runs the batches of a chunk while the next is gathered. How calls are compiled, and how
chunks are made, stands elsewhere.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._flow._batching import Cursor, check_length, counted
from .._flow._carry import check_carry
from .._flow._fed import Fed, at, handed, looped
from .._flow._stream import Stream
from .._graph._pipeline import Pipeline
from .._loop import check_callable, check_given, step_function, through
from .._random._origin import Numbers, Origin
from .._sources._host_source import Ended
from .._static._call import called
from .._static._parts import Arrays, parts_of
from .._text import of_type
from ._ahead._feed import Feed, Some

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")


def scan(
    body: Callable[[_Carry, _Out], tuple[_Carry, _Y]],
    carry: _Carry,
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
    length: int,
) -> tuple[Cursor, _Carry, _Y]:
    """`dagrax.pure.scan` over a source that is read on the host: the same, bit for bit.

    `length` steps of `body(carry, batch) -> (carry, y)`, some at a time by one program, which is
    the same for any length. Returns the cursor behind the last batch, the last carry, and the
    stacked `y`. **Errors:** those of `dagrax.pure.scan`, and of the source; TypeError for a source
    in memory, and inside a trace.
    """
    check_length(length)
    _check(pipeline, stream, cursor, key)
    check_callable(body, ("carry", "batch"))
    batching, memo = stream.batching, pipeline.memo
    place = batching.settle(*cursor.as_ints()).as_ints()
    batching.after(*place, int(length))  # that it is counted is judged first
    batching.in_scan(Cursor(*place))  # that its batches are of one shape is judged first
    way = _Way(stream, place, int(length))
    carried = parts_of(carry, numbers=True)
    trees = [memo.apart(pipeline), memo.apart(stream), (body, parts_of(body)), (carry, carried)]
    parts: list[tuple[_Y, int]] = []
    before: Numbers | None = None
    try:
        for some, count in way:
            behind, arrays, ys = called(_scanned, trees, some, key, memo=memo)
            # One program ahead, and no more: what waits would hold its chunk.
            way.feed.wait_for(before)
            before = behind
            parts.append((ys, count))
            carry = carried.together(arrays)
            carried = parts_of(carry, numbers=True)
            trees[-1] = (carry, carried)
    finally:
        way.feed.close()
    return way.end(), carry, joined(parts)


def epoch(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
) -> "Iterator[tuple[Cursor, _Out]]":
    """`dagrax.pure.epoch` over a source that is read on the host: the same, bit for bit.

    An iterator over `(cursor behind the batch, output of the sink)` to the end of the cursor's
    epoch, which reads ahead of it and no further. Its `len` is the number that is left, or a
    TypeError where a data set that is iterated over does not say. **Errors:** those of
    `dagrax.pure.epoch`, and of the source; TypeError for a source in memory, and inside a trace.
    """
    _check(pipeline, stream, cursor, key)
    return _Epoch(pipeline, stream, cursor, key)


class _Epoch(Generic[_Out]):
    """The steps from a cursor to the end of its epoch."""

    def __init__(
        self,
        pipeline: Pipeline[Any, _Out],
        stream: Stream[Any],
        cursor: Cursor,
        key: PRNGKeyArray | None,
    ):
        self._given = pipeline, stream, key
        self._at = stream.batching.settle(*cursor.as_ints()).as_ints()
        self._left = stream.batching.steps_left(self._at[1])
        self._feed = Feed(stream, limit=self._left)

    def __iter__(self) -> "_Epoch[_Out]":
        return self

    def __next__(self) -> tuple[Cursor, _Out]:
        if not self._left:
            self._feed.close()
            raise StopIteration
        pipeline, stream, key = self._given
        memo = pipeline.memo
        after = stream.batching.after(*self._at, 1)
        try:
            chunk, index = self._feed.take(self._at)
        except Ended as ended:  # the length of a data set that did not say
            self._end_at(ended.records)
            return next(self)
        trees = [memo.apart(pipeline), memo.apart(stream)]
        some = (chunk.fed, self._feed.index(index))
        output: _Out = called(_next, trees, some, key, memo=memo)
        self._at = after.as_ints()
        self._left -= 1
        return after, output

    def __len__(self) -> int:
        """The batches that are left. **Errors:** TypeError where the source does not say."""
        self._given[1].batching.known()
        return self._left

    def _end_at(self, records: int) -> None:
        pipeline, stream, key = self._given
        batching = dataclasses.replace(stream.batching, records=records)
        self._given = pipeline, stream.with_batching(batching), key
        epoch = self._at[0]
        self._at = batching.settle(*self._at).as_ints()
        self._left = batching.steps_left(self._at[1]) if self._at[0] == epoch else 0
        self._feed.close()
        self._feed = Feed(self._given[1], limit=self._left)


def joined(parts: Sequence[tuple[_Y, int]], *, axis: int = 0) -> _Y:
    """The results of several programs as those of one: of each the first so many along an axis."""
    counts = [count for _, count in parts]
    before = (slice(None),) * axis

    def together(*columns: Array) -> Array:
        if all(_is_here(x) for x in columns):
            rows = [np.asarray(x)[*before, :n] for x, n in zip(columns, counts, strict=True)]
            whole: Array = jax.device_put(np.concatenate(rows, axis=axis))
            return whole
        some = [x[*before, :n] for x, n in zip(columns, counts, strict=True)]
        return jnp.concatenate(some, axis=axis)

    stacked: _Y = jax.tree.map(together, *(ys for ys, _ in parts))
    return stacked


def _is_here(x: Array) -> bool:
    plain = not jnp.issubdtype(x.dtype, jax.dtypes.extended)
    return plain and x.is_fully_addressable and len(x.devices()) == 1


class _Way:
    """The batches of a scan, some at a time, with how many they are.

    Where a data set that is iterated over turns out to have another length, it goes on from there.
    """

    def __init__(self, stream: Stream[Any], place: tuple[int, int], length: int):
        self._stream, self._place, self._left = stream, place, length
        self.feed = Feed(stream, limit=length)

    def __iter__(self) -> Iterator[tuple[Some, int]]:
        while self._left:
            try:
                chunk, index = self.feed.take(self._place)
            except Ended as ended:
                self._go_on(ended.records)
                continue
            count = min(self._left, chunk.left(index))
            self._place = [*chunk.starts, chunk.after][index + count]
            self._left -= count
            yield self.feed.some(chunk, index, count), count

    def end(self) -> Cursor:
        """The place behind the last batch."""
        return Cursor(np.uint32(self._place[0]), counted(self._place[1]))

    def _go_on(self, records: int) -> None:
        batching = dataclasses.replace(self._stream.batching, records=records)
        self._place = batching.settle(*self._place).as_ints()
        batching.in_scan(Cursor(*self._place))
        self._stream = self._stream.with_batching(batching)
        self.feed.close()
        self.feed = Feed(self._stream, limit=self._left)


def _check(pipeline: object, stream: object, cursor: object, key: object) -> None:
    check_given(pipeline, stream, cursor, key)
    if isinstance(stream, Stream) and not stream.is_hosted:
        expected = "one that is read on the host; for data in memory call dp.scan or dp.epoch."
        raise TypeError(of_type("The source of the stream", stream.source, expected))
    if isinstance(cursor, Cursor) and cursor.is_traced:
        raise TypeError(
            "cursor is traced (jit, scan, vmap), where no records can be read on the host; call "
            "it outside."
        )


def _scanned(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    body: Callable[[_Carry, _Out], tuple[_Carry, _Y]],
    carry: _Carry,
    some: Some,
    key: PRNGKeyArray | None,
    static: None,
) -> tuple[Numbers, Arrays, _Y]:
    carried = parts_of(carry, numbers=True)
    call = step_function(body, ("carry", "batch"), carries=True)

    def tick(arrays: Arrays, batch: _In, origin: Origin, after: Numbers) -> tuple[Arrays, _Y]:
        before = carried.together(arrays)
        new, y = call(before, through(pipeline, stream, batch, origin, key))
        check_carry(before, new)
        return parts_of(new, numbers=True).arrays, y

    return looped(stream, tick, carried.arrays, *some)


def _next(
    pipeline: Pipeline[_In, _Out],
    stream: Stream[_In],
    some: tuple[Fed, Array],
    key: PRNGKeyArray | None,
    static: None,
) -> _Out:
    batch, origin = handed(stream, at(*some))
    output: _Out = through(pipeline, stream, batch, origin, key)
    return output
