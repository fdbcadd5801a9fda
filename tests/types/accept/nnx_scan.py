"""The ways to call `pipeline.scan`, and `pipeline.blocks`, which is called alike."""

from typing import assert_type

import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from dagrax.nnx_api import MemorySource, Pipeline
from tests.types.records import IMAGE, LABEL, Labelled


def pipe() -> Pipeline[Labelled, Labelled]:
    return Pipeline(
        source=MemorySource[Labelled](data={"image": IMAGE, "label": LABEL}),
        stages=[lambda batch: batch],
        batch_size=4,
        rngs=nnx.Rngs(0),
    )


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, image: Float[Array, "batch h w c"]) -> Float[Array, "batch 2"]:
        return self.linear(image.mean(axis=(1, 2)))


def loss_of(model: Model, batch: Labelled) -> Float[Array, ""]:
    logits = model(batch["image"])
    each: Array = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return each.mean()


def seen(batch: Labelled) -> Labelled:
    return batch


def train(model: Model, optimizer: nnx.Optimizer[Model], batch: Labelled) -> Float[Array, ""]:
    loss: Array
    loss, gradients = nnx.value_and_grad(loss_of)(model, batch)
    optimizer.update(model, gradients)
    return loss


def count(total: Int[Array, ""], batch: Labelled) -> tuple[Int[Array, ""], Int[Array, " batch"]]:
    return total + batch["label"].sum(), batch["label"]


def train_and_count(
    total: Int[Array, ""], model: Model, optimizer: nnx.Optimizer[Model], batch: Labelled
) -> tuple[Int[Array, ""], tuple[Array, Labelled]]:
    return total + 1, (train(model, optimizer, batch), batch)


pipeline, model = pipe(), Model(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)

batches = pipeline.scan(seen, length=2)
assert_type(batches, Labelled)
assert batches["image"].shape == (2, 4, 4, 4, 3)

losses = pipeline.scan(train, length=2, modules=(model, optimizer))
assert_type(losses, Array)
assert losses.shape == (2,)

total, labels = pipeline.scan(count, length=2, init_carry=jnp.zeros((), jnp.int32))
assert_type(total, Array)
assert_type(labels, Array)
assert total == LABEL.sum()

carried, (losses, batches) = pipeline.scan(
    train_and_count, length=2, modules=(model, optimizer), init_carry=jnp.zeros((), jnp.int32)
)
assert_type(carried, Array)
assert_type(losses, Array)
assert_type(batches, Labelled)
assert carried == 2

assert_type(pipeline.scan(loss_of, length=2, modules=(model,)), Array)

for batches in pipeline.blocks(seen, every=2, length=2):
    assert_type(batches, Labelled)

for losses in pipeline.blocks(train, every=1, length=1, modules=(model, optimizer)):
    assert_type(losses, Array)

for total, labels in pipeline.blocks(count, every=2, length=2, init_carry=jnp.zeros((), jnp.int32)):
    assert_type(total, Array)
    assert_type(labels, Array)

for carried, (losses, batches) in pipeline.blocks(
    train_and_count,
    every=1,
    length=1,
    modules=(model, optimizer),
    init_carry=jnp.zeros((), jnp.int32),
):
    assert_type(carried, Array)
    assert_type(losses, Array)
    assert_type(batches, Labelled)

for means in pipeline.blocks(loss_of, every=1, length=1, shared=(model,)):
    assert_type(means, Array)
