"""The order of a source that holds its records: as they stand, shuffled by a seed, or one given.

Which orders there are stands in `dagrax.pure`; nothing here knows where records are held.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PRNGKeyArray

import dagrax.pure as dp
from dagrax.pure import internal

from ._records import Ordering, Seed, held, values
from ._source import Batch, Source


class Ordered(Source[Batch]):
    """A source with an order of its own, whose arrays are Variables that are not trained."""

    _order: dp.AbstractOrder | None
    _order_key: Seed | None

    def reorder(self, order: dp.AbstractOrder) -> None:
        """Another order of the same kind, from the next batch on: other weights, or another key.

        Its arrays are set in place, which may be done in a trace.

        **Errors:** TypeError for what is no order; ValueError for one that is not like the order
        with which the source was made, or is for another number of records.
        """
        judged = given_order(order, self.pure()[0].size)
        old = None if self._order is None else values(self._order, "source", Ordering)
        if old is None or not _alike(old, judged):
            raise ValueError(
                f"order is {type(order).__name__} and unlike the order that the source was made "
                "with, in its kind or its sizes; make another source, with order=…."
            )
        variables: list[Any] = jax.tree.leaves(self._order, is_leaf=_is_ordering)
        for variable, value in zip(variables, jax.tree.leaves(judged), strict=True):
            variable.set_value(value)

    def _own_order(self, shuffle: bool | np.bool_) -> dp.AbstractOrder:
        if self._order is not None:
            return values(self._order, "source", Ordering)
        if not shuffle:
            return dp.Sequential()
        if self._order_key is None:
            raise ValueError(
                "The source's config asks for a shuffle, but it was made without a seed; pass "
                "rngs=nnx.Rngs(0) to MemorySource."
            )
        return dp.Shuffled(self._order_key.get_value())


def held_order(
    order: dp.AbstractOrder | None, shuffle: bool | np.bool_, size: int
) -> dp.AbstractOrder | None:
    """An order with its arrays in Variables, None for none.

    **Errors:** ValueError beside `shuffle=True`, and for another number of records; TypeError for
    what is no order.
    """
    if order is None:
        return None
    judged = given_order(order, size)
    if shuffle:
        raise ValueError(
            f"order is {type(order).__name__}, and shuffle is True, which is the order Shuffled; "
            "leave one out."
        )
    return held(judged, Ordering)


def given_order(order: object, size: int) -> dp.AbstractOrder:
    """The order itself, if it is one for so many records. **Errors:** TypeError, ValueError."""
    if not isinstance(order, dp.AbstractOrder):
        expected = "an order: write order=dp.Shuffled(key), or shuffle=True."
        raise TypeError(internal.valued("order", order, expected))
    internal.positions_of(order, size)
    return order


def draw_seed(rngs: nnx.Rngs, stream: str) -> PRNGKeyArray:
    """A key from the named stream of `rngs`, or from its default stream."""
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(internal.of_type("rngs", rngs, "nnx.Rngs: write rngs=nnx.Rngs(0)."))
    try:
        drawing = rngs[stream]
    except (AttributeError, KeyError):
        raise ValueError(
            f"rngs has neither a stream `{stream}` nor a default one; pass nnx.Rngs(0) or "
            f"nnx.Rngs({stream}=0)."
        ) from None
    if shape := jnp.shape(drawing.key.get_value()):
        raise ValueError(
            f"rngs holds an array of keys, of shape {shape}; expected one key: pass nnx.Rngs(0). "
            "For pipelines that differ in their seed write Pipeline.variants."
        )
    key: PRNGKeyArray = drawing()
    return key


def _alike(old: dp.AbstractOrder, new: dp.AbstractOrder) -> bool:
    was, now = jax.tree.leaves(old), jax.tree.leaves(new)
    return len({jax.tree.structure(old), jax.tree.structure(new)}) == 1 and all(
        x.shape == y.shape and x.dtype == y.dtype for x, y in zip(was, now, strict=True)
    )


def _is_ordering(x: object) -> bool:
    return isinstance(x, Ordering)
