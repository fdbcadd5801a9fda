import copy
from collections.abc import Callable, Mapping, Sequence
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


def two(left: Any, right: Any) -> Any:
    return left


def build(
    nodes: Mapping[str, Callable[..., Any]], edges: Mapping[str, Any], sink: str
) -> dp.Pipeline:
    return dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink=sink)


def failures(
    nodes: Sequence[str] | Mapping[str, Any], edges: Mapping[str, Any], sink: str
) -> list[str]:
    nodes = (
        nodes if isinstance(nodes, Mapping) else dict.fromkeys(nodes, lambda *batches: batches[0])
    )
    with pytest.raises(ValueError) as error:
        build(nodes, edges, sink)
    title, *lines = str(error.value).split("\n  - ")
    assert title == "The graph cannot be built:"
    return lines


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


# Errors: one literal text each


def test_an_empty_graph_is_refused() -> None:
    assert failures({}, {}, "a") == ["there are no nodes; pass at least one stage."]


def test_an_empty_list_of_stages_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        dp.Pipeline.linear([])
    assert str(error.value) == (
        "The graph cannot be built:\n  - there are no nodes; pass at least one stage."
    )


@pytest.mark.parametrize(
    ("sink", "help"),
    [("corp", "Did you mean `crop`?"), ("zzz", "The nodes are `crop`, `flip`.")],
)
def test_an_unknown_sink_is_named(sink: str, help: str) -> None:
    told = failures(["crop", "flip"], {"crop": [], "flip": ["crop"]}, sink)
    assert told == [f"the sink `{sink}` is not a node. {help}"]


def test_an_unknown_predecessor_is_named_once() -> None:
    told = failures(["crop", "flip"], {"crop": [], "flip": ["corp", "corp"]}, "flip")
    assert told == ["node `flip` reads `corp`, which is not a node. Did you mean `crop`?"]


def test_an_unknown_key_of_edges_is_named() -> None:
    told = failures(["crop"], {"crop": [], "corp": []}, "crop")
    assert told == ["`edges` has the key `corp`, which is not a node. Did you mean `crop`?"]


def test_a_node_without_edges_is_named() -> None:
    told = failures(["crop", "flip"], {"crop": []}, "crop")
    assert told == [
        "node `flip` has no entry in `edges`; add `'flip': []` to read the source, or list its "
        "predecessors."
    ]


def test_a_node_that_reads_itself_is_named() -> None:
    told = failures(["crop"], {"crop": ["crop"]}, "crop")
    assert told == ["node `crop` reads itself; remove `crop` from its own entry."]


def test_a_string_for_a_list_is_named_and_nothing_is_made_of_its_letters() -> None:
    told = failures({"crop": one, "flip": one}, {"crop": [], "flip": "crop"}, "flip")
    assert told == [
        "the entry of node `flip` is the string 'crop'; expected a list of names: write ['crop']."
    ]


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ({"a": ["b"], "b": ["a"]}, "a -> b -> a"),
        ({"a": ["c"], "b": ["a"], "c": ["b"]}, "a -> b -> c -> a"),
        # Only the circle: neither what leads into it nor what hangs on it.
        ({"in": [], "a": ["in", "b"], "b": ["a"], "out": ["b"]}, "a -> b -> a"),
        ({"out": ["b"], "b": ["a"], "a": ["in", "b"], "in": []}, "b -> a -> b"),
    ],
)
def test_a_cycle_is_printed_in_the_direction_of_the_data(edges: Edges, cycle: str) -> None:
    told = failures(list(edges), edges, "a")
    assert told == [f"the nodes run in a circle: {cycle}; remove one of these edges."]


def test_separate_cycles_are_all_printed() -> None:
    edges = {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c", "b"]}
    assert failures(list(edges), edges, "d") == [
        "the nodes run in a circle: a -> b -> a; remove one of these edges.",
        "the nodes run in a circle: c -> d -> c; remove one of these edges.",
    ]


@pytest.mark.parametrize(
    ("stage", "before", "text"),
    [
        (
            two,
            [],
            "node `end` is called with 1 input (the source), but its signature is "
            "(left, right); change its parameters or its entry in `edges`.",
        ),
        (
            one,
            ["a", "b"],
            "node `end` is called with 2 inputs (`a`, `b`), but its signature is "
            "(batch); change its parameters or its entry in `edges`.",
        ),
        (
            dp.per_record(two),
            ["a"],
            "node `end` is called with 1 input (`a`), but its signature is "
            "(left, right); change its parameters or its entry in `edges`.",
        ),
    ],
    ids=["too few", "too many", "per record"],
)
def test_a_stage_that_cannot_take_its_inputs_is_named(
    stage: Callable[..., Any], before: list[str], text: str
) -> None:
    assert failures(
        {"a": one, "b": one, "end": stage}, {"a": [], "b": [], "end": before}, "end"
    ) == [text]


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        dp.Schedule.linear(["crop", "flip", "crop", "crop"])
    assert str(error.value) == (
        "The graph cannot be built:\n"
        "  - the name `crop` is given to 3 nodes; each node needs a name of its own."
    )


def test_all_failures_are_told_at_once() -> None:
    nodes = {"a": one, "b": one, "c": two, "d": one}
    edges = {"a": ["a"], "b": ["bb"], "c": ["b"], "e": []}
    assert failures(nodes, edges, "end") == [
        "`edges` has the key `e`, which is not a node. The nodes are `a`, `b`, `c`, `d`.",
        "node `d` has no entry in `edges`; add `'d': []` to read the source, or list its "
        "predecessors.",
        "node `a` reads itself; remove `a` from its own entry.",
        "node `b` reads `bb`, which is not a node. Did you mean `b`?",
        "the sink `end` is not a node. The nodes are `a`, `b`, `c`, `d`.",
        "node `c` is called with 1 input (`b`), but its signature is "
        "(left, right); change its parameters or its entry in `edges`.",
    ]


def test_an_unknown_tap_is_named() -> None:
    pipeline = build({"crop": one, "flip": one}, {"crop": [], "flip": ["crop"]}, "flip")
    with pytest.raises(ValueError) as error:
        dp.outputs(pipeline, jnp.ones(1), ["corp", "flip", "zzz"])
    assert str(error.value) == "There is no node `corp`, `zzz`. Did you mean `crop`?"
