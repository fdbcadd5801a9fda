"""What an order is, and the two that visit every record once: as they stand, and shuffled.

Computed in the graph, for the positions asked for, without a table. Batches are not known here.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._namespace import Batch, Epoch, plain
from .._random._keys import check_key
from .._text import spec_text, valued
from ._permutation import Grid, permuted, round_keys, rounds

_MOST = 2**31 - 1
MOST_ON_THE_HOST = 2**62  # positions, which are 64-bit there


class AbstractOrder(eqx.Module):
    """Which record stands at which position of an epoch.

    An order of your own defines `ids`, in arrays of JAX. Where it does not visit every record
    exactly once, it says by `length` how many positions its epochs have, and by `turns` which visit
    of a record this is.

    For a source that is read on the host, ids are asked for there. One that is written for arrays
    of NumPy too, by `positions.__array_namespace__()`, says `reads_numpy = True` and is then given
    those; any other is compiled for the CPU.
    """

    reads_numpy: ClassVar[bool] = False
    most: ClassVar[int] = 2**31 - 1  # positions of an epoch that it is for

    @abc.abstractmethod
    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """Record ids at `positions` of an `epoch` over `size` records.

        Positions and ids have shape `(batch,)`. `size` is static; outside 1 to 2**31 - 1 it is a
        `ValueError`. Each position must lie below `length(size)`, which is not checked.
        """

    def length(self, size: int) -> int:
        """The number of positions of an epoch over `size` records: `size`, unless said otherwise.

        It is static, from 1 to 2**31 - 1.
        """
        return size

    def check(self, size: int) -> None:
        """Refuse a number of records that this order is not for, when the two are put together.

        **Errors:** a ValueError that says what was expected.
        """

    def turns(self, positions: Batch, epoch: Epoch, size: int) -> Batch | None:
        """For an order that may hand out a record twice in an epoch: a number for each position
        that tells these times apart, so that each gets draws of its own. None for the others."""
        return None

    def own_epochs(self, positions: Batch, epoch: Epoch, size: int) -> Batch | None:
        """For an order over several sources whose epochs end at different times: the epoch of the
        record's own source, of which its draws then are. None for the others."""
        return None


class Sequential(AbstractOrder):
    """The order of the source: every position is its own record id, in every epoch."""

    reads_numpy: ClassVar[bool] = True
    most: ClassVar[int] = MOST_ON_THE_HOST

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """The `positions` themselves; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        check_size(self, size, positions)
        return positions


class Shuffled(AbstractOrder):
    """A new pseudorandom order each epoch, computed for the positions asked for, without a table.

    `key` is one JAX key, typed or raw. Time and memory grow with the positions, not with the size.
    How it is computed, and after whom, is told in `_permutation`.
    """

    reads_numpy: ClassVar[bool] = True
    most: ClassVar[int] = MOST_ON_THE_HOST
    key: PRNGKeyArray

    def __check_init__(self) -> None:
        check_key("key", self.key)

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """Ids at `positions`, same shape; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        check_size(self, size, positions)
        return permuted(positions, Grid.of(size), round_keys(self.key, epoch, rounds(size)))


def check_size(order: AbstractOrder, size: int, positions: Batch | None = None) -> None:
    """Refuse what is no number of records, or too large for such positions.

    **Errors:** ValueError.
    """
    most = MOST_ON_THE_HOST if positions is not None and positions.dtype == np.uint64 else _MOST
    if not 1 <= size <= most:
        mend = "Split the source into smaller ones" if size > 0 else "Give the source a record"
        raise ValueError(
            f"`{type(order).__name__}.ids` was passed `size={size}`; "
            f"expected a number of records from 1 to {most}. {mend}."
        )


def positions_of(order: AbstractOrder, size: int, *, hosted: bool = True) -> int:
    """The number of positions of an epoch over so many records; `hosted` may be more than 32 bits
    count with a sign.

    **Errors:** those of `order.check`, and of an order that says no proper number.
    """
    order.check(size)
    many = order.length(size)
    check_natural(name := f"`{type(order).__name__}.length({size})`", many)
    if many > (most := max(order.most, _MOST) if hosted else _MOST):
        mend = "Make its epochs shorter."
        if hosted and most == _MOST:
            mend = (
                "Sequential and Shuffled count more: take one of them, or a view of fewer records."
            )
        raise ValueError(f"{name} is {many}; expected at most {most}. {mend}")
    return many


def checked_ids(order: AbstractOrder, ids: object, positions: Batch) -> Batch:
    """The ids that an order gave for some positions, as whole numbers like these.

    **Errors:** TypeError for anything else.
    """
    length, is_array = len(positions), isinstance(ids, jax.Array | np.ndarray)
    if (
        not isinstance(ids, jax.Array | np.ndarray)
        or not jnp.issubdtype(ids.dtype, np.integer)
        or ids.shape != (length,)
    ):
        shown = spec_text(ids) if is_array else f"of type {type(ids).__name__}"
        raise TypeError(
            f"What `{type(order).__name__}.ids` returned is {shown}; expected u32[{length}]: for "
            "each of the positions that it was given, the id of the record that stands there."
        )
    if isinstance(positions, np.ndarray):
        return plain(np.asarray(ids, positions.dtype))
    return jnp.asarray(ids).astype(jnp.uint32)


def check_natural(name: str, value: object) -> None:
    """Refuse what is no int of at least 1. **Errors:** TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(valued(name, value, "an int."))
    if value < 1:
        raise ValueError(f"{name} is {value}; expected at least 1.")
