"""What the number of records costs: time a batch, and memory of an epoch.

Tiny records (one float32) at batch 64, shuffled, from ten thousand to a hundred million: a batch of
a `for`, of a `scan`, of an in-order `scan`, and of a `lax.scan` by hand over a permutation table,
which shows what memory takes to find a record. A billion records have an order, but no data here.
Then a `step()` on records of 1 kB, 1 MB of them against 256 MB, and the most memory that a process
holds beyond its data: for an epoch by `scan` and by `for` over 480 MB.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rounds import Bound, Report, measure, peak_megabytes, print_peak

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

BATCH, STEPS, SCANNED = 64, 150, 1500
SIZES = [10**4, 10**6, 10**8]
BOUNDED = {
    "for": "a batch of a `for`",
    "scan": "a batch of a `scan`",
    "order alone": "an order alone",
}


def make_pipeline(data: Any, *, shuffle: bool = True) -> Pipeline[Any, Any]:
    config = MemorySourceConfig(shuffle=shuffle)
    return Pipeline(
        source=MemorySource(config, data=data, rngs=nnx.Rngs(0)),
        stages=[lambda batch: {"x": batch["x"] * 2}],
        batch_size=BATCH,
        rngs=nnx.Rngs(0),
        remainder="drop",
    )


def mean(batch: dict[str, Any]) -> Any:
    return batch["x"].mean()


def contestants(data: Any, size: int) -> dict[tuple[str, int], Callable[[], Any]]:
    looped, scanned, in_order = (make_pipeline(data, shuffle=s) for s in (True, True, False))

    def loop() -> Any:
        looped.seek(epoch=0)
        return [batch for batch in itertools.islice(looped, STEPS)][-1]

    return {
        ("for", size): loop,
        ("scan", size): lambda: scanned.scan(mean, length=SCANNED),
        ("scan, in order", size): lambda: in_order.scan(mean, length=SCANNED),
        ("scan by hand", size): by_hand(data, size),
    }


def by_hand(data: Any, size: int) -> Callable[[], Any]:
    table = np.random.default_rng(0).permutation(np.arange(size, dtype=np.int32))

    @jax.jit
    def epoch(x: Any, table: Any) -> Any:
        def body(_: None, step: Any) -> tuple[None, Any]:
            ids = jax.lax.dynamic_slice(table, (step * BATCH % (size - BATCH),), (BATCH,))
            rows = jax.lax.map(lambda i: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), ids)
            return None, (rows * 2).mean()

        return jax.lax.scan(body, None, jnp.arange(SCANNED))[1]

    held, order = jax.device_put((data["x"], table))
    return lambda: epoch(held, order)


def order_alone(size: int) -> Callable[[], Any]:
    @jax.jit
    def ids(key: Any) -> Any:
        order, start = dp.Shuffled(key), jnp.arange(BATCH, dtype=jnp.uint32)

        def body(total: Any, step: Any) -> Any:
            return total + order.ids(start + step * BATCH, jnp.uint32(0), size).sum(), None

        return jax.lax.scan(body, jnp.uint32(0), jnp.arange(STEPS, dtype=jnp.uint32))[0]

    key = jax.random.key(0)
    return lambda: ids(key)


def by_number(report: Report) -> None:
    tiny = np.arange(SIZES[-1], dtype=np.float32)
    runs: dict[tuple[str, int], Callable[[], Any]] = {}
    for size in SIZES:
        runs |= contestants({"x": tiny[:size]}, size)
    runs |= {("order alone", size): order_alone(size) for size in (*SIZES, 10**9)}
    seconds = measure(runs, report.rounds)  # type: ignore[arg-type, type-var]
    kinds = dict.fromkeys(kind for kind, _ in runs)
    heads = [f"{size:.0e}".replace("e+0", "e") for size in (*SIZES, 10**9)]
    rows: list[list[Any]] = []
    for kind in kinds:
        steps = SCANNED if "scan" in kind else STEPS
        times = {size: x.median / steps for (k, size), x in seconds.items() if k == kind}  # type: ignore[misc]
        cells = [times[s] * 1e6 if s in times else "" for s in (*SIZES, 10**9)]
        rows.append([kind, *cells, times[10**8] / times[10**4]])
    bounds = [
        Bound(f"{what} at 1e8 records / at 1e4", 1.3, row[-1])
        for row in rows
        if (what := BOUNDED.get(row[0]))
    ]
    title = "us a batch, by the number of records"
    report.table(title, ["", *heads, "1e8 / 1e4"], rows, bounds)


def by_bytes(report: Report) -> None:
    def steps(megabytes: int) -> Callable[[], Any]:
        data = {"x": np.zeros((megabytes * 1000, 250), np.float32)}
        pipeline = make_pipeline(data)
        return lambda: [pipeline.step() for _ in range(STEPS)][-1]

    seconds = measure({f"{n} MB": steps(n) for n in (1, 256)}, report.rounds)
    small = seconds["1 MB"].median
    report.table(
        "step(), records of 1 kB",
        ["data", "us a step", "/ 1 MB"],
        [[name, x.median / STEPS * 1e6, x.median / small] for name, x in seconds.items()],
    )


def by_memory(report: Report) -> None:
    peaks = {mode: peak_megabytes(__file__, mode) for mode in ("nothing", *EPOCHS)}
    report.table(
        "Peak memory of a process over 480 MB of images, shuffled",
        ["", "MB beyond the process without data", "/ data", "beyond the data / data"],
        [
            [mode, more := peaks[mode] - peaks["nothing"], more / 480, more / 480 - 1]
            for mode in EPOCHS
        ],
        [
            Bound(
                f"extra memory of {mode} / the data",
                0.2,
                max(0.0, (peaks[mode] - peaks["nothing"]) / 480 - 1),
            )
            for mode in ("an epoch by scan", "an epoch by for")
        ],
    )


def pipeline_of_480_megabytes() -> Pipeline[Any, Any]:
    return make_pipeline({"x": jax.device_put(aligned(480_000_000).reshape(-1, 3000))})


def aligned(size: int) -> Any:
    # Memory that JAX takes as it is, so that the data are there once, before the epoch starts.
    memory = np.ones(size + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][:size]


def hold() -> Any:
    return pipeline_of_480_megabytes()


def by_scan() -> Any:
    pipeline = pipeline_of_480_megabytes()
    return pipeline.scan(lambda batch: batch["x"].max(), length=len(pipeline)).block_until_ready()


def by_for() -> Any:
    totals = [batch["x"].max() for batch in pipeline_of_480_megabytes()]
    return jax.block_until_ready(totals)


EPOCHS = {"the data held": hold, "an epoch by scan": by_scan, "an epoch by for": by_for}


def main() -> None:
    report = Report("data_size", str(__doc__), rounds=15)
    report.say(str(__doc__))
    by_number(report)
    by_bytes(report)
    by_memory(report)
    report.save()


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in ("nothing", *EPOCHS):
        small = make_pipeline({"x": np.ones((1000, 3000), np.uint8)})
        jax.block_until_ready(small.scan(lambda batch: batch["x"].max(), length=2))
        held = EPOCHS.get(sys.argv[1], lambda: None)()
        print_peak()
    else:
        main()
