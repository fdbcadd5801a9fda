"""What the draws of an epoch cost with a default key and with `fast_key`.

Each record gets noise from a key of its own: uniform or normal numbers, 64 records of 3072 or 1024
of 8 a batch, by one `scan` and by a `for` over the batches. `no draws` is the same without noise.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rounds import Report, measure

import dagrax.pure as dp

BATCHES = 16
SIZES = ((64, 3072), (1024, 8))
DRAWS: dict[str, Callable[..., Any]] = {"uniform": jax.random.uniform, "normal": jax.random.normal}
KEYS = {"default": jax.random.key(0), "fast": dp.fast_key(0)}


def noisy(draw: Callable[..., Any], numbers: int) -> dp.Pipeline:
    def noise(record: Any, *, key: Any) -> Any:
        return record + 0.1 * draw(key, (numbers,))

    return dp.Pipeline.linear([dp.per_record(noise)])


@jax.jit
def scanned(pipeline: dp.Pipeline, stream: dp.Stream, key: Any) -> Any:
    def body(total: Any, batch: Any) -> tuple[Any, None]:
        return total + batch, None

    batch = jnp.zeros(stream.batch_spec.shape)
    return dp.scan(body, batch, pipeline, stream, stream.start(), key=key, length=BATCHES)[1]


def looped(pipeline: dp.Pipeline, stream: dp.Stream, key: Any) -> Any:
    for _, batch in dp.epoch(pipeline, stream, stream.start(), key=key):
        last = batch
    return last


def compared(records: int, numbers: int, name: str, run: Any, rounds: int) -> tuple[Any, ...]:
    """Microseconds a batch with each key and without draws, and two ratios."""
    data = np.zeros((BATCHES * records, numbers), np.float32)
    stream = dp.Stream(dp.ArraySource(data), batch_size=records)
    noise, bare = noisy(DRAWS[name], numbers), dp.Pipeline.linear([lambda batch: batch + 0.1])
    each = measure(
        {
            "default": lambda: run(noise, stream, KEYS["default"]),
            "fast": lambda: run(noise, stream, KEYS["fast"]),
            "no draws": lambda: run(bare, stream, KEYS["default"]),
        },
        rounds,
    )
    times = [seconds.median / BATCHES * 1e6 for seconds in each.values()]
    first = each["fast"].first / each["default"].first
    return *map(round, times), times[1] / times[0], first


def main() -> None:
    report = Report("draws", __doc__, rounds=15)
    report.table(
        "Microseconds a batch",
        (
            "records",
            "draws",
            "by",
            *KEYS,
            "no draws",
            "fast / default",
            "first call, fast / default",
        ),
        [
            (
                f"{records} x {numbers}",
                name,
                way,
                *compared(records, numbers, name, run, report.rounds),
            )
            for records, numbers in SIZES
            for way, run in (("scan", scanned), ("for", looped))
            for name in DRAWS
        ],
    )
    report.save()


if __name__ == "__main__":
    main()
