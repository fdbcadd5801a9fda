"""The arithmetic of positions: which batch comes next, how long it is, and where an epoch ends.

Records are counted here and nothing else is known of them; neither data nor orders.
"""

import dataclasses
import operator
from collections.abc import Callable
from typing import Literal, NamedTuple, SupportsIndex, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Shaped, UInt32

from .._sources._unknown import UNKNOWN, check_known
from .._text import of_type, valued

_MOST = 2**31 - 1  # rows of a batch
LAST = 2**32 - 1
_Place: TypeAlias = UInt32[Array, ""]
_Places: TypeAlias = UInt32[Array, " batches"]
Integer: TypeAlias = int | np.uint32 | np.uint64 | Shaped[np.ndarray, ""] | Shaped[Array, ""]


class Cursor(NamedTuple):
    """Where the next batch starts: the epoch, and the offset in it counted in records.

    Two integers below 2**32: Python's or NumPy's outside a trace, traced inside one, where they
    are counted modulo 2**32.
    """

    epoch: Integer
    offset: Integer

    @property
    def is_traced(self) -> bool:
        """Whether the position is known only when the compiled program runs."""
        return isinstance(self.epoch, Tracer) or isinstance(self.offset, Tracer)

    def as_ints(self) -> tuple[int, int]:
        """Epoch and offset as Python ints; not for a traced cursor."""
        return int(self.epoch), int(self.offset)

    def __repr__(self) -> str:
        epoch, offset = (int(x) if isinstance(x, np.integer) else x for x in self)
        return f"Cursor(epoch={epoch!r}, offset={offset!r})"


@dataclasses.dataclass(frozen=True)
class Pad:
    """The remainder policy `"pad"` with a name of your own for the boolean field it adds."""

    valid: str = "valid"

    def __post_init__(self) -> None:
        if not isinstance(self.valid, str):
            raise TypeError(
                f"Pad was given {self.valid!r} of type {type(self.valid).__name__}; expected the "
                'name of the field to add: Pad("valid").'
            )


Remainder: TypeAlias = Literal["partial", "drop", "pad", "carry"] | Pad


