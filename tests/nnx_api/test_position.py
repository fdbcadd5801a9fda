"""A position is two integers; with the state of the stages it is all that a checkpoint needs."""

import copy
import json
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline, Records, Seed
from tests.nnx_zoo import Scale, linear, same, xs
from tests.paths import place
from tests.zoo import Batch, Remainder, drawn


def noisy(batch: Batch, *, record_keys: Any) -> Batch:
    return {"x": batch["x"] + jax.vmap(drawn)(record_keys)[1][:, 0]}


def pipeline_of(
    *,
    size: int = 11,
    seed: int = 0,
    shuffle_seed: int = 0,
    shuffle: bool = False,
    batch_size: int = 4,
    remainder: Remainder = "partial",
    nodes: Any = None,
    data: Any = None,
) -> Pipeline:
    data = {"x": np.arange(size, dtype=np.float32)} if data is None else data
    config = MemorySourceConfig(shuffle=shuffle)
    nodes = {"scale": Scale(), "noise": noisy} if nodes is None else nodes
    before = [[], *([name] for name in nodes)]
    return Pipeline.from_dag(
        source=MemorySource(config, data=data, rngs=nnx.Rngs(shuffle_seed)),
        nodes=nodes,
        edges=dict(zip(nodes, before, strict=False)),
        sink=list(nodes)[-1],
        batch_size=batch_size,
        rngs=nnx.Rngs(seed),
        remainder=remainder,
    )


def through_json(state: dict[str, int | str]) -> dict[str, int | str]:
    back: dict[str, int | str] = json.loads(json.dumps(state))
    return back


def rest_of(pipeline: Pipeline) -> list[Batch]:
    return [jax.tree.map(np.asarray, batch) for batch in pipeline]


def assert_equal(actual: list[Batch], expected: list[Batch]) -> None:
    """Bit for bit, floating numbers too."""
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


# The cursor


def test_a_new_pipeline_stands_at_the_beginning() -> None:
    assert linear().cursor == dp.Cursor(0, 0)


def test_outside_a_trace_the_cursor_is_two_python_ints() -> None:
    pipeline = linear(size=8)
    pipeline.step()
    nnx.jit(lambda pipeline: pipeline.step())(pipeline)
    assert [type(x) for x in pipeline.cursor] == [int, int]
    assert pipeline.cursor == (1, 0)


@given(epoch=st.integers(0, 9), offset=st.integers(0, 10))
@settings(max_examples=10)
def test_seek_goes_where_steps_would_have_come(epoch: int, offset: int) -> None:
    pipeline = linear(size=11, batch_size=1)
    pipeline.seek(epoch=epoch, offset=offset)
    assert place(pipeline) == (epoch, offset)
    assert xs(pipeline.step()) == [offset]


def test_seek_stays_in_the_epoch_unless_told() -> None:
    pipeline = linear()
    pipeline.seek(epoch=3, offset=4)
    pipeline.seek(offset=8)
    assert place(pipeline) == (3, 8)
    pipeline.seek()
    assert place(pipeline) == (3, 0)


def test_an_offset_with_no_batch_left_is_the_next_epochs_start() -> None:
    pipeline = linear(remainder="drop")
    pipeline.seek(epoch=1, offset=7)
    assert place(pipeline) == (2, 0)


# The iterator's state


@pytest.mark.parametrize("remainder", ["partial", "drop", "pad", "carry"])
def test_a_restored_state_finishes_the_epoch_bit_for_bit(remainder: Remainder) -> None:
    whole, part, fresh = (pipeline_of(remainder=remainder) for _ in range(3))
    batches = rest_of(whole)
    iterator = iter(part)
    next(iterator)
    state = through_json(iterator.get_state())
    restored = iter(fresh)
    restored.set_state(state)
    assert_equal([jax.tree.map(np.asarray, batch) for batch in restored], batches[1:])
    assert fresh.cursor == whole.cursor


