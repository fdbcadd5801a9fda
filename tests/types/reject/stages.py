"""Stages and pipelines that return another record than they say."""

from typing import Generic, TypeVar

import equinox as eqx
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline
from tests.types.records import Images, Labelled, Pooled

Record = TypeVar("Record")


class Same(eqx.Module, Generic[Record]):
    def __call__(self, record: Record) -> Record:
        return record


class Pool(nnx.Module):
    def __call__(self, batch: Labelled) -> Pooled:
        return batch  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def pool(batch: Labelled) -> Pooled:
    return Same[Labelled]()(batch)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def generic(batch: Images) -> Images:
    return Same[Labelled]()(batch)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def output(pipeline: Pipeline[Labelled, Pooled]) -> Labelled:
    return pipeline.step()  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def called(pipeline: Pipeline[Labelled, Pooled], batch: Labelled) -> Labelled:
    return pipeline(batch)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def applied(pipeline: dp.Pipeline[Labelled, Pooled], batch: Labelled) -> Labelled:
    return dp.apply(pipeline, batch)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def pure_pipeline(pipeline: dp.Pipeline[Labelled, Pooled]) -> dp.Pipeline[Labelled, Labelled]:
    return pipeline  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def built(
    source: MemorySource[Labelled], pipeline: dp.Pipeline[Labelled, Labelled]
) -> Pipeline[Labelled, Pooled]:
    rngs = nnx.Rngs(0)
    return Pipeline(source=source, stages=pipeline, batch_size=4, rngs=rngs)  # type: ignore[arg-type]  # pyright: ignore[reportReturnType]


def no_stages() -> dp.Pipeline:
    return dp.Pipeline.linear([pool, 3])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def no_list() -> dp.Pipeline:
    return dp.Pipeline.linear(pool)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def no_edges() -> dp.Pipeline:
    return dp.Pipeline.from_dag(nodes={"pool": pool}, edges={"pool": None}, sink="pool")  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
