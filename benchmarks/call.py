"""What `step()` and a `for` cost beyond the bare jitted call of the same graph, at 3 and 30 nodes.

Tiny batches, shuffled, so that Python is most of the time. The bare call is a `jax.jit` of the
pure core on a flat list of arrays, at a cursor that is given to it.
"""

import argparse
import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rounds import machine, medians

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

CALLS, BATCH = 500, 64


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

    return {
        "bare jitted call": lambda: [bare(arrays, weights, cursor) for _ in range(CALLS)][-1],
        "step()": lambda: [stepped.step() for _ in range(CALLS)][-1],
        "for": lambda: collections.deque(looped, maxlen=1)[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    print(f"{machine()}; medians of {rounds} interleaved rounds of {CALLS} batches\n")
    print("| nodes | | us a batch | beyond the bare call |\n|---|---|---|---|")
    for nodes in (3, 30):
        seconds = medians(contestants(nodes), rounds)
        for name, value in seconds.items():
            beyond = value - seconds["bare jitted call"]
            print(f"| {nodes} | {name} | {value / CALLS * 1e6:.0f} | {beyond / CALLS * 1e6:.0f} |")


if __name__ == "__main__":
    main()
