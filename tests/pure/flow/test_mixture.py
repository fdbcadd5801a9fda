"""Mixtures: exact proportions in every block, epochs and draws of each source its own."""

import collections
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, Pipeline, Records
from dagrax.pure._orders._evenly import had_before
from dagrax.pure._orders._mixed import Stretch, _word, wide_of
from dagrax.pure._orders._permutation import Grid, hashed, keys_of_each, permuted
from dagrax.pure._orders._proportions import counts_of
from dagrax.pure._orders._wide import Wide
from tests import reference
from tests.zoo import Noise, assert_same, records

KEY = jax.random.key(4)
SIZES = (7, 5, 3)
DATA = [records(size, seed=size) for size in SIZES]
SOURCES = [dp.ArraySource(data) for data in DATA]
STARTS = (0, 7, 12)


def mixture() -> dp.Mixture:
    weights = zip("abc", zip(SOURCES, (0.7, 0.2, 0.1), strict=True), strict=True)
    return dp.Mixture(dict(weights), KEY, changes=[(45, {"a": 1, "b": 1, "c": 0})])


MIXED = mixture().mixed


@jax.jit
def epoch_of(epoch: jax.Array) -> tuple[jax.Array, jax.Array]:
    positions = jnp.arange(15, dtype=jnp.uint32)
    return MIXED.ids(positions, epoch, 15), MIXED.own_epochs(positions, epoch, 15)


@jax.jit
def shuffled(grid: Grid, whose: jax.Array, number: Wide) -> jax.Array:
    keys = keys_of_each(MIXED._keys(12), _word(whose, number)[None])
    return permuted(jnp.arange(7, dtype=jnp.uint32), grid, keys)


@functools.cache
def order_of(whose: int, number: int, size: int) -> list[int]:
    """The order of a source in one of its epochs."""
    grid = Grid(*map(jnp.uint32, Grid.of(size)))
    order: list[int] = shuffled(grid, jnp.uint32(whose), wide_of(number))[:size].tolist()
    assert sorted(order) == [*range(size)]
    return order


PATTERNS = [stretch.pattern for stretch in MIXED.stretches]


@jax.jit
def drawn(number: Wide) -> jax.Array:
    return hashed(_word(jnp.uint32(3), number) ^ MIXED._keys(1)[0, 0]) >> 28


def turns(number: int, later: bool) -> list[int]:
    """Whose turn it is at the places of a block."""
    pattern = PATTERNS[later]
    shifted = np.roll(pattern.whose, -pattern.starts[int(drawn(wide_of(number)))])
    whose: list[int] = shifted.tolist()
    return whose


def plain(at: int) -> tuple[int, int]:
    """The record at a position, and its own epoch, by Python's integers."""
    start, counts, given = (0, (7, 2, 1), (0, 0, 0)) if at < 50 else (50, (1, 1, 0), (35, 10, 5))
    number, slot = divmod(at - start, sum(counts))
    block = turns(number, at >= 50)
    whose = block[slot]
    rank = given[whose] + number * counts[whose] + block[:slot].count(whose)
    epoch, within = divmod(rank, SIZES[whose])
    return STARTS[whose] + order_of(whose, epoch, SIZES[whose])[within], epoch % 2**32


@pytest.mark.parametrize("epoch", [0, 1, 2, 3, 4, 2**31, 2**32 - 1])
def test_a_mixture_is_that_of_pythons_integers_however_far(epoch: int) -> None:
    ids, own = epoch_of(jnp.uint32(epoch))
    expected = [plain(epoch * 15 + position) for position in range(15)]
    assert list(zip(ids.tolist(), own.tolist(), strict=True)) == expected


def some() -> Iterator[tuple[int, int]]:
    for epoch in range(12):
        ids, own = epoch_of(jnp.uint32(epoch))
        yield from zip(ids.tolist(), own.tolist(), strict=True)


def test_every_block_has_its_proportions_before_and_behind_a_change() -> None:
    whose = np.searchsorted([7, 12], [id for id, _ in some()], side="right")
    for start in range(0, 50, 10):
        assert np.bincount(whose[start : start + 10], minlength=3).tolist() == [7, 2, 1]
    for start in range(50, 180, 2):
        assert np.bincount(whose[start : start + 2], minlength=3).tolist() == [1, 1, 0]


def test_every_epoch_of_a_source_visits_each_of_its_records_once() -> None:
    visited: dict[tuple[int, int], list[int]] = collections.defaultdict(list)
    for id, own in some():
        whose = int(np.searchsorted([7, 12], id, side="right"))
        visited[whose, own].append(id - STARTS[whose])
    for whose, size in enumerate(SIZES):
        epochs = [own for source, own in visited if source == whose]
        assert epochs == [*range(len(epochs))]
        for own in epochs[:-1]:
            assert sorted(visited[whose, own]) == [*range(size)]
    assert visited[0, 0] != visited[0, 1]


def test_at_any_moment_a_source_has_shown_every_record_before_it_repeats_one() -> None:
    shown = {whose: np.zeros(size, int) for whose, size in enumerate(SIZES)}
    for id, own in some():
        whose = int(np.searchsorted([7, 12], id, side="right"))
        times = shown[whose]
        times[id - STARTS[whose]] += 1
        assert times.max() - times.min() <= 1
        assert own == times.max() - 1
    assert min(times.min() for times in shown.values()) >= 1
    assert shown[0].min() >= 3
    assert shown[1].min() >= 3


