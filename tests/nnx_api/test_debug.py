"""A batch is looked at node by node: what each is given and returns, and who made a NaN."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.core import Tracer

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline
from tests.nnx_zoo import Scale, same
from tests.zoo import Batch

X = np.array([4, 1, 2, 0, 3, 5, 6, 7, 8, 9], np.float32)


def root(batch: Batch) -> Batch:
    return {**batch, "x": jnp.log(batch["x"])}


def negative(x: jax.Array) -> jax.Array:
    return -x


def noisy(batch: Batch, *, record_keys: Any) -> Batch:
    return {**batch, "x": batch["x"] + jax.vmap(jax.random.normal)(record_keys)}


def pipeline_of(stages: Mapping[str, Any], *, x: np.ndarray = X, **options: Any) -> Pipeline:
    source: MemorySource[Any] = MemorySource(
        data={"x": x, "kind": np.arange(len(x))}, shuffle=True, rngs=nnx.Rngs(1)
    )
    options = {"batch_size": 4, "rngs": nnx.Rngs(0), **options}
    return Pipeline(source=source, stages=stages, **options)


def test_each_node_is_told_by_what_it_is_given_and_returns() -> None:
    pipeline = pipeline_of({"scale": Scale(), "root": root})
    expected = np.asarray(pipeline.outputs("scale")["scale"]["x"])
    report = pipeline.debug()
    source, scale, rooted = report.nodes
    assert [source.node, scale.node, rooted.node] == ["source", "scale", "root"]
    assert (scale.stage, scale.reads, scale.kept) == ("Scale", ("source",), ("kind",))
    assert scale.inputs == (source.output,)
    assert rooted.inputs == (scale.output,)
    x = scale.output[1]
    assert (x.field, x.spec, x.min, x.max) == ("x", "f32[4]", expected.min(), expected.max())
    assert x.mean == pytest.approx(expected.mean())
    assert (pipeline.cursor, int(pipeline.nodes["scale"].calls[...])) == ((0, 0), 0)


@pytest.mark.parametrize("remainder", ["pad", "carry"])
def test_a_record_is_that_of_the_pipelines_own_step(remainder: Any) -> None:
    pipeline = pipeline_of({"noise": noisy}, remainder=remainder, record_ids="id")
    if remainder != "carry":
        pipeline.seek(epoch=1, offset=0)
    seen: dict[int, float] = {}
    for _ in range(2):
        batch = pipeline.step()
        counts = batch.get("valid", np.ones(len(batch["id"]), np.bool_))
        rows = zip(np.asarray(batch["id"]), np.asarray(batch["x"]), counts, strict=True)
        seen |= {int(record): float(x) for record, x, count in rows if count}
    before = pipeline.cursor
    for record in (next(iter(seen)), list(seen)[-1]):
        report = pipeline.debug(record=record)
        x = report.nodes[-1].output[-1]
        assert report.records == (record,)
        assert (x.field, x.spec) == ("x", "f32[1]")
        assert x.mean == pytest.approx(seen[record], rel=1e-5)
    assert pipeline.cursor == before


def test_who_made_the_first_nan_is_named_and_what_was_missing_is_told_apart() -> None:
    x = np.where(X == 7, np.nan, X).astype(np.float32)  # of record 7
    pipeline = pipeline_of({"scale": Scale(), "root": root, "again": root}, x=x, batch_size=10)
    report = pipeline.debug()
    first = report.first
    assert first is not None
    assert (first.node, first.field, first.records, first.is_nan) == ("root", "x", (3,), False)
    assert str(report).endswith(
        "\n\nThe source holds NaN in field `x` of record 7 already.\n"
        "Node `root` is the first to make one of finite numbers: an infinity in field `x` of "
        "record 3. Of another record it was given some: a node that mixes records spreads them."
    )
    assert pipeline.debug(record=7).first is None
    both = pipeline_of({"root": root}, x=np.where(X == 2, np.inf, x), batch_size=10).debug().given
    assert [(what.records, what.infinite) for what in both] == [((2, 7), (2,))]
    assert json.loads(json.dumps(report.to_dict()))["first"]["records"] == [3]
    assert "<td" in report._repr_html_()


def test_a_batch_of_ones_own_counts_from_0() -> None:
    pipeline = pipeline_of({"root": root})
    report = pipeline.debug(batch={"x": np.array([1, 2, -1], np.float32)})
    assert str(report) == (
        "3 rows of the batch given\n\n"
        "node                   field  spec    min  mean    max     NaN     inf\n"
        "source  out            x      f32[3]  -1   0.6667  2\n"
        "root    in, of source  x      f32[3]  -1   0.6667  2\n"
        "        out            x      f32[3]  0    0.3466  0.6931  33.3 %\n\n"
        "Node `root` is the first to make one of finite numbers: NaN in field `x` of row 2."
    )
    assert (report.epoch, report.offset, report.records) == (None, None, (0, 1, 2))


def test_stages_see_values_and_an_error_is_told_with_what_came_before() -> None:
    def picky(batch: Batch) -> Batch:
        if not isinstance(batch["x"], Tracer) and float(batch["x"].max()) > 5:
            raise RuntimeError("too much")
        return batch

    pipeline = pipeline_of({"scale": Scale(), "picky": picky})
    with pytest.raises(RuntimeError, match="too much") as told:
        pipeline.debug()
    named, before = told.value.__notes__
    assert named.startswith("This happened in node `picky` (picky), which was given {kind: ")
    assert before.startswith("Until there:\n4 records of epoch 0, from offset 0 on: ")
    assert "\nscale   in, of source  kind" in before


def test_the_nodes_of_variants_are_told_one_by_one() -> None:
    one = pipeline_of({"root": root})
    other = pipeline_of({"root": root})
    other.source = one.source
    report = Pipeline.variants([one, other]).debug()
    assert [run.node for run in report.nodes] == ["source", "root [0]", "root [1]"]
    assert report.nodes[1].output == report.nodes[2].output


ONE, TWO, THREE, JOIN = "one", "two", "three", "join"
SHAPES: dict[str, dict[str, Any]] = {
    "a merge of two": {ONE: [], TWO: [], JOIN: [ONE, TWO]},
    "a merge of three": {ONE: [], TWO: [], THREE: [], JOIN: [ONE, TWO, THREE]},
    "a merge of one node twice": {ONE: [], JOIN: [ONE, ONE]},
    "a merge behind a branch": {ONE: [], TWO: [ONE], JOIN: [TWO, ONE]},
    "a merge of merges": {ONE: [], TWO: [ONE, ONE], THREE: [TWO, ONE], JOIN: [THREE, TWO]},
    "a node alone": {JOIN: []},
}


def joined(*batches: Batch) -> Batch:
    """Of each record the sum, but NaN of record 3."""
    x = sum(batch["x"] for batch in batches)
    return {**batches[0], "x": jnp.where(batches[-1]["kind"] == 3, jnp.nan, x)}


def added(*batches: Batch) -> Batch:
    return {**batches[0], "x": batches[0]["x"] + batches[-1]["x"]}


@pytest.mark.parametrize("shape", SHAPES)
def test_debug_and_checked_find_the_same_in_a_graph_of_any_shape(shape: str) -> None:
    edges = SHAPES[shape]
    nodes: dict[str, Any] = {**dict.fromkeys(edges, added), JOIN: joined}
    nodes = {name: [stage, same] if name == TWO else stage for name, stage in nodes.items()}
    source: MemorySource[Any] = MemorySource(data={"x": X, "kind": np.arange(len(X))})
    pipeline = Pipeline.from_dag(
        source=source, nodes=nodes, edges=edges, sink=JOIN, batch_size=len(X)
    )
    own = {"x": X[:2], "kind": np.array([3, 4])}
    for report, record in (
        (pipeline.debug(), 3),
        (pipeline.debug(record=3), 3),
        (pipeline.debug(batch=own), 0),
    ):
        assert report.first is not None
        assert (report.first.node, report.first.field, report.first.records) == (
            JOIN,
            "x",
            (record,),
        )
        assert [len(run.reads) for run in report.nodes] == [len(run.inputs) for run in report.nodes]
    with pipeline.checked(), pytest.raises(ValueError, match=r"^node `join`: field `x` of record"):
        pipeline.step()
    assert pipeline.debug(batch={**own, "kind": np.array([1, 4])}).first is None


def test_a_field_of_one_of_several_inputs_is_told_with_its_node_and_its_variant() -> None:
    def mixed(one: Batch, two: Batch) -> Batch:
        return {"x": one["x"] * two["age"], "age": one["age"]}

    pipeline: Pipeline = Pipeline.from_dag(
        source=MemorySource(data={"x": X, "age": np.where(X == 2, np.nan, X)}),
        nodes={ONE: same, TWO: same, JOIN: mixed},
        edges={ONE: [], TWO: [], JOIN: [ONE, TWO]},
        sink=JOIN,
        batch_size=4,
    )
    said = (
        "\nNode `join` is the first to make one of a field that was finite: NaN in field `x` of "
        "record 2. It may come from field `age` of `two`, which is not finite there."
    )
    assert str(pipeline.debug()).endswith(said)
    twin = Pipeline.variants([pipeline, nnx.clone(pipeline)])
    first = twin.debug().first
    assert first is not None
    assert (first.node, first.source, first.of) == ("join [0]", "age", "two [0]")


def test_the_core_looks_at_a_graph_that_is_no_list_and_at_arrays_without_names() -> None:
    graph: dp.Pipeline = dp.Pipeline.from_dag(
        nodes={"chain": [jnp.log, negative], "sum": jnp.add},
        edges={"chain": [], "sum": ["chain", "chain"]},
        sink="sum",
    )
    stream: dp.Stream = dp.Stream(dp.ArraySource(X), batch_size=4)
    report = dp.debug(graph, stream, dp.Cursor(0, 0))
    assert [run.node for run in report.nodes] == ["source", "chain/log", "chain/negative", "sum"]
    assert report.nodes[-1].reads == ("chain/negative", "chain/negative")
    assert report.first is not None
    assert (report.first.node, report.first.records) == ("chain/log", (3,))