def test_a_state_is_a_small_dict_of_numbers_and_strings() -> None:
    pipeline = pipeline_of()
    pipeline.step()
    state = iter(pipeline).get_state()
    assert set(state) == {"epoch", "offset", "source", "order", "seed", "graph", "nodes"}
    assert (state["epoch"], state["offset"]) == (0, 4)
    assert through_json(state) == state
    assert len(json.dumps(state)) < 270


def test_a_state_may_be_restored_under_another_batch_size() -> None:
    first, second = pipeline_of(batch_size=3, shuffle=True), pipeline_of(batch_size=7, shuffle=True)
    first.step()
    first.step()
    iter(second).set_state(iter(first).get_state())
    records = np.concatenate([batch["x"] for batch in rest_of(first)])
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in rest_of(second)]), records)


def test_parameters_are_no_part_of_what_a_state_is_held_against() -> None:
    pipeline, trained = pipeline_of(), pipeline_of()
    trained.nodes["scale"].weight[...] = jnp.float32(9)
    iter(trained).set_state(iter(pipeline).get_state())


def test_a_state_brings_an_ended_iterator_back() -> None:
    pipeline = linear()
    iterator = iter(pipeline)
    state = iterator.get_state()
    assert len(list(iterator)) == 3
    iterator.set_state(state)
    assert len(list(iterator)) == 3


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("source", {"size": 12}),
    ("source", {"data": {"x": np.arange(11, dtype=np.float32) + 1}}),
    ("source", {"data": {"x": np.arange(11, dtype=np.float32), "y": np.zeros(11)}}),
    ("order", {"shuffle_seed": 1, "shuffle": True}),
    ("order", {"shuffle": True}),
    ("seed", {"seed": 1}),
    ("graph (`noisy` is named `noise` here)", {"nodes": {"scale": Scale(), "noisy": noisy}}),
    ("graph (`scale` is of type same, here of Scale)", {"nodes": {"scale": same, "noise": noisy}}),
    ("seed and another graph (`noise` is here alone; the sink is `scale`, which is `noise` here)",
     {"seed": 1, "nodes": {"scale": Scale()}}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "change"), OTHERS, ids=lambda x: "")
def test_a_state_of_another_pipeline_is_refused_by_what_differs(
    what: str, change: dict[str, Any]
) -> None:
    pipeline, other = pipeline_of(), pipeline_of(**change)
    pipeline.seek(epoch=2, offset=4)
    with pytest.raises(ValueError) as error:
        iter(pipeline).set_state(iter(other).get_state())
    assert str(error.value) == (
        f"The state belongs to a pipeline with another {what}; make this pipeline as that one was "
        "made, or use `pipeline.seek` to go to a position regardless."
    )
    assert place(pipeline) == (2, 4)


def test_what_was_saved_without_the_nodes_of_the_graph_is_judged_by_its_digest() -> None:
    pipeline, other = pipeline_of(), pipeline_of(nodes={"scale": Scale()})
    state, checkpoint = iter(other).get_state(), other.checkpoint()
    del state["nodes"]
    with pytest.raises(ValueError, match=r"belongs to a pipeline with another graph; make"):
        iter(pipeline).set_state(state)
    with pytest.raises(ValueError, match=r"belongs to a pipeline with another graph; make"):
        nnx.update(pipeline, nnx.to_pure_dict(checkpoint))
    iter(pipeline_of(nodes={"scale": Scale()})).set_state(state)
    nnx.update(pipeline_of(nodes={"scale": Scale()}), nnx.to_pure_dict(checkpoint))


# Checkpoints


def test_a_checkpoint_holds_no_data() -> None:
    checkpoint = pipeline_of(data={"x": np.zeros(10_000, np.float32)}).checkpoint()
    flat = nnx.to_flat_state(checkpoint)
    assert {path[0] for path, _ in flat} == {"_guard", "_position", "_seed", "nodes", "source"}
    assert not any(isinstance(leaf, Records) for _, leaf in flat)
    assert all(leaf.size <= 8 for leaf in jax.tree.leaves(checkpoint))


