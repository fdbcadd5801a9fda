"""On an accelerator: the way of the bytes to it, and training there from files.

How fast 16 MB go from the host to the device, by the kind of memory that they lie in; how fast
random records of 3,072 bytes are gathered from mapped files whose pages are in memory, by threads.
Then images of 32x32x3 uint8 in ten `.npy` shards (`--gigabytes`), shuffled, in batches of
`--batch`, through a step of about half a millisecond, one and two, of matrix products on the
device: from files and from memory, beside the same steps on one batch that is at hand (compute
alone). A call is about `--seconds` of steps, the first few of which find their records ready. The
last columns say who waited for whom over the files, in milliseconds of a step: the loop for
records, or for their way to the device; the thread that reads, for the loop.
"""

import itertools
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import SingleDeviceSharding
from out_of_core import WIDTH, Step, by_for, endless, written
from rounds import Bound, Report, measure, medians, shown

from dagrax.nnx_api import HostSource, MemorySource, Pipeline
from dagrax.pure import host

BYTES, TIMES = 2**24, 8  # of a transfer, and how many of them in a row
GATHERED = 8192  # records, 25 MB
MILLISECONDS = (0.5, 1.0, 2.0)
AT_MOST = {0.5: 1.15}
CAUSES = ("gather", "place", "compute")


# The way of the bytes


def transfers(report: Report) -> None:
    """From NumPy's memory, from memory of a multiple of 64 bytes, and from pinned memory."""
    device = jax.devices()[0]
    whole = np.random.default_rng(0).integers(0, 256, BYTES + 128, dtype=np.uint8)
    first = -whole.ctypes.data % 64
    aligned, askew = whole[first : first + BYTES], whole[first + 16 : first + 16 + BYTES]
    own = SingleDeviceSharding(device, memory_kind=device.default_memory().kind)
    moves: dict[str, tuple[Any, Any]] = {
        "NumPy, as it comes, to the device": (askew, own),
        "NumPy, aligned to 64 bytes, to the device": (aligned, own),
    }
    if "pinned_host" in {memory.kind for memory in device.addressable_memories()}:
        pinned = SingleDeviceSharding(device, memory_kind="pinned_host")
        moves["NumPy, aligned, to pinned memory"] = aligned, pinned
        moves["pinned memory to the device"] = jax.device_put(aligned, pinned), own
    runs = {name: partial(moved, *move) for name, move in moves.items()}
    gigabytes = TIMES * BYTES / 1e9
    lines = [
        [name, gigabytes / x.median, f"{shown(gigabytes / x.high)} to {shown(gigabytes / x.low)}"]
        for name, x in measure(runs, 3 * report.rounds).items()
    ]
    report.table(f"{BYTES / 1e6:.0f} MB, {TIMES} in a row", ["", "GB/s", "quartiles"], lines)


def moved(what: Any, to: SingleDeviceSharding) -> list[jax.Array]:
    return [jax.device_put(what, to) for _ in range(TIMES)]


