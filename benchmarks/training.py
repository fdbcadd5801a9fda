"""Training steps: dagrax `scan` and `for` against the loops of a JAX user.

Images of 32x32x3 uint8 at batch 50 through a branching graph (one branch flips at random, one
brings to [0, 1], the merge averages) into an MLP and a CNN; 64 tokens at batch 64 into a small
transformer. All train the same nnx model by the same optimizer, on a fresh order each epoch or in
the order of the records. By hand: a jitted step in a Python loop, fused with the reading of the
batch or after it; and `lax.scan`. Shuffled, both go over a permutation table; in order, by slices.
Where datarax is installed, its `scan` over the same graph.
"""

import importlib.util
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rounds import Bound, Report, measure, shown

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

TX = optax.adam(1e-3)
VOCABULARY, LENGTH, WIDTH = 256, 64, 64
Batch = dict[str, Any]


class Task(NamedTuple):
    data: Batch
    steps: int
    batch_size: int
    model: Callable[[], nnx.Module]
    nodes: dict[str, Any]
    edges: dict[str, list[str]]
    by_hand: Callable[[Batch, jax.Array], Batch]


# The models.


class MLP(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(32 * 32 * 3, 128, rngs=rngs)
        self.second = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, batch: Batch) -> jax.Array:
        flat = batch["image"].reshape(len(batch["image"]), -1)
        return self.second(nnx.relu(self.first(flat)))


