import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from ._carry import check_carry
from ._order import AbstractOrder, Sequential
from ._origin import Origin
from ._source import AbstractSource

Batch = PyTree[Shaped[Array, "batch ..."]]
Integer = int | np.uint32 | Shaped[Array, ""] | Shaped[np.ndarray, ""]
_Carry = TypeVar("_Carry")


class Cursor(NamedTuple):
    """Where the next batch starts: the epoch, and the offset in it counted in records.

    Two integers below 2**32: NumPy scalars outside a trace, traced inside one.
    """

    epoch: Integer
    offset: Integer


@dataclasses.dataclass(frozen=True)
class Pad:
    """The remainder policy `"pad"` with a name of your own for the boolean field it adds."""

    valid: str = "valid"


Remainder = Literal["partial", "drop", "pad", "carry"] | Pad


class Stream(eqx.Module):
    """Batches of a source in an order: what flows. The data are leaves, the rest is static.

    `remainder` says what becomes of the records that do not fill a last batch:

    - `"partial"`: the last batch of an epoch is short. Only where the batch size divides the
      number of records can it be scanned or traced.
    - `"drop"`: they are left out of this epoch.
    - `"pad"` (or `Pad("name")`): the last batch is filled up with the first records of the epoch,
      and a boolean field `valid` says which rows count.
    - `"carry"`: batches run across the border of the epoch; nothing is dropped or repeated.

    **Errors:** TypeError for a batch size that is not an int; ValueError for one below 1 or, under
    `"drop"`, above the number of records; ValueError for an unknown remainder or a `valid` field
    that the data already have.
    """

    source: AbstractSource
    order: AbstractOrder
    batch_size: int = eqx.field(static=True)
    remainder: Literal["partial", "drop", "carry"] | Pad = eqx.field(static=True)

    def __init__(
        self,
        source: AbstractSource,
        order: AbstractOrder | None = None,
        *,
        batch_size: int,
        remainder: Remainder = "partial",
    ):
        check_batching(batch_size, remainder, source.size)
        self.source = source
        self.order = Sequential() if order is None else order
        self.batch_size = int(batch_size)
        self.remainder = Pad() if remainder == "pad" else remainder
        if isinstance(self.remainder, Pad):
            row = jax.eval_shape(source.rows, jax.ShapeDtypeStruct((1,), jnp.uint32))
            _check_valid_field(row, self.remainder.valid)

    @property
    def size(self) -> int:
        """The number of records."""
        return self.source.size

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of an epoch that starts at offset 0."""
        whole, rest = divmod(self.size, self.batch_size)
        return whole + (rest > 0 and self.remainder != "drop")

    def start(self, epoch: int = 0) -> Cursor:
        """The cursor at the beginning of an epoch."""
        return Cursor(np.uint32(epoch), np.uint32(0))

    def batch_length(self, offset: int) -> int:
        """The number of records in the batch at an offset: `batch_size`, or fewer at the end of an
        epoch under `"partial"`."""
        short = self.remainder == "partial"
        return min(self.batch_size, self.size - offset) if short else self.batch_size

    def settle(self, cursor: Cursor) -> Cursor:
        """The same place by its proper name: an epoch with no batch left is the next one's start."""
        epoch, offset = cursor
        if self.remainder in ("partial", "carry"):
            return Cursor(epoch + offset // self.size, offset % self.size)
        needed = self.batch_size if self.remainder == "drop" else 1
        over = offset + needed > self.size
        if isinstance(over, bool | np.bool_):
            return Cursor(epoch + 1, offset * 0) if over else cursor
        return Cursor(jnp.where(over, epoch + 1, epoch), jnp.where(over, offset * 0, offset))

    def skip(self, cursor: Cursor, batches: int) -> Cursor:
        """The cursor this many batches on, in time that does not depend on their number."""
        epoch, offset = self.settle(Cursor(int(cursor.epoch), int(cursor.offset)))
        if self.remainder == "carry":
            return self.settle(Cursor(epoch, offset + batches * self.batch_size))
        left = self.size - offset
        left = left // self.batch_size if self.remainder == "drop" else -(-left // self.batch_size)
        if batches >= left:
            epochs, batches = divmod(batches - left, self.steps_per_epoch)
            epoch, offset = epoch + 1 + epochs, 0
        return self.settle(Cursor(epoch, offset + batches * self.batch_size))

    def read(self, cursor: Cursor, length: int) -> tuple[Batch, Origin]:
        """The `length` records from a settled cursor on, and where they come from."""
        epoch, offset = (jnp.asarray(x, jnp.uint32) for x in cursor)
        positions = offset + jnp.arange(length, dtype=jnp.uint32)
        crosses = self.remainder == "carry"
        laps = 1 + (self.size + length - 2) // self.size if crosses else 1
        lap = positions // self.size if laps > 1 else jnp.zeros_like(positions)
        epochs = epoch + jnp.arange(laps, dtype=jnp.uint32)
        wraps = crosses or isinstance(self.remainder, Pad)
        within = positions % self.size if wraps else positions
        ids = jax.vmap(lambda e: self.order.ids(within, e, self.size))(epochs)
        ids = ids[lap, jnp.arange(length)] if laps > 1 else ids[0]
        batch = self.source.rows(ids)
        if isinstance(self.remainder, Pad):
            batch = {**batch, self.remainder.valid: positions < self.size}
        return batch, Origin(ids=ids, lap=lap, epochs=epochs, offset=offset)

    def take(self, cursor: Cursor) -> tuple[Cursor, Batch, Origin]:
        """The next batch: the cursor behind it, its records, and where they come from.

        **Errors:** under `"partial"` with a traced cursor, a ValueError if the batch size does not
        divide the number of records, for then the batches differ in shape. If it does, a traced
        cursor that stands askew reads across the border of the epoch, as `"carry"` does.
        """
        if not _is_concrete(cursor):
            cursor = Cursor(*(jnp.asarray(x, jnp.uint32) for x in cursor))
            stream = self.in_trace()
            return stream._take(stream.settle(cursor), self.batch_size)
        cursor = self.settle(Cursor(int(cursor.epoch), int(cursor.offset)))
        after, batch, origin = self._take(cursor, self.batch_length(int(cursor.offset)))
        return Cursor(np.uint32(after.epoch), np.uint32(after.offset)), batch, origin

    def scan(
        self,
        body: Callable[[_Carry, Batch, Origin], tuple[_Carry, Any]],
        carry: _Carry,
        cursor: Cursor,
        length: int,
    ) -> tuple[Cursor, _Carry, Any]:
        """`length` batches as one `jax.lax.scan` of `body(carry, batch, origin) -> (carry, y)`.

        The data are an operand of the loop, not part of its carry. **Errors:** ValueError where
        batches of the `"partial"` policy would differ in shape; TypeError for a carry that
        changes structure, shape or dtype.
        """
        check_length(length)
        stream = self.in_scan(cursor)

        def tick(state: tuple[Cursor, _Carry], _: None) -> tuple[tuple[Cursor, _Carry], Any]:
            cursor, carry = state
            cursor = stream.settle(cursor)
            cursor, batch, origin = stream._take(cursor, stream.batch_size)
            new, y = body(carry, batch, origin)
            check_carry(carry, new)
            return (cursor, new), y

        start = Cursor(*(jnp.asarray(x, jnp.uint32) for x in cursor))
        (cursor, carry), ys = jax.lax.scan(tick, (start, carry), length=length)
        return cursor, carry, ys

    def in_trace(self) -> "Stream":
        """The same batches, all of one static shape. **Errors:** ValueError if there is no such."""
        if self.remainder != "partial":
            return self
        if self.size % self.batch_size:
            raise ValueError(
                f"The batch size {self.batch_size} does not divide the {self.size} records, so "
                'under remainder="partial" the last batch is shorter and cannot be scanned or '
                'traced. Choose remainder="drop" to leave it out, "pad" to fill it up and mark '
                'the rows that count, or "carry" to run on into the next epoch.'
            )
        return dataclasses.replace(self, remainder="carry")

    def in_scan(self, cursor: Cursor) -> "Stream":
        """`in_trace`, cheaper where the cursor is concrete: it is known that no batch crosses."""
        stream = self.in_trace()
        if self.remainder != "partial" or not _is_concrete(cursor):
            return stream
        if int(cursor.offset) % self.batch_size:
            raise ValueError(
                f"The cursor stands at offset {int(cursor.offset)}, which is not a multiple of the "
                f'batch size {self.batch_size}, so under remainder="partial" the last batch of '
                'this epoch is shorter and cannot be scanned. Choose remainder="drop", "pad" or '
                '"carry", or finish the epoch step by step first.'
            )
        return dataclasses.replace(self, remainder="drop")

    def marked(self, batch: Batch, output: Any) -> Any:
        """The output of a pipeline for `batch`; under `"pad"` it keeps the `valid` field.

        **Errors:** under `"pad"`, TypeError if the output is not a dict to put it in.
        """
        if not isinstance(self.remainder, Pad):
            return output
        valid = self.remainder.valid
        if not isinstance(output, dict):
            raise TypeError(
                f'remainder="pad" hands out the field `{valid}` with each batch, but the pipeline '
                f"returned {type(output).__name__}; return a dict from the sink, or choose another "
                'remainder, such as "drop".'
            )
        return output if valid in output else {**output, valid: batch[valid]}

    def _take(self, cursor: Cursor, length: int) -> tuple[Cursor, Batch, Origin]:
        batch, origin = self.read(cursor, length)
        return self.settle(Cursor(cursor.epoch, cursor.offset + length)), batch, origin


def check_batching(batch_size: int, remainder: Remainder, records: int) -> None:
    """Refuse a batch size or a remainder policy that cannot work for this many records."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise TypeError(
            f"batch_size is {batch_size!r} of type {type(batch_size).__name__}; expected an int."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1.")
    if not isinstance(remainder, Pad) and remainder not in ("partial", "drop", "pad", "carry"):
        raise ValueError(
            f'remainder is {remainder!r}; expected "partial", "drop", "pad" or "carry", or '
            'Pad("name").'
        )
    if remainder == "drop" and batch_size > records:
        raise ValueError(
            f'batch_size is {batch_size} but the source has {records} records, so remainder="drop" '
            f"would yield nothing; use a batch_size of at most {records}, or another remainder."
        )


def check_length(length: int) -> None:
    """Refuse a scan length that is not a positive int."""
    if isinstance(length, bool) or not isinstance(length, int | np.integer):
        raise TypeError(f"length is {length!r} of type {type(length).__name__}; expected an int.")
    if length < 1:
        raise ValueError(
            f"length is {length}; expected at least 1. One epoch is `steps_per_epoch` batches."
        )


def _check_valid_field(row: PyTree[Any], valid: str) -> None:
    if not isinstance(row, dict):
        raise TypeError(
            f'remainder="pad" adds a field `{valid}` to each batch, but the batches are '
            f"{type(row).__name__}; pass the data as a dict, or choose another remainder."
        )
    if valid in row:
        raise ValueError(
            f'remainder="pad" adds a field `{valid}`, which the data already have; rename theirs, '
            f'or pass remainder=Pad("{valid}_row").'
        )


def _is_concrete(cursor: Cursor) -> bool:
    return not any(isinstance(x, jax.core.Tracer) for x in cursor)
