"""What `step()` and a `for` cost beyond the bare jitted call of the same graph, at 3 and 30 nodes.

Tiny batches, shuffled, so that Python is most of the time. The bare call is a `jax.jit` of the
pure core on a flat list of arrays, at a cursor that is given to it. The columns of the calling
thread count what Python and the dispatch take from its CPU, without waits for XLA's own threads.
"""

import collections
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rounds import Bound, Report, measure, spread

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

CALLS, BATCH = 500, 64
AT_MOST = {3: 12, 30: 20}  # us beyond the bare call, by the number of nodes


class Scale(nnx.Module):
    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.float32(1))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"x": batch["x"] * self.weight[...]}


def contestants(nodes: int) -> dict[str, Any]:
    data = {"x": np.zeros((CALLS * BATCH, 8), np.float32)}
    source = MemorySource(MemorySourceConfig(shuffle=True), data=data, rngs=nnx.Rngs(0))
    stepped, looped = (
        Pipeline(
            source=source,
            stages=[Scale() for _ in range(nodes)],
            batch_size=BATCH,
            rngs=nnx.Rngs(0),
        )
        for _ in range(2)
    )
    weights = [jnp.float32(1)] * nodes
    rows, order = source.pure()
    arrays, structure = jax.tree.flatten(dp.Stream(rows, order, batch_size=BATCH))
    cursor = dp.Cursor(np.asarray(0, np.uint32), np.asarray(0, np.uint32))

    @jax.jit
    def bare(arrays: list[Any], weights: list[Any], cursor: dp.Cursor) -> Any:
        batch, _ = jax.tree.unflatten(structure, arrays).read(cursor, BATCH)
        for weight in weights:
            batch = {"x": batch["x"] * weight}
        return batch

    def last(batches: Iterable[Any]) -> Any:
        return collections.deque(batches, maxlen=1)[0]

    return {
        "bare jitted call": lambda: last(bare(arrays, weights, cursor) for _ in range(CALLS)),
        "step()": lambda: last(stepped.step() for _ in range(CALLS)),
        "for": lambda: last(looped),
    }


def of_the_thread(run: Callable[[], Any], rounds: int) -> float:
    """Median seconds of CPU that a call takes from the calling thread alone."""
    seconds = []
    for _ in range(rounds):
        start = time.thread_time()
        run()
        seconds.append(time.thread_time() - start)
    return spread(seconds)[1]


def main() -> None:
    report = Report("call", str(__doc__), rounds=21)
    report.say(str(__doc__))
    rows: list[list[Any]] = []
    bounds: list[Bound] = []
    for nodes, at_most in AT_MOST.items():
        runs = contestants(nodes)
        seconds = measure(runs, report.rounds)
        own = {name: of_the_thread(run, report.rounds) for name, run in runs.items()}
        bare = "bare jitted call"
        for name, x in seconds.items():
            times = [x.median, x.low, x.high, x.median - seconds[bare].median]
            times += [own[name], own[name] - own[bare]]
            rows.append([nodes, name, *(cell / CALLS * 1e6 for cell in times)])
        bounds += [
            Bound(
                f"`{way}` beyond the bare call, {nodes} nodes, us",
                at_most,
                (seconds[way].median - seconds[bare].median) / CALLS * 1e6,
            )
            for way in ("step()", "for")
        ]
    heads = ["nodes", "", "us a batch", "lower quartile", "upper quartile", "beyond the bare call"]
    heads += ["us of the calling thread", "its us beyond the bare call"]
    report.table(f"A call, of {CALLS} in a row", heads, rows, bounds)
    report.save()


if __name__ == "__main__":
    main()
