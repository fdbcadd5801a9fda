"""Every driver gives the reference's records, masks, ids and draws, and stands where it does.

A combination is a source, an order, a remainder, a batch size, a driver, a place to start, a shard
and whether the ids of records are asked for. Of all of them `pairs` chooses so few that any two
values of any two come together at least once, as far as the library takes them. What differs from
these sources and orders by its numbers alone meets every cursor in `test_every_cursor`.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, Pipeline
from tests import paths, reference
from tests.flow.pairs import Row, all_pairs
from tests.flow.table import (
    MIXTURES,
    ORDERS,
    SOURCES,
    Expected,
    Held,
    batches,
    epochs_of,
    quickly,
)
from tests.paths import Core, Path, Steps, place
from tests.zoo import REMAINDERS, Batch, assert_same, part, records

SEED = 3
EVERYTHING = {**SOURCES, **MIXTURES}
OWN = "its own"


def by_step_and_for(pipeline: Any, count: int) -> Steps:
    return [*paths.by_step(pipeline, 1), *paths.by_for(pipeline, count - 1)]


def by_scan_and_blocks(pipeline: Any, count: int) -> Steps:
    return [*paths.by_scan(pipeline, 1), *paths.by_blocks(pipeline, count - 1)]


DRIVERS: dict[str, Path] = {
    "step and for": by_step_and_for,
    "scan and blocks": by_scan_and_blocks,
    "core: step in jit": paths.by_step,
    "variants: scan": paths.by_scan,
}
SHARDS = {"whole": None, "first half": (0, 2), "last third": (2, 3)}
COLUMNS: dict[str, Sequence[str]] = {
    "source": ["documents", "views of views", "zip"],
    "driver": list(DRIVERS),
    "order": ["shuffled", "weighted", "repeat"],
    "remainder": REMAINDERS,
    "size": ["6", "24"],
    "start": ["start", "within", "end"],
    "shard": list(SHARDS),
    "ids": ["none", "rid"],
}
# What takes long to compile meets a few drivers alone. A mixture decides its own order.
FEW = [
    ("mixture", OWN, "step and for", "partial", "6", "end", "last third", "rid"),
    ("mixture", OWN, "scan and blocks", "pad", "24", "within", "first half", "none"),
    ("mixture", OWN, "variants: scan", "drop", "6", "end", "whole", "none"),
    ("random part", "with replacement", "scan and blocks", "drop", "6", "start", "whole", "rid"),
    ("array", "balanced", "scan and blocks", "carry", "6", "start", "whole", "none"),
    ("array", "windowed", "scan and blocks", "pad", "6", "end", "whole", "rid"),
    ("mask", "windowed", "core: step in jit", "carry", "24", "within", "last third", "none"),
    ("windows", "repeat of repeats", "variants: scan", "carry", "6", "end", "first half", "rid"),
]


def can(row: Row) -> bool:
    """Whether the library takes it: batches have to be full under "drop", and alike in a trace."""
    if "order" not in row or "size" not in row:
        return not (traced_partial(row) and row.get("start") == "end")
    if row.get("remainder") == "drop":
        return length_of(row) >= int(row["size"])
    if not traced_partial(row):
        return True
    return row.get("start") != "end" and length_of(row) % int(row["size"]) == 0


def traced_partial(row: Row) -> bool:
    eager = row.get("driver", "step and for").endswith("step and for")
    return row.get("remainder") == "partial" and not eager


def length_of(row: Row) -> int:
    return epochs_of("mixture" if row["order"] == OWN else row["order"]).length


def noted(batch: Any, *, key: jax.Array, record_keys: Any) -> Batch:
    """What flows in, what each record draws, and what the batch draws."""
    many = jax.random.key_data(record_keys)
    one = jax.random.key_data(key)
    of_batch = jnp.broadcast_to(one[0] ^ one[1], many.shape[:1])
    return {"rows": batch, "record": many[:, 0] ^ many[:, 1], "batch": of_batch}


@quickly
def words_of(seed: jax.Array, folds: jax.Array, some: jax.Array) -> jax.Array:
    """The words of a seed into which those numbers were folded for which `some` is True."""

    def fold(key: jax.Array, number: jax.Array) -> jax.Array:
        return jax.vmap(jax.random.fold_in)(key, number)

    keys = jnp.broadcast_to(seed, folds.shape[1:])
    for numbers, flags in zip(folds, some, strict=True):
        keys = jnp.where(flags, fold(keys, numbers), keys)
    words = jax.random.key_data(keys)
    return words[:, 0] ^ words[:, 1]


def words(seed: jax.Array, name: str, *folds: Any) -> np.ndarray:
    """The rule of randomness: what is folded into the seed, and nothing else."""
    many = len(folds[0])
    numbers = np.zeros((4, 64), np.uint32)
    some = np.zeros((4, 1), bool)
    for i, fold in enumerate([np.full(many, reference.stable_hash(name)), *folds]):
        numbers[i, :many], some[i] = fold, True
    return np.asarray(words_of(seed, numbers, some))[:many]


def expected_batch(held: Held, batch: Expected, seed: jax.Array, row: Row) -> Batch:
    rows = jax.tree.map(lambda x: x[batch.ids], held.rows)
    marks: Batch = {} if batch.valid is None else {"valid": batch.valid}
    if row["ids"] != "none":
        marks["rid"] = batch.drawn
    turns = [] if batch.turns is None else [batch.turns]
    epochs = batch.epochs if batch.own is None else batch.own
    start = (np.full(len(batch.ids), x) for x in batch.start)
    return {
        "rows": {**rows, **marks},
        "record": words(seed, "record:noted", epochs, batch.drawn, *turns),
        "batch": words(seed, "batch:noted", *start),
        **marks,
    }


def key_of(seed: int) -> jax.Array:
    key: jax.Array = nnx.Rngs(dp.fast_key(seed))["pipeline"]()
    return key


def start_of(row: Row, length: int) -> tuple[int, int]:
    offsets = {"start": (0, 0), "within": (1, 6), "end": (2, length - 1)}
    epoch, offset = offsets[row["start"]]
    size = int(row["size"])
    if traced_partial(row):
        return epoch, offset // size * size % length
    return epoch, offset % length


def expected_of(row: Row, seed: int, count: int) -> Steps:
    held = EVERYTHING[row["source"]]()
    epochs = epochs_of(*order_of(row, seed))
    size, remainder = int(row["size"]), row["remainder"]
    endless: Any = batches(held, epochs, size, remainder, start_of(row, epochs.length))  # type: ignore[arg-type]
    steps: Steps = []
    for batch in itertools.islice(endless, count):
        own = batch.part(SHARDS[row["shard"]])
        steps.append((batch.after, expected_batch(held, own, key_of(seed), row)))
    return steps


def order_of(row: Row, seed: int) -> tuple[str, int]:
    return ("mixture", 0) if row["order"] == OWN else (row["order"], seed)


def settings_of(row: Row) -> Any:
    return {
        "batch_size": int(row["size"]),
        "remainder": row["remainder"],
        "shard": SHARDS[row["shard"]],
        "record_ids": None if row["ids"] == "none" else row["ids"],
    }


def core_of(row: Row, compiled: bool) -> Core:
    order = None if row["order"] == OWN else ORDERS[row["order"]](SEED)
    stream: dp.Stream = dp.Stream(EVERYTHING[row["source"]]().source, order, **settings_of(row))
    start = start_of(row, stream.batching.records)
    cursor = dp.Cursor(*map(np.uint32, start))
    return Core(dp.Pipeline.linear([noted]), stream, cursor, key_of(SEED), compiled)


def pipeline_of(row: Row, seed: int) -> Pipeline:
    order = None if row["order"] == OWN else ORDERS[row["order"]](seed)
    source = ArraySource(source=EVERYTHING[row["source"]]().source, order=order)
    rngs = nnx.Rngs(dp.fast_key(seed))
    return Pipeline(source=source, stages=[noted], rngs=rngs, **settings_of(row))


def at_start(pipeline: Pipeline, row: Row) -> Pipeline:
    epoch, offset = start_of(row, length_of(row))
    pipeline.seek(epoch=epoch, offset=offset)
    return pipeline


def assert_batches(actual: Steps, expected: Steps) -> None:
    for (after, batch), (expected_after, expected_batch) in zip(actual, expected, strict=True):
        assert after in (None, expected_after)
        assert len({jax.tree.structure(x) for x in (batch, expected_batch)}) == 1
        pairs = zip(jax.tree.leaves(batch), jax.tree.leaves(expected_batch), strict=True)
        for got, value in pairs:
            assert got.dtype == value.dtype
            np.testing.assert_array_equal(got, value)


NAMES = [name for name in COLUMNS if name not in ("source", "order")]
LAST = [
    {"source": source, "order": order, **dict(zip(NAMES, row, strict=True))}
    for source, order, *row in FEW
]
ROWS = [*all_pairs(COLUMNS, can), *LAST]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ", ".join(row.values()))
def test_any_two_of_all_that_may_be_chosen_give_what_the_reference_gives(row: Row) -> None:
    count, path = 4, DRIVERS[row["driver"]]
    way, *_ = row["driver"].split(": ")
    if way == "core":
        steps = path(core_of(row, compiled=row["driver"].endswith("jit")), count)
        assert_batches(steps, expected_of(row, SEED, count))
    elif way == "variants":
        seeds = SEED, SEED + 1
        pipeline = Pipeline.variants([pipeline_of(row, seed) for seed in seeds])
        steps = path(at_start(pipeline, row), count)
        for index, seed in enumerate(seeds):
            own = [(after, part(batch, index)) for after, batch in steps]
            assert_batches(own, expected_of(row, seed, count))
    else:
        steps = path(at_start(pipeline_of(row, SEED), row), count)
        assert_batches(steps, expected_of(row, SEED, count))


@pytest.mark.parametrize("name", ["documents", "views of views", "zip"])
def test_a_shard_of_a_short_last_batch_may_have_no_records(name: str) -> None:
    choice = ("core: step and for", "partial", "6", "end", "last third", "none")
    row = {"source": name, "order": "sequential", **dict(zip(NAMES, choice, strict=True))}
    core, expected = core_of(row, compiled=False), expected_of(row, SEED, 1)
    assert len(expected[0][1]["batch"]) == 0
    assert_batches(paths.by_step(core, 1), expected)


def test_blocks_are_a_scan_whatever_their_length() -> None:
    pipeline = Pipeline.from_arrays(records(7), batch_size=3, remainder="pad")
    pipeline.seek(epoch=0, offset=3)
    whole = pipeline.scan(lambda batch: batch, length=3)
    for every in range(1, 5):
        pipeline.seek(epoch=0, offset=3)
        blocks = [*pipeline.blocks(lambda batch: batch, every=every, length=3)]
        together = jax.tree.map(lambda *ys: np.concatenate(ys), *blocks)
        assert_same(together, part(whole))
        assert place(pipeline) == (1, 3)
