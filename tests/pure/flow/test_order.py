import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import dagrax.pure as dp

LARGEST = 2**31 - 1
Ids = NDArray[np.uint32]
Orders = NDArray[np.int64]  # one order a row
Numbers = NDArray[np.float64]


def shuffled(seed: int = 0) -> dp.Shuffled:
    return dp.Shuffled(jax.random.key(seed))


def ids_at(order: dp.Shuffled | dp.Sequential, positions: Ids, size: int, epoch: int = 0) -> Ids:
    return np.asarray(order.ids(jnp.asarray(positions, jnp.uint32), jnp.uint32(epoch), size))


@functools.partial(jax.jit, static_argnames="size")
def ids_of_epochs(order: dp.Shuffled, which: jax.Array, size: int) -> jax.Array:
    return jax.vmap(lambda epoch: order.ids(jnp.arange(size, dtype=jnp.uint32), epoch, size))(which)


def epochs(order: dp.Shuffled, size: int, count: int) -> Orders:
    which = jnp.arange(count, dtype=jnp.uint32)
    return np.asarray(ids_of_epochs(order, which, size)).astype(np.int64)


def columns_of(size: int) -> int:
    root = math.isqrt(size - 1) + 1
    return max(2, root - root % 2)


def reference(order: dp.Shuffled, positions: Ids, size: int, epoch: int = 0) -> Ids:
    """The same construction in plain 64-bit NumPy, with true products and remainders."""

    def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor) % np.uint64(2**32)
        return x ^ (x >> np.uint64(16))

    def move(
        place: NDArray[np.uint64], length: NDArray[np.uint64], bits: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        return (place + (bits * length >> np.uint64(32))) % length

    columns = columns_of(size)
    rows = math.ceil(size / columns)
    last = size - (rows - 1) * columns
    heights = np.where(np.arange(columns) < last, rows, rows - 1).astype(np.uint64)
    widths = np.append(np.full(rows - 1, columns), last).astype(np.uint64)
    row, column = np.divmod(positions.astype(np.uint64), np.uint64(columns))
    keys = np.arange(1, 25 if size < 64 else 13, dtype=np.uint64) * np.uint64(0x9E3779B9)
    for word in (*np.asarray(jax.random.key_data(order.key)), epoch):
        keys = mix(keys % np.uint64(2**32) ^ np.uint64(word))
    for down, along in keys.reshape(-1, 2):
        row = move(row, heights[column], mix(column ^ down))
        column = move(column, widths[row], mix(row ^ along))
    return (row * np.uint64(columns) + column).astype(np.uint32)


# Exactness


def test_every_size_up_to_66_and_many_to_300_are_permuted() -> None:
    everywhere = np.arange(300, dtype=np.uint32)
    for size in [*range(1, 67), *range(67, 301, 9), 255, 256, 257]:
        # One shape for all sizes, or each operation would be compiled anew.
        ids = ids_at(shuffled(size), np.minimum(everywhere, size - 1), size)[:size]
        assert sorted(ids.tolist()) == list(range(size)), size


@pytest.mark.parametrize("size", [65_537, 999_983])
def test_a_large_size_is_permuted(size: int) -> None:
    np.testing.assert_array_equal(np.sort(epochs(shuffled(), size, 1)[0]), np.arange(size))


@pytest.mark.parametrize(
    "size",
    [
        *(2**20 - 1, 2**20, 2**20 + 1, 2**30 - 1, 2**30, 2**30 + 1, 2**24 - 3, 10**9 + 7),
        *(46_340**2 - 1, 46_340**2, 46_340**2 + 1, LARGEST - 1, LARGEST),
    ],
)
def test_a_huge_size_repeats_no_record_and_invents_none(size: int) -> None:
    ends = np.arange(100_000, dtype=np.uint32)
    middle = np.uint32(size // 2) + ends
    ids = ids_at(shuffled(), np.concatenate([ends, middle, np.uint32(size - 1) - ends]), size)
    assert len(np.unique(ids)) == ids.size
    assert ids.max() < size


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.integers(1, LARGEST) | st.integers(1, 100),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
def test_ids_equal_the_numpy_reference_bit_for_bit(size: int, seed: int, epoch: int) -> None:
    order = shuffled(seed)
    positions = np.random.default_rng(seed).integers(0, size, 64, dtype=np.uint32)
    np.testing.assert_array_equal(
        ids_at(order, positions, size, epoch), reference(order, positions, size, epoch)
    )


# What an order depends on


def test_sequential_positions_are_ids_in_every_epoch() -> None:
    positions = np.array([3, 0, 6], np.uint32)
    for epoch in (0, 1):
        np.testing.assert_array_equal(ids_at(dp.Sequential(), positions, 7, epoch), positions)


def test_an_epoch_repeats_and_the_next_differs() -> None:
    first, second = epochs(shuffled(), 1000, 2)
    np.testing.assert_array_equal(
        first, ids_at(shuffled(), np.arange(1000, dtype=np.uint32), 1000, epoch=0)
    )
    assert (first == second).mean() < 0.01


def test_another_key_gives_another_order() -> None:
    here, there = (epochs(shuffled(seed), 1000, 1) for seed in (0, 1))
    assert (here == there).mean() < 0.01


def test_a_raw_key_gives_the_order_of_its_typed_key() -> None:
    positions = np.arange(100, dtype=np.uint32)
    raw = dp.Shuffled(jax.random.key_data(jax.random.key(5)))
    np.testing.assert_array_equal(ids_at(raw, positions, 100), ids_at(shuffled(5), positions, 100))


@pytest.mark.parametrize("size", [7, 1000])
@pytest.mark.parametrize("positions", [[0], [6], [2, 3, 4], [5, 1, 5]])
def test_any_positions_alone_equal_those_of_the_whole(size: int, positions: list[int]) -> None:
    np.testing.assert_array_equal(
        ids_at(shuffled(), np.array(positions, np.uint32), size),
        epochs(shuffled(), size, 1)[0][positions],
    )


# Transformations


@pytest.mark.parametrize("size", [11, 1000, LARGEST])
def test_jit_equals_eager(size: int) -> None:
    positions, epoch = jnp.arange(10, dtype=jnp.uint32), jnp.uint32(3)
    compiled = jax.jit(lambda order: order.ids(positions, epoch, size))
    np.testing.assert_array_equal(compiled(shuffled()), shuffled().ids(positions, epoch, size))


def test_vmap_over_keys_equals_each_key() -> None:
    positions = jnp.arange(100, dtype=jnp.uint32)
    orders = eqx.filter_vmap(dp.Shuffled)(jax.vmap(jax.random.key)(jnp.arange(4)))
    together = jax.vmap(lambda order: order.ids(positions, jnp.uint32(0), 100))(orders)
    for seed, ids in enumerate(together):
        np.testing.assert_array_equal(ids, shuffled(seed).ids(positions, jnp.uint32(0), 100))


def test_many_epochs_are_traced_once() -> None:
    def draw(order: dp.Shuffled, epoch: jax.Array) -> jax.Array:
        return order.ids(jnp.arange(8, dtype=jnp.uint32), epoch, 100)

    compiled = jax.jit(eqx.debug.assert_max_traces(draw, max_traces=1))
    for epoch in range(5):
        compiled(shuffled(epoch), jnp.uint32(epoch))


@pytest.mark.parametrize("x64", [False, True])
def test_ids_are_uint32_under_strict_promotion_with_and_without_64_bit_types(x64: bool) -> None:
    expected = reference(shuffled(), np.arange(9, dtype=np.uint32), LARGEST)
    with (
        jax.enable_x64(x64),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        ids = shuffled().ids(jnp.arange(9, dtype=jnp.uint32), jnp.uint32(0), LARGEST)
    assert ids.dtype == jnp.uint32
    np.testing.assert_array_equal(ids, expected)


# Statistics: seeds are fixed, so that a result is a fact and not a chance


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_every_order_of_a_few_records_is_equally_likely(size: int) -> None:
    drawn, orders = 100_000, math.factorial(size)
    numbered = epochs(shuffled(), size, drawn) @ size ** np.arange(size)
    _, counts = np.unique(numbered, return_counts=True)
    assert len(counts) == orders
    chi_square, freedom = np.sum((counts - drawn / orders) ** 2) * orders / drawn, orders - 1
    assert chi_square < freedom + 4.5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [9, 25, 121])
def test_even_and_odd_orders_are_equally_likely_on_an_odd_square(size: int) -> None:
    drawn = 2000
    orders = epochs(shuffled(), size, drawn)
    before, after = np.triu_indices(size, 1)
    odd = np.count_nonzero(np.sum(orders[:, before] > orders[:, after], axis=1) % 2)
    assert abs(odd - drawn / 2) < 4.5 * math.sqrt(drawn / 4)


def correlation(orders: Orders, lag: int) -> Numbers:
    centred = orders - (orders.shape[1] - 1) / 2
    return np.asarray(np.mean(centred[:, lag:] * centred[:, :-lag], axis=1))


def grid_lag(orders: Orders) -> int:
    return columns_of(orders.shape[1])


def share(matches: NDArray[np.bool_]) -> Numbers:
    return np.asarray(matches.mean(axis=1))


STATISTICS: dict[str, Callable[[Orders], Numbers]] = {
    "displacement": lambda orders: np.abs(orders - np.arange(orders.shape[1])).mean(axis=1),
    "fixed points": lambda orders: share(orders == np.arange(orders.shape[1])),
    "ascents": lambda orders: share(np.diff(orders) > 0),
    "neighbours kept": lambda orders: share(np.abs(np.diff(orders)) == 1),
    "correlation at lag 1": lambda orders: correlation(orders, 1),
    "correlation at grid lag": lambda orders: correlation(orders, grid_lag(orders)),
    "neighbours in one row": lambda orders: share(np.diff(orders // grid_lag(orders)) == 0),
    "successive rows kept": lambda orders: share(
        np.diff(orders[:, :: grid_lag(orders)] // grid_lag(orders)) == 1
    ),
}


@pytest.fixture(
    scope="module", params=[(64, 20_000), (1000, 3000), (10_007, 400)], ids=lambda p: f"N={p[0]}"
)
def samples(request: pytest.FixtureRequest) -> tuple[Orders, Orders]:
    size, count = request.param
    uniform = np.random.default_rng(0).permuted(np.tile(np.arange(size), (count, 1)), axis=1)
    return epochs(shuffled(), size, count), uniform


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS.keys())
def test_epochs_look_like_numpy_permutations(
    samples: tuple[Orders, Orders],
    statistic: Callable[[Orders], Numbers],
) -> None:
    ours, uniform = map(statistic, samples)
    error = math.sqrt((ours.var() + uniform.var()) / len(ours))
    assert abs(ours.mean() - uniform.mean()) < 4.5 * error


def test_every_record_is_in_the_first_batch_equally_often(
    samples: tuple[Orders, Orders],
) -> None:
    for orders in samples:
        count, size = orders.shape
        expected = count * 32 / size
        counts = np.bincount(orders[:, :32].ravel(), minlength=size)
        # A batch holds a record at most once, which narrows the spread of the counts.
        spread = expected * (1 - 32 / size) * size / (size - 1)
        chi_square = np.sum((counts - expected) ** 2) / spread
        assert abs(chi_square - (size - 1)) < 4.5 * math.sqrt(2 * (size - 1))
