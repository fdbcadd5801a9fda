"""Some batches at a time: which are put together, and how their records are brought together.

A chunk is large enough that what is done once for it costs nothing, and small enough that some of
them fit into any memory. Nothing here knows in which thread it runs, or what becomes of a chunk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from ..._flow._batching import LAST, Batching, Cursor, Pad
from ..._flow._fed import Fed, asks_the_host, origins, place_words
from ..._flow._shard import part_of
from ..._flow._stream import Stream
from ..._sources._host_source import AbstractHostSource
from ..._sources._hosted import Hosted
from ._buffers import Buffers

Place = tuple[int, int]  # epoch and offset, settled
_BYTES, _BESIDE_AN_ACCELERATOR = 2**24, 2**25  # of a chunk, about
_FEWEST, _MOST = 8, 256  # batches of one


@dataclass(frozen=True)
class Chunk:
    """Batches of one length: what a program is given, and at which places they start."""

    fed: Fed
    starts: dict[Place, int]
    after: Place

    def left(self, index: int) -> int:
        """How many batches there are from this one on."""
        return len(self.starts) - index


class Plan(NamedTuple):
    """The places at which the batches of a chunk start, their length, and the place behind."""

    starts: Sequence[Place]
    length: int
    after: Place


def batches_of_a_chunk(stream: Stream[Any]) -> int:
    """How many batches a full chunk has."""
    record = sum(
        math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(stream.source.element_spec)
    )
    batch = max(1, record * len(part_of(stream.batching.batch_size, stream.shard)))
    most = _BESIDE_AN_ACCELERATOR if asks_the_host() else _BYTES
    fit: int = most // batch
    return max(_FEWEST, min(_MOST, fit))


def own_order_of(stream: Stream[Any]) -> AbstractHostSource[Any] | None:
    """The source whose records come one after the other, in passes, if it is one."""
    whole = stream.source.whole
    source = whole.handle.source if isinstance(whole, Hosted) else None
    return source if source is not None and source.has_own_order else None


def planned(batching: Batching, at: Place, most: int, *, by_epoch: bool = False) -> Plan:
    """The next batches of one length, from a place on: none behind the last epoch there is.

    `by_epoch`: of one epoch, and a batch that reaches into the next one by itself.
    """
    starts: list[Place] = []
    at = batching.settle(*at).as_ints()
    length = batching.length(at[1])
    while len(starts) < most and batching.length(at[1]) == length:
        is_other = starts and (at[0] > starts[0][0] or at[1] + length > batching.records)
        if by_epoch and is_other:
            break
        after = batching.settle(at[0], at[1] + length).as_ints()
        if after[0] > LAST:
            break
        starts.append(at)
        at = after
    return Plan(starts, length, at)


def gathered(
    stream: Stream[Any], buffers: Buffers, plan: Plan, room: int, own: range | None = None
) -> Chunk:
    """The batches of a plan; of full ones the arrays have room for a full chunk.

    The stream is one `on_the_host`. Of each batch the `own` rows are read, by default all.
    **Errors:** those of the source.
    """
    many = len(plan.starts)
    places, counts, origin = origins(stream, plan.starts, plan.length)
    is_full = plan.length == stream.batching.batch_size
    read = places if own is None else places[:, own.start : own.stop]
    lead = (room if is_full else many, read.shape[1])
    rows = buffers.of(stream.source.element_spec, *lead)
    flat = jax.tree.map(lambda x: x[:many].reshape(read.size, *x.shape[2:]), rows)
    if (source := own_order_of(stream)) is not None:
        _tell(source, stream.batching, plan)
    stream.source.whole.fetch(read.reshape(-1), flat)
    ends = [*plan.starts[1:], plan.after]
    after = np.stack([place_words(Cursor(*end), wide=stream.is_wide) for end in ends])
    small = jax.tree.map(lambda x: _with_room(x, lead[0]), (counts, origin, after))
    starts = {start: index for index, start in enumerate(plan.starts)}
    return Chunk(Fed(rows, *small), starts, plan.after)


def _tell(source: AbstractHostSource[Any], batching: Batching, plan: Plan) -> None:
    # It must know for which pass it is asked, and whether what comes behind its end counts.
    (epoch, offset), (_, last) = plan.starts[0], plan.starts[-1]
    is_end = plan.after[0] > epoch
    until = batching.records if is_end else last + plan.length
    if isinstance(batching.remainder, Pad):
        source.expect(epoch, offset, until, is_end=is_end, padding=batching.batch_size - 1)
    else:
        source.expect(epoch, offset, until, is_end=is_end)


def _with_room(numbers: np.ndarray, room: int) -> np.ndarray:
    # One shape for chunks that are not full, and so one program.
    if len(numbers) == room:
        return np.ascontiguousarray(numbers)
    whole = np.zeros((room, *numbers.shape[1:]), numbers.dtype)
    whole[: len(numbers)] = numbers
    return whole
