"""Orders that repeat, weigh, balance or stay close, against plain NumPy and by exact counts.

Those that visit every record once, as it stands or shuffled, are held in `test_order`.
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import dagrax.pure as dp
from dagrax.pure._orders import _permutation
from dagrax.pure._orders._alias import Alias, alias

KEY = jax.random.key(3)
Ids = NDArray[np.int64]
LABELS = np.array([*["cat"] * 13, *["dog"] * 5, *["bee"] * 2])[
    np.random.default_rng(0).permutation(20)
]


@functools.partial(jax.jit, static_argnames=("size", "what"))
def _epochs(order: dp.AbstractOrder, which: jax.Array, size: int, what: str) -> jax.Array:
    positions = jnp.arange(order.length(size), dtype=jnp.uint32)
    found: jax.Array = jax.vmap(lambda epoch: getattr(order, what)(positions, epoch, size))(which)
    return found


def epochs(order: dp.AbstractOrder, size: int, which: Sequence[int], what: str = "ids") -> Ids:
    """The ids of epochs, one a row."""
    found = _epochs(order, jnp.array(which, jnp.uint32), size, what)
    return np.asarray(found).astype(np.int64)


def chi_square(counts: Ids, expected: NDArray[np.float64]) -> float:
    """In standard deviations, about."""
    some = expected > 0
    freedom = np.count_nonzero(some) - 1
    found = np.sum((counts[some] - expected[some]) ** 2 / expected[some])
    return float((found - freedom) / math.sqrt(2 * freedom))


# What a permutation is made of


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(1, 2**31 - 1) | st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_a_permutation_is_undone(size: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, size, 16, dtype=np.uint32)
    grid = _permutation.Grid.of(size)
    keys = _permutation.round_keys(KEY, jnp.uint32(seed), 6)
    there = _permutation.permuted(jnp.asarray(numbers), grid, keys)
    np.testing.assert_array_equal(_permutation.restored(there, grid, keys), numbers)


# With replacement


def test_with_replacement_every_record_is_drawn_equally_often() -> None:
    ids = epochs(dp.WithReplacement(KEY), 40, range(1000))
    assert abs(chi_square(np.bincount(ids.ravel(), minlength=40), np.full(40, 1000.0))) < 4.5
    pairs = ids[:, :-1] * 40 + ids[:, 1:]
    expected = np.full(1600, pairs.size / 1600)
    assert abs(chi_square(np.bincount(pairs.ravel(), minlength=1600), expected)) < 4.5


def test_with_replacement_an_epoch_leaves_out_as_many_records_as_chance_does() -> None:
    (ids,) = epochs(dp.WithReplacement(KEY), 100_000, [7])
    left = 1 - len(np.unique(ids)) / 100_000
    assert abs(left - math.exp(-1)) < 4.5 * 0.31 / math.sqrt(100_000)


def test_with_replacement_reaches_the_last_of_the_most_records() -> None:
    size = 2**31 - 1
    ids = np.asarray(
        dp.WithReplacement(KEY).ids(jnp.arange(4000, dtype=jnp.uint32), jnp.uint32(0), size)
    )
    assert ids.max() < size
    assert abs(ids.mean() / size - 0.5) < 4.5 * math.sqrt(1 / 12 / 4000)


# Weights


def shares(table: Alias) -> list[Fraction]:
    """How likely each record is, exactly."""
    slots, capacity = np.asarray(table.slots).astype(object), int(table.capacity)
    held = list(slots[:, 0])
    for own, other in slots:
        held[other] += capacity - own
    return [Fraction(int(x), capacity * len(held)) for x in held]


@st.composite
def weights(draw: st.DrawFn) -> list[float]:
    some = st.floats(0, 10, width=32) | st.sampled_from([0.0, 1.0, 3.0, 2.0**-20, 1e30])
    return draw(st.lists(some, min_size=12, max_size=12).filter(lambda x: max(x) > 1e-30))


@settings(deadline=None, derandomize=True, max_examples=25)
@given(weights())
def test_a_table_of_weights_says_them_exactly(weights: list[float]) -> None:
    held = np.array(weights, np.float32)
    held[held < np.finfo(np.float32).tiny] = 0
    found = shares(alias(jnp.asarray(held)))
    total = sum(map(Fraction, held.tolist()))
    for share, weight in zip(found, map(Fraction, held.tolist()), strict=True):
        assert (share == 0) == (weight == 0)
        assert abs(share - weight / total) < max(share, Fraction(1, 12)) / 2**29
    assert sum(found) == 1


def test_a_million_weights_lose_nothing_to_the_sum_of_all() -> None:
    rng = np.random.default_rng(0)
    held = (rng.random(10**6) ** 4 * (rng.random(10**6) < 0.7)).astype(np.float32)
    table = alias(jnp.asarray(held))
    slots, capacity = np.asarray(table.slots).astype(np.int64), int(table.capacity)
    counts = slots[:, 0].copy()
    np.add.at(counts, slots[:, 1], capacity - slots[:, 0])
    expected = held.astype(np.float64) / held.sum(dtype=np.float64) * capacity * 10**6
    assert counts.sum() == capacity * 10**6
    assert ((counts == 0) == (held == 0)).all()
    assert np.abs(counts - expected).max() < 2 + 2**-30 * expected.max()


def test_records_are_drawn_as_their_weights_say_and_never_with_weight_0() -> None:
    held = np.array([0, 1, 2, 0.5, 0, 4, 1e-3, 7, 0, 0, 2, 3])
    ids = epochs(dp.Weighted(KEY, held), 12, range(20_000))
    counts = np.bincount(ids.ravel(), minlength=12)
    assert counts[held == 0].sum() == 0
    assert abs(chi_square(counts, held / held.sum() * ids.size)) < 4.5


def test_weights_of_any_sum_and_kind_are_one_order() -> None:
    whole = np.arange(12)
    floats = epochs(dp.Weighted(KEY, whole / 1.0), 12, range(9))
    for same in ([8 * int(x) for x in whole], jnp.asarray(whole / 4, jnp.bfloat16), whole):
        np.testing.assert_array_equal(epochs(dp.Weighted(KEY, same), 12, range(9)), floats)


def test_weights_traced_mapped_and_put_in_later_give_the_same_records() -> None:
    many = np.random.default_rng(0).random((3, 12)).astype(np.float32)
    positions, epoch = jnp.arange(12, dtype=jnp.uint32), jnp.uint32(5)
    expected = [dp.Weighted(KEY, each).ids(positions, epoch, 12) for each in many]
    mapped = jax.jit(jax.vmap(lambda w: dp.Weighted(KEY, w).ids(positions, epoch, 12)))
    np.testing.assert_array_equal(mapped(many), expected)
    orders = eqx.filter_vmap(lambda w: dp.Weighted(KEY, w))(jnp.asarray(many))
    together = eqx.filter_vmap(lambda order: order.ids(positions, epoch, 12))(orders)
    np.testing.assert_array_equal(together, expected)
    other = eqx.tree_at(lambda order: order.weights, dp.Weighted(KEY, many[0]), many[1])
    np.testing.assert_array_equal(other.ids(positions, epoch, 12), expected[1])


def test_traced_weights_that_are_none_count_as_zero() -> None:
    drawn = jax.jit(
        lambda w: dp.Weighted(KEY, w).ids(jnp.arange(64, dtype=jnp.uint32) % 4, jnp.uint32(1), 4)
    )
    nowhere = np.array([np.nan, -1, 2, 0], np.float32)
    assert set(np.asarray(drawn(nowhere)).tolist()) == {2}
    assert set(np.asarray(drawn(np.zeros(4, np.float32))).tolist()) <= {0, 1, 2, 3}


def test_a_loss_has_no_derivative_through_the_records_drawn_but_one_through_their_probability() -> (
    None
):
    loss = jnp.array([1.0, 3.0, 0.5, 2.0])
    positions = jnp.arange(20_000, dtype=jnp.uint32)

    def drawn(weights: jax.Array) -> jax.Array:
        return dp.Weighted(KEY, weights).ids(positions, jnp.uint32(0), 4)

    def mean(weights: jax.Array) -> jax.Array:
        return loss[drawn(weights)].mean()

    def scored(weights: jax.Array) -> jax.Array:
        ids = drawn(weights)
        return (jnp.log(weights / weights.sum())[ids] * loss[ids]).mean()

    held = jnp.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(jax.grad(mean)(held), np.zeros(4))
    exact = jax.grad(lambda w: (w / w.sum() * loss).sum())(held)
    np.testing.assert_allclose(jax.grad(scored)(held), exact, atol=0.02)


# Classes


def test_each_stretch_of_as_many_positions_as_classes_holds_each_class_once() -> None:
    dealt = LABELS[epochs(dp.Balanced(KEY, LABELS), 20, range(9)).ravel()]
    for start in range(len(dealt) - 2):  # 3 does not divide 20: across the borders of epochs too
        assert set(dealt[start : start + 3]) == {"cat", "dog", "bee"}


def test_a_class_is_used_up_before_a_record_of_it_comes_again() -> None:
    order = dp.Balanced(KEY, LABELS)
    ids, turns = (epochs(order, 20, range(9), what).ravel() for what in ("ids", "turns"))
    for name in ("cat", "dog", "bee"):
        members = np.flatnonzero(name == LABELS)
        dealt, lap = ids[LABELS[ids] == name], turns[LABELS[ids] == name]
        laps = [dealt[i : i + len(members)] for i in range(0, len(dealt), len(members))]
        assert all(sorted(lap) == members.tolist() for lap in laps[:-1])
        orders = {tuple(lap) for lap in laps[:-1]}
        assert len(orders) >= min(len(laps) // 2, 2)  # each lap in another order
        np.testing.assert_array_equal(lap, np.arange(len(dealt)) // len(members))


def test_the_place_in_a_class_is_counted_exactly_in_the_last_epochs_there_are() -> None:
    order, size = dp.Balanced(KEY, np.arange(1001) % 7 // 3), 1001  # 429, 429 and 143 records
    last = 2**32 - 1
    turns = epochs(order, size, [last], "turns")[0]
    counts = np.array([429, 429, 143])
    expected = [
        (number // 3) // int(counts[number % 3]) % 2**32
        for number in range(last * size, (last + 1) * size)
    ]
    np.testing.assert_array_equal(turns, expected)


def test_classes_are_told_by_integers_as_by_strings() -> None:
    names = {"bee": -7, "cat": 2, "dog": 2**40}
    numbers = np.array([names[label] for label in LABELS])
    np.testing.assert_array_equal(
        epochs(dp.Balanced(KEY, numbers, classes=[-7, 2, 2**40]), 20, range(3)),
        epochs(dp.Balanced(KEY, list(LABELS)), 20, range(3)),
    )


# Windows


@pytest.mark.parametrize(
    ("size", "block", "window"),
    [(103, 10, 3), (50, 1, 7), (40, 7, 100), (1, 5, 5)],
)
def test_windowed_visits_each_record_once_and_reads_few_blocks(
    size: int, block: int, window: int
) -> None:
    for ids in epochs(dp.Windowed(KEY, block, window), size, range(3)):
        assert sorted(ids.tolist()) == list(range(size))
        blocks = ids // block
        # The blocks come one window after the other: none is read again.
        first = {b: int(np.flatnonzero(blocks == b)[0]) for b in set(blocks.tolist())}
        last = {b: int(np.flatnonzero(blocks == b)[-1]) for b in first}
        for place in range(size):
            assert sum(first[b] <= place <= last[b] for b in first) <= window


def test_windowed_mixes_blocks_and_what_is_in_a_window() -> None:
    ids = epochs(dp.Windowed(KEY, 4, 3), 24, range(6000))
    for place in (0, 5, 11, 12, 23):
        counts = np.bincount(ids[:, place], minlength=24)
        assert abs(chi_square(counts, np.full(24, 6000 / 24))) < 4.5, place
    together = np.count_nonzero(ids[:, 0] // 4 == ids[:, 1] // 4)
    expected = 6000 * 3 / 11  # of the others in a window
    assert abs(together - expected) < 4.5 * math.sqrt(expected * 8 / 11)


def test_windowed_counts_exactly_where_there_are_the_most_records() -> None:
    size, order = 2**31 - 1, dp.Windowed(KEY, 2**20 - 3, 5)
    ends = np.arange(50_000, dtype=np.uint32)
    some = np.concatenate([ends, ends + 2**30, np.uint32(size - 1) - ends])
    ids = np.asarray(order.ids(jnp.asarray(some), jnp.uint32(9), size))
    assert len(np.unique(ids)) == ids.size
    assert ids.max() < size


# Repetition


def test_repeat_hands_out_each_record_some_times_in_a_row_with_turns_of_its_own() -> None:
    order = dp.Repeat(dp.Shuffled(KEY), 3)
    np.testing.assert_array_equal(
        epochs(order, 10, range(2)), np.repeat(epochs(dp.Shuffled(KEY), 10, range(2)), 3, axis=1)
    )
    np.testing.assert_array_equal(epochs(order, 10, [0], "turns")[0], np.tile(np.arange(3), 10))


REPEATING = {
    "with replacement": dp.WithReplacement(KEY),
    "weighted": dp.Weighted(KEY, np.arange(20)),
    "balanced": dp.Balanced(KEY, LABELS),
    "repeat": dp.Repeat(dp.Shuffled(KEY), 3),
    "repeat of repeats": dp.Repeat(dp.Repeat(dp.Balanced(KEY, LABELS), 2), 2),
    "repeat of weighted": dp.Repeat(dp.Weighted(KEY, np.arange(20)), 2),
}


@pytest.mark.parametrize("name", REPEATING)
def test_two_visits_of_a_record_in_one_epoch_have_different_turns(name: str) -> None:
    ids, turns = (epochs(REPEATING[name], 20, [4], what)[0] for what in ("ids", "turns"))
    visits = set(zip(ids.tolist(), turns.tolist(), strict=True))
    assert len(set(ids.tolist())) < len(ids) == len(visits)


def test_an_order_that_visits_every_record_once_has_no_turns() -> None:
    positions = jnp.arange(4, dtype=jnp.uint32)
    for order in (dp.Sequential(), dp.Shuffled(KEY), dp.Windowed(KEY, 2, 1)):
        assert order.turns(positions, jnp.uint32(0), 4) is None


# Streams


ORDERS = {
    "weighted": REPEATING["weighted"],
    "windowed": dp.Windowed(KEY, 3, 2),
    "repeat of repeats": REPEATING["repeat of repeats"],
}


def test_a_scan_gives_the_records_of_a_loop() -> None:
    for order in (ORDERS["weighted"], REPEATING["balanced"]):
        stream = dp.Stream(dp.ArraySource(np.arange(20)), order, batch_size=5)
        pipeline: dp.Pipeline = dp.Pipeline.linear([lambda batch: batch])
        _, _, ys = dp.scan(
            lambda c, batch: (c, batch), None, pipeline, stream, stream.start(), length=4
        )
        np.testing.assert_array_equal(np.ravel(ys), epochs(order, 20, [0])[0])


def test_stacked_orders_give_each_variant_its_own() -> None:
    many = [dp.Weighted(jax.random.key(i), np.arange(20) % (i + 2)) for i in range(3)]
    positions = jnp.arange(20, dtype=jnp.uint32)
    together = eqx.filter_vmap(lambda order: order.ids(positions, jnp.uint32(2), 20))(
        dp.stack(many)
    )
    np.testing.assert_array_equal(together, [epochs(order, 20, [2])[0] for order in many])


def test_a_fingerprint_tells_orders_apart() -> None:
    source = dp.ArraySource(np.arange(20))
    pipeline: dp.Pipeline = dp.Pipeline.linear([lambda batch: batch])
    orders = [
        *(*REPEATING.values(), dp.Sequential(), dp.Shuffled(KEY)),
        *(
            dp.Windowed(KEY, 3, 3),
            dp.Windowed(KEY, 2, 3),
            dp.Windowed(KEY, 2, 2),
            dp.Repeat(dp.Shuffled(KEY), 4),
        ),
        *(dp.Weighted(KEY, np.arange(20) + 1), dp.Weighted(jax.random.key(1), np.arange(20))),
        dp.Balanced(KEY, LABELS[::-1]),
    ]
    digests = [
        dp.fingerprint(pipeline, dp.Stream(source, order, batch_size=4), KEY)["order"]
        for order in orders
    ]
    assert len(set(digests)) == len(digests)
