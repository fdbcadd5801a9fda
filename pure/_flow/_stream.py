"""What flows: batches of a source in an order, from a cursor to an origin to a batch, and one loop.

Stages are not known here; a loop is given what to do with a batch.
"""

import dataclasses
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, PyTree, UInt32

from .._apart import apart, settled
from .._channels_last import canonical
from .._misused import guided
from .._namespace import Batch as Batched
from .._namespace import Epoch, Flags, Words, namespace, plain
from .._orders._order import AbstractOrder, Sequential, checked_ids, positions_of
from .._random._origin import Origin
from .._sources._host_source import AbstractHostSource
from .._sources._hosted import given_source, is_hosted
from .._sources._source import AbstractSource, Batch
from ._batching import Batching, Cursor, Pad, Remainder, check_count, check_cursor, check_length
from ._carry import check_carry
from ._marks import Mark, check_marks, kept, marked
from ._shard import Shard, checked_shard, part_of
from ._spread import BatchAxis, Spread, check_divides, spread_of
from ._table import by_table, is_worth_a_table

_MOST = 2**31 - 1  # as many records as 32 bits count with a sign
_Places: TypeAlias = tuple[Words, Words | None, Words | None]  # places; turns, own epochs
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")
_SEEDED = "an order has the key: Stream(source, Shuffled(key), batch_size=…)"
_MENDS = MappingProxyType(
    {
        **dict.fromkeys(("shuffle", "seed", "key", "rngs"), _SEEDED),
        **dict.fromkeys(("drop_remainder", "drop_last"), 'write remainder="drop"'),
        **dict.fromkeys(("stages", "transforms"), "stages are a graph: Pipeline.linear([…])"),
        "data": "write Stream(ArraySource(data), batch_size=…)",
    }
)


