"""What an order is, and the two that visit every record once: as they stand, and shuffled.

Computed in the graph, for the positions asked for, without a table. Batches are not known here.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32

from .._random._keys import check_key
from .._text import spec_text, valued
from ._permutation import Grid, permuted, round_keys, rounds

_MOST = 2**31 - 1


class AbstractOrder(eqx.Module):
    """Which record stands at which position of an epoch.

    An order of your own defines `ids`. Where it does not visit every record exactly once, it says
    by `length` how many positions its epochs have, and by `turns` which visit of a record this is.
    """

    @abc.abstractmethod
    def ids(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
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

    def turns(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"] | None:
        """For an order that may hand out a record twice in an epoch: a number for each position
        that tells these times apart, so that each gets draws of its own. None for the others."""
        return None

    def own_epochs(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"] | None:
        """For an order over several sources whose epochs end at different times: the epoch of the
        record's own source, of which its draws then are. None for the others."""
        return None


class Sequential(AbstractOrder):
    """The order of the source: every position is its own record id, in every epoch."""

    def ids(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
        """The `positions` themselves; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        check_size(self, size)
        return positions


class Shuffled(AbstractOrder):
    """A new pseudorandom order each epoch, computed for the positions asked for, without a table.

    `key` is one JAX key, typed or raw. Time and memory grow with the positions, not with the size.
    How it is computed, and after whom, is told in `_permutation`.
    """

    key: PRNGKeyArray

    def __check_init__(self) -> None:
        check_key("key", self.key)

    def ids(
        self, positions: UInt32[Array, "batch"], epoch: UInt32[Array, ""], size: int
    ) -> UInt32[Array, "batch"]:
        """Ids at `positions`, same shape; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        check_size(self, size)
        return permuted(positions, Grid.of(size), round_keys(self.key, epoch, rounds(size)))


def check_size(order: AbstractOrder, size: int) -> None:
    """Refuse what is no number of records. **Errors:** ValueError."""
    if not 1 <= size < 2**31:
        mend = "Split the source into smaller ones" if size > 0 else "Give the source a record"
        raise ValueError(
            f"`{type(order).__name__}.ids` was passed `size={size}`; "
            f"expected a number of records from 1 to {2**31 - 1}. {mend}."
        )


def positions_of(order: AbstractOrder, size: int) -> int:
    """The number of positions of an epoch over so many records.

    **Errors:** those of `order.check`, and of an order that says no proper number.
    """
    order.check(size)
    many = order.length(size)
    check_natural(name := f"`{type(order).__name__}.length({size})`", many)
    if many > _MOST:
        raise ValueError(f"{name} is {many}; expected at most {_MOST}.")
    return many


def checked_ids(order: AbstractOrder, ids: object, length: int) -> UInt32[Array, " batch"]:
    """The ids that an order gave for so many positions. **Errors:** TypeError for anything else."""
    whole = isinstance(ids, jax.Array) and jnp.issubdtype(ids.dtype, np.integer)
    if not isinstance(ids, jax.Array) or not whole or ids.shape != (length,):
        shown = spec_text(ids) if isinstance(ids, jax.Array) else f"of type {type(ids).__name__}"
        raise TypeError(
            f"What `{type(order).__name__}.ids` returned is {shown}; expected u32[{length}]: for "
            "each of the positions that it was given, the id of the record that stands there."
        )
    return ids.astype(jnp.uint32)


def check_natural(name: str, value: object) -> None:
    """Refuse what is no int of at least 1. **Errors:** TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(valued(name, value, "an int."))
    if value < 1:
        raise ValueError(f"{name} is {value}; expected at least 1.")
