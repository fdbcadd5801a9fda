"""Records from files, which may be larger than memory, beside the same records in memory.

Images of 32x32x3 uint8 in ten `.npy` shards (`--gigabytes`, 1 by default), shuffled, in batches of
256: an epoch's first batches through a step of about `--milliseconds` of matrix products. Time and
CPU time are those of the whole process, over those of the same steps on one batch that is at hand
(compute alone). Others read the very files by their own means: `io_callback` in a
`lax.scan`, and datarax, grain, tf.data and torch in a `for`, of those that are installed. Last, the
anonymous memory that loops over files hold beside the files.
"""

import importlib.util
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rounds import Bound, Report

from dagrax.nnx_api import HostSource, MemorySource, Pipeline
from dagrax.pure import host

BATCH, WIDTH = 256, 3072
Step = Callable[[Any, Any], Any]


def written(folder: Path, gigabytes: float) -> int:
    """Ten shards of that size together; the number of records."""
    records = max(20 * BATCH, int(gigabytes * 1e9) // WIDTH)
    rng = np.random.default_rng(0)
    for number, part in enumerate(np.array_split(np.arange(records), 10)):
        np.save(folder / f"{number}.npy", rng.integers(0, 256, (len(part), 32, 32, 3), np.uint8))
    return records


def training(products: int) -> tuple[Any, Step]:
    """A weight, and a step that multiplies a batch by it so often and moves it a little."""
    weight = jnp.eye(WIDTH, 256, dtype=jnp.float32) * 0.01
    square = jnp.eye(256, dtype=jnp.float32) * 0.99

    def step(weight: Any, image: Any) -> Any:
        hidden = image.reshape(BATCH, -1).astype(jnp.float32) @ weight
        for _ in range(products):
            hidden = jnp.tanh(hidden @ square)
        return weight * (1 - 1e-6 * hidden.mean())

    return weight, step


def products_for(milliseconds: float) -> int:
    """How many products take so long."""
    times = []
    for products in (0, 40):
        weight, step = training(products)
        run, batch = jax.jit(step), jnp.zeros((BATCH, 32, 32, 3), jnp.uint8)
        jax.block_until_ready(run(weight, batch))
        taken = []
        for _ in range(9):
            start = time.perf_counter()
            jax.block_until_ready(run(weight, batch))
            taken.append(time.perf_counter() - start)
        times.append(statistics.median(taken) * 1e3)
    each = max((times[1] - times[0]) / 40, 1e-3)
    return max(0, round((milliseconds - times[0]) / each))


def by_for(batches: Callable[[], Iterable[Any]], step: Step, weight: Any, steps: int) -> Any:
    run = jax.jit(step)

    def loop() -> Any:
        own = weight
        for image in itertools.islice(batches(), steps):
            own = run(own, image)
        return own

    return loop


def endless(pipeline: Pipeline[Any, Any]) -> Callable[[], Iterator[Any]]:
    """The batches of one epoch after the other, each once."""

    def batches() -> Iterator[Any]:
        while True:
            yield pipeline.step()

    return batches


def of_dagrax(source: Any, step: Step, weight: Any, steps: int) -> dict[str, Callable[[], Any]]:
    kind = "files" if isinstance(source, HostSource) else "memory"
    pipeline = Pipeline[Any, Any](source=source, batch_size=BATCH, remainder="drop")

    def body(carry: Any, image: Any) -> Any:
        return step(carry, image), None

    return {
        f"{kind}, for": by_for(endless(pipeline), step, weight, steps),
        f"{kind}, scan": lambda: pipeline.scan(body, length=steps, init_carry=weight)[0],
    }


def by_callback(
    source: host.DiskSource, records: int, step: Step, weight: Any, steps: int
) -> Callable[[], Any]:
    table = np.random.default_rng(0).permutation(records)
    shape = jax.ShapeDtypeStruct((BATCH, 32, 32, 3), np.uint8)

    def read(number: Any) -> Any:
        first = int(number) * BATCH % (records - BATCH)
        return source.fetch(table[first : first + BATCH])

    @jax.jit
    def epoch(weight: Any) -> Any:
        def body(carry: Any, number: Any) -> Any:
            image = jax.experimental.io_callback(read, shape, number, ordered=True)
            return step(carry, image), None

        return jax.lax.scan(body, weight, jnp.arange(steps))[0]

    return lambda: epoch(weight)


def peers(folder: Path, records: int) -> dict[str, Callable[[], Iterable[Any]]]:
    """Batches of other libraries, of those that are installed."""
    shards = [np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(10)]
    starts = np.cumsum([0, *map(len, shards)])

    def record(index: int) -> np.ndarray:
        shard = int(np.searchsorted(starts, index, side="right")) - 1
        return np.asarray(shards[shard][index - starts[shard]])

    class Records:
        def __len__(self) -> int:
            return records

        def __getitem__(self, index: Any) -> np.ndarray:
            return record(int(index))

    found: dict[str, Callable[[], Iterable[Any]]] = {}
    if _is_installed("datarax"):
        found["datarax (one file, in order), for"] = _of_datarax(folder, shards)
    if _is_installed("grain"):
        import grain

        def grains() -> Iterable[Any]:
            data = grain.MapDataset.source(Records()).seed(0).shuffle().batch(BATCH)
            return data.to_iter_dataset(grain.ReadOptions(num_threads=2))

        found["grain, for"] = grains
    if _is_installed("torch"):
        import torch

        def torches() -> Iterable[Any]:
            loader = torch.utils.data.DataLoader(
                Records(),
                BATCH,
                shuffle=True,
                collate_fn=np.stack,  # type: ignore[arg-type]
            )
            return iter(loader)

        found["torch, for"] = torches
    if _is_installed("tensorflow"):
        import tensorflow as tf

        def tensors() -> Iterable[Any]:
            ids = tf.data.Dataset.range(records).shuffle(records, seed=0).batch(BATCH)

            def read(batch: Any) -> Any:
                rows = tf.numpy_function(
                    lambda x: np.stack([record(int(i)) for i in x]), [batch], tf.uint8
                )
                return tf.ensure_shape(rows, (BATCH, 32, 32, 3))

            return ids.map(read, num_parallel_calls=2).prefetch(2).as_numpy_iterator()

        found["tf.data, for"] = tensors
    return found


def _of_datarax(folder: Path, shards: list[np.ndarray]) -> Callable[[], Iterable[Any]]:
    import datarax
    from datarax.sources.streaming_disk_source import (
        StreamingDiskSource,
        StreamingDiskSourceConfig,
    )

    whole = folder / "whole" / "0.npy"  # it reads one file
    whole.parent.mkdir(exist_ok=True)
    shape = (sum(map(len, shards)), *shards[0].shape[1:])
    file = np.lib.format.open_memmap(whole, "w+", shards[0].dtype, shape)
    np.concatenate(shards, out=file)
    source = StreamingDiskSource(StreamingDiskSourceConfig(path=str(whole), feature_key="image"))
    pipeline = datarax.Pipeline(
        source=source, stages=[], batch_size=BATCH, rngs=nnx.Rngs(0), num_epochs=None
    )
    return lambda: (batch["image"] for batch in pipeline)


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def measured(
    contestants: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, tuple[float, float]]:
    """Median seconds and CPU seconds of a call of each, the first left out."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, call in contestants.items():
            start, used = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            if turn:
                taken[name].append((time.perf_counter() - start, time.process_time() - used))
    return {
        name: (statistics.median(x for x, _ in each), statistics.median(y for _, y in each))
        for name, each in taken.items()
    }


def anonymous() -> float:
    """The anonymous memory of this process, in MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1000


def main() -> None:
    report = Report(
        "out_of_core",
        str(__doc__),
        rounds=5,
        peers=["datarax", "grain", "tensorflow", "tensorflow-cpu", "torch"],
        gigabytes=1.0,
        milliseconds=1.5,
        steps=200,
    )
    report.say(str(__doc__))
    options = report.options
    folder = Path(tempfile.mkdtemp(prefix="out_of_core_"))
    try:
        _report(report, folder, options.gigabytes, options.milliseconds, options.steps)
    finally:
        shutil.rmtree(folder)


def _report(
    report: Report, folder: Path, gigabytes: float, milliseconds: float, steps: int
) -> None:
    records = written(folder, gigabytes)
    weight, step = training(products_for(milliseconds))
    source = host.DiskSource(folder)
    files = of_dagrax(HostSource(True, source=source, rngs=nnx.Rngs(0)), step, weight, steps)
    before = anonymous()
    for call in files.values():
        for _ in range(3):
            jax.block_until_ready(call())
    held = anonymous() - before

    batch = jnp.asarray(source.fetch(np.arange(BATCH)))
    alone = by_for(lambda: itertools.repeat(batch), step, weight, steps)
    scan_alone = jax.jit(
        lambda weight, batch: jax.lax.scan(
            lambda own, _: (step(own, batch), None), weight, None, length=steps
        )[0]
    )
    few = min(records, 200_000)
    memory = MemorySource(data=source.fetch(np.arange(few)), shuffle=True, rngs=nnx.Rngs(0))
    ours = {
        "compute alone, for": alone,
        "compute alone, scan": lambda: scan_alone(weight, batch),
        **of_dagrax(memory, step, weight, steps),
        **files,
        "io_callback, scan": by_callback(source, records, step, weight, steps),
    }
    others = {
        name: by_for(batches, step, weight, steps)
        for name, batches in peers(folder, records).items()
    }
    seconds = measured({**ours, **others}, report.rounds)
    rows, ratios = [], {}
    for name, (wall, used) in seconds.items():
        base = seconds[f"compute alone, {name.rpartition(', ')[2]}"]
        ratios[name] = used / base[1]
        each = wall / steps * 1e3
        rows.append([name, each, wall / base[0], used / steps * 1e3, ratios[name]])
    at_most = 1.1 if milliseconds >= 1.5 else 1.2
    chunk = 2**24 / 1e6
    report.table(
        f"ms a step of {BATCH} images, of {records} in files ({records * WIDTH / 1e9:.2g} GB)",
        ["", "ms", "/ compute alone", "CPU ms", "CPU / compute alone"],
        rows,
        [
            Bound(
                "CPU time of a `scan` over files / compute alone", at_most, ratios["files, scan"]
            ),
            Bound(
                "a `for` over files / over memory",
                1.3,
                seconds["files, for"][0] / seconds["memory, for"][0],
            ),
            Bound("MB of anonymous memory over files", 8 * chunk + 64, held),
        ],
    )
    report.table("MB of anonymous memory", ["", "MB"], [["loops over files", held]])
    report.save()


if __name__ == "__main__":
    main()
