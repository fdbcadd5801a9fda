"""The pure core alone: pipelines for a program that is functions and pytrees throughout."""

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

import dagrax.pure as dp

Batch = dict[str, Shaped[Array, "batch ..."]]


class Whiten(eqx.Module):
    """A stage is any callable pytree: its arrays are leaves, and gradients reach them."""

    shift: Float[Array, " features"]
    gain: Float[Array, " features"]

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "x": (batch["x"] - self.shift[None]) * self.gain[None]}


class Jitter(eqx.Module):
    """A stage written for one record, mapped over batches by `dp.per_record`."""

    strength: Float[Array, ""]

    def __call__(self, record: Batch, *, key: PRNGKeyArray) -> Batch:
        x = record["x"]
        return {**record, "x": x + self.strength * jax.random.normal(key, x.shape)}


def join(whitened: Batch, jittered: Batch) -> Batch:
    """A merge of two branches; a plain function is a stage too."""
    return {**whitened, "x": jnp.concatenate([whitened["x"], jittered["x"]], axis=-1)}


def make_data(records: int) -> dict[str, np.ndarray]:
    """A regression problem whose features are far from zero and of different scales."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(records, 3)).astype(np.float32)
    truth, scales = np.array([[1.0, -2.0, 0.5], [1.0, 2.0, 0.5]], np.float32)
    return {"x": x * scales + np.float32(5.0), "y": x @ truth}


def make_pipeline(data: dict[str, np.ndarray]) -> dp.Pipeline:
    """Two branches off the source, and their merge."""
    mean, deviation = data["x"].mean(axis=0), data["x"].std(axis=0)
    return dp.Pipeline.from_dag(
        nodes={
            "whiten": Whiten(jnp.asarray(mean), jnp.asarray(1 / deviation)),
            "jitter": dp.per_record(Jitter(jnp.float32(0.1))),
            "join": join,
        },
        edges={"whiten": [], "jitter": ["whiten"], "join": ["whiten", "jitter"]},
        sink="join",
    )


def loss(weights: Float[Array, " features"], batch: Batch) -> Float[Array, ""]:
    """The mean squared error of a linear model."""
    return jnp.mean((batch["x"] @ weights - batch["y"]) ** 2)


@jax.jit
def train_epoch(
    weights: Array, pipeline: dp.Pipeline, stream: dp.Stream, cursor: dp.Cursor, key: PRNGKeyArray
) -> tuple[dp.Cursor, Array, Array]:
    """An epoch inside a `jax.jit` of one's own: the data come in as leaves of `stream`."""

    def body(weights: Array, batch: Batch) -> tuple[Array, Array]:
        value, gradient = jax.value_and_grad(loss)(weights, batch)
        return weights - 0.1 * gradient, value

    steps = stream.steps_per_epoch
    return dp.scan(body, weights, pipeline, stream, cursor, key=key, length=steps)


def train(pipeline: dp.Pipeline, stream: dp.Stream, epochs: int) -> Array:
    """Epoch by epoch; the cursor and the weights are all that there is to save."""
    key, cursor, weights = jax.random.key(0), stream.start(), jnp.zeros(6)
    history = []
    for _ in range(epochs):
        cursor, weights, losses = train_epoch(weights, pipeline, stream, cursor, key)
        history.append(losses)
    assert (int(cursor.epoch), int(cursor.offset)) == (epochs, 0)
    assert history[-1].shape == (stream.steps_per_epoch,) and history[-1][-1] < 0.1
    print(f"scan: {epochs} epochs of {len(history[-1])} steps, the last loss is below 0.1")
    return weights


def slopes(pipeline: dp.Pipeline, batch: Any, weights: Array) -> dp.Pipeline:
    """The gradient of a loss by the arrays of the stages: a pipeline of gradients."""

    def through(pipeline: dp.Pipeline) -> Float[Array, ""]:
        return loss(weights, dp.apply(pipeline, batch, key=jax.random.key(1)))

    gradient: dp.Pipeline = jax.grad(through)(pipeline)
    return gradient


def joint_epoch(
    pipeline: dp.Pipeline, weights: Array, stream: dp.Stream, key: PRNGKeyArray
) -> tuple[dp.Pipeline, Array, Array]:
    """Model and pipeline learn together: `Stream.scan` hands out the source batches, so that the
    loss can apply the pipeline itself. `origin` keeps the draws those of the records."""

    def body(
        both: tuple[dp.Pipeline, Array], batch: Batch, origin: dp.Origin
    ) -> tuple[tuple[dp.Pipeline, Array], Array]:
        def joint(both: tuple[dp.Pipeline, Array]) -> Float[Array, ""]:
            pipeline, weights = both
            return loss(weights, dp.apply(pipeline, batch, key=key, origin=origin))

        value, gradients = jax.value_and_grad(joint)(both)
        return jax.tree.map(lambda x, g: x - 0.01 * g, both, gradients), value

    start, steps = stream.start(), stream.steps_per_epoch
    _, (pipeline, weights), losses = stream.scan(body, (pipeline, weights), start, steps)
    return pipeline, weights, losses


def strength(pipeline: dp.Pipeline) -> float:
    """How strong the jitter is."""
    stage: Any = pipeline.stages["jitter"]
    return float(stage.fn.strength)


def main() -> None:
    """Train, look at gradients, and train the pipeline too."""
    data = make_data(256)
    pipeline = make_pipeline(data)
    stream = dp.Stream(dp.ArraySource(data), dp.Shuffled(jax.random.key(2)), batch_size=32)
    weights = train(pipeline, stream, epochs=10)

    baked = jax.make_jaxpr(train_epoch)(
        weights, pipeline, stream, stream.start(), jax.random.key(0)
    )
    assert sum(np.size(constant) for constant in baked.consts) == 0
    print("jit: the data are arguments of the compiled epoch, none of them a constant")

    gradient = slopes(pipeline, data, weights)
    whiten: Any = gradient.stages["whiten"]
    shift = whiten.shift
    assert shift.shape == (3,) and strength(gradient) > 0
    print(f"grad: {shift.shape} numbers for whiten.shift, and more jitter means more loss")

    learned, _, _ = jax.jit(joint_epoch)(pipeline, weights, stream, jax.random.key(0))
    assert strength(learned) < strength(pipeline)
    print("joint: trained with the model, the jitter grew weaker")

    assert "flax" not in sys.modules
    print("pure: flax was not imported")


if __name__ == "__main__":
    main()