@pytest.mark.parametrize(
    "counts", [(333, 667), (7, 2, 1), (1, 999), (4, 24, 12, 1, 0, 28, 1, 17), (1,) * 5], ids=str
)
def test_wherever_a_block_starts_each_source_is_within_one_of_its_share(
    counts: tuple[int, ...],
) -> None:
    stretch = Stretch(0, counts, (0,) * len(counts))
    pattern = stretch.pattern
    for start in {*pattern.starts.tolist()}:
        had = had_before(np.roll(pattern.whose, -start), len(counts))
        share = np.arange(stretch.block)[:, None] * np.asarray(counts) / stretch.block
        assert np.abs(had - share).max() < 1
    assert np.bincount(pattern.whose, minlength=len(counts)).tolist() == [*counts]


def test_every_stretch_of_thirty_is_within_two_of_its_share() -> None:
    sources = {"a": (SOURCES[0], 0.333), "b": (SOURCES[1], 0.667)}
    order = dp.Mixture(sources, KEY).mixed
    epochs = jnp.arange(300, dtype=jnp.uint32)
    positions = jnp.arange(12, dtype=jnp.uint32)
    ids = jax.jit(jax.vmap(lambda epoch: order.ids(positions, epoch, 12)))(epochs)
    of_a = np.cumsum([0, *(np.asarray(ids).reshape(-1) < 7)])
    assert of_a[[1000, 2000, 3000]].tolist() == [333, 666, 999]
    assert np.abs(of_a[30:] - of_a[:-30] - 30 * 0.333).max() < 2
    shown = np.asarray(ids).reshape(-1)
    assert shown[:1000].tolist() != shown[1000:2000].tolist()


def test_blocks_do_not_all_start_alike() -> None:
    assert len({tuple(turns(number, later=False)) for number in range(12)}) > 2


def test_records_draw_as_in_their_own_source_whatever_way_they_come() -> None:
    source, stage = mixture(), Noise(jnp.float32(1.5))
    stream = dp.Stream(source, batch_size=5)
    pipeline = dp.Pipeline.linear({"n": stage})
    places = [plain(at) for at in range(20)]
    ids = [id for id, _ in places]
    whole: Any = jax.tree.map(lambda *xs: np.concatenate(xs), *DATA)
    rows = {name: x[ids] for name, x in whole.items()}
    own = [id - STARTS[int(np.searchsorted([7, 12], id, side="right"))] for id in ids]
    drawn = reference.Expected((0, 0), (0, 0), own, [epoch for _, epoch in places], None)
    expected = stage.plain(KEY, drawn)("n", rows)
    cursor, step = dp.Cursor(0, 10), jax.jit(dp.step)
    for index in (2, 3):  # from a cursor alone, across the border of an epoch
        cursor, batch = step(pipeline, stream, cursor, key=KEY)
        assert_same(batch, {k: x[index * 5 : index * 5 + 5] for k, x in expected.items()})
    body = lambda carry, batch: (carry, batch)  # noqa: E731
    *_, ys = dp.scan(body, None, pipeline, stream, stream.start(), key=KEY, length=4)
    assert_same({k: np.concatenate(y) for k, y in ys.items()}, expected)


def test_a_mixture_is_a_source_of_the_face() -> None:
    mixed = ArraySource(source=mixture())
    pipeline = Pipeline(source=mixed, stages=[], batch_size=4, remainder="carry")
    whole: Any = jax.tree.map(lambda *xs: np.concatenate(xs), *DATA)
    expected = whole["bits"][[plain(at)[0] for at in range(16)]]
    np.testing.assert_array_equal(np.concatenate([x["bits"] for x in pipeline]), expected)
    assert jax.tree.leaves(nnx.state(pipeline.checkpoint(), Records)) == []


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ((1, 1), (1, 1)),
        ((3, 1), (3, 1)),
        ((0.7, 0.2, 0.1), (7, 2, 1)),
        ((0.1, 0.1), (1, 1)),
        ((1 / 3, 2 / 3), (1, 2)),
        ((1 / 7, 1 / 3, 1 - 1 / 7 - 1 / 3), (3, 7, 11)),
        ((np.float32(0.3), np.float32(0.7)), (3, 7)),
        ((0, 2.5), (0, 1)),
        ((0.333, 0.667), (333, 667)),
        ((np.float32(0.333), np.float32(0.667)), (333, 667)),
        ((0.123456, 0.876544), (123, 877)),
        ((1e-9, 1), (1, 999)),
        ((1e-9, 1, 1e-9), (1, 998, 1)),
        ((2**0.5, 3**0.5), (449, 551)),
    ],
    ids=str,
)
def test_weights_become_whole_numbers(weights: tuple[Any, ...], counts: tuple[int, ...]) -> None:
    found = counts_of("weights", dict(zip("abc", weights, strict=False)))
    assert found == counts
    assert sum(found) <= 1000
    shares = [float(weight) / sum(map(float, weights)) for weight in weights]
    np.testing.assert_allclose(np.asarray(found) / sum(found), shares, atol=2e-3)
