"""The ways through a pipeline, once for the core, the face and variants; all equal the reference.

A path drives what has `step()`, `for`, `scan` and a `cursor` for some batches, and tells for each
the place behind it, where that can be seen, and the batch. `Core` lets the pure core be driven so.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import Pipeline, Records, Seed
from tests.zoo import Batch, assert_same

Place = tuple[int, int]
Steps = list[tuple[Place | None, Batch]]


@dataclasses.dataclass
class Core:
    """The pure core with the position that it leaves to its caller."""

    pipeline: dp.Pipeline
    stream: dp.Stream
    cursor: dp.Cursor
    key: jax.Array | None = None
    compiled: bool = False

    def step(self) -> Any:
        step = _STEP if self.compiled else dp.step
        self.cursor, batch = step(self.pipeline, self.stream, self.cursor, key=self.key)
        return batch

    def __iter__(self) -> Iterator[Any]:
        for after, batch in dp.epoch(self.pipeline, self.stream, self.cursor, key=self.key):
            self.cursor = after
            yield batch

    def scan(self, fn: Callable[..., Any], *, length: int, init_carry: Any = None) -> Any:
        scan = _SCAN if self.compiled else dp.scan
        body = fn if init_carry is not None else _without_a_carry(fn)
        self.cursor, carry, ys = scan(
            body, init_carry, self.pipeline, self.stream, self.cursor, key=self.key, length=length
        )
        return ys if init_carry is None else (carry, ys)


_STEP = jax.jit(dp.step)
_SCAN = jax.jit(dp.scan, static_argnums=0, static_argnames="length")


def _without_a_carry(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda carry, batch: (carry, fn(batch))


Driven = Core | Pipeline
Path = Callable[[Any, int], Steps]


def by_step(pipeline: Driven, count: int) -> Steps:
    steps: Steps = []
    for _ in range(count):
        batch = pipeline.step()
        steps.append((place(pipeline), batch))
    return steps


def by_for(pipeline: Driven, count: int) -> Steps:
    steps: Steps = []
    while len(steps) < count:
        for batch in pipeline:
            steps.append((place(pipeline), batch))
            if len(steps) == count:
                break
    return steps


def by_scan(pipeline: Driven, count: int) -> Steps:
    return unstacked(pipeline, count, pipeline.scan(_same, length=count))


def by_scan_with_a_carry(pipeline: Driven, count: int) -> Steps:
    def count_up(carry: jax.Array, batch: Batch) -> tuple[jax.Array, Batch]:
        return carry + 1, batch

    start = np.arange(np.prod(variants(pipeline), dtype=int), dtype=np.int32)
    start = start.reshape(variants(pipeline))
    carry, ys = pipeline.scan(count_up, length=count, init_carry=jnp.asarray(start))
    assert (carry == start + count).all()
    return unstacked(pipeline, count, ys)


def by_blocks(pipeline: Pipeline, count: int) -> Steps:
    steps: Steps = []
    for ys in pipeline.blocks(_same, every=2, length=count):
        steps += unstacked(pipeline, min(2, count - len(steps)), ys)
    return steps


def by_step_in_jit(pipeline: Pipeline, count: int) -> Steps:
    step = nnx.jit(lambda pipeline: pipeline.step())
    steps: Steps = []
    for _ in range(count):
        batch = step(pipeline)
        steps.append((place(pipeline), batch))
    return steps


def by_scan_in_jit(pipeline: Pipeline, count: int) -> Steps:
    scan = nnx.jit(lambda pipeline: pipeline.scan(_same, length=count))
    return unstacked(pipeline, count, scan(pipeline))


def by_nnx_scan(pipeline: Pipeline, count: int) -> Steps:
    axes = nnx.StateAxes([(Records, None), (..., nnx.Carry)])

    @nnx.scan(in_axes=(axes,), out_axes=0, length=count)
    def scan(pipeline: Pipeline) -> Any:
        return pipeline.step()

    return taken_apart(pipeline, count, scan(pipeline))


EAGER: list[Path] = [by_step, by_for]
SCANS: list[Path] = [by_scan, by_scan_with_a_carry]
TRACED: list[Path] = [*SCANS, by_step_in_jit, by_scan_in_jit, by_nnx_scan]
PATHS = [*EAGER, *TRACED]


def place(at: Driven | dp.Cursor) -> Place:
    """A cursor, or that of a pipeline, as numbers."""
    cursor = at if isinstance(at, dp.Cursor) else at.cursor
    return int(cursor.epoch), int(cursor.offset)


def variants(pipeline: Driven) -> tuple[int, ...]:
    """How many variants run as one; of each axis of them, since each has a seed of its own."""
    if isinstance(pipeline, Core):
        return ()
    shape: tuple[int, ...] = jax.tree.leaves(nnx.state(pipeline, Seed))[0].shape
    return shape


def unstacked(pipeline: Driven, count: int, ys: Any) -> Steps:
    """The batches of a scan, which come behind the axes of the variants."""
    axis = len(variants(pipeline))
    return taken_apart(pipeline, count, jax.tree.map(lambda y: jnp.moveaxis(y, axis, 0), ys))


def taken_apart(pipeline: Driven, count: int, batches: Any) -> Steps:
    each = [jax.tree.map(lambda y, i=i: y[i], batches) for i in range(count)]
    # Of the places of a scan only the last is seen.
    return [*((None, batch) for batch in each[:-1]), (place(pipeline), each[-1])]


def assert_steps(actual: Steps, expected: Sequence[tuple[Place | None, Batch]]) -> None:
    """The same places, records, masks and draws."""
    assert len(actual) == len(expected)
    for (after, batch), (expected_after, expected_batch) in zip(actual, expected, strict=True):
        assert after in (None, expected_after)
        assert_same(batch, expected_batch)


def _same(batch: Any) -> Any:
    return batch
