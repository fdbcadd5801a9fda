"""On an accelerator: what dagrax costs there beside hand-written JAX.

Shuffled images of 32x32x3 uint8 on the device, through the light graph (two branches and their
mean): one step of a `for`, `scan` with a sum of each batch, and with a training step by adam of an
MLP of 128 hidden units or of a CNN of 64, 128 and 256 channels; and loops around a user's own
training step. By hand means jitted functions of the data and of a permutation table that is at
hand, indices promised to be in bounds, the position kept on the device. A loop is waited for at its
end alone. `--scale small` is for trying the script, with `--anyway` on a CPU; its figures say
nothing.
"""

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gathered import layer
from rounds import Report, measure, shown
from training import MLP, TX, loss_of, train_step
from workloads import graph

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline

Batch = dict[str, Any]
Runs = dict[str, Callable[[], Any]]
Case = tuple[str, int, Runs]  # what it is, the steps of a call, and who runs them
HEADS = ["", "by", "us a step", "quartiles", "/ by hand", "first call, s"]


class Scale(NamedTuple):
    """How much of it all."""

    records: int
    steps: int  # of a loop in Python, at most
    scanned: int  # of a scan, at most
    batches: tuple[int, int]
    convolved: tuple[int, int]  # batch size and steps of the CNN
    variants: int
    images: tuple[int, ...]
    calls: int


SCALES = {
    "full": Scale(204_800, 200, 1_000, (64, 1024), (256, 100), 64, (64, 224, 224, 3), 20),
    "small": Scale(512, 4, 8, (16, 32), (2, 2), 2, (2, 32, 32, 3), 2),
}


def beside(report: Report, title: str, cases: Iterable[Case]) -> None:
    """A table of cases; in each the first is by hand."""
    rows: list[list[Any]] = []
    for what, steps, runs in cases:
        seconds = measure(runs, report.rounds)
        by_hand = next(iter(seconds.values())).median
        for name, x in seconds.items():
            median, low, high = (t / steps * 1e6 for t in (x.median, x.low, x.high))
            quartiles = f"{shown(low)} to {shown(high)}"
            rows.append([f"{what}, {steps} steps", name, median, quartiles])
            rows[-1] += [x.median / by_hand, x.first]
    report.table(title, HEADS, rows)


# The records and the light graph


class Records(NamedTuple):
    """Images and labels on the device, and a table of their order."""

    data: Batch
    order: jax.Array

    @property
    def images(self) -> "Records":
        """The same without labels."""
        return Records({"image": self.data["image"]}, self.order)


def records(many: int) -> Records:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (many, 32, 32, 3), dtype=np.uint8)
    label = rng.integers(0, 10, many, dtype=np.int32)
    data = {"image": jnp.asarray(image), "label": jnp.asarray(label)}
    return Records(data, jnp.asarray(rng.permutation(many).astype(np.uint32)))


def rows(data: Any, ids: jax.Array) -> Any:
    return jax.tree.map(lambda x: x.at[ids].get(mode="promise_in_bounds"), data)


def light() -> dp.Pipeline:
    nodes, edges, sink = graph(layers=1)
    return dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink=sink)


def stream_of(data: Any, size: int) -> dp.Stream:
    order = dp.Shuffled(jax.random.key(0))
    return dp.Stream(dp.ArraySource(data), order, batch_size=size, remainder="drop")


def pipeline_of(data: Any, size: int) -> Pipeline[Any, Any]:
    source: MemorySource[Any] = MemorySource(data=data, shuffle=True, rngs=nnx.Rngs(0))
    return Pipeline[Any, Any](source=source, stages=light(), batch_size=size, remainder="drop")


# One step of a `for`


