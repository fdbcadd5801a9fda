"""Batches of images that are reduced at once, as a loss does: `scan`, and one compiled batch.

Shuffled records of 32x32x3 uint8 through the light graph, two branches and their mean, and of each
batch the sum, the mean or the largest number. By hand that is `lax.scan`, or one jitted function,
over a permutation table, whose gather XLA:CPU fuses with the arithmetic behind it, index by index.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rounds import Bound, Report, measure
from workloads import darken, graph, merge, mirror

import dagrax.pure as dp

RECORDS, STEPS = 16_384, 16
REDUCTIONS = {"sum": jnp.sum, "mean": jnp.mean, "max": jnp.max}
AT_MOST = {("scan", 64): 0.4, ("scan", 1024): 0.2, ("batch", 1024): 0.5}


def layer(batch: Any) -> Any:
    """The light graph by hand: one layer of two branches and a merge."""
    return merge(darken(batch), mirror(batch))


def contestants(batch_size: int, reduce: Any) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    data = {"image": rng.integers(0, 256, (RECORDS, 32, 32, 3), dtype=np.uint8)}
    key = jax.random.key(0)
    stream = dp.Stream(dp.ArraySource(data), dp.Shuffled(key), batch_size=batch_size)
    nodes, edges, sink = graph(layers=1)
    pipeline, start = dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink=sink), stream.start()
    held = jax.tree.map(jnp.asarray, data)
    order = jax.jit(lambda key: jax.random.permutation(key, RECORDS))(key)

    def reduced(batch: Any) -> jax.Array:
        value: jax.Array = reduce(batch["image"])
        return value

    def rows(data: Any, order: jax.Array, step: Any) -> Any:
        ids = jax.lax.dynamic_slice(order, (step * batch_size,), (batch_size,))
        return jax.tree.map(lambda x: x.at[ids].get(mode="promise_in_bounds"), data)

    @jax.jit
    def scan(pipeline: Any, stream: Any, cursor: Any) -> Any:
        body = lambda carry, batch: (carry, reduced(batch))  # noqa: E731
        return dp.scan(body, None, pipeline, stream, cursor, length=STEPS)[2]

    @jax.jit
    def scan_by_hand(data: Any, order: jax.Array) -> Any:
        def body(_: None, step: Any) -> Any:
            return None, reduced(layer(rows(data, order, step)))

        return jax.lax.scan(body, None, jnp.arange(STEPS))[1]

    @jax.jit
    def batch(pipeline: Any, stream: Any, cursor: Any) -> Any:
        return reduced(dp.step(pipeline, stream, cursor)[1])

    @jax.jit
    def batch_by_hand(data: Any, order: jax.Array, step: Any) -> Any:
        return reduced(layer(rows(data, order, step)))

    return {
        "scan": lambda: scan(pipeline, stream, start),
        "scan by hand": lambda: scan_by_hand(held, order),
        "batch": lambda: [batch(pipeline, stream, start) for _ in range(STEPS)],
        "batch by hand": lambda: [batch_by_hand(held, order, 0) for _ in range(STEPS)],
    }


def main() -> None:
    report = Report("gathered", str(__doc__), rounds=9)
    report.say(str(__doc__))
    rows: list[list[Any]] = []
    for batch_size, (name, reduce) in itertools.product((64, 1024), REDUCTIONS.items()):
        seconds = measure(contestants(batch_size, reduce), report.rounds)
        us = {way: x.median / STEPS * 1e6 for way, x in seconds.items()}
        for way in ("scan", "batch"):
            hand = us[f"{way} by hand"]
            rows.append([way, batch_size, name, us[way], hand, us[way] / hand])
    bounds = [
        Bound(
            f"a {way} that reduces {batch_size} images / by hand, the worst of sum, mean, max",
            at_most,
            max(row[-1] for row in rows if row[:2] == [way, batch_size]),
        )
        for (way, batch_size), at_most in AT_MOST.items()
    ]
    heads = ["", "batch", "reduced by", "dagrax", "by hand", "/ by hand"]
    report.table("us a batch of 32x32x3 uint8", heads, rows, bounds)
    report.save()


if __name__ == "__main__":
    main()
