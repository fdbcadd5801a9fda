"""A branching DAG against the loop that a JAX user would write by hand.

10,000 records of 32x32x3 uint8, shuffled, batch 50: one branch flips each image at random, one
brings it to [0, 1], the merge averages the two. Prints medians and ratios of whole epochs.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rounds import machine, medians

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

RECORDS, BATCH, HIDDEN = 10_000, 50, 128
STEPS = RECORDS // BATCH
TX = optax.adam(1e-3)
Arrays = dict[str, Any]


def make_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (RECORDS, 32, 32, 3), dtype=np.uint8)
    return {"image": image, "label": rng.integers(0, 10, RECORDS, dtype=np.int32)}


# By hand.


def hand_batch(data: Arrays, ids: jax.Array, key: jax.Array, mode: Any = None) -> Arrays:
    image = data["image"].at[ids].get(mode=mode).astype(jnp.float32)
    flip = jax.random.bernoulli(key, shape=(BATCH, 1, 1, 1))
    augmented = jnp.where(flip, image[:, :, ::-1], image)
    return {"image": (augmented + image / 255.0) / 2, "label": data["label"].at[ids].get(mode=mode)}


@partial(jax.jit, static_argnames="mode")
def hand_step(
    data: Arrays, order: jax.Array, step: Any, key: jax.Array, mode: Any = None
) -> Arrays:
    ids = jax.lax.dynamic_slice(order, (step * BATCH,), (BATCH,))
    return hand_batch(data, ids, jax.random.fold_in(key, step), mode)


@jax.jit
def hand_order(key: jax.Array) -> jax.Array:
    return jax.random.permutation(key, RECORDS)


def hand_for(data: Arrays, key: jax.Array, mode: Any = None) -> Any:
    order = hand_order(key)
    for step in range(STEPS):
        batch = hand_step(data, order, step, key, mode)
    return batch


def hand_loss(params: Arrays, batch: Arrays) -> jax.Array:
    flat = batch["image"].reshape(BATCH, -1)
    hidden = jax.nn.relu(flat @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"] + params["b2"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()


def hand_update(params: Arrays, state: Any, batch: Arrays) -> tuple[Arrays, Any, jax.Array]:
    loss, gradient = jax.value_and_grad(hand_loss)(params, batch)
    updates, state = TX.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, loss  # type: ignore[return-value]


@jax.jit
def hand_train_step(
    data: Arrays, order: jax.Array, step: Any, key: jax.Array, params: Arrays, state: Any
) -> tuple[Arrays, Any, jax.Array]:
    return hand_update(params, state, hand_step(data, order, step, key))


def hand_train(data: Arrays, key: jax.Array, params: Arrays, state: Any) -> Any:
    order = hand_order(key)
    for step in range(STEPS):
        params, state, loss = hand_train_step(data, order, step, key, params, state)
    return loss


@jax.jit
def hand_scan(data: Arrays, key: jax.Array, params: Arrays, state: Any) -> Any:
    order = hand_order(key).reshape(STEPS, BATCH)

    def body(carry: Any, xs: Any) -> Any:
        ids, step = xs
        batch = hand_batch(data, ids, jax.random.fold_in(key, step))
        *carry, loss = hand_update(*carry, batch)
        return tuple(carry), loss

    return jax.lax.scan(body, (params, state), (order, jnp.arange(STEPS)))


# With dagrax.


class Flip(nnx.Module):
    def __call__(self, batch: Arrays, *, key: jax.Array) -> Arrays:
        image = batch["image"].astype(jnp.float32)
        flip = jax.random.bernoulli(key, shape=(len(image), 1, 1, 1))
        return {**batch, "image": jnp.where(flip, image[:, :, ::-1], image)}


class Normalize(nnx.Module):
    def __call__(self, batch: Arrays) -> Arrays:
        return {**batch, "image": batch["image"].astype(jnp.float32) / 255.0}


class Average(nnx.Module):
    def __call__(self, augmented: Arrays, normalized: Arrays) -> Arrays:
        image = (augmented["image"] + normalized["image"]) / 2
        return {"image": image, "label": normalized["label"]}


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(32 * 32 * 3, HIDDEN, rngs=rngs)
        self.second = nnx.Linear(HIDDEN, 10, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        flat = image.reshape(len(image), -1)
        return self.second(nnx.relu(self.first(flat)))


def make_pipeline(data: Any) -> Pipeline:
    config = MemorySourceConfig(shuffle=True)
    return Pipeline.from_dag(
        source=MemorySource(config, data=data, rngs=nnx.Rngs(0)),
        nodes={"augment": Flip(), "normalize": Normalize(), "merge": Average()},
        edges={"augment": [], "normalize": [], "merge": ["augment", "normalize"]},
        sink="merge",
        batch_size=BATCH,
        rngs=nnx.Rngs(0),
    )


def train_step(model: MLP, optimizer: nnx.Optimizer[MLP], batch: Arrays) -> jax.Array:
    def loss_fn(model: MLP) -> jax.Array:
        logits = model(batch["image"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    loss, gradient = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, gradient)
    return loss


def last_of(pipeline: Pipeline) -> Any:
    batch = None
    for batch in pipeline:  # noqa: B007
        pass
    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    host = make_data()
    data = jax.tree.map(jnp.asarray, host)
    key = jax.random.key(0)
    pipeline = make_pipeline(host)
    model = MLP(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, TX, wrt=nnx.Param)
    params = {
        "w1": model.first.kernel[...],
        "b1": jnp.zeros(HIDDEN),
        "w2": model.second.kernel[...],
        "b2": jnp.zeros(10),
    }
    state = TX.init(params)

    print(f"{machine()}; medians of {rounds} interleaved rounds, an epoch of {STEPS} batches\n")
    loops = medians(
        {
            "hand-written for": lambda: hand_for(data, key),
            "the same, promised in bounds": lambda: hand_for(data, key, "promise_in_bounds"),
            "dagrax for": lambda: last_of(pipeline),
            "dagrax step()": lambda: [pipeline.step() for _ in range(STEPS)][-1],
        },
        rounds,
    )
    show(loops, "hand-written for")
    training = medians(
        {
            "hand-written jit step in a loop": lambda: hand_train(data, key, params, state),
            "hand-written lax.scan": lambda: hand_scan(data, key, params, state),
            "dagrax scan": lambda: pipeline.scan(
                train_step, length=STEPS, modules=(model, optimizer)
            ),
        },
        rounds,
    )
    show(training, "hand-written jit step in a loop", "hand-written lax.scan")


def show(seconds: dict[str, float], *bases: str) -> None:
    heads = ["an epoch", "ms", "us a batch", *(f"/ {base}" for base in bases)]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, value in seconds.items():
        ratios = [f"{value / seconds[base]:.2f}" for base in bases]
        cells = [name, f"{value * 1e3:.1f}", f"{value / STEPS * 1e6:.0f}", *ratios]
        print(f"| {' | '.join(cells)} |")
    print()


if __name__ == "__main__":
    main()
