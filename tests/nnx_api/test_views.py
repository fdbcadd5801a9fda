"""Views of a module's source: what the core gives, over the same Variables, and never saved."""

import copy
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, MemorySource, Pipeline, Records, Source
from tests.paths import SCANS, by_for, by_step
from tests.zoo import records

DATA = records(20)
KEY = jax.random.key(5)


def memory(**more: Any) -> MemorySource:
    return MemorySource(data=DATA, **more)


def over(source: Source, **more: Any) -> Pipeline:
    return Pipeline(source=source, stages=[], batch_size=4, rngs=nnx.Rngs(0), **more)


@jax.jit
def seen(source: dp.AbstractSource) -> Any:
    return source.rows(jax.numpy.arange(source.size, dtype=np.uint32))["id"]


def ids(source: Source) -> list[int]:
    """The ids that the records have in the whole, in the order of the view."""
    own: list[int] = seen(source.pure()[0]).tolist()
    return own


SEEN: dict[str, tuple[Any, list[int]]] = {
    "a slice": (slice(10, 14), [10, 11, 12, 13]),
    "a slice from the end": (slice(-2, None), [18, 19]),
    "ids": ([7, 3, 5], [7, 3, 5]),
    "ids in an array": (np.array([7, 3, 5]), [7, 3, 5]),
    "a range": (range(6, 0, -3), [6, 3]),
    "a mask": (np.arange(20) % 7 == 2, [2, 9, 16]),
    "a mask in a list": ([False] * 19 + [True], [19]),
}


@pytest.mark.parametrize(("asked", "expected"), SEEN.values(), ids=SEEN)
def test_a_source_is_seen_in_part_by_its_index(asked: Any, expected: list[int]) -> None:
    view = memory()[asked]
    assert len(view) == len(expected)
    assert ids(view) == expected


def test_a_source_is_split_by_fractions_and_counts() -> None:
    train, valid = memory().split(0.8)
    assert (ids(train), ids(valid)) == ([*range(16)], [16, 17, 18, 19])
    parts = memory().split([10, 6, 4], key=KEY)
    shared = [ids(part) for part in parts]
    assert sorted(i for part in shared for i in part) == [*range(20)]
    assert [ids(x) for x in memory().split([10, 6, 4], key=KEY)] == shared


def test_a_view_of_a_shuffled_source_is_shuffled() -> None:
    pipeline = over(memory(shuffle=True, rngs=nnx.Rngs(0))[4:16])
    epochs = [[i for batch in pipeline for i in batch["id"].tolist()] for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [[*range(4, 16)]] * 2
    assert epochs[0] != epochs[1] != [*range(4, 16)]


def test_every_way_through_a_view_gives_the_draws_of_the_whole() -> None:
    def noisy(record: Any, *, key: jax.Array) -> Any:
        return {"id": record["id"], "noise": jax.random.key_data(key)}

    stages = [dp.per_record(noisy)]
    whole = Pipeline(source=memory(), stages=stages, batch_size=20, rngs=nnx.Rngs(1)).step()
    view = memory().split([8, 12], key=KEY)[0]
    for path in (by_step, by_for, *SCANS):
        pipeline = Pipeline(source=view, stages=stages, batch_size=4, rngs=nnx.Rngs(1))
        for _, batch in path(pipeline, 2):
            np.testing.assert_array_equal(batch["noise"], whole["noise"][np.asarray(batch["id"])])


def test_views_share_the_variables_of_the_whole_and_save_none_of_them() -> None:
    source = memory()
    train, valid = source.split(0.8, key=KEY)
    pipelines = [over(train), over(valid)]
    for pipeline in pipelines:
        held = dict(nnx.to_flat_state(nnx.state(pipeline, Records)))
        same = held["source", "of", "data", "id"]
        assert same.get_value() is source.data["id"].get_value()
        assert jax.tree.leaves(nnx.state(pipeline.checkpoint(), Records)) == []
    state = pipelines[0].checkpoint()
    with pytest.raises(ValueError, match="another source"):
        nnx.update(pipelines[1], state)
    nnx.update(over(train), state)


def test_variants_share_a_view_and_stack_none_of_its_arrays() -> None:
    windows = ArraySource(source=dp.Windows(DATA, 2), shuffle=True, rngs=nnx.Rngs(2))
    source = windows.split(0.8, key=KEY)[0]
    alone = over(source).step()["id"].tolist()
    together = Pipeline.variants([over(source), over(source)])
    held, shared = (jax.tree.leaves(nnx.state(x, Records)) for x in (source, together))
    assert {id(x) for x in shared} == {id(x) for x in held}
    assert together.step()["id"].tolist() == [alone] * 2


def test_a_source_of_the_core_is_one_of_the_face() -> None:
    source = ArraySource(source=dp.where(dp.ArraySource(DATA), np.arange(20) % 2 == 0))
    assert ids(source) == [*range(0, 20, 2)]
    assert ids(source[1:3]) == [2, 4]
    shuffled = ArraySource(source=dp.ArraySource(DATA), shuffle=True, rngs=nnx.Rngs(0))
    alike = over(memory(shuffle=True, rngs=nnx.Rngs(0)))
    assert over(shuffled).step()["id"].tolist() == alike.step()["id"].tolist()
    kept = nnx.to_flat_state(nnx.state(over(shuffled), Records))
    assert [path for path, _ in kept] == [
        ("source", "records", "data", name) for name in ("bits", "id", "x")
    ]
    assert jax.tree.leaves(nnx.state(over(source).checkpoint(), Records)) == []


def test_a_view_tells_the_ids_of_its_records_in_the_whole() -> None:
    view = memory()[[7, 3, 11]]
    assert view.ids.tolist() == [7, 3, 11]
    assert view[[2, 0]].ids.tolist() == [11, 7]
    again = ArraySource(source=view.pure()[0], order=dp.Weighted(KEY, (view.ids == 3) * 1.0))
    assert over(again, record_ids="record").step()["record"].tolist() == [3, 3, 3]


def test_a_pipeline_over_a_view_with_an_order_is_copied() -> None:
    pipeline = over(memory(order=dp.Shuffled(KEY))[2:14])
    pipeline.step()
    again = copy.deepcopy(pipeline)
    assert again.step()["id"].tolist() == pipeline.step()["id"].tolist()
    assert len(copy.deepcopy(pipeline.source)) == 12
