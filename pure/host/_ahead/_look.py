"""A batch of a stream that is looked at: found by its place, or by a record that it holds.

Nothing is moved by it, neither a position nor what reads ahead. What is done with the batch is not
known here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree, UInt32

from ..._flow._batching import Cursor
from ..._flow._fed import at, handed, on_the_host, origins
from ..._flow._stream import Stream
from ..._namespace import plain
from ..._orders._order import Sequential
from ..._orders._replacement import Weighted
from ..._random._origin import Origin
from ..._static._call import called
from ..._static._parts import Memo, parts_of
from ..._text import valued
from ._chunk import Place
from ._feed import Feed

_AT_ONCE = 2**20  # records whose ids are looked through


def read_at(stream: Stream[Any], place: Place, feed: Feed | None = None) -> tuple[PyTree, Origin]:
    """The batch at a settled place, and where its records come from.

    `feed` is what reads ahead of a loop over the same stream, if there is one.
    """
    if not stream.is_hosted:
        where = np.array(place, np.uint32)
        length = stream.batching.length(place[1])
        trees = [(stream, parts_of(stream))]
        here = where if stream.spread is None else stream.spread.everywhere(where)
        rows: tuple[PyTree, Origin] = called(_read, trees, here, static=length, memo=Memo())
        return rows
    own = feed or Feed(stream, limit=1)
    try:
        chunk, index = own.take(place)
        return handed(stream, at(chunk.fed, own.index(index)))
    finally:
        if feed is None:
            own.close()


def place_of(stream: Stream[Any], cursor: Cursor, record: int) -> tuple[Place, int]:
    """The place of the batch in which a record is handed out in the epoch of a settled cursor, and
    its row in it: as the batches lie from the cursor on, or else before it.

    **Errors:** TypeError for what is no id, ValueError for one that is not handed out.
    """
    size = stream.source.whole.size
    if isinstance(record, bool) or not isinstance(record, int | np.integer):
        raise TypeError(valued("record", record, "an int, the id of a record."))
    if not 0 <= record < size:
        raise ValueError(f"record is {record}; expected an id from 0 to {size - 1}.")
    host = on_the_host(stream)
    epoch, start = cursor.as_ints()
    if isinstance(stream.order, Sequential) and stream.source.whole is stream.source:
        # Where a record stands by its number, it is found at once.
        start = max(0, record - (record - start) % stream.batching.batch_size)
    for places, length in _batches(stream, epoch, start):
        _, counts, origin = origins(host, places, length)
        ids = np.asarray(origin.ids, np.uint64)
        if ids.ndim > 2:  # two words
            ids = ids[..., 0] << np.uint64(32) | ids[..., 1]
        found = np.argwhere((ids == record) & counts)
        if len(found):
            batch, row = found[0].tolist()
            return places[batch], row
    if not _is_in(host, record):
        raise ValueError(
            f"Record {record} is not in the view of the source that the pipeline reads, nor handed "
            "out in any epoch; pass it as a batch of your own: batch=…."
        )
    part = "" if stream.shard is None else f", to shard {stream.shard[0]} of {stream.shard[1]},"
    never = isinstance(stream.order, Sequential) and stream.batching.remainder != "carry"
    where = "in any epoch" if never else f"in epoch {epoch}"
    mend = "" if never else "look at another epoch, or "
    if isinstance(stream.order, Weighted):
        mend = "one of weight 0 never is: look at another epoch, or "
    raise ValueError(
        f"Record {record} is not handed out{part} {where}, in the order "
        f"{type(stream.order).__name__} with remainder {stream.batching.remainder!r}; {mend}"
        "pass the record as a batch of your own: batch=…."
    )


def _is_in(stream: Stream[Any], record: int) -> bool:
    source, kind = stream.source, np.uint64 if stream.is_wide else np.uint32
    if source.size == source.whole.size:
        return True
    for start in range(0, source.size, _AT_ONCE):
        ids = plain(np.arange(start, min(start + _AT_ONCE, source.size), dtype=kind))
        if (np.asarray(source.record_ids(ids)) == record).any():
            return True
    return False


def _batches(stream: Stream[Any], epoch: int, offset: int) -> Iterator[tuple[list[Place], int]]:
    # The places of the batches of an epoch, some at a time, all of one length.
    batching = stream.batching
    size, many = batching.batch_size, batching.records
    end = many if batching.remainder == "carry" else many - size + 1  # of those that are whole
    step = max(1, _AT_ONCE // size)
    first = range(1 if offset % size else 0)
    for starts in (range(offset, many, size), range(offset % size, offset, size), first):
        whole = range(starts.start, max(starts.start, min(starts.stop, end)), size)
        for some in range(0, len(whole), step):
            yield [(epoch, x) for x in whole[some : some + step]], size
        for x in starts[len(whole) :] if batching.remainder != "drop" else ():
            yield [(epoch, x)], batching.length(x)


def _read(stream: Stream[Any], where: UInt32[Array, "2"], length: int) -> tuple[PyTree, Origin]:
    return stream.read(Cursor(where[0], where[1]), length)


def joined_rows(parts: Sequence[dict[str, PyTree]]) -> dict[str, PyTree]:
    """Batches as one, in NumPy's arrays; what has no rows is that of the first."""

    def together(*leaves: Array | np.ndarray) -> np.ndarray:
        plain = [np.asarray(_without_keys(x)) for x in leaves]
        return np.concatenate(plain) if plain[0].ndim else plain[0]

    return {name: jax.tree.map(together, *(part[name] for part in parts)) for name in parts[0]}


def _without_keys(leaf: Array | np.ndarray) -> Array | np.ndarray:
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf
