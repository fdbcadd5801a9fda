"""Sources joined: the records of all, with an id for each place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, Pipeline
from tests import reference
from tests.zoo import Noise, assert_same, records

PARTS = [records(size, seed=size) for size in (5, 1, 7)]
SOURCES = [dp.ArraySource(part) for part in PARTS]
WHOLE: Any = jax.tree.map(lambda *xs: np.concatenate(xs), *PARTS)
KEY = jax.random.key(3)


def test_sources_one_behind_the_other_have_the_records_of_all_of_them() -> None:
    source = dp.Concat(SOURCES)
    ids = jnp.asarray([12, 0, 5, 6, 4], jnp.uint32)
    assert source.size == 13
    assert_same(jax.jit(dp.Concat.rows)(source, ids), {k: x[ids] for k, x in WHOLE.items()})
    assert source.element_spec == SOURCES[0].element_spec


def test_a_record_of_joined_sources_draws_by_its_place_in_the_whole() -> None:
    stage = Noise(jnp.float32(1.5))
    joined = dp.Concat([SOURCES[0], dp.Concat(SOURCES[1:])])
    stream = dp.Stream(dp.Subset(joined, [9, 2, 5]), batch_size=3)
    _, actual = dp.step(dp.Pipeline.linear({"n": stage}), stream, stream.start(), key=KEY)
    expected = reference.Expected((0, 0), (1, 0), [9, 2, 5], [0] * 3, None)
    rows = {name: x[[9, 2, 5]] for name, x in WHOLE.items()}
    assert_same(actual, stage.plain(KEY, expected)("n", rows))


def test_joined_sources_may_hold_keys_and_windows_and_are_differentiable() -> None:
    keys = [jax.random.split(jax.random.key(i), 2) for i in range(2)]
    joined = dp.Concat([dp.ArraySource(x) for x in keys])
    assert (joined.rows(jnp.asarray([2], jnp.uint32)) == keys[1][:1]).all()

    def loss(x: jax.Array) -> jax.Array:
        parts = [dp.Windows(part, 2) for part in (x[:3], x[3:])]
        total: jax.Array = dp.Concat(parts).rows(jnp.asarray([1, 2], jnp.uint32)).sum()
        return total

    assert jax.grad(loss)(jnp.ones(6)).tolist() == [0, 1, 1, 1, 1, 0]


def test_sources_record_by_record_make_one_record_of_each_id() -> None:
    windows = dp.Windows(np.arange(7), 3)
    source = dp.Zip({"w": windows, "r": dp.ArraySource(records(5))})
    rows = source.rows(jnp.asarray([4, 1], jnp.uint32))
    assert rows["w"].tolist() == [[4, 5, 6], [1, 2, 3]]
    assert rows["r"]["id"].tolist() == [4, 1]
    assert source.element_spec == {"w": windows.element_spec, "r": SOURCES[0].element_spec}


def test_joined_sources_flow_through_every_policy_and_the_face() -> None:
    joined = dp.Concat(SOURCES)
    both = dp.Zip({"a": joined, "b": dp.Subset(joined, range(12, -1, -1))})
    pipeline = Pipeline(source=ArraySource(source=both), stages=[], batch_size=5, remainder="pad")
    *_, last = pipeline
    assert last["a"]["id"].tolist() == WHOLE["id"][[10, 11, 12, 0, 1]].tolist()
    assert last["b"]["id"].tolist() == WHOLE["id"][[2, 1, 0, 12, 11]].tolist()
    assert last["valid"].tolist() == [True] * 3 + [False] * 2
    pipeline.seek(epoch=0)
    ys = pipeline.scan(lambda batch: batch["b"]["bits"], length=3)
    np.testing.assert_array_equal(ys[2], last["b"]["bits"])