class CNN(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.second = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.last = nnx.Linear(32 * 8 * 8, 10, rngs=rngs)

    def __call__(self, batch: Batch) -> jax.Array:
        x = batch["image"]
        for layer in (self.first, self.second):
            x = nnx.max_pool(nnx.relu(layer(x)), (2, 2), strides=(2, 2))
        return self.last(x.reshape(len(x), -1))


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(4, WIDTH, decode=False, rngs=rngs)
        self.wide = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.narrow = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        mask = jnp.tril(jnp.ones((1, 1, LENGTH, LENGTH), bool))
        x = x + self.attention(self.norms[0](x), mask=mask)
        return x + self.narrow(nnx.gelu(self.wide(self.norms[1](x))))


class Transformer(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.place = nnx.Param(jnp.zeros((1, LENGTH, WIDTH)))
        self.blocks = nnx.List([Block(rngs) for _ in range(2)])
        self.last = nnx.Linear(WIDTH, VOCABULARY, rngs=rngs)

    def __call__(self, batch: Batch) -> jax.Array:
        x = self.embed(batch["token"]) + self.place[...]
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def loss_of(model: Any, batch: Batch) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(model(batch), batch["label"]).mean()


# The stages.


class Flip(nnx.Module):
    def __call__(self, batch: Batch, *, key: jax.Array) -> Batch:
        return {**batch, "image": flipped(batch["image"], key)}


def normalize(batch: Batch) -> Batch:
    return {**batch, "image": batch["image"].astype(jnp.float32) / 255}


def average(flipped: Batch, normalized: Batch) -> Batch:
    return {**normalized, "image": (flipped["image"] + normalized["image"]) / 2}


def next_token(batch: Batch) -> Batch:
    return {"token": batch["text"][:, :-1], "label": batch["text"][:, 1:]}


def flipped(image: jax.Array, key: jax.Array) -> jax.Array:
    image = image.astype(jnp.float32)
    flip = jax.random.bernoulli(key, shape=(len(image), 1, 1, 1))
    return jnp.where(flip, image[:, :, ::-1], image)


def augmented(batch: Batch, key: jax.Array) -> Batch:
    image = (flipped(batch["image"], key) + batch["image"].astype(jnp.float32) / 255) / 2
    return {**batch, "image": image}


def images(model: Callable[[], nnx.Module], steps: int) -> Task:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (steps * 50, 32, 32, 3), dtype=np.uint8)
    data = {"image": image, "label": rng.integers(0, 10, steps * 50, dtype=np.int32)}
    nodes = {"flip": Flip(), "normalize": normalize, "merge": average}
    edges: dict[str, list[str]] = {"flip": [], "normalize": [], "merge": ["flip", "normalize"]}
    return Task(data, steps, 50, model, nodes, edges, augmented)


def tokens(steps: int) -> Task:
    rng = np.random.default_rng(0)
    data = {"text": rng.integers(0, VOCABULARY, (steps * 64, LENGTH + 1), dtype=np.int32)}
    nodes, edges = {"next": next_token}, {"next": list[str]()}
    return Task(data, steps, 64, Transformer, nodes, edges, lambda batch, key: next_token(batch))


TASKS = {"MLP": images(MLP, 200), "CNN": images(CNN, 20), "transformer": tokens(20)}


# By hand. The step function works on the model's parameters as a flat list: the fastest way.


def hand_made(task: Task, shuffle: bool) -> dict[str, Callable[[], Any]]:
    model = task.model()
    graphdef, state = nnx.split(model)
    params, structure = jax.tree.flatten(state)
    optimizer = TX.init(params)
    data, size = jax.tree.map(jnp.asarray, task.data), task.batch_size
    keys = iter(jax.random.split(jax.random.key(0), 10_000))

    @jax.jit
    def order_of(key: jax.Array) -> jax.Array:
        return jax.random.permutation(key, task.steps * size)

    def batch_of(data: Batch, order: jax.Array, step: Any, key: jax.Array) -> Batch:
        def rows(x: jax.Array) -> jax.Array:
            if not shuffle:
                return jax.lax.dynamic_slice_in_dim(x, step * size, size)
            ids = jax.lax.dynamic_slice(order, (step * size,), (size,))
            return x.at[ids].get(mode="promise_in_bounds")

        return task.by_hand(jax.tree.map(rows, data), jax.random.fold_in(key, step))

    def update(params: Any, optimizer: Any, batch: Batch) -> tuple[Any, Any, jax.Array]:
        def loss(params: Any) -> jax.Array:
            return loss_of(nnx.merge(graphdef, jax.tree.unflatten(structure, params)), batch)

        value, slopes = jax.value_and_grad(loss)(params)
        updates, optimizer = TX.update(slopes, optimizer, params)
        return optax.apply_updates(params, updates), optimizer, value

    @jax.jit
    def fused(
        data: Batch, order: jax.Array, step: Any, key: jax.Array, params: Any, optimizer: Any
    ) -> Any:
        return update(params, optimizer, batch_of(data, order, step, key))

    jitted, batch_at = jax.jit(update), jax.jit(batch_of)
    in_order = jnp.arange(0)  # no table

    def loop(fuse: bool) -> Any:
        key = next(keys)
        order, now, loss = order_of(key) if shuffle else in_order, (params, optimizer), None
        for step in range(task.steps):
            if fuse:
                *now, loss = fused(data, order, step, key, *now)
            else:
                *now, loss = jitted(*now, batch_at(data, order, step, key))
        return loss

    @jax.jit
    def scanned(data: Batch, key: jax.Array, params: Any, optimizer: Any) -> Any:
        order = order_of(key) if shuffle else in_order

        def body(carry: Any, step: Any) -> Any:
            *carry, loss = update(*carry, batch_of(data, order, step, key))
            return tuple(carry), loss

        return jax.lax.scan(body, (params, optimizer), jnp.arange(task.steps))

    return {
        "by hand, one jitted step": partial(loop, True),
        "by hand, two jitted functions": partial(loop, False),
        "by hand, lax.scan": lambda: scanned(data, next(keys), params, optimizer),
    }


# With dagrax.


def train_step(model: Any, optimizer: Any, batch: Batch) -> jax.Array:
    loss, slopes = nnx.value_and_grad(loss_of)(model, batch)
    optimizer.update(model, slopes)
    return loss


def with_dagrax(task: Task, shuffle: bool) -> dict[str, Callable[[], Any]]:
    source: MemorySource[Any] = MemorySource(
        MemorySourceConfig(shuffle=shuffle), data=task.data, rngs=nnx.Rngs(0)
    )
    pipeline: Pipeline[Any, Any] = Pipeline.from_dag(
        source=source,
        nodes=task.nodes,
        edges=task.edges,
        sink=[*task.nodes][-1],
        batch_size=task.batch_size,
        rngs=nnx.Rngs(0),
    )
    model = task.model()
    modules = model, nnx.Optimizer(model, TX, wrt=nnx.Param)
    jitted = nnx.jit(train_step)

    def loop() -> Any:
        return [jitted(*modules, batch) for batch in pipeline][-1]

    return {
        "dagrax scan": lambda: pipeline.scan(train_step, length=task.steps, modules=modules),
        "dagrax for, nnx.jit step": loop,
    }


# With datarax, whose nodes are modules: one that draws has its own stream.


class Node(nnx.Module):
    def __init__(self, fn: Callable[..., Batch]) -> None:
        self.fn = fn

    def __call__(self, *batches: Batch) -> Batch:
        return self.fn(*batches)


class DrawnFlip(nnx.Module):
    def __init__(self) -> None:
        self.rngs = nnx.Rngs(flip=0)

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "image": flipped(batch["image"], self.rngs.flip())}


