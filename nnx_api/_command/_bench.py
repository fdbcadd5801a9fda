"""How many batches a second a pipeline gives: by `step`, `for` and `scan`, medians of rounds.

Each way is gone once before it is timed, so that what it compiles does not count.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from dagrax.pure import internal

from .._pipeline import Pipeline
from ._told import many


@dataclasses.dataclass(frozen=True)
class Measured:
    """Batches a second, by the ways through a pipeline; `str` is a table. `switched` says what the
    pipeline was set to for one of them, if it was."""

    records: int | None  # None where the source does not say
    batch_size: int
    device: str
    batches: int
    rounds: int
    ways: tuple[tuple[str, float], ...]
    switched: str | None = None

    def __str__(self) -> str:
        rounds = f"medians of {self.rounds} rounds" if self.rounds > 1 else "1 round"
        records = "records" if self.records is None else many(self.records, "record")
        head = (
            f"bench: {records} in batches of {self.batch_size}, on "
            f"{self.device}, {rounds} of {many(self.batches, 'batch', 'batches')}"
        )
        lines = [
            f"  {way}  {speed:>12,.1f} batches/s  {speed * self.batch_size:>14,.0f} records/s  "
            f"{1e6 / speed:>10,.1f} us a batch"
            for way, speed in self.ways
        ]
        return "\n".join([head, *lines, *([f"  {self.switched}"] if self.switched else [])])

    def to_dict(self) -> dict[str, object]:
        """The same as dicts, strings and numbers, for JSON."""
        ways = {way.strip(): speed for way, speed in self.ways}
        return {**dataclasses.asdict(self), "ways": ways, "unit": "batches/s"}


def measured(pipeline: Pipeline[Any, Any], batches: int, rounds: int) -> Measured:
    """Its speed in every way. A batch is summed up in a scan, which would compute no other."""
    size, records = pipeline.batch_size, pipeline.source.pure()[0].size
    ways: list[tuple[str, Callable[[], PyTree]]] = [
        ("step", lambda: [pipeline.step() for _ in range(batches)][-1]),
        ("for ", lambda: _last(_endless(pipeline, batches))),
    ]
    found = [(way, batches / _median(pipeline, run, rounds)) for way, run in ways]
    own, switched = pipeline.remainder, None
    is_short = own == "partial" and records % size > 0
    if is_short:
        switched = (
            f'scan with remainder="drop": its batches have one shape, but the last of an epoch has '
            f'{many(records % size, "record")} under "partial"'
        )
        if records < size:
            switched = f"no scan: its batches have one shape, and {records} records make none whole"
    if not is_short or records >= size:
        pipeline.remainder = "drop" if is_short else own
        scan = _median(pipeline, lambda: pipeline.scan(_summed, length=batches), rounds)
        found.append(("scan", batches / scan))
        pipeline.remainder = own
    device = str(jax.devices()[0].device_kind)
    known = None if records == internal.UNKNOWN else records
    return Measured(known, size, device, batches, rounds, tuple(found), switched)


def _median(pipeline: Pipeline[Any, Any], run: Callable[[], PyTree], rounds: int) -> float:
    times = []
    for number in range(rounds + 1):
        pipeline.seek(epoch=0)
        start = time.perf_counter()
        jax.block_until_ready(run())
        if number:  # the first compiles
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def _endless(pipeline: Pipeline[Any, Any], batches: int) -> Iterator[PyTree]:
    while batches > 0:
        for batch in pipeline:
            yield batch
            batches -= 1
            if not batches:
                return


def _last(batches: Iterator[PyTree]) -> PyTree:
    last = None
    for batch in batches:
        last = batch
    return last


def _summed(batch: PyTree) -> PyTree:
    def summed(leaf: PyTree) -> PyTree:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            leaf = jax.random.key_data(leaf)
        return jnp.sum(leaf, dtype=jnp.float32) if leaf.dtype.kind != "c" else jnp.sum(leaf)

    return jax.tree.map(summed, batch)
