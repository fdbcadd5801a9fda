"""Sources, streams and batches of the wrong type."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, UInt32

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline, Source
from tests.types.records import Images, Labelled, Pooled

Pipe = Pipeline[Labelled, Pooled]
PurePipe = dp.Pipeline[Labelled, Pooled]


class Unlabelled(dp.AbstractSource[Labelled]):
    images: Array

    @property
    def size(self) -> int:
        return len(self.images)

    def rows(self, ids: UInt32[Array, " batch"]) -> Labelled:
        return Images(image=self.images[ids])  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Another(Source[Labelled]):
    def __init__(self, images: dp.ArraySource[Images]) -> None:
        self.images = images

    def pure(self) -> tuple[dp.AbstractSource[Labelled], dp.AbstractOrder]:
        return self.images, dp.Sequential()  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def of_a_pipeline(source: MemorySource[Images], stages: list[nnx.Module]) -> Pipe:
    return Pipe(source=source, stages=stages, batch_size=4, rngs=nnx.Rngs(0))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_a_graph(source: MemorySource[Images], nodes: dict[str, nnx.Module]) -> None:
    rngs, edges = nnx.Rngs(0), {"pool": ()}
    Pipe.from_dag(source=source, nodes=nodes, edges=edges, sink="", batch_size=4, rngs=rngs)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_a_pure_pipeline(source: MemorySource[Images], stages: PurePipe) -> None:
    Pipeline(source=source, stages=stages, batch_size=4, rngs=nnx.Rngs(0))  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


def of_the_core(source: dp.ArraySource[Labelled], stages: PurePipe) -> None:
    Pipeline(source=source, stages=stages, batch_size=4, rngs=nnx.Rngs(0))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_the_face(source: MemorySource[Labelled]) -> None:
    dp.Stream(source, batch_size=4)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_a_stream(source: dp.ArraySource[Images]) -> dp.Stream[Labelled]:
    return dp.Stream(source, batch_size=4)  # type: ignore[arg-type]  # pyright: ignore[reportReturnType]


def taken(stream: dp.Stream[Images]) -> Labelled:
    return stream.take(stream.start())[1]  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def flowing(pipeline: PurePipe, stream: dp.Stream[Images]) -> None:
    dp.step(pipeline, stream, stream.start())  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    dp.epoch(pipeline, stream, stream.start())  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    dp.scan(count, 0, pipeline, stream, stream.start(), length=2)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


def count(total: int, batch: Pooled) -> tuple[int, Array]:
    return total, batch["label"]


def applied(pipeline: PurePipe, batch: Images) -> None:
    dp.apply(pipeline, batch)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


def called(pipeline: Pipe, batch: Images) -> Pooled:
    return pipeline(batch)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def options(stream: dp.Stream[Labelled]) -> None:
    dp.Stream(stream.source, batch_size=4, remainder="wrap")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    dp.Stream(stream.source, True, batch_size=4)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    MemorySource(MemorySourceConfig(shuffel=True), data=jnp.zeros(3))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    MemorySource(data=jnp.zeros(3), shuffle="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