@dataclasses.dataclass(frozen=True, init=False)
class Batching:
    """The arithmetic of cursors: so many records, in batches of so many, by a remainder policy.

    **Errors:** TypeError for a batch size that is not an int; ValueError for one below 1 or, under
    `"drop"`, above the number of records, and for an unknown remainder.
    """

    records: int
    batch_size: int
    remainder: Literal["partial", "drop", "carry"] | Pad

    def __init__(self, records: int, batch_size: int, remainder: Remainder):
        _check(batch_size, remainder, records)
        object.__setattr__(self, "records", records)
        object.__setattr__(self, "batch_size", int(batch_size))
        object.__setattr__(self, "remainder", Pad() if remainder == "pad" else remainder)

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches that start in an epoch, from offset 0 on.

        Under `"carry"` the last of them ends in the next epoch, which then starts behind offset 0.
        """
        return self._steps_from(0)

    def known(self, found: int = UNKNOWN) -> "Batching":
        """The same, whose records are counted, or were found since. **Errors:** TypeError."""
        records = found if self.records == UNKNOWN else self.records
        check_known(records, "batches")
        return dataclasses.replace(self, records=records)

    def length(self, offset: Integer) -> int:
        """The number of records in the batch at an offset: `batch_size`, or fewer at the end of an
        epoch under `"partial"`."""
        if self.remainder != "partial":
            return self.batch_size
        return min(self.batch_size, self.records - int(offset))

    def settle(self, epoch: Integer, offset: Integer) -> Cursor:
        """The same place by its proper name: an epoch with no batch left is the next one's start.

        The two are Python ints, or traced.
        """
        if self.remainder == "carry":
            return Cursor(epoch + offset // self.records, offset % self.records)
        needed = self.batch_size if self.remainder == "drop" else 1
        over = offset + needed > self.records
        if isinstance(over, bool):
            return Cursor(epoch + 1, 0) if over else Cursor(epoch, offset)
        return Cursor(jnp.where(over, epoch + 1, epoch), jnp.where(over, offset * 0, offset))

    def turn(self, at: Cursor) -> tuple[Cursor, int, Cursor]:
        """Where the batch at a place of Python ints starts, by its proper name (the very `at` where
        it has that), the number of its records, and the place behind it."""
        epoch, offset = at
        if offset + 2 * self.batch_size <= self.records:
            return at, self.batch_size, Cursor(epoch, offset + self.batch_size)
        now = at if (settled := self.settle(epoch, offset)) == at else settled
        length = self.length(int(now.offset))
        return now, length, self.settle(now.epoch, now.offset + length)

    def skip(self, epoch: int, offset: int, batches: int) -> Cursor:
        """The cursor so many batches on, in time that does not depend on their number."""
        epoch, offset = self.settle(epoch, offset).as_ints()
        if self.remainder != "carry" and batches >= (left := self._steps_from(offset)):
            epochs, batches = divmod(batches - left, self.steps_per_epoch)
            epoch, offset = epoch + 1 + epochs, 0
        return self.settle(epoch, offset + batches * self.batch_size)

    def after(self, epoch: int, offset: int, batches: int) -> Cursor:
        """The cursor so many batches on. **Errors:** ValueError where epochs end before that."""
        if batches == 1 and offset + 2 * self.batch_size <= self.records:
            return Cursor(np.uint32(epoch), counted(offset + self.batch_size))
        cursor = self.skip(epoch, offset, batches)
        if cursor.epoch > LAST:
            many = "1 batch" if batches == 1 else f"{batches} batches"
            raise ValueError(
                f"{many} from epoch {epoch}, offset {offset} on would end behind epoch {LAST}, "
                "the last that is counted; start at an earlier epoch, such as stream.start(0)."
            )
        return Cursor(np.uint32(cursor.epoch), counted(int(cursor.offset)))

    def starts(self, epoch: _Place, offset: _Place, batches: int) -> tuple[_Places, _Places]:
        """Where so many batches of one length in a row start, from a settled place on.

        Records of the source and of the batches are below 2**31 each.
        """
        index = jnp.arange(batches, dtype=jnp.uint32)
        at = offset + index * self.batch_size
        if self.remainder == "carry":
            return epoch + at // self.records, at % self.records
        needed = self.batch_size if self.remainder == "drop" else 1
        left = (self.records - offset + self.batch_size - needed) // self.batch_size
        epochs, step = jnp.divmod(index - left, self.steps_per_epoch)
        return (
            jnp.where(index < left, epoch, epoch + 1 + epochs),
            jnp.where(index < left, at, step * self.batch_size),
        )

    def steps_left(self, offset: int) -> int:
        """The number of batches from an offset to the end of its epoch."""
        return self._steps_from(offset)

    def in_trace(self) -> "Batching":
        """The same batches, all of one static length. **Errors:** ValueError if they have none."""
        if self.remainder != "partial":
            return self
        if self.records != UNKNOWN and self.records % self.batch_size:
            raise ValueError(
                f"The batch size {self.batch_size} does not divide the {self.records} records, so "
                'under remainder="partial" the last batch is shorter and cannot be scanned or '
                'traced. Choose remainder="drop" to leave it out, "pad" to fill it up and mark '
                'the rows that count, or "carry" to run on into the next epoch.'
            )
        return dataclasses.replace(self, remainder="carry")

    def in_scan(self, cursor: Cursor) -> "Batching":
        """`in_trace`, cheaper where the cursor is known: then it is known that no batch crosses."""
        batching = self.in_trace()
        if self.remainder != "partial" or cursor.is_traced:
            return batching
        if int(cursor.offset) % self.batch_size:
            raise ValueError(
                f"The cursor stands at offset {int(cursor.offset)}, which is not a multiple of the "
                f'batch size {self.batch_size}, so under remainder="partial" the last batch of '
                'this epoch is shorter and cannot be scanned. Choose remainder="drop", "pad" or '
                '"carry", or finish the epoch step by step first.'
            )
        return dataclasses.replace(self, remainder="drop")

    def _steps_from(self, offset: int) -> int:
        whole, rest = divmod(self.records - offset, self.batch_size)
        return whole + (rest > 0 and self.remainder != "drop")


def counted(offset: int) -> np.uint32 | np.uint64:
    """An offset as cursors outside a trace have it."""
    # Of sources that are read on the host, whose records may be more than 32 bits count.
    return np.uint32(offset) if offset <= LAST else np.uint64(offset)


def check_cursor(cursor: object, *, wide: Callable[[], bool] = bool) -> None:
    """Refuse what is no place: anything but a Cursor of two whole numbers below 2**32.

    Where it is `wide`, for a source of more records, the offset may be one below 2**62.
    """
    if not isinstance(cursor, Cursor):
        raise TypeError(
            of_type("cursor", cursor, "a Cursor: write stream.start(), or Cursor(epoch, offset).")
        )
    epoch, offset = cursor
    if type(epoch) is type(offset) is np.uint32:  # as every call gives them
        return
    check_count("The epoch of the cursor", epoch)
    check_count("The offset of the cursor", offset, 2**62 if wide() else LAST)


def check_count(name: str, value: object, most: int = LAST) -> None:
    """Refuse what counts no epochs and no records. **Errors:** TypeError, ValueError."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        whole = jnp.issubdtype(value.dtype, np.integer) and np.ndim(value) == 0
    else:
        whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole:
        raise TypeError(valued(name, value, "an int."))
    if (
        not isinstance(value, Tracer)
        and not 0 <= (count := operator.index(cast(SupportsIndex, value))) <= most
    ):
        raise ValueError(f"{name} is {count}; expected an int from 0 to {most}.")


def check_length(length: int) -> None:
    """Refuse a scan length that is not a positive int."""
    if isinstance(length, bool) or not isinstance(length, int | np.integer):
        raise TypeError(valued("length", length, "an int."))
    if length < 1:
        raise ValueError(
            f"length is {length}; expected at least 1. One epoch is `steps_per_epoch` batches."
        )


def _check(batch_size: int, remainder: Remainder, records: int) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise TypeError(valued("batch_size", batch_size, "an int."))
    if batch_size > _MOST:
        raise ValueError(
            f"batch_size is {batch_size}, but a batch has at most {_MOST} records: rows are "
            "counted by 32 bits."
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