@pytest.mark.parametrize("remainder", ["partial", "carry"])
def test_a_restored_checkpoint_goes_on_bit_for_bit(remainder: Remainder) -> None:
    pipeline, fresh = pipeline_of(remainder=remainder), pipeline_of(remainder=remainder)
    pipeline.step()
    pipeline.nodes["scale"].weight[...] = jnp.float32(5)
    saved = pipeline.checkpoint()
    expected = rest_of(pipeline)
    nnx.update(fresh, saved)
    assert place(fresh) == (0, 4)
    assert_equal(rest_of(fresh), expected)
    assert fresh.cursor == pipeline.cursor
    assert fresh.nodes["scale"].calls[...] == pipeline.nodes["scale"].calls[...]


def test_a_checkpoint_is_as_of_now_and_may_be_restored_into_its_own_pipeline() -> None:
    pipeline = pipeline_of()
    saved = pipeline.checkpoint()
    expected = rest_of(pipeline)
    nnx.update(pipeline, saved)
    assert place(pipeline) == (0, 0)
    assert_equal(rest_of(pipeline), expected)


@pytest.mark.parametrize(("what", "change"), OTHERS, ids=lambda x: "")
def test_item_38_a_checkpoint_of_another_pipeline_is_refused_before_anything_is_set(
    what: str, change: dict[str, Any]
) -> None:
    pipeline, other = pipeline_of(), pipeline_of(**change)
    other.step()
    pipeline.seek(epoch=2, offset=4)
    before = [np.asarray(x) for x in jax.tree.leaves(nnx.state(pipeline, nnx.Not(Seed)))]
    with pytest.raises(ValueError) as error:
        nnx.update(pipeline, other.checkpoint())
    assert str(error.value) == (
        f"The checkpoint belongs to a pipeline with another {what}; make this pipeline as that one "
        "was made, or restore what fits alone: nnx.update(pipeline.nodes[…], state['nodes'][…])."
    )
    assert place(pipeline) == (2, 4)
    after = [np.asarray(x) for x in jax.tree.leaves(nnx.state(pipeline, nnx.Not(Seed)))]
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert xs(pipeline.step()) == xs(pipeline_at(pipeline_of(), 2, 4).step())


def pipeline_at(pipeline: Pipeline, epoch: int, offset: int) -> Pipeline:
    pipeline.seek(epoch=epoch, offset=offset)
    return pipeline


def test_item_39_a_checkpoint_has_arrays_of_its_own() -> None:
    pipeline = pipeline_of()
    saved = pipeline.checkpoint()
    own = {id(x) for x in jax.tree.leaves(nnx.state(pipeline, nnx.Not(Records)))}
    assert not own & {id(x) for x in jax.tree.leaves(saved)}
    for leaf in jax.tree.leaves(saved):
        if isinstance(leaf, jax.Array):
            leaf.delete()  # as a donating call does
    assert xs(pipeline.step()) == xs(pipeline_of().step())


@pytest.mark.parametrize(
    "recipe",
    [
        lambda p: nnx.clone(p),
        lambda p: nnx.merge(*nnx.split(p), copy=True),
        lambda p: copy.deepcopy(p),
        lambda p: pickle.loads(pickle.dumps(p)),
        lambda p: updated(pipeline_of(), nnx.state(p)),
        lambda p: updated(pipeline_of(), from_pure_dict(nnx.state(p))),
        lambda p: updated(pipeline_of(), from_pure_dict(p.checkpoint())),
    ],
    ids=["clone", "merge", "deepcopy", "pickle", "state", "pure dict", "pure dict of a checkpoint"],
)
def test_item_49_recipes_of_flax_bring_a_pipeline_back(recipe: Any) -> None:
    pipeline = pipeline_of()
    pipeline.step()
    pipeline.nodes["scale"].weight[...] = jnp.float32(5)
    again = recipe(pipeline)
    assert place(again) == place(pipeline) == (0, 4)
    assert_equal(rest_of(again), rest_of(pipeline))


def updated(pipeline: Pipeline, state: Any) -> Pipeline:
    nnx.update(pipeline, state)
    return pipeline


def from_pure_dict(state: Any) -> Any:
    values = jax.tree.map(lambda x: x, nnx.to_pure_dict(state))
    nnx.replace_by_pure_dict(state, values)
    return state
