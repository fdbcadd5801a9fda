"""What should cost no more than its plain twin: what a stage holds, a policy, a saved position.

Tiny batches, so that Python is most of the time, except for the records of a saved position, of
which there are 100. A `step()` with what a stage may hold is compared with one whose stage computes
the same from plain Params, or whose source is held otherwise. Every call is warm.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rounds import Bound, Report, measure

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline

BATCH, WIDTH, CALLS = 64, 8, 500
SIDES, SAVES = (16, 256), 20
Batch = dict[str, Any]


# What a stage may hold, and its twin of plain Params.


class Plain(nnx.Module):
    """The arrays of a linear layer, as Params."""

    def __init__(self) -> None:
        self.kernel = nnx.Param(jnp.ones((WIDTH, WIDTH)))
        self.bias = nnx.Param(jnp.zeros(WIDTH))

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] @ self.kernel[...] + self.bias[...]}


class WithLinear(nnx.Module):
    def __init__(self) -> None:
        self.linear = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))

    def __call__(self, batch: Batch) -> Batch:
        return {"x": self.linear(batch["x"])}


class WithNone(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.scale = None


@dataclasses.dataclass(frozen=True)
class Settings:
    power: int = 1
    name: str = "plain"


class WithDataclass(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings()


class PlainNorm(nnx.Module):
    """The arrays and the arithmetic of a BatchNorm, as Params and statistics."""

    def __init__(self) -> None:
        self.mean, self.var = nnx.BatchStat(jnp.zeros(WIDTH)), nnx.BatchStat(jnp.ones(WIDTH))
        self.scale, self.bias = nnx.Param(jnp.ones(WIDTH)), nnx.Param(jnp.zeros(WIDTH))

    def __call__(self, batch: Batch) -> Batch:
        x = batch["x"]
        mean, var = x.mean(0), jnp.maximum(0, (x * x).mean(0) - x.mean(0) ** 2)
        self.mean[...] = 0.99 * self.mean[...] + 0.01 * mean
        self.var[...] = 0.99 * self.var[...] + 0.01 * var
        gain = jax.lax.rsqrt(var + 1e-5) * self.scale[...]
        return {"x": (x - mean) * gain + self.bias[...]}


class WithNorm(nnx.Module):
    def __init__(self) -> None:
        self.norm = nnx.BatchNorm(WIDTH, rngs=nnx.Rngs(0))

    def __call__(self, batch: Batch) -> Batch:
        return {"x": self.norm(batch["x"])}


def pipeline_of(stage: Any, *, rngs: bool = True, **options: Any) -> Pipeline[Any, Any]:
    data = {"x": np.ones((CALLS * BATCH, WIDTH), np.float32)}
    given = {"rngs": nnx.Rngs(0)} if rngs else {}
    source: MemorySource[Any] = MemorySource(MemorySourceConfig(), data=data, **given)
    return Pipeline(source=source, stages=[stage], batch_size=BATCH, rngs=nnx.Rngs(0), **options)


def by_content(report: Report) -> None:
    plain, norm = "plain Params", "a BatchNorm by plain Variables"
    pipelines = {
        plain: pipeline_of(Plain()),
        "an nnx.Linear": pipeline_of(WithLinear()),
        "a None": pipeline_of(WithNone()),
        "a dataclass": pipeline_of(WithDataclass()),
        "a source without rngs": pipeline_of(Plain(), rngs=False),
        norm: pipeline_of(PlainNorm()),
        "an nnx.BatchNorm": pipeline_of(WithNorm()),
    }
    seconds = measure({name: stepped(each) for name, each in pipelines.items()}, report.rounds)
    rows = []
    for name, x in seconds.items():
        twin = norm if "BatchNorm" in name else plain
        us = (cell / CALLS * 1e6 for cell in (x.median, x.low, x.high))
        rows.append([name, *us, x.median / seconds[twin].median])
    report.table(
        f"A `step()`, of {CALLS} in a row",
        ["with", "us", "lower quartile", "upper quartile", "/ its plain twin"],
        rows,
        [
            Bound(f"`step()` with {row[0]} / its plain twin", 1.15, row[-1])
            for row in rows
            if row[0] not in (plain, norm)
        ],
    )


def stepped(pipeline: Pipeline[Any, Any], calls: int = CALLS) -> Callable[[], Any]:
    return lambda: [pipeline.step() for _ in range(calls)][-1]


# A policy.


def by_policy(report: Report) -> None:
    policies = ("drop", "pad")
    pipelines = {name: pipeline_of(Plain(), remainder=name) for name in policies}

    def total(batch: Batch) -> jax.Array:
        return batch["x"].sum()

    def lengths(pipeline: Pipeline[Any, Any]) -> Callable[[], Any]:
        return lambda: [len(pipeline) for _ in range(CALLS)]

    def scans(pipeline: Pipeline[Any, Any]) -> Callable[[], Any]:
        return lambda: [pipeline.scan(total, length=3) for _ in range(CALLS // 10)]

    ways = {"`len(p)`": (lengths, CALLS), "warm `p.scan(f, length=3)`": (scans, CALLS // 10)}
    rows = []
    for way, (make, calls) in ways.items():
        seconds = measure({name: make(pipelines[name]) for name in policies}, report.rounds)
        drop, pad = (seconds[name].median for name in policies)
        rows.append([way, drop / calls * 1e6, pad / calls * 1e6, pad / drop])
    report.table(
        "us a call, by what becomes of the remainder",
        ["", "drop", "pad", "pad / drop"],
        rows,
        [Bound(f"{way} under pad / under drop", 1.2, ratio) for way, *_, ratio in rows],
    )


# A saved position.


def by_size(report: Report) -> None:
    runs: dict[tuple[str, int], Callable[[], Any]] = {}
    for side in SIDES:
        data = {"image": np.ones((100, side, side, 3), np.float32)}
        source: MemorySource[Any] = MemorySource(
            MemorySourceConfig(shuffle=True), data=data, rngs=nnx.Rngs(0)
        )
        pipeline: Pipeline[Any, Any] = Pipeline(
            source=source,
            stages=[lambda batch: {"image": batch["image"] * 2}],
            batch_size=10,
            rngs=nnx.Rngs(0),
        )
        runs["step", side] = stepped(pipeline, SAVES)
        runs["save", side] = saved(iter(pipeline))
    seconds = measure(runs, report.rounds)
    us = {which: x.median / SAVES * 1e6 for which, x in seconds.items()}
    rows: list[list[Any]] = []
    for side in SIDES:
        step, save = us["step", side], us["save", side]
        first = seconds["save", side].first * 1e6 - (SAVES - 1) * save
        rows.append([f"{side * side * 12 / 1e3:.0f} KB", step, save, first, save / step])
    report.table(
        "`set_state(get_state())`, 100 records, us",
        ["a record", "a `step()` of 10", "saved and set", "the first time", "/ a `step()`"],
        rows,
        [
            Bound("`get_state` and `set_state`, 786 KB a record / a step", 5, rows[1][-1]),
            Bound(
                "`get_state` and `set_state`, 786 KB a record / 3 KB", 1.2, rows[1][2] / rows[0][2]
            ),
        ],
    )


def saved(iterator: Any) -> Callable[[], Any]:
    return lambda: [iterator.set_state(iterator.get_state()) for _ in range(SAVES)]


def main() -> None:
    report = Report("promises", str(__doc__), rounds=21)
    report.say(str(__doc__))
    by_content(report)
    by_policy(report)
    by_size(report)
    report.save()


if __name__ == "__main__":
    main()
