import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import dagrax.pure as dp
from tests import reference
from tests.zoo import Graph, Mix, assert_same, graphs, records, topologies

Edges = dict[str, list[str]]


def one(batch: Any) -> Any:
    return batch


def build(
    nodes: Mapping[str, Callable[..., Any]], edges: Mapping[str, Any], sink: str
) -> dp.Pipeline:
    return dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink=sink)


# The order


@given(topologies())
def test_every_node_stands_once_and_after_its_predecessors(shape: tuple[Edges, str]) -> None:
    edges, sink = shape
    order = dp.Schedule(edges, sink).order
    assert sorted(order) == sorted(edges)
    for name, before in edges.items():
        assert all(order.index(other) < order.index(name) for other in before)


@given(topologies())
def test_nodes_without_a_choice_to_make_keep_the_order_of_the_edges(
    shape: tuple[Edges, str],
) -> None:
    edges, sink = shape
    done: list[str] = []
    for _ in edges:
        done.append(next(n for n in edges if n not in done and set(edges[n]) <= set(done)))
    assert dp.Schedule(edges, sink).order == tuple(done)


@given(topologies())
def test_exactly_the_ancestors_of_the_targets_run(shape: tuple[Edges, str]) -> None:
    edges, sink = shape
    schedule = dp.Schedule(edges, sink)

    def ancestors(node: str) -> set[str]:
        return {node}.union(*(ancestors(other) for other in edges[node]))

    assert schedule.executed == schedule.run_for([sink])
    for targets in ([sink], list(edges)[:2], []):
        needed: set[str] = set().union(*(ancestors(node) for node in targets))
        assert schedule.run_for(targets) == tuple(n for n in schedule.order if n in needed)


def test_predecessors_keep_their_order_and_repetitions() -> None:
    schedule = dp.Schedule({"c": ["b", "a", "b"], "b": [], "a": []}, "c")
    assert schedule.predecessors("c") == ("b", "a", "b")
    assert schedule.predecessors("a") == ()


def test_a_linear_schedule_is_a_chain() -> None:
    chain = dp.Schedule.linear(["c", "a", "b"])
    assert chain == dp.Schedule({"c": [], "a": ["c"], "b": ["a"]}, "b")
    assert chain.order == ("c", "a", "b")


@given(topologies())
def test_equal_schedules_are_equal_and_hash_alike(shape: tuple[Edges, str]) -> None:
    edges, sink = shape
    first, second = dp.Schedule(edges, sink), dp.Schedule(copy.deepcopy(edges), sink)
    assert first == second
    assert hash(first) == hash(second)


def test_schedules_differ_by_edges_and_by_sink() -> None:
    schedules = {
        dp.Schedule({"a": [], "b": ["a"]}, "b"),
        dp.Schedule({"a": [], "b": ["a"]}, "a"),
        dp.Schedule({"a": [], "b": ["a", "a"]}, "b"),
        dp.Schedule({"a": [], "b": []}, "b"),
    }
    assert len(schedules) == 4


def test_a_schedule_cannot_be_changed() -> None:
    edges: Edges = {"a": [], "b": ["a"]}
    schedule = dp.Schedule(edges, "b")
    with pytest.raises(AttributeError):
        schedule.sink = "a"  # type: ignore[misc]
    edges["b"].append("a")
    assert schedule.predecessors("b") == ("a",)


# Evaluation


@given(graphs())
def test_any_graph_equals_the_reference(graph: Graph) -> None:
    plain = Graph(
        {name: Mix(stage.gain) for name, stage in graph.nodes.items()}, graph.edges, graph.sink
    )
    batch = records(4)
    everything = reference.Expected((0, 0), (1, 0), [0, 1, 2, 3], [0] * 4, None)
    assert_same(dp.apply(plain.pipeline(), batch), plain.expected(batch, None, everything))


def test_a_node_that_the_sink_does_not_need_is_not_called() -> None:
    def never(batch: Any) -> Any:
        raise AssertionError("called")

    pipeline = build({"a": one, "b": never, "c": never}, {"a": [], "b": ["a"], "c": ["b"]}, "a")
    assert dp.apply(pipeline, {"x": jnp.ones(2)})["x"].tolist() == [1, 1]
    assert pipeline.schedule.executed == ("a",)
    with pytest.raises(AssertionError, match="called"):
        dp.outputs(pipeline, {"x": jnp.ones(2)}, ["b"])


def test_outputs_are_those_of_the_nodes_asked_for() -> None:
    pipeline = build({"a": lambda x: x + 1, "b": lambda x: x * 2}, {"a": [], "b": ["a"]}, "b")
    taps = dp.outputs(pipeline, jnp.ones(2), ["b", "a"])
    assert list(taps) == ["b", "a"]
    assert [taps["a"].tolist(), taps["b"].tolist()] == [[2, 2], [4, 4]]


