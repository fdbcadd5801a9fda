"""A graph of `dagrax.pure`, from the type of the source to that of the carry."""

from typing import assert_type

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

import dagrax.pure as dp
from tests.types.records import IMAGE, LABEL, Labelled, Pooled


class Noise(eqx.Module):
    strength: Float[Array, ""]

    def __call__(self, batch: Labelled, *, key: PRNGKeyArray) -> Labelled:
        noise = jax.random.normal(key, batch["image"].shape)
        return {"image": batch["image"] + self.strength * noise, "label": batch["label"]}


def pool(batch: Labelled) -> Pooled:
    return {"mean": batch["image"].mean(axis=(1, 2)), "label": batch["label"]}


def between(clear: Pooled, noisy: Pooled) -> Pooled:
    return {"mean": (clear["mean"] + noisy["mean"]) / 2, "label": clear["label"]}


pipeline = dp.Pipeline[Labelled, Pooled].from_dag(
    nodes={"noise": Noise(jnp.float32(0.1)), "clear": pool, "noisy": pool, "between": between},
    edges={"noise": [], "clear": [], "noisy": ["noise"], "between": ["clear", "noisy"]},
    sink="between",
)
stream = dp.Stream(
    dp.ArraySource[Labelled]({"image": IMAGE, "label": LABEL}), batch_size=4, remainder="drop"
)
key = jax.random.key(1)
assert_type(pipeline, dp.Pipeline[Labelled, Pooled])
assert_type(stream, dp.Stream[Labelled])
dp.check(pipeline, stream)

after, batch, origin = stream.take(stream.start())
assert_type(batch, Labelled)
assert_type(origin, dp.Origin)
assert_type(dp.apply(pipeline, batch, key=key), Pooled)

after, output = dp.step(pipeline, stream, stream.start(), key=key)
assert_type(after, dp.Cursor)
assert_type(output, Pooled)

for cursor, output in dp.epoch(pipeline, stream, stream.start(), key=key):
    assert_type(cursor, dp.Cursor)
    assert_type(output, Pooled)
    assert output["mean"].shape == (4, 3)


def add(total: Array, batch: Pooled) -> tuple[Array, Pooled]:
    return total + batch["mean"].sum(), batch


cursor, total, stacked = dp.scan(add, jnp.zeros(()), pipeline, stream, after, key=key, length=2)
assert_type(total, Array)
assert_type(stacked, Pooled)
assert stacked["label"].shape == (2, 4)


def loss(pipeline: dp.Pipeline[Labelled, Pooled], stream: dp.Stream[Labelled]) -> Float[Array, ""]:
    _, batch = dp.step(pipeline, stream, stream.start(), key=key)
    return batch["mean"].sum()


gradient = jax.jit(jax.grad(loss))(pipeline, stream)
assert gradient.stages["noise"].strength.shape == ()
