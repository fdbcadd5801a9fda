"""Step functions of the wrong signature, with carries and modules that they do not take."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

import dagrax.pure as dp
from dagrax.nnx_api import Pipeline
from tests.types.records import Images, Labelled, Pooled

Pipe = Pipeline[Labelled, Pooled]
Optimizer = nnx.Optimizer[nnx.Linear]


def alone(batch: Pooled) -> Array:
    return batch["mean"].sum()


def of_images(batch: Images) -> Array:
    return batch["image"].sum()


def nullary() -> Array:
    return jnp.zeros(())


def train(model: nnx.Linear, optimizer: Optimizer, batch: Pooled) -> Array:
    return model(batch["mean"]).sum()


def count(total: Array, batch: Pooled) -> tuple[Array, Array]:
    return total + 1, batch["label"]


def forget(total: Array, batch: Pooled) -> Array:
    return total + 1


def swap(total: Array, batch: Pooled) -> tuple[None, Array]:
    return None, total


def count_images(total: Array, batch: Images) -> tuple[Array, Array]:
    return total + 1, batch["image"]


def train_and_count(total: Array, model: nnx.Linear, batch: Pooled) -> tuple[Array, Array]:
    return total + 1, model(batch["mean"])


def wrong_batch(pipeline: Pipe) -> None:
    pipeline.scan(of_images, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def no_batch(pipeline: Pipe) -> None:
    pipeline.scan(nullary, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def length_of_another_kind(pipeline: Pipe) -> None:
    pipeline.scan(alone, length="2")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def modules_not_passed(pipeline: Pipe) -> None:
    pipeline.scan(train, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def modules_not_taken(pipeline: Pipe, model: nnx.Linear) -> None:
    pipeline.scan(alone, length=2, modules=(model,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def module_missing(pipeline: Pipe, model: nnx.Linear) -> None:
    pipeline.scan(train, length=2, modules=(model,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def modules_swapped(pipeline: Pipe, model: nnx.Linear, optimizer: Optimizer) -> None:
    pipeline.scan(train, length=2, modules=(optimizer, model))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def modules_no_tuple(pipeline: Pipe, model: nnx.Linear, optimizer: Optimizer) -> None:
    pipeline.scan(train, length=2, modules=[model, optimizer])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def carry_not_taken(pipeline: Pipe) -> None:
    pipeline.scan(alone, length=2, init_carry=jnp.zeros(()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def wrong_carry(pipeline: Pipe) -> None:
    pipeline.scan(count, length=2, init_carry="none")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def carry_not_returned(pipeline: Pipe) -> None:
    pipeline.scan(forget, length=2, init_carry=jnp.zeros(()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def carry_of_another_type(pipeline: Pipe) -> None:
    pipeline.scan(swap, length=2, init_carry=jnp.zeros(()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def carry_behind_modules(pipeline: Pipe, model: nnx.Linear) -> None:
    pipeline.scan(train_and_count, length=2, modules=(jnp.zeros(()),), init_carry=model)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def wrong_result(pipeline: Pipe) -> Labelled:
    return pipeline.scan(alone, length=2)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def carry_not_unpacked(pipeline: Pipe) -> Array:
    return pipeline.scan(count, length=2, init_carry=jnp.zeros(()))  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def in_blocks(pipeline: Pipe, model: nnx.Linear) -> None:
    pipeline.blocks(of_images, every=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pipeline.blocks(alone)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    pipeline.blocks(train, every=2, modules=(model,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pipeline.blocks(forget, every=2, init_carry=jnp.zeros(()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def pure(pipeline: dp.Pipeline[Labelled, Pooled], stream: dp.Stream[Labelled]) -> None:
    zero, start = jnp.zeros(()), stream.start()
    dp.scan(count_images, zero, pipeline, stream, start, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    dp.scan(forget, zero, pipeline, stream, start, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    dp.scan(swap, zero, pipeline, stream, start, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    dp.scan(alone, zero, pipeline, stream, start, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    dp.scan(count, "none", pipeline, stream, start, length=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    dp.scan(count, zero, pipeline, stream, start)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
