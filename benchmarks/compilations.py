"""What is compiled again when the same is written again: nothing should be.

A lambda made anew in a loop, an equal pipeline made anew, and twenty unlike pipelines in turn, made
anew each time. Compilations are counted by JAX's own events; the first time, which compiles, is
shown beside the median of the others.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rounds import Bound, Report, spread

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

BATCH, RECORDS, PIPELINES = 64, 6400, 20
Batch = dict[str, Any]


class Scale(nnx.Module):
    def __init__(self, power: int) -> None:
        self.power = power
        self.weight = nnx.Param(jnp.float32(1))

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] ** self.power * self.weight[...]}


DATA = {"x": np.ones((RECORDS, 8), np.float32)}


def make(power: int = 1) -> Pipeline[Any, Any]:
    source: MemorySource[Any] = MemorySource(
        MemorySourceConfig(shuffle=True), data=DATA, rngs=nnx.Rngs(0)
    )
    return Pipeline(source=source, stages=[Scale(power)], batch_size=BATCH, rngs=nnx.Rngs(0))


@contextmanager
def counted() -> Iterator[list[str]]:
    """The names of what JAX compiles meanwhile, the smallest helper included."""
    seen: list[str] = []

    def listen(event: str, duration_secs: float, **about: Any) -> None:
        if event.endswith("backend_compile_duration"):
            seen.append(str(about.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def scan_by_lambda() -> Callable[[], Any]:
    pipeline = make()
    return lambda: pipeline.scan(lambda batch: batch["x"].sum(), length=3)


def step_of_another() -> Callable[[], Any]:
    return lambda: make().step()


def scan_of_another() -> Callable[[], Any]:
    return lambda: make().scan(lambda batch: batch["x"].sum(), length=3)


def in_turn() -> Callable[[], Any]:
    return lambda: [make(power).step() for power in range(PIPELINES)]


CASES = {
    "a lambda made anew, scanned": scan_by_lambda,
    "an equal pipeline made anew, stepped": step_of_another,
    "an equal pipeline made anew, scanned": scan_of_another,
    f"{PIPELINES} pipelines in turn, stepped": in_turn,
}


def main() -> None:
    report = Report("compilations", str(__doc__), rounds=5)
    report.say(str(__doc__))
    rows: list[list[Any]] = []
    for name, case in CASES.items():
        jax.clear_caches()
        run = case()
        times, compiled = [], []
        for _ in range(report.rounds + 1):
            with counted() as seen:
                start = time.perf_counter()
                jax.block_until_ready(run())
                times.append(time.perf_counter() - start)
            compiled.append(len(seen))
        median = spread(times[1:])[1]
        rows.append([name, compiled[0], sum(compiled[1:]), times[0] * 1e3, median * 1e3])
    report.table(
        f"Compilations, over {report.rounds} times after the first",
        ["", "the first time", "after it", "ms, the first time", "ms, a time after it"],
        rows,
        [Bound(f"{row[0]}: compilations after the first time", 0, row[2]) for row in rows],
    )
    report.save()


if __name__ == "__main__":
    main()
