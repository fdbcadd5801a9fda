"""Fields that are misspelt, missing, or no arrays."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

import dagrax.pure as dp
from dagrax.nnx_api import Pipeline
from tests.types.records import Images, Labelled, Pooled


class Pair(NamedTuple):
    image: Float[Array, "batch h w c"]
    label: Float[Array, " batch"]


def read_by_a_stage(batch: Labelled) -> Images:
    return {"image": batch["imgae"]}  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]


def read_from_a_named_tuple(pair: Pair) -> object:
    return pair.imgae  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def written(batch: Labelled) -> Pooled:
    mean = batch["image"].mean(axis=(1, 2))
    return {"mean": mean, "lable": batch["label"]}  # type: ignore[typeddict-item, typeddict-unknown-key]  # pyright: ignore[reportReturnType]


def left_out(batch: Labelled) -> Pooled:
    return {"mean": batch["image"].mean(axis=(1, 2))}  # type: ignore[typeddict-item]  # pyright: ignore[reportReturnType]


def added(batch: Labelled) -> Images:
    return {"image": batch["image"], "label": batch["label"]}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportReturnType]


def no_array(batch: Images) -> Labelled:
    return {"image": batch["image"], "label": "cat"}  # type: ignore[typeddict-item]  # pyright: ignore[reportReturnType]


def read_from_a_step(pipeline: Pipeline[Labelled, Pooled]) -> object:
    return pipeline.step()["label "]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]


def read_in_a_loop(pipeline: Pipeline[Labelled, Pooled]) -> object:
    return [batch["image"] for batch in pipeline]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]


def read_from_a_scan(pipeline: Pipeline[Labelled, Pooled]) -> object:
    def seen(batch: Pooled) -> Pooled:
        return batch

    return pipeline.scan(seen, length=2)["maen"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]


def read_from_a_pure_step(
    pipeline: dp.Pipeline[Labelled, Pooled], stream: dp.Stream[Labelled]
) -> object:
    _, batch = dp.step(pipeline, stream, stream.start())
    return batch["image"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]


def read_from_a_pure_scan(
    pipeline: dp.Pipeline[Labelled, Pooled], stream: dp.Stream[Labelled]
) -> object:
    def body(total: Array, batch: Pooled) -> tuple[Array, Pooled]:
        return total + batch["mean"].sum(), batch

    _, _, batches = dp.scan(body, jnp.zeros(()), pipeline, stream, stream.start(), length=2)
    return batches["maen"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]
