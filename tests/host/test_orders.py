"""Orders read NumPy's positions, and give what they give JAX, to the bit."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import dagrax.pure as dp
from dagrax.pure._flow._fed import on_the_host, origins
from dagrax.pure._namespace import Batch, plain

KEY = jax.random.key(7)
SIZE = 1003
LABELS = np.arange(SIZE) % 7
ARRAYS = dp.ArraySource({"x": np.arange(SIZE)})


class Turned(dp.AbstractOrder):
    """An order of somebody's own, written for JAX alone."""

    key: Array

    def ids(self, positions: Batch, epoch: Array, size: int) -> Array:
        start = jax.random.bits(jax.random.fold_in(self.key, epoch)) >> 8
        return (start + jnp.asarray(positions)) % size

    def turns(self, positions: Batch, epoch: Array, size: int) -> Array:
        return jnp.asarray(positions) + epoch


ORDERS: dict[str, Callable[[], dp.AbstractOrder]] = {
    "Sequential": dp.Sequential,
    "Shuffled": lambda: dp.Shuffled(KEY),
    "Shuffled by a raw key": lambda: dp.Shuffled(jax.random.PRNGKey(3)),
    "Shuffled by rbg": lambda: dp.Shuffled(jax.random.key(3, impl="rbg")),
    "WithReplacement": lambda: dp.WithReplacement(KEY),
    "Weighted": lambda: dp.Weighted(KEY, np.arange(SIZE) ** 2),
    "Balanced": lambda: dp.Balanced(KEY, LABELS),
    "Windowed": lambda: dp.Windowed(KEY, block=10, window=7),
    "Repeat": lambda: dp.Repeat(dp.Shuffled(KEY), 3),
    "one of one's own": lambda: Turned(KEY),
}


def streams(name: str) -> dp.Stream:
    return dp.Stream(ARRAYS, ORDERS[name](), batch_size=60, remainder="carry")


def mixture() -> dp.Stream:
    own = {"a": (dp.ArraySource(np.arange(700)), 0.7), "b": (dp.ArraySource(np.arange(90)), 0.3)}
    source = dp.Mixture(own, KEY, changes=[(400, {"a": 0.2, "b": 0.8})])
    return dp.Stream(source, batch_size=60, remainder="carry")


def view() -> dp.Stream:
    train, _ = dp.split(ARRAYS, 0.8, key=KEY)
    return dp.Stream(dp.Subset(train, range(700, 3, -2)), dp.Shuffled(KEY), batch_size=60)


MADE: dict[str, Callable[[], dp.Stream]] = {
    **{name: lambda name=name: streams(name) for name in ORDERS},  # type: ignore[misc]
    "a mixture": mixture,
    "a view of a view": view,
}


@eqx.filter_jit
def in_the_graph(stream: dp.Stream, epoch: Array, offset: Array, length: int) -> object:
    return stream.origin(dp.Cursor(epoch, offset), length)


@pytest.mark.parametrize("name", MADE)
def test_batches_found_on_the_host_are_those_of_the_graph(name: str) -> None:
    stream = MADE[name]()
    cursors = [(0, 0), (0, 60), (1, 30), (0, stream.batching.records - 61), (2**32 - 3, 7)]
    if stream.batching.remainder == "carry":
        cursors.append((4, stream.batching.records - 13))
    found = jax.tree.leaves(origins(on_the_host(stream), cursors, 60))
    assert all(isinstance(x, np.ndarray) for x in found)
    for index, (epoch, offset) in enumerate(cursors):
        expected = in_the_graph(stream, jnp.uint32(epoch), jnp.uint32(offset), 60)
        for own, its in zip(found, jax.tree.leaves(expected), strict=True):
            assert np.array_equal(own[index], its), (name, epoch, offset)


def test_an_epoch_of_more_records_than_32_bits_count_is_a_permutation_of_them() -> None:
    size, order = 2**33 + 12345, on_the_host_alone(dp.Shuffled(KEY))
    positions = np.arange(size - 5000, size, dtype=np.uint64)
    ids = np.asarray(order.ids(plain(positions), plain(np.uint32(3)), size))
    assert ids.dtype == np.uint64
    assert len(np.unique(ids)) == 5000
    assert int(ids.max()) < size
    assert np.mean(ids) == pytest.approx(size / 2, rel=0.05)


def test_an_order_of_64_bits_gives_every_record_once() -> None:
    order = on_the_host_alone(dp.Shuffled(KEY))
    ids = order.ids(plain(np.arange(997, dtype=np.uint64)), plain(np.uint32(0)), 997)
    assert sorted(np.asarray(ids).tolist()) == list(range(997))


def on_the_host_alone(order: dp.AbstractOrder) -> dp.AbstractOrder:
    host: dp.AbstractOrder = on_the_host(dp.Stream(ARRAYS, order, batch_size=1)).order
    return host