def test_several_nodes_may_read_the_source() -> None:
    nodes: dict[str, Any] = {"a": lambda x: x + 1, "b": lambda x: x * 3, "c": lambda a, b: a - b}
    pipeline = build(nodes, {"a": [], "b": [], "c": ["b", "a"]}, "c")
    assert dp.apply(pipeline, jnp.ones(1)).tolist() == [1]


def test_a_batch_may_be_any_pytree_of_numpy_or_jax_arrays() -> None:
    pipeline = dp.Pipeline.linear([lambda batch: batch[0]["x"] + batch[1]])
    output = dp.apply(pipeline, ({"x": np.ones(2, np.float32)}, jnp.ones(2)))
    assert output.tolist() == [2, 2]


# Nobody's containers are anybody else's


def greedy(batch: Any) -> Any:
    batch["x"] = batch["x"] + 1
    batch["meta"]["camera"] = batch["x"]
    batch["list"].append(batch["x"])
    del batch["meta"]["lens"]
    return batch


def test_a_stage_that_writes_into_its_batch_changes_nobody_elses() -> None:
    data: dict[str, Any] = {
        "x": jnp.zeros(2),
        "meta": {"camera": jnp.ones(2), "lens": jnp.ones(2)},
        "list": [jnp.ones(2)],
    }
    kept = copy.deepcopy(data)
    pipeline = build(
        {"first": one, "writes": greedy, "also": greedy, "reads": one, "last": lambda *all: all},
        {"first": [], "writes": ["first"], "also": ["first"], "reads": ["first"]}
        | {"last": ["writes", "also", "reads", "first"]},
        "last",
    )
    writes, also, reads, first = dp.apply(pipeline, data)
    for untouched in (data, reads, first):
        assert set(untouched["meta"]) == {"camera", "lens"}
        assert len(untouched["list"]) == 1
        np.testing.assert_array_equal(untouched["x"], kept["x"])
        np.testing.assert_array_equal(untouched["meta"]["camera"], kept["meta"]["camera"])
    for written in (writes, also):
        assert written["x"].tolist() == written["meta"]["camera"].tolist() == [1, 1]
        assert len(written["list"]) == 2


def test_a_node_that_is_read_twice_by_one_stage_gives_it_two_containers() -> None:
    def moves(left: Any, right: Any) -> Any:
        left["x"] = left["x"] + 1
        return right

    pipeline = build({"a": one, "b": moves}, {"a": [], "b": ["a", "a"]}, "b")
    assert dp.apply(pipeline, {"x": jnp.zeros(1)})["x"].tolist() == [0]


# What nobody reads


def test_item_41_a_node_that_does_not_lead_to_the_sink_is_warned_of_and_runs_for_outputs() -> None:
    nodes = {"a": lambda x: x + 1, "b": lambda x: x * 2}
    with pytest.warns(UserWarning) as warned:
        pipeline = dp.Pipeline.from_dag(nodes=nodes, edges={"a": ["b"], "b": []}, sink="b")
    assert [str(w.message) for w in warned] == [
        "The node `a` does not lead to the sink `b`, and runs for `outputs` alone. `edges` maps "
        "each node to the nodes that it reads: are they the other way round?"
    ]
    assert dp.outputs(pipeline, jnp.arange(3), ("a",))["a"].tolist() == [1, 3, 5]


def test_item_41_the_source_is_read_by_an_empty_entry() -> None:
    with pytest.raises(ValueError) as error:
        dp.Pipeline.from_dag(nodes={"a": lambda x: x}, edges={"a": ["source"]}, sink="a")
    assert str(error.value) == (
        "The graph cannot be built:\n  - node `a` reads `source`, which is an unknown node. Write "
        "`'a': []` to read the source."
    )


def test_the_source_is_merged_by_a_node_that_hands_it_on() -> None:
    with pytest.raises(ValueError) as error:
        dp.Schedule({"s": [], "m": ["s", "source"]}, sink="m")
    assert str(error.value) == (
        "The graph cannot be built:\n  - node `m` reads `source`, which is an unknown node. To "
        "read the source beside other nodes, add a node that hands it on: nodes={'raw': lambda "
        "batch: batch, …}, edges={'raw': [], 'm': ['s', 'raw'], …}."
    )
    nodes: dict[str, Callable[..., Any]] = {
        "raw": lambda batch: batch,
        "s": lambda batch: -batch,
        "m": lambda s, raw: s + 3 * raw,
    }
    edges = {"raw": [], "s": [], "m": ["s", "raw"]}
    pipeline = dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="m")
    assert dp.apply(pipeline, jnp.arange(3)).tolist() == [0, 2, 4]
