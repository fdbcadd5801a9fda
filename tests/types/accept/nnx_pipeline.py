"""A `dagrax.nnx_api.Pipeline` hands out batches of its type in every way it has."""

from typing import Any, assert_type

import jax.numpy as jnp
import numpy as np
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import (
    EpochIterator,
    MemorySource,
    MemorySourceConfig,
    NoiseOperator,
    Pipeline,
)
from tests.types.records import IMAGE, LABEL, Labelled, Pooled


class Pool(nnx.Module):
    def __call__(self, batch: Labelled) -> Pooled:
        return {"mean": batch["image"].mean(axis=(1, 2)), "label": batch["label"]}


data = {"image": IMAGE, "label": LABEL}
source = MemorySource[Labelled](data=data)
pipeline = Pipeline[Labelled, Pooled](
    source=source, stages=[NoiseOperator(0.1), Pool()], batch_size=4, rngs=nnx.Rngs(0)
)
assert_type(source.pure(), tuple[dp.AbstractSource[Labelled], dp.AbstractOrder])

assert_type(pipeline.step(), Pooled)
assert_type(iter(pipeline), EpochIterator[Pooled])
for batch in pipeline:
    assert_type(batch, Pooled)
    assert batch["mean"].shape == (4, 3)
own: Labelled = {"image": jnp.asarray(IMAGE[:3]), "label": jnp.asarray(LABEL[:3])}
assert_type(pipeline(own), Pooled)
assert pipeline(own)["mean"].shape == (3, 3)
assert_type(pipeline.outputs("pool", batch=own), dict[str, Any])
assert_type(pipeline.cursor, dp.Cursor)

graph = Pipeline[Labelled, Pooled].from_dag(
    source=source,
    nodes={"noise": NoiseOperator(0.1), "pool": Pool()},
    edges={"noise": [], "pool": ["noise"]},
    sink="pool",
    batch_size=4,
    rngs=nnx.Rngs(0),
)
assert_type(graph, Pipeline[Labelled, Pooled])
assert_type(graph.step()["label"].shape, tuple[int, ...])

pure = dp.Pipeline[Labelled, Pooled].linear([Pool()])
inferred = Pipeline(source=source, stages=pure, batch_size=4, rngs=nnx.Rngs(0))
assert_type(inferred, Pipeline[Labelled, Pooled])
assert_type(next(iter(inferred)), Pooled)

shuffled = MemorySource[Labelled](MemorySourceConfig(), data, rngs=nnx.Rngs(0))
assert_type(shuffled, MemorySource[Labelled])
shuffled = MemorySource[Labelled](data=data, shuffle=True, rngs=nnx.Rngs(0))
assert len(shuffled) == len(IMAGE)

untyped = Pipeline(
    source=MemorySource(data=[{"x": np.float32(1)}, {"x": np.float32(2)}]),
    stages=[lambda batch: batch],
    batch_size=2,
    rngs=nnx.Rngs(0),
)
assert_type(untyped.step(), Any)
