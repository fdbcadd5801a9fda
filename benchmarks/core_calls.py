"""What a bare call of the pure core costs beside the same call under `jax.jit`.

Three nodes with a parameter each, 64 rows of 8 numbers, shuffled. `dp.step` and `dp.epoch` are
driven through an epoch of 200 batches; under `jax.jit` that is a loop over the jitted step, whose
cursor stays on the device. `dp.scan` sums 200 batches; its body is a function made anew each time.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rounds import Bound, Report, measure

import dagrax.pure as dp

STEPS, BATCH = 200, 64
AT_MOST = {"step": 2.0, "epoch": 1.3, "scan": 1.3}


class Scale(eqx.Module):
    weight: jax.Array

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"x": batch["x"] * self.weight}


def contestants() -> dict[str, dict[str, Callable[[], Any]]]:
    data = {"x": np.ones((STEPS * BATCH, 8), np.float32)}
    order = dp.Shuffled(jax.random.key(0))
    stream = dp.Stream(dp.ArraySource(data), order, batch_size=BATCH)
    pipeline = dp.Pipeline.linear([Scale(jnp.float32(1)) for _ in range(3)])
    jitted, start = jax.jit(dp.step), jnp.zeros(())

    def stepped(step: Callable[..., Any]) -> Any:
        cursor = stream.start()
        for _ in range(STEPS):
            cursor, batch = step(pipeline, stream, cursor)
        return batch

    def looped() -> Any:
        *_, (_, batch) = dp.epoch(pipeline, stream, stream.start())
        return batch

    def scanned(pipeline: dp.Pipeline, stream: dp.Stream, cursor: dp.Cursor) -> Any:
        def body(total: Any, batch: Any) -> Any:
            return total + batch["x"].sum(), None

        return dp.scan(body, start, pipeline, stream, cursor, length=STEPS)[1]

    whole = jax.jit(scanned)
    return {
        "step": {"bare": lambda: stepped(dp.step), "jitted": lambda: stepped(jitted)},
        "epoch": {"bare": looped, "jitted": lambda: stepped(jitted)},
        "scan": {
            "bare": lambda: scanned(pipeline, stream, stream.start()),
            "jitted": lambda: whole(pipeline, stream, stream.start()),
        },
    }


def main() -> None:
    report = Report("core_calls", str(__doc__), rounds=21)
    report.say(str(__doc__))
    rows: list[list[Any]] = []
    bounds: list[Bound] = []
    for name, runs in contestants().items():
        seconds = measure(runs, report.rounds)
        ratio = seconds["bare"].median / seconds["jitted"].median
        us = [seconds[way].median / STEPS * 1e6 for way in ("bare", "jitted")]
        rows.append([f"`dp.{name}`", *us, ratio])
        bounds.append(Bound(f"bare `dp.{name}` / jitted", AT_MOST[name], ratio))
    heads = ["", "bare, us a batch", "jitted, us a batch", "bare / jitted"]
    report.table("Calls of the core", heads, rows, bounds)
    report.save()


if __name__ == "__main__":
    main()