def stepped(given: Records, size: int, steps: int) -> Case:
    data, order = given
    stream, graph = stream_of(data, size), light()
    by_step, by_for = pipeline_of(data, size), pipeline_of(data, size)
    start = jnp.asarray(0, jnp.int32)

    @jax.jit
    def step(data: Any, order: jax.Array, at: jax.Array) -> Any:
        ids = jax.lax.dynamic_slice(order, (at,), (size,))
        return at + size, layer(rows(data, ids))

    def by_hand() -> Any:
        at = start
        for _ in range(steps):
            at, batch = step(data, order, at)
        return batch

    def in_core(step: Callable[..., Any]) -> Any:
        cursor = stream.start()
        for _ in range(steps):
            cursor, batch = step(graph, stream, cursor)
        return batch

    def in_epoch() -> Any:
        for _, batch in itertools.islice(dp.epoch(graph, stream, stream.start()), steps):
            last = batch
        return last

    def in_face() -> Any:
        for _ in range(steps):
            batch = by_step.step()
        return batch

    def in_for() -> Any:
        for batch in itertools.islice(by_for, steps):
            last = batch
        return last

    runs: Runs = {
        "by hand, a jitted step": by_hand,
        "`dp.step` jitted, its cursor on the device": partial(in_core, jax.jit(dp.step)),
        "`dp.step`": partial(in_core, dp.step),
        "`dp.epoch`": in_epoch,
        "`pipeline.step()`": in_face,
        "`for` over a pipeline": in_for,
    }
    return f"batch {size}", steps, runs


# `scan`


def scan_by_hand(given: Records, size: int, steps: int, body: Any, start: Any) -> Any:
    @jax.jit
    def scanned(data: Any, order: jax.Array, carry: Any) -> Any:
        def tick(carry: Any, ids: jax.Array) -> Any:
            return body(carry, layer(rows(data, ids)))

        return jax.lax.scan(tick, carry, order[: steps * size].reshape(steps, size))

    return lambda: scanned(given.data, given.order, start)


def scan_in_core(
    graph: dp.Pipeline, stream: dp.Stream, steps: int, body: Any, start: Any, key: Any = None
) -> Any:
    @jax.jit
    def scanned(stream: dp.Stream, cursor: dp.Cursor, carry: Any, key: Any) -> Any:
        return dp.scan(body, carry, graph, stream, cursor, key=key, length=steps)[1:]

    return lambda: scanned(stream, stream.start(), start, key)


def summed(batch: Batch) -> jax.Array:
    total: jax.Array = batch["image"].sum()
    return total


