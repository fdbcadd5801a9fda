"""What flows: windows of a file, views of a source, orders, beside the same by hand or the plain.

Windows: 64 of 1,024 tokens, shuffled, of a mapped file of 1 GB, beside NumPy's fancy gather and
`jax.device_put` of the same starts from a permutation; and the anonymous memory that a process
holds for it beyond what it held before. Views: 64 records of 32x32x3 uint8, shuffled, by a `scan`
and by a loop over `dp.step`, beside the same batches of the whole source. Orders: 64 of a million
records of 256 bytes, by the same two, beside `Shuffled`; the weights are gone over once, before.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rounds import Bound, Report, measure, peak_megabytes

import dagrax.pure as dp

BATCH, STEPS = 64, 100
TOKENS, WIDTH = 2**28, 1024
RECORDS, WEIGHTS = 16_384, 10**6


def main() -> None:
    report = Report("flow", str(__doc__), rounds=15)
    report.say(str(__doc__))
    for table in (windows, views, orders):
        table(report)
    report.save()


# Windows


def windows(report: Report) -> None:
    """Windows of a mapped file of 1 GB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.npy"
        file = np.lib.format.open_memmap(path, "w+", np.int32, (TOKENS,))
        file[:] = np.arange(TOKENS)
        file.flush()
        del file
        tokens = np.load(path, mmap_mode="r")
        stream, starts = window_stream(tokens), np.random.default_rng(0).permutation(TOKENS - WIDTH)
        offsets = np.arange(WIDTH)

        def by_numpy() -> Any:
            for step in range(STEPS):
                chosen = starts[step * BATCH : (step + 1) * BATCH]
                batch = jax.device_put(tokens[chosen[:, None] + offsets])
                batch.block_until_ready()
            return batch

        seconds = measure({"dagrax": stepped(stream), "NumPy": by_numpy}, report.rounds)
        memory = peak_megabytes(__file__, "memory", str(path))
    us = {name: x.median / STEPS * 1e6 for name, x in seconds.items()}
    ratio = us["dagrax"] / us["NumPy"]
    report.table(
        "Windows of a mapped file of 1 GB",
        ["us a batch", "NumPy and device_put", "/ NumPy", "anonymous memory, MB"],
        [[us["dagrax"], us["NumPy"], ratio, memory]],
        [
            Bound("a batch of windows / NumPy's gather and device_put", 1.2, ratio),
            Bound("anonymous memory of windows of 1 GB, MB", 64, memory),
        ],
    )


def window_stream(tokens: np.ndarray) -> dp.Stream:
    return dp.Stream(
        dp.Windows(tokens, WIDTH), dp.Shuffled(jax.random.key(0)), batch_size=BATCH,
        remainder="drop",
    )  # fmt: skip


def print_anonymous(path: str) -> None:
    """Print the MB that windows of a file take of memory that is not the file's, at most."""
    jnp.zeros(3).block_until_ready()
    before = _anonymous()
    run = stepped(window_stream(np.load(path, mmap_mode="r")))
    print(max(_anonymous() for _ in range(5) if run() is not None) - before)


def _anonymous() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1000


# Views


def views(report: Report) -> None:
    """Views of images, beside the whole source."""
    data = np.random.default_rng(0).integers(0, 256, (RECORDS, 32, 32, 3), dtype=np.uint8)
    whole = dp.ArraySource({"image": data})
    mask = np.arange(RECORDS) % 2 == 0
    half = dp.split(whole, 0.5, key=jax.random.key(1))[0]
    sources = {
        "whole": whole,
        "`Subset` of ids": dp.Subset(whole, np.random.default_rng(1).permutation(RECORDS)[::2]),
        "`where`": dp.where(whole, mask),
        "a slice": dp.Subset(whole, slice(100, -100)),
        "`split` at random": half,
        "a view of a view": dp.Subset(half, slice(0, -100)),
    }
    streams = {name: shuffled(source) for name, source in sources.items()}
    rows: list[list[Any]] = []
    for way, run in {"step": stepped, "scan": scanned}.items():
        runs = {name: run(stream) for name, stream in streams.items()}
        seconds = measure(runs, report.rounds)
        us = {name: x.median / STEPS * 1e6 for name, x in seconds.items()}
        rows += [[way, name, us[name], us[name] / us["whole"]] for name in sources]
    bounds = [
        Bound(f"a {way} of a view / of the whole, the worst", 1.1, worst)
        for way in ("step", "scan")
        if (worst := max(row[-1] for row in rows if row[0] == way))
    ]
    report.table("Views", ["", "source", "us a batch", "/ whole"], rows, bounds)


# Orders


def orders(report: Report) -> None:
    """Orders of a million records, beside a shuffle."""
    rng, key = np.random.default_rng(0), jax.random.key(0)
    source = dp.ArraySource({"image": rng.integers(0, 256, (WEIGHTS, 256), dtype=np.uint8)})
    every = {
        "`Shuffled`": dp.Shuffled(key),
        "`Weighted`": dp.Weighted(key, rng.random(WEIGHTS)),
        "`WithReplacement`": dp.WithReplacement(key),
        "`Windowed`": dp.Windowed(key, 1000, 16),
        "`Repeat`": dp.Repeat(dp.Shuffled(key), 4),
        "`Balanced`": dp.Balanced(key, np.arange(WEIGHTS) % 10),
    }
    streams = {
        name: dp.Stream(source, order, batch_size=BATCH, remainder="drop")
        for name, order in every.items()
    }
    rows: list[list[Any]] = []
    for way, run in {"step": stepped, "scan": scanned}.items():
        runs = {name: run(stream) for name, stream in streams.items()}
        us = {n: x.median / STEPS * 1e6 for n, x in measure(runs, report.rounds).items()}
        rows += [[way, name, us[name], us[name] / us["`Shuffled`"]] for name in every]
    bounds = [
        Bound(f"a {way} of `Weighted` / of `Shuffled`", 1.5, row[-1])
        for way in ("step", "scan")
        for row in rows
        if row[:2] == [way, "`Weighted`"]
    ]
    report.table("Orders", ["", "order", "us a batch", "/ `Shuffled`"], rows, bounds)


# Ways through a stream


def shuffled(source: dp.AbstractSource) -> dp.Stream:
    order = dp.Shuffled(jax.random.key(0))
    return dp.Stream(source, order, batch_size=BATCH, remainder="drop")


def stepped(stream: dp.Stream) -> Callable[[], Any]:
    """Batches by a loop over `dp.step`, each waited for."""
    pipeline, start = dp.Pipeline.linear([]), stream.start()

    def run() -> Any:
        cursor = start
        for _ in range(STEPS):
            cursor, batch = dp.step(pipeline, stream, cursor)
            jax.block_until_ready(batch)
        return batch

    return run


def scanned(stream: dp.Stream) -> Callable[[], Any]:
    """A sum of each batch by one `scan`."""
    pipeline, start = dp.Pipeline.linear([]), stream.start()

    @jax.jit
    def run(stream: dp.Stream) -> Any:
        def body(total: jax.Array, batch: Any) -> tuple[jax.Array, None]:
            return total + batch["image"].astype(jnp.int32).sum(), None

        return dp.scan(body, jnp.int32(0), pipeline, stream, start, length=STEPS)[1]

    return lambda: run(stream)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print_anonymous(sys.argv[2])
    else:
        main()
