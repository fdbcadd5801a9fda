from typing import Any

import jax
import numpy as np
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, NoiseOperator, Pipeline


class Count(nnx.Module):
    def __init__(self) -> None:
        self.calls = nnx.Variable(np.zeros((), np.int32))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.calls[...] += 1
        return batch


def pair(left: Any, right: Any) -> Any:
    return {"both": (left["x"], right["x"])}


def spare(batch: Any) -> Any:
    return batch


EDGES: dict[str, list[str]] = {
    "count": [],
    "noise": ["count"],
    "pair": ["count", "noise"],
    "off": [],
}
DATA = {"id": np.arange(10), "x": np.zeros((10, 3), np.float32)}
TABLE = """\
10 records in batches of 4, Shuffled, remainder 'partial': 3 batches an epoch, the last of 2
node         reads         stage          output                              bytes  parameters  draws     state    runs
source                     ArraySource    id: i32[4], x: f32[4,3]              64 B
count        source        Count          id: i32[4], x: f32[4,3]              64 B                        written
noise        count         NoiseOperator  id: i32[4], x: f32[4,3]              64 B           1  a record
pair (sink)  count, noise  pair           both/0: f32[4,3], both/1: f32[4,3]   96 B
off          source        spare          id: i32[4], x: f32[4,3]              64 B                                 on demand
memory: data 160 B, parameters 4 B, carry 28 B, a batch 64 B"""  # noqa: E501


def test_a_pipeline_describes_its_nodes_without_running_them() -> None:
    count = Count()
    nodes: dict[str, Any] = {
        "count": count,
        "noise": NoiseOperator(field="x"),
        "pair": pair,
        "off": spare,
    }
    source = MemorySource(MemorySourceConfig(shuffle=True), data=DATA, rngs=nnx.Rngs(0))
    pipeline = Pipeline.from_dag(
        source=source, nodes=nodes, edges=EDGES, sink="pair", batch_size=4, rngs=nnx.Rngs(0)
    )
    assert pipeline.describe() == TABLE
    assert pipeline.cursor == (0, 0)
    assert count.calls[...] == 0
    pipeline.step()
    assert count.calls[...] == 1


def test_the_pure_core_describes_its_own_stages() -> None:
    noise = dp.per_record(lambda record, *, key: {"x": jax.random.normal(key, (2,))})
    stream = dp.Stream(dp.ArraySource(DATA), batch_size=5, remainder="drop")
    assert dp.describe(dp.Pipeline.linear([noise]), stream) == (
        "10 records in batches of 5, Sequential, remainder 'drop': 2 batches an epoch\n"
        "node           reads   stage        output                   bytes  draws\n"
        "source                 ArraySource  id: i32[5], x: f32[5,3]   80 B\n"
        "lambda (sink)  source  <lambda>     x: f32[5,2]               40 B  a record\n"
        "memory: data 160 B, parameters 0 B, carry 8 B, a batch 80 B"
    )


def test_the_facts_stand_apart_from_their_text() -> None:
    stream = dp.Stream(dp.ArraySource(DATA), dp.Shuffled(jax.random.key(0)), batch_size=4)
    nodes: dict[str, Any] = {"a": spare, "b": pair, "off": spare}
    edges: dict[str, list[str]] = {"a": [], "b": ["a", "a"], "off": []}
    pipeline = dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="b")
    found = dp.summary(pipeline, stream)
    assert str(found) == dp.describe(pipeline, stream)
    totals = found.totals
    assert (totals.records, totals.batch_size, totals.remainder) == (10, 4, "partial")
    assert (totals.batches, totals.dropped, totals.padded) == (3, 0, 0)
    assert (found.source.name, found.source.order) == ("ArraySource", "Shuffled")
    batch = {
        "id": jax.ShapeDtypeStruct((4,), np.int32),
        "x": jax.ShapeDtypeStruct((4, 3), np.float32),
    }
    assert found.source.output == batch
    assert [(row.name, row.predecessors, row.stage, row.runs) for row in found.rows] == [
        ("a", (), "spare", "sink"),
        ("b", ("a", "a"), "pair", "sink"),
        ("off", (), "spare", "on demand"),
    ]
    assert [row.output for row in found.rows] == [batch, {"both": (batch["x"],) * 2}, batch]