def scanned_sums(given: Records, size: int, most: int) -> Case:
    steps = min(most, len(given.order) // size)
    body = lambda carry, batch: (carry, summed(batch))  # noqa: E731
    pipeline = pipeline_of(given.data, size)
    runs: Runs = {
        "by hand, `lax.scan`": scan_by_hand(given, size, steps, body, None),
        "`dp.scan`": scan_in_core(light(), stream_of(given.data, size), steps, body, None),
        "`pipeline.scan`": lambda: pipeline.scan(summed, length=steps),
    }
    return f"batch {size}", steps, runs


# A training step


class CNN(nnx.Module):
    def __init__(self) -> None:
        rngs, channels = nnx.Rngs(0), (3, 64, 128, 256)
        pairs = itertools.pairwise(channels)
        self.layers = nnx.List([nnx.Conv(x, y, (3, 3), rngs=rngs) for x, y in pairs])
        self.last = nnx.Linear(256 * 4 * 4, 10, rngs=rngs)

    def __call__(self, batch: Batch) -> jax.Array:
        x = batch["image"]
        for convolution in self.layers:
            x = nnx.max_pool(nnx.relu(convolution(x)), (2, 2), strides=(2, 2))
        return self.last(x.reshape(len(x), -1))


def learner(model: nnx.Module) -> tuple[Any, Callable[[Any, Batch], Any]]:
    """A training by hand: parameters as a flat list beside adam's state, and a step of both."""
    graphdef, state = nnx.split(model)
    params, structure = jax.tree.flatten(state)

    def update(carry: Any, batch: Batch) -> Any:
        def loss(params: Any) -> jax.Array:
            return loss_of(nnx.merge(graphdef, jax.tree.unflatten(structure, params)), batch)

        params, adam = carry
        value, slopes = jax.value_and_grad(loss)(params)
        updates, adam = TX.update(slopes, adam, params)
        return (optax.apply_updates(params, updates), adam), value

    return (params, TX.init(params)), update


def training_of(model: nnx.Module) -> tuple[Any, Any]:
    return model, nnx.Optimizer(model, TX, wrt=nnx.Param)


def scanned_training(given: Records, make: Callable[[], Any], size: int, most: int) -> Case:
    steps = min(most, len(given.order) // size)
    start, update = learner(make())
    pipeline, modules = pipeline_of(given.data, size), training_of(make())
    core = scan_in_core(light(), stream_of(given.data, size), steps, update, start)
    runs: Runs = {
        "by hand, `lax.scan`": scan_by_hand(given, size, steps, update, start),
        "`dp.scan`": core,
        "`pipeline.scan`": lambda: pipeline.scan(train_step, length=steps, modules=modules),
    }
    return f"batch {size}", steps, runs


def own_steps(given: Records, size: int, steps: int) -> Case:
    """Loops around a user's own training step of the MLP."""
    data, order = given
    start, update = learner(MLP())
    first, every = jnp.asarray(0, jnp.int32), steps // 2
    pipelines = [pipeline_of(data, size) for _ in range(4)]
    trainings = [training_of(MLP()) for _ in range(3)]
    jitted, of_arrays = nnx.jit(train_step), jax.jit(update)

    @jax.jit
    def fused(data: Any, order: jax.Array, at: jax.Array, carry: Any) -> Any:
        ids = jax.lax.dynamic_slice(order, (at,), (size,))
        return at + size, *update(carry, layer(rows(data, ids)))

    def by_hand() -> Any:
        at, carry = first, start
        for _ in range(steps):
            at, carry, loss = fused(data, order, at, carry)
        return carry, loss

    def of_a_user() -> Any:
        for batch in itertools.islice(pipelines[0], steps):
            loss = jitted(*trainings[0], batch)
        return loss

    def of_a_user_of_arrays() -> Any:
        carry = start
        for batch in itertools.islice(pipelines[1], steps):
            carry, loss = of_arrays(carry, batch)
        return carry, loss

    def in_blocks() -> Any:
        return list(
            pipelines[2].blocks(train_step, every=every, length=steps, modules=trainings[1])
        )

    def in_scan() -> Any:
        return pipelines[3].scan(train_step, length=steps, modules=trainings[2])

    runs: Runs = {
        "by hand, one jitted step": by_hand,
        "`for`, an `nnx.jit` step": of_a_user,
        "`for`, a `jax.jit` step of arrays": of_a_user_of_arrays,
        f"`pipeline.blocks(every={every})`": in_blocks,
        "`pipeline.scan`": in_scan,
    }
    return f"batch {size}", steps, runs


def main() -> None:
    report = Report("accelerator", str(__doc__), rounds=7, scale="full", anyway=False)
    report.needs_accelerator()
    report.say(str(__doc__))
    scale = SCALES[report.options.scale]
    given = records(scale.records)

    small, _ = scale.batches

    def table(title: str, make: Callable[..., Case], *given: Any, most: int) -> Any:
        cases = (make(*given, size, most) for size in scale.batches)
        return partial(beside, report, title, cases)

    report.run(
        {
            "steps": table(
                "One step of a loop in Python, light graph",
                *(stepped, given.images),
                most=scale.steps,
            ),
            "scan": table(
                "`scan`, light graph and a sum",
                *(scanned_sums, given.images),
                most=scale.scanned,
            ),
            "MLP": table(
                "`scan`, a training step of the MLP",
                *(scanned_training, given, MLP),
                most=scale.scanned,
            ),
            "own step": partial(
                beside,
                report,
                "A training step of the MLP in a loop in Python",
                (own_steps(given, size, scale.steps) for size in [small]),
            ),
            "CNN": partial(
                beside,
                report,
                "`scan`, a training step of the CNN",
                (scanned_training(given, CNN, *now) for now in [scale.convolved]),
            ),
        }
    )


if __name__ == "__main__":
    main()
