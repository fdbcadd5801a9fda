"""Stages, sources and pipelines as nnx modules, for the tests of `dagrax.nnx_api`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline, Records
from tests import zoo
from tests.zoo import Batch, Remainder, drawn, mixed, moved

RNGS_SEED = 5


class Mix(nnx.Module):
    """`zoo.Mix` with its parameter in a Variable."""

    def __init__(self, gain: Any):
        self.gain = nnx.Param(gain)

    def __call__(self, *batches: Batch) -> Batch:
        return mixed(self.gain[...], batches)


class Noise(nnx.Module):
    """`zoo.Noise` with its parameter in a Variable."""

    def __init__(self, gain: Any):
        self.gain = nnx.Param(gain)

    def __call__(self, *batches: Batch, record_keys: Any) -> Batch:
        return moved(mixed(self.gain[...], batches), *jax.vmap(drawn)(record_keys))


class BatchNoise(nnx.Module):
    """`zoo.BatchNoise` with its parameter in a Variable."""

    def __init__(self, gain: Any):
        self.gain = nnx.Param(gain)

    def __call__(self, *batches: Batch, key: Any) -> Batch:
        bits, x = drawn(key)
        return moved(mixed(self.gain[...], batches), bits, x[None])


TWINS = {zoo.Mix: Mix, zoo.Noise: Noise, zoo.BatchNoise: BatchNoise}


class Scale(nnx.Module):
    """`x` times a parameter, and a count of the calls."""

    def __init__(self, weight: float = 2.0):
        self.weight = nnx.Param(jnp.float32(weight))
        self.calls = nnx.Variable(jnp.int32(0))

    def __call__(self, batch: Batch) -> Batch:
        self.calls[...] = self.calls[...] + 1
        return {**batch, "x": batch["x"] * self.weight[...]}


class RotatedSource(MemorySource):
    """A source of the user's own, with an order of their own."""

    def pure(self) -> tuple[dp.AbstractSource, dp.AbstractOrder]:
        return super().pure()[0], zoo.Rotated()


def counting(size: int = 10, *, shuffle: bool = False) -> MemorySource:
    """`x` is 0, 1, …: each record is its own id."""
    data = {"x": np.arange(size, dtype=np.float32)}
    return MemorySource(MemorySourceConfig(shuffle=shuffle), data=data, rngs=nnx.Rngs(RNGS_SEED))


def linear(
    *stages: Callable[..., Any],
    size: int = 10,
    batch_size: int = 4,
    remainder: Remainder = "partial",
    shuffle: bool = False,
) -> Pipeline:
    return Pipeline(
        source=counting(size, shuffle=shuffle),
        stages=list(stages) or [same],
        batch_size=batch_size,
        rngs=nnx.Rngs(RNGS_SEED),
        remainder=remainder,
    )


def graph(
    nodes: Mapping[str, Callable[..., Any]],
    edges: Mapping[str, Sequence[str]],
    sink: str,
    *,
    size: int = 8,
    batch_size: int = 4,
) -> Pipeline:
    return Pipeline.from_dag(
        source=counting(size),
        nodes=nodes,
        edges=edges,
        sink=sink,
        batch_size=batch_size,
        rngs=nnx.Rngs(RNGS_SEED),
    )


def same(batch: Any) -> Any:
    return batch


def xs(batch: Batch) -> list[float]:
    """The field `x` of a batch as numbers."""
    numbers: list[float] = np.asarray(batch["x"]).tolist()
    return numbers


def evaluate(pipeline: Any) -> None:
    pipeline.eval()


def train(pipeline: Any) -> None:
    pipeline.train()


def data_of(pipeline: Any) -> Any:
    """The one array of a pipeline's source."""
    (array,) = jax.tree.leaves(pipeline.source.data)
    return array


def replace_data(pipeline: Any, x: Any) -> None:
    pipeline.source.data["x"] = Records(jnp.asarray(x, jnp.float32))