def with_datarax(task: Task, shuffle: bool) -> dict[str, Callable[[], Any]]:
    if importlib.util.find_spec("datarax") is None:
        return {}
    import datarax
    from datarax.sources import MemorySource as PeerSource
    from datarax.sources import MemorySourceConfig as PeerConfig

    data = jax.tree.map(jnp.asarray, task.data)
    source = PeerSource(PeerConfig(shuffle=shuffle), data=data, rngs=nnx.Rngs(0))
    pipeline = datarax.Pipeline.from_dag(
        source=source,
        nodes={
            name: DrawnFlip() if isinstance(stage, Flip) else Node(stage)
            for name, stage in task.nodes.items()
        },
        edges=task.edges,
        sink=[*task.nodes][-1],
        batch_size=task.batch_size,
        rngs=nnx.Rngs(0),
    )
    model = task.model()
    modules = model, nnx.Optimizer(model, TX, wrt=nnx.Param)
    return {"datarax scan": lambda: pipeline.scan(train_step, length=task.steps, modules=modules)}


def bounds(task: str, ours: float, fused: float, scanned: float) -> list[Bound]:
    """Of a `scan` against a loop of one jitted step, and against `lax.scan` by hand."""
    loop = {"MLP": 0.85, "CNN": 1.0}
    stated = [(f"`scan`, {task} / `lax.scan` by hand", 1.02, ours / scanned)]
    if task in loop:
        stated += [(f"`scan`, {task} / one jitted step in a loop", loop[task], ours / fused)]
    return [Bound(*bound) for bound in stated]


def main() -> None:
    report = Report("training", str(__doc__), rounds=9, peers=["datarax"])
    report.say(str(__doc__))
    for (name, task), shuffle in itertools.product(TASKS.items(), (True, False)):
        contestants = [make(task, shuffle) for make in (hand_made, with_dagrax, with_datarax)]
        everyone = {name: run for own in contestants for name, run in own.items()}
        seconds = measure(everyone, report.rounds)
        fused, scanned = (seconds[f"by hand, {x}"].median for x in ("one jitted step", "lax.scan"))
        report.table(
            f"{name}, {'shuffled' if shuffle else 'sequential'}: an epoch of {task.steps} steps",
            ["", "us a step", "quartiles", "/ one jitted step", "/ lax.scan", "first call, s"],
            [
                [
                    contestant,
                    x.median / task.steps * 1e6,
                    f"{shown(x.low / task.steps * 1e6)} to {shown(x.high / task.steps * 1e6)}",
                    x.median / fused,
                    x.median / scanned,
                    x.first,
                ]
                for contestant, x in seconds.items()
            ],
            bounds(name, seconds["dagrax scan"].median, fused, scanned) if shuffle else [],
        )
    report.save()


if __name__ == "__main__":
    main()