def gathers(report: Report, folder: Path, records: int) -> None:
    """Random records by NumPy, each thread its part of them, and by dagrax's source of files."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        path = Path(place) / "whole.npy"
        file = np.lib.format.open_memmap(path, "w+", np.uint8, (records, WIDTH))
        file[:] = np.arange(WIDTH, dtype=np.uint8)
        file.flush()
        del file
        rows = np.asarray(np.load(path, mmap_mode="r"))
        rows.reshape(-1)[::4096].sum()  # its pages are known to the process from here on
        _gathers(report, rows, host.DiskSource(folder))


def _gathers(report: Report, rows: np.ndarray, source: host.DiskSource) -> None:
    many = min(GATHERED, len(rows))
    ids = itertools.cycle(np.random.default_rng(0).integers(0, len(rows), (16, many)))
    out, images = np.empty((many, WIDTH), np.uint8), np.empty((many, 32, 32, 3), np.uint8)
    pools = {threads: ThreadPoolExecutor(threads) for threads in (1, 2, 4, 8)}

    def take(part: tuple[np.ndarray, np.ndarray]) -> None:
        np.take(rows, part[0], axis=0, out=part[1], mode="clip")

    def gather(threads: int) -> None:
        parts = zip(np.array_split(next(ids), threads), np.array_split(out, threads), strict=True)
        list(pools[threads].map(take, parts))

    def fetch() -> None:
        source.fetch(next(ids), images)

    runs: dict[str, Callable[[], Any]] = {
        f"np.take, threads: {x}": partial(gather, x) for x in pools
    }
    runs["`host.DiskSource.fetch`, ten shards, its own threads"] = fetch
    for part in np.array_split(np.arange(source.size), 16):
        source.fetch(part)
    lines = [
        [name, x.median * 1e3, out.nbytes / x.median / 1e9]
        for name, x in measure(runs, 3 * report.rounds).items()
    ]
    for pool in pools.values():
        pool.shutdown()
    title = f"{out.nbytes / 1e6:.0f} MB of {rows.nbytes / 1e9:.2g} GB, records of {WIDTH} bytes"
    report.table(title, ["", "ms", "GB/s"], lines)


# Training


def training(products: int) -> tuple[Step, jax.Array]:
    """A step that multiplies a batch by a weight so often and moves it a little, and the weight."""

    def step(weight: Any, image: Any) -> Any:
        hidden = image.reshape(len(image), -1).astype(jnp.float32)
        for _ in range(products):
            hidden = jnp.tanh(hidden @ weight)
        return weight * (1 - 1e-6 * hidden.mean())

    return step, 0.99 * jnp.eye(WIDTH, dtype=jnp.float32)


def at_hand(step: Step, weight: Any, batch: Any, steps: int) -> Callable[[], Any]:
    """A scan over one batch."""

    @jax.jit
    def scanned(weight: Any, batch: Any) -> Any:
        return jax.lax.scan(lambda own, _: (step(own, batch), None), weight, None, length=steps)[0]

    return lambda: scanned(weight, batch)


def products_of(batch: Any) -> Callable[[float], int]:
    """How many products take so many milliseconds, by a step of 4 and one of 12."""
    runs = {x: at_hand(*training(x), batch, 20) for x in (4, 12)}
    ms = medians({str(x): run for x, run in runs.items()}, 5)
    few, more = ms["4"] / 20 * 1e3, ms["12"] / 20 * 1e3
    each = max((more - few) / 8, 1e-4)
    return lambda target: max(1, round(4 + (target - few) / each))


def pipelines(files: host.DiskSource, images: Any, size: int) -> dict[str, Pipeline[Any, Any]]:
    memory = MemorySource[Any](data=images, shuffle=True, rngs=nnx.Rngs(0))
    sources = {
        "files, scan": HostSource[Any](True, source=files, rngs=nnx.Rngs(0)),
        "files, for": HostSource[Any](True, source=files, rngs=nnx.Rngs(0)),
        "memory, scan": memory,
        "memory, for": memory,
    }
    return {
        name: Pipeline[Any, Any](source=source, batch_size=size, remainder="drop")
        for name, source in sources.items()
    }


def scan_of(pipeline: Pipeline[Any, Any], step: Step, weight: Any, steps: int) -> Any:
    def body(carry: Any, image: Any) -> Any:
        return step(carry, image), None

    return lambda: pipeline.scan(body, length=steps, init_carry=weight)[0]


def trained(
    report: Report,
    made: dict[str, Pipeline[Any, Any]],
    batch: Any,
    milliseconds: float,
    products: int,
) -> None:
    """A table for a step of about so many milliseconds."""
    steps = max(2, round(report.options.seconds / milliseconds * 1e3))
    step, weight = training(products)
    runs: dict[str, Callable[[], Any]] = {
        "compute alone, scan": at_hand(step, weight, batch, steps),
        "compute alone, for": by_for(lambda: itertools.repeat(batch), step, weight, steps),
    }
    for name, pipeline in made.items():
        if name.endswith("scan"):
            runs[name] = scan_of(pipeline, step, weight, steps)
        else:
            runs[name] = by_for(endless(pipeline), step, weight, steps)
    seconds = measure(runs, report.rounds)
    lines: list[list[Any]] = []
    ratios: dict[str, float] = {}
    for name, x in seconds.items():
        alone = seconds[f"compute alone, {name.rpartition(', ')[2]}"].median
        ratios[name] = x.median / alone
        waits: list[Any] = [""] * len(CAUSES)
        if name.startswith("files"):
            waits = [1e3 * waited / steps for waited in waits_of(made[name], runs[name])]
        lines.append([name, x.median / steps * 1e3, ratios[name], *waits])
    what = "files, scan / compute alone"
    bounds = [
        Bound(f"{what} at {milliseconds} ms", at_most, ratios["files, scan"])
        for ms, at_most in AT_MOST.items()
        if ms == milliseconds
    ]
    title = f"A step of about {milliseconds} ms, {products} products, batch {len(batch)}"
    title += f": {steps} steps"
    heads = ["", "ms a step", "/ compute alone"]
    heads += ["waited for records, ms", "for the device", "for the loop"]
    report.table(title, heads, lines, bounds)


def waits_of(pipeline: Pipeline[Any, Any], run: Callable[[], Any]) -> list[float]:
    """Seconds waited by cause, in a call that comes right behind another."""
    jax.block_until_ready(run())
    before = pipeline.waited
    jax.block_until_ready(run())
    return [pipeline.waited[cause] - before[cause] for cause in CAUSES]


def trainings(report: Report, folder: Path) -> None:
    files, size = host.DiskSource(folder), report.options.batch
    images = jnp.asarray(files.fetch(np.arange(min(files.size, 200_000))))
    batch = images[:size]
    products, made = products_of(batch), pipelines(files, images, size)
    for milliseconds in MILLISECONDS:
        trained(report, made, batch, milliseconds, products(milliseconds))
        report.save()
    for pipeline in made.values():
        pipeline.close()


def main() -> None:
    report = Report(
        "accelerator_files",
        str(__doc__),
        rounds=5,
        gigabytes=1.0,
        batch=512,
        seconds=0.3,
        anyway=False,
    )
    report.needs_accelerator()
    report.say(str(__doc__))
    with tempfile.TemporaryDirectory(prefix="accelerator_") as place:
        folder = Path(place) / "shards"
        folder.mkdir()
        records = written(folder, report.options.gigabytes)
        report.run(
            {
                "transfers": partial(transfers, report),
                "gathers": partial(gathers, report, folder, records),
                "trainings": partial(trainings, report, folder),
            }
        )


if __name__ == "__main__":
    main()