class Stream(eqx.Module, Generic[Batch]):
    """Batches of a source in an order: what flows. The data are leaves, the rest is static.

    `remainder` says what becomes of the records that do not fill a last batch:

    - `"partial"`: the last batch of an epoch is short. Only where the batch size divides the
      number of records can it be scanned or traced.
    - `"drop"`: they are left out of this epoch.
    - `"pad"` (or `Pad("name")`): the last batch is filled up with the first records of the epoch,
      and a boolean field `valid` says which rows count.
    - `"carry"`: batches run across the border of the epoch; nothing is dropped or repeated.

    With `shard=(index, count)` it gives its part of each batch, as `np.array_split` splits it into
    `count`: `batch_size`, cursors and lengths are those of all shards together, whose parts, one
    after the other, are the batch. What is drawn for each record does not change; a stage's `key`
    is that of the whole batch, in all shards the same. (A short last batch of fewer records than
    shards leaves some without any.)

    With `record_ids="id"` each batch has a field `id`: the ids by which its records draw, uint32.

    On a `mesh` of devices each reads its part of the rows, over `batch_axis` (an axis, or several).
    Data and order lie whole on every device, to which they are sent when the stream is made, or as
    they were put on the mesh before. Records, masks and draws are those of one device. What is
    given beside the stream, stages and keys, is put there by `on_mesh`.

    **Errors:** TypeError for a batch size that is not an int; ValueError for one below 1 or, under
    `"drop"`, above the number of records; ValueError for an unknown remainder, a shard that is
    none or does not divide the batch size, a field to add that the data already have, and an order
    for another number of records; for a mesh that does not divide the batch size, an axis that it
    has not, and data on another one.
    """

    source: AbstractSource[Batch]
    order: AbstractOrder
    batching: Batching = eqx.field(static=True)
    shard: Shard | None = eqx.field(static=True)
    record_ids: str | None = eqx.field(static=True)
    spread: Spread | None = eqx.field(static=True)

    @guided("Stream", _MENDS)
    def __init__(
        self,
        source: AbstractSource[Batch] | AbstractHostSource[Batch],
        order: AbstractOrder | None = None,
        *,
        batch_size: int,
        remainder: Remainder = "partial",
        shard: Shard | None = None,
        record_ids: str | None = None,
        mesh: Mesh | None = None,
        batch_axis: BatchAxis = "data",
    ):
        source = given_source("source", source)
        if not isinstance(order, AbstractOrder | None):
            raise TypeError(
                f"order is of type {type(order).__name__}; expected an order: write Shuffled(key), "
                "or Sequential()."
            )
        _check_size(source)
        self.source = source
        self.order = _settled_order(source.order, order)
        positions = positions_of(self.order, source.size, hosted=is_hosted(source))
        self.batching = Batching(positions, batch_size, remainder)
        self.shard = checked_shard(shard, self.batching.batch_size)
        self.record_ids = record_ids
        if marks := self._marks:
            check_marks(source.element_spec, marks)
        if self.is_wide and record_ids is not None:
            raise ValueError(
                f"record_ids is {record_ids!r}, a field of 32 bits, but the {source.size} records "
                "of the source have ids of two words; leave it out, or have the source give them."
            )
        self.spread = spread_of(mesh, batch_axis)
        if self.spread is not None:
            check_divides(self.spread, self.batching.batch_size, (self.shard or (0, 1))[1])
            self.spread.check_data(source)
            self.source = self.spread.everywhere(source)
            self.order = self.spread.everywhere(self.order)

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of an epoch that starts at offset 0.

        **Errors:** TypeError for a data set that says how many records it has at its end alone.
        """
        return self.batching.known(self.source.size).steps_per_epoch

    @property
    def batch_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of a full batch; no data are read."""
        return eqx.filter_eval_shape(
            lambda stream: stream.first(stream.batching.length(0))[0], self
        )

    def first(self, length: int) -> tuple[Batch, Origin]:
        """The first records, in no order: an example of a batch for a trace."""
        origin = Origin.numbered(len(part_of(length, self.shard)))
        numbers = jnp.arange(len(origin.ids), dtype=jnp.uint32)
        counts = numbers < min(self.source.size, _MOST)
        if not self.is_hosted:
            places = self.source.places(numbers % self.source.size)
            return self.rows(places, counts), self._spread_out(origin)
        origin = dataclasses.replace(origin, ids=_example(numbers, wide=self.is_wide))
        spec = self.source.element_spec
        rows = jax.tree.map(lambda x: jnp.zeros((len(numbers), *x.shape), x.dtype), spec)
        return self.with_marks(rows, counts, origin), origin

    def rows(self, places: UInt32[Array, " batch"], counts: Bool[Array, " batch"]) -> Batch:
        """The records at these places of the whole, with the fields for which of them count, and
        for their ids."""
        whole = self.source.whole
        if self.spread is None:
            return self._read(whole, places, counts)
        return self.spread.rows(self._read, whole, places, counts)

    def _read(self, whole: AbstractSource[Batch], places: Array, counts: Array) -> Batch:
        return self._with_marks(whole.rows(places), counts, lambda: whole.record_ids(places))

    def with_marks(self, rows: Any, counts: Bool[Array, " batch"], origin: Origin) -> Batch:
        """Records that were handed in, with the fields that the stream adds."""
        return self._with_marks(rows, counts, lambda: jnp.asarray(origin.ids))

    def _with_marks(
        self, rows: Any, counts: Bool[Array, " batch"], ids: Callable[[], Array]
    ) -> Batch:
        if marks := self._marks:
            own = {"bool": lambda: counts, "uint32": ids}
            rows = marked(rows, {mark: own[mark.dtype]() for mark in marks})
        found: Batch = rows
        return found

    @property
    def is_hosted(self) -> bool:
        """Whether its records are read on the host, and handed in."""
        return is_hosted(self.source)

    @property
    def is_wide(self) -> bool:
        """Whether its ids and offsets have two words: for 2**31 records and more."""
        return max(self.source.whole.size, self.batching.records) > _MOST

    def start(self, epoch: int = 0) -> Cursor:
        """The cursor at the beginning of an epoch, an int below 2**32."""
        check_count("epoch", epoch)
        return Cursor(np.uint32(epoch), np.uint32(0))

    def read(self, cursor: Cursor, length: int) -> tuple[Batch, Origin]:
        """The `length` records from a settled cursor on, and where they come from.

        A shard gives its part of them.
        """
        return self._read_at(*self.origin(_traced(cursor), length))

    def _read_at(self, places: Array, counts: Array, origin: Origin) -> tuple[Batch, Origin]:
        if isinstance(self.batching.remainder, Pad):
            origin = dataclasses.replace(origin, counts=counts)
        return self.rows(places, counts), self._spread_out(origin)

    def _spread_out(self, origin: Origin) -> Origin:
        if self.spread is None:
            return origin
        names = "ids", "lap", "turn", "own", "counts"
        each = self.spread.each({name: getattr(origin, name) for name in names})
        return dataclasses.replace(origin, **each)

    def origin(self, cursor: Cursor, length: int) -> tuple[Words, Flags, Origin]:
        """Where the `length` records from a settled cursor on are, which count, and their origin.

        Whole numbers of JAX where the cursor is; of NumPy where it is one of NumPy, of one axis
        for as many batches, and then all have that axis before their own.
        """
        many, remainder = self.batching.records, self.batching.remainder
        epoch, offset = cast(tuple[Epoch, Epoch], cursor)
        xp, part = namespace(epoch, offset), part_of(length, self.shard)
        positions = offset[..., None] + xp.arange(part.start, part.stop, dtype=offset.dtype)
        laps = 1 + (many + length - 2) // many if remainder == "carry" else 1
        lap = positions // many if laps > 1 else xp.zeros_like(positions)
        epochs = epoch[..., None] + xp.arange(laps, dtype=np.uint32)
        within = positions % many if laps > 1 or isinstance(remainder, Pad) else positions
        ids, turn, own = self._found(within, epochs, lap, offset)
        known = self.source.whole.record_ids(ids.reshape(-1)).reshape(ids.shape)
        origin = Origin(
            ids=_told(known),
            lap=lap if lap.dtype == np.uint32 else lap.astype(np.uint32),
            epochs=epochs,
            offset=_told(offset),
            turn=turn,
            own=own,
        )
        return ids, positions < many, origin

    def _found(self, within: Words, epochs: Words, lap: Words, offset: Words) -> _Places:
        if not isinstance(within, jax.Array):
            own = np.take_along_axis(epochs, lap.astype(np.int64), axis=-1)
            return _of_each(self._places, np.asarray(within), own)
        if epochs.shape[0] == 1:
            places = self._places(within, epochs[0])
        else:
            each = jax.vmap(lambda epoch: self._places(within, epoch))(epochs)
            places = jax.tree.map(lambda x: x[lap, jnp.arange(len(within))], each)
        found: _Places = jax.tree.map(lambda x: settled(x, offset), places)
        return found if self.spread is None else self.spread.whole(found)

    def _places(self, positions: Batched, epoch: Epoch) -> _Places:
        order, size = self.order, self.source.size
        ids = checked_ids(order, order.ids(positions, epoch, size), positions)
        return (
            self.source.places(ids),
            order.turns(positions, epoch, size),
            order.own_epochs(positions, epoch, size),
        )

    def take(self, cursor: Cursor) -> tuple[Cursor, Batch, Origin]:
        """The next batch: the cursor behind it, its records, and where they come from.

        **Errors:** under `"partial"` with a traced cursor, a ValueError if the batch size does not
        divide the number of records, for then the batches differ in shape. If it does, a traced
        cursor that stands askew reads across the border of the epoch, as `"carry"` does.
        """
        check_cursor(cursor)
        if cursor.is_traced:
            return self.with_batching(self.batching.in_trace())._take(_traced(cursor))
        after, batch, origin = self._take(Cursor(*cursor.as_ints()))
        return Cursor(np.uint32(after.epoch), np.uint32(after.offset)), batch, origin

    def scan(
        self,
        body: Callable[[_Carry, Batch, Origin], tuple[_Carry, _Y]],
        carry: _Carry,
        cursor: Cursor,
        length: int,
    ) -> tuple[Cursor, _Carry, _Y]:
        """`length` batches as one `jax.lax.scan` of `body(carry, batch, origin) -> (carry, y)`.

        The data are an operand of the loop, not part of its carry. On CPU, convolutions in the loop
        are brought to NHWC, which alone is fast there. **Errors:** ValueError where
        batches of the `"partial"` policy would differ in shape; TypeError for a carry that
        changes structure, shape or dtype.
        """
        check_length(length)
        stream = self.with_batching(self.batching.in_scan(cursor))
        if self.spread is None and is_worth_a_table(length * self.batching.batch_size):
            return by_table(
                stream.batching,
                stream.origin,
                lambda carry, *found: body(carry, *stream._read_at(*found)),
                carry,
                _traced(cursor),
                length,
            )

        def tick(state: tuple[Cursor, _Carry], _: None) -> tuple[tuple[Cursor, _Carry], _Y]:
            cursor, carry = state
            cursor, batch, origin = stream._take(cursor)
            # Records of one axis are read in order, and fused with what comes after at no cost.
            new, y = body(carry, apart(batch, origin.mark, axes=3), origin)
            check_carry(carry, new)
            return (cursor, new), y

        start = (_traced(cursor), carry)
        (cursor, carry), ys = canonical(lambda: jax.lax.scan(tick, start, length=length))
        return cursor, carry, ys

    def marked(self, batch: Any, output: Any) -> Any:
        """The output of a pipeline for `batch`, with the fields that this stream has added.

        **Errors:** where it has added any, TypeError if the output is not a dict to put them in,
        or has another number of rows and no such field of its own.
        """
        return kept(batch, output, self._marks)

    def _take(self, cursor: Cursor) -> tuple[Cursor, Batch, Origin]:
        cursor = self.batching.settle(*cursor)
        length = self.batching.length(cursor.offset)
        batch, origin = self.read(cursor, length)
        return self.batching.settle(cursor.epoch, cursor.offset + length), batch, origin

    def with_batching(self, batching: Batching) -> "Stream[Batch]":
        """The same records, in batches of other lengths."""
        return Stream(
            self.source,
            self.order,
            batch_size=batching.batch_size,
            remainder=batching.remainder,
            shard=self.shard,
            record_ids=self.record_ids,
            mesh=None if self.spread is None else self.spread.mesh,
            batch_axis="data" if self.spread is None else self.spread.axes,
        )

    @property
    def _marks(self) -> list[Mark]:
        remainder = self.batching.remainder
        valid = [Mark.valid(remainder.valid)] if isinstance(remainder, Pad) else []
        return valid if self.record_ids is None else [*valid, Mark.record_ids(self.record_ids)]


