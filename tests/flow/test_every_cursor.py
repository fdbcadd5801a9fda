"""From every cursor of two epochs: each source, each order and each remainder, read right.

A stream asks an order for numbers at positions, and a source for records of ids, so the two are
held apart here. Every source meets the tables of all orders, in a program for all of them; every
order, computed as it is, meets every cursor under `"carry"`, which asks for the most. Each read
tells the cursor behind it: so what goes on from any of them is right if one read is. All together,
by every driver, is held in `test_every_driver`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from tests.flow.table import (
    MIXTURES,
    ORDERS,
    SOURCES,
    Epochs,
    Expected,
    Held,
    Tabled,
    batches,
    epochs_of,
    quickly,
)
from tests.zoo import Remainder

# In a trace a batch of "partial" has to divide the epoch.
POLICIES: list[tuple[Remainder, int]] = [("partial", 4), ("drop", 5), ("pad", 5), ("carry", 5)]
MORE: list[tuple[Remainder, int]] = [("pad", 17), ("carry", 17), ("drop", 12), ("carry", 1)]


def of_the_size() -> list[str]:
    return [name for name in ORDERS if epochs_of(name).length == 12]


def taken(stream: dp.Stream, cursors: jax.Array) -> Any:
    """The batch at each cursor, as it is behind a trace."""

    def one(at: jax.Array) -> Any:
        after, batch, origin = stream.take(dp.Cursor(at[0], at[1]))
        own = (origin.ids, origin.epochs[origin.lap], origin.turn, origin.own)
        return jnp.stack(after), batch, own

    return jax.vmap(one)(cursors)


taken_quickly = quickly(taken)


@functools.partial(quickly, static_argnums=3)
def taken_by_each(source: Any, tables: Epochs, cursors: jax.Array, policies: Any) -> Any:
    """The same by policies, in the orders of many tables."""

    def one(table: Any, remainder: Remainder, size: int) -> Any:
        stream = dp.Stream(source, Tabled(tuple(table)), batch_size=size, remainder=remainder)
        return taken(stream, cursors)

    return [jax.vmap(lambda table, each=each: one(table, *each))(tables) for each in policies]


def cursors_of(epochs: Epochs) -> Any:
    each = np.divmod(np.arange(2 * epochs.length, dtype=np.uint32), epochs.length)
    return np.stack(each, axis=1)


def expected_of(held: Held, epochs: Epochs, remainder: Remainder, size: int) -> Any:
    # In a trace, what stands askew runs across the border.
    like: Remainder = "carry" if remainder == "partial" else remainder
    starts = [(int(epoch), int(offset)) for epoch, offset in cursors_of(epochs)]
    each = [next(batches(held, epochs, size, like, start)) for start in starts]
    stacked: Any = (None if x[0] is None else np.stack(x) for x in zip(*each, strict=True))
    columns = Expected(*stacked)
    rows = jax.tree.map(lambda x: x[columns.ids], held.rows)
    if remainder == "pad":
        rows = {**rows, "valid": columns.valid}
    own = (columns.drawn, columns.epochs, columns.turns, columns.own)
    return np.asarray(columns.after, np.uint32), rows, own


def assert_equal(found: Any, expected: Any, told: object) -> None:
    assert len({jax.tree.structure(x) for x in (found, expected)}) == 1, told
    for got, value in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert got.dtype == value.dtype, told
        np.testing.assert_array_equal(got, value, err_msg=str(told))


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_in_the_places_of_every_order_by_every_remainder(name: str) -> None:
    check_source(name, of_the_size(), POLICIES)


def test_a_batch_larger_than_an_epoch_as_large_and_of_one_record() -> None:
    check_source("view of a concat", of_the_size(), MORE)


@pytest.mark.parametrize("order", ["repeat", "of another length"])
def test_an_epoch_longer_or_shorter_than_the_source(order: str) -> None:
    partial: Sequence[tuple[Remainder, int]] = [("partial", 8 if order == "repeat" else 7)]
    check_source("ids", [order], [*partial, *POLICIES[1:], ("carry", 17)])


def check_source(
    name: str, orders: Sequence[str], policies: Sequence[tuple[Remainder, int]]
) -> None:
    held, each = SOURCES[name](), [epochs_of(order).full() for order in orders]
    tables = jax.tree.map(lambda *xs: jnp.stack(xs), *each)
    found = taken_by_each(held.source, tables, cursors_of(each[0]), tuple(policies))
    for policy, batch in zip(policies, found, strict=True):
        for index, order in enumerate(orders):
            one = jax.tree.map(lambda x, index=index: x[index], batch)
            assert_equal(one, expected_of(held, each[index], *policy), (name, order, policy))


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_from_every_cursor(order: str) -> None:
    stream = dp.Stream(SOURCES["mask"]().source, ORDERS[order](0), batch_size=5, remainder="carry")
    epochs = epochs_of(order)
    expected = expected_of(SOURCES["mask"](), epochs, "carry", 5)
    assert_equal(taken_quickly(stream, cursors_of(epochs)), expected, order)


@pytest.mark.parametrize("name", MIXTURES)
def test_every_mixture_from_every_cursor(name: str) -> None:
    held, epochs = MIXTURES[name](), epochs_of(name)
    stream = dp.Stream(held.source, batch_size=5, remainder="carry")
    expected = expected_of(held, epochs, "carry", 5)
    assert_equal(taken_quickly(stream, cursors_of(epochs)), expected, name)
