"""The summary of a pipeline: what its Variables are, and that looking at it moves nothing."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, HostSource, MemorySource, NoiseOperator, Pipeline
from dagrax.pure import host, visual
from tests.counting import counted

DATA = {"id": np.arange(10, dtype=np.int32), "x": np.ones((10, 3), np.float32)}
EDGES: dict[str, list[str]] = {
    "count": [],
    "noise": ["count"],
    "pair": ["count", "noise"],
    "off": [],
}
TABLE = """\
10 records in batches of 4, Shuffled, remainder 'partial': 3 batches an epoch,
  the last of 2
node         reads        stage          output             bytes  parameters
source                    MemorySource   id: i32[4],         64 B
                                         x: f32[4,3]
count        source       Count          id: i32[4],         64 B           6
                                         x: f32[4,3]
noise/noise  count        NoiseOperator  id: i32[4],         64 B           1
                                         x: f32[4,3]
noise/drop   noise/noise  Drop           id: i32[4],         64 B
                                         x: f32[4,3]
pair (sink)  count,       pair           both/0: f32[4,3],   96 B
             noise/drop                  both/1: f32[4,3]
off          source       spare          id: i32[4],         64 B
                                         x: f32[4,3]

node         notes
source
count        writes state
noise/noise  draws for each record
noise/drop   draws from its own rngs, writes state, shares parameters of count
pair (sink)
off          runs on demand
memory: data 160 B, parameters 28 B, carry 40 B, a batch 64 B"""


class Count(nnx.Module):
    def __init__(self) -> None:
        self.calls = nnx.Variable(np.zeros((), np.int32))
        self.by = nnx.Param(jnp.ones((2, 3)))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.calls[...] += 1
        return {**batch, "x": batch["x"] * self.by[...][:1]}


class Drop(nnx.Module):
    def __init__(self, other: Count, seed: int = 0) -> None:
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(seed))
        self.other = other

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "x": self.drop(batch["x"])}


def pair(left: Any, right: Any) -> Any:
    return {"both": (left["x"], right["x"])}


def spare(batch: Any) -> Any:
    return batch


def made(source: MemorySource, seed: int = 0) -> Pipeline[Any, Any]:
    count = Count()
    nodes: dict[str, Any] = {
        "count": count,
        "noise": [NoiseOperator(field="x"), Drop(count)],
        "pair": pair,
        "off": spare,
    }
    return Pipeline.from_dag(
        source=source, nodes=nodes, edges=EDGES, sink="pair", batch_size=4, rngs=nnx.Rngs(seed)
    )


@pytest.fixture
def pipeline() -> Pipeline[Any, Any]:
    return made(MemorySource(data=DATA, shuffle=True, rngs=nnx.Rngs(0)))


def held(pipeline: Pipeline[Any, Any]) -> list[Any]:
    def plain(x: Any) -> Any:
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    return [plain(x) for x in jax.tree.leaves(nnx.state(pipeline))]


def test_a_pipeline_describes_its_nodes_without_running_them(
    pipeline: Pipeline[Any, Any],
) -> None:
    with counted() as seen:
        assert str(pipeline.summary()) == pipeline.describe() == TABLE
    assert seen.compiled == []


def test_looking_at_costs_moves_nothing_and_changes_no_program(
    pipeline: Pipeline[Any, Any],
) -> None:
    pipeline.step()
    before = held(pipeline)
    found = pipeline.summary(cost=True, measure=True)
    for was, now in zip(before, held(pipeline), strict=True):
        np.testing.assert_array_equal(was, now)
    assert pipeline.cursor == (0, 4)
    with counted() as seen:
        pipeline.step()
    assert seen.compiled == []
    run = [row for row in found.rows if row.runs == "sink"]
    parts = sum(row.flops or 0.0 for row in run) + (found.source.flops or 0.0)
    assert parts == pytest.approx(found.totals.flops, rel=0.1)
    assert sum(row.share or 0.0 for row in found.rows) == pytest.approx(1.0)


def test_variants_are_counted_and_costed_together() -> None:
    source = MemorySource(data=DATA)
    stage = NoiseOperator(field="x")
    pipelines = Pipeline.variants(
        [
            Pipeline(source=source, stages=[stage], batch_size=5, rngs=nnx.Rngs(seed))
            for seed in range(2)
        ]
    )
    found = pipelines.summary(cost=True)
    assert found.totals.variants == (2,)
    assert str(found).startswith("2 variants of 10 records in batches of 5")
    (row,) = found.rows
    assert (row.parameters, row.bytes_out) == (2, 2 * 80)
    assert " 1 in each" in str(found)
    assert "<br/>learns 1 in each variant<br/>" in str(visual.draw(found))
    assert (row.flops or 0.0) + (found.source.flops or 0.0) == pytest.approx(
        found.totals.flops, rel=0.1
    )


def test_variants_are_told_by_what_differs() -> None:
    def noisy(std: float, seed: int) -> Pipeline[Any, Any]:
        stages = [NoiseOperator(std, field="x"), Count(), Drop(Count(), seed)]
        return Pipeline(source=source, stages=stages, batch_size=5, rngs=nnx.Rngs(seed))

    source = MemorySource(data=DATA)
    found = Pipeline.variants([noisy(0.1 * place, place) for place in range(6)]).summary()
    noise, count, drop = [row.varies for row in found.rows]
    assert (noise, count, drop) == (("strength: 0, 0.1, 0.2, 0.3, …",), (), ("drop.rngs.key",))
    assert found.totals.varies == ("seed",)
    assert "\neach variant has its own seed\nmemory:" in str(found)
    assert "varies in strength: 0, 0.1, 0.2, 0.3, …" in " ".join(str(found).split())
    drawn = str(visual.draw(found))
    assert "<br/>batches of 5<br/>6 variants<br/>each its own seed" in drawn
    assert "<br/>varies in strength: 0, 0.1, 0.2, 0.3, …" in drawn
    two = Pipeline.variants([noisy(0.5, 0), noisy(0.5, 0)])
    two.nodes["count"].by[1] = 2
    found = two.summary()
    assert ([row.varies for row in found.rows], found.totals.varies) == ([(), ("by",), ()], ())
    assert two.unstack()[0].summary().rows[1].varies == ()


def test_a_source_is_named_as_its_user_wrote_it() -> None:
    memory, windows = MemorySource(data=DATA), dp.Windows(DATA["x"], 3)
    sources = memory, memory[2:], memory[2:].split(0.5)[0], ArraySource(windows)
    found = [Pipeline(source=each, batch_size=2).summary().source.name for each in sources]
    assert found == [
        "MemorySource",
        "View of MemorySource",
        "View of View of MemorySource",
        "ArraySource(Windows)",
    ]


def test_records_on_the_host_are_told_and_not_lost(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", DATA["x"])
    source = HostSource(source=host.DiskSource({"x": tmp_path / "x.npy"}))
    double: Any = lambda batch: {"x": batch["x"] * 2}  # noqa: E731
    with Pipeline(source=source, stages=[double], batch_size=4) as pipeline:
        found = pipeline.summary(measure=True)
        assert found.source.is_hosted
        assert (found.source.name, found.totals.data_bytes) == (
            "HostSource(DiskSource)",
            120,
        )
        assert "memory: data 120 B on the host, " in str(found)
        assert [len(batch["x"]) for batch in pipeline] == [4, 4, 2]


def test_a_data_set_without_a_length_has_none() -> None:
    given = host.IterableSource(lambda: ({"x": np.float32(i)} for i in range(6)))
    with Pipeline(source=HostSource(source=given), stages=[spare], batch_size=4) as pipeline:
        first = pipeline.summary()
        assert (first.totals.records, first.totals.batches) == (None, None)
        assert str(first).splitlines()[:2] == [
            "records in batches of 4, Sequential, remainder 'partial': how many is known at",
            "  the end of an epoch",
        ]
        assert [batch["x"].tolist() for batch in pipeline] == [[0, 1, 2, 3], [4, 5]]
        assert pipeline.summary().totals.records == 6


def test_costs_are_refused_inside_a_trace(pipeline: Pipeline[Any, Any]) -> None:
    def inside(pipeline: Pipeline[Any, Any]) -> jax.Array:
        pipeline.summary(cost=True)
        return jnp.zeros(())

    message = (
        "cost and measure compile programs and run them, which cannot be done inside a trace (jit, "
        "scan, vmap); call summary outside."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        nnx.jit(inside)(pipeline)


def test_the_time_of_a_fetch_is_told_to_be_elsewhere() -> None:
    source: HostSource = HostSource(
        source=host.RandomAccessSource([{"x": np.ones(3, np.float32)}] * 8)
    )
    with Pipeline(source=source, batch_size=4) as pipeline:
        told = str(pipeline.summary(measure=True)).splitlines()
        assert told[-2:] == [
            "the time of `fetch`, on the host, is in none of these: pipeline.waited tells",
            "  of it",
        ]
        assert "fetch" not in str(pipeline.summary(cost=True))
    pipeline = Pipeline(source=MemorySource(data=DATA), batch_size=5)
    assert "fetch" not in str(pipeline.summary(measure=True))