def _settled_order(own: AbstractOrder | None, order: AbstractOrder | None) -> AbstractOrder:
    foreign = len({jax.tree.structure(own), jax.tree.structure(order)}) > 1
    if own is not None and order is not None and foreign:
        raise ValueError(
            f"order is {type(order).__name__}, but the source decides its own order; leave it out."
        )
    return order or own or Sequential()


def _of_each(
    places: Callable[[Batched, Epoch], _Places], within: np.ndarray, epochs: np.ndarray
) -> _Places:
    # All batches at once, for each epoch that they touch.
    every = np.unique(epochs)
    if len(every) == 1:
        found = places(plain(within.reshape(-1)), every[0])
        whole: _Places = jax.tree.map(lambda x: x.reshape(within.shape), found)
        return whole
    parts = [(epochs == epoch, places(plain(within[epochs == epoch]), epoch)) for epoch in every]

    def together(*columns: np.ndarray) -> np.ndarray:
        made = np.empty(within.shape, columns[0].dtype)
        for (where, _), column in zip(parts, columns, strict=True):
            made[where] = column
        return made

    joined: _Places = jax.tree.map(together, *(found for _, found in parts))
    return joined


def _told(numbers: Words) -> Words:
    # What no program has a type for, as two words.
    if numbers.dtype != np.uint64:
        return numbers
    high = numbers >> np.uint64(32)
    two = np.stack([high, numbers & np.uint64(2**32 - 1)], axis=-1)
    return plain(two.astype(np.uint32))


def _example(numbers: Array, *, wide: bool) -> Array:
    return jnp.stack([jnp.zeros_like(numbers), numbers], axis=-1) if wide else numbers


def _traced(cursor: Cursor) -> Cursor:
    return Cursor(*(jnp.asarray(x, jnp.uint32) for x in cursor))


def _check_size(source: AbstractSource) -> None:
    if source.size > _MOST and not is_hosted(source):
        raise ValueError(
            f"The source has {source.size} records; expected at most {_MOST}. Split it into "
            "smaller ones; of one long row of numbers, such as a file of tokens, read windows: "
            "dp.Windows(tokens, width, stride=width)."
        )
