"""What was compiled, when and why is told, as data; and who compiles again and again is warned."""

import datetime
import gc
import itertools
import json
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import Compilations, HostSource, Pipeline, RecompilationWarning
from dagrax.nnx_api._call._history import History, Said
from dagrax.pure import host
from dagrax.pure.host._ahead import _feed
from tests.counting import unlike_any
from tests.nnx_zoo import linear
from tests.zoo import Batch


class Flip(nnx.Module):
    def __init__(self, gain: float = 2.0):
        self.deterministic = False
        self.gain = nnx.Param(jnp.float32(gain))

    def __call__(self, batch: Batch) -> Batch:
        sign = 1 if self.deterministic else -1
        return {**batch, "x": batch["x"] * self.gain[...] * sign}


def pipeline_of(*more: Any) -> Pipeline:
    return linear(Flip(), *more, size=16)


def why(pipeline: Pipeline) -> list[tuple[str, list[tuple[str, str, str]] | None]]:
    return [
        (x.entry, None if x.changes is None else [(c.argument, c.old, c.new) for c in x.changes])
        for x in pipeline.compilations().events
    ]


def added(carry: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    return carry + batch["x"].sum(), batch["x"].sum()


def largest(carry: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    return jnp.maximum(carry, batch["x"].max()), batch["x"].max()


def test_each_compilation_is_told_with_what_differs() -> None:
    pipeline = pipeline_of(unlike_any())
    for _ in range(2):
        pipeline.step()
    pipeline.batch_size = 8
    next(iter(pipeline))  # a `for` calls step
    pipeline.eval()  # type: ignore[no-untyped-call]
    pipeline.step()
    pipeline.train()  # type: ignore[no-untyped-call]
    pipeline.seek(epoch=0)
    for shape in ((), (3,), (3,)):
        pipeline.scan(added, init_carry=jnp.zeros(shape), length=1)
    pipeline.scan(largest, init_carry=jnp.zeros(()), length=1)
    pipeline.step()  # as before
    assert why(pipeline) == [
        ("step", None),
        ("step", [("batch_size", "4", "8")]),
        ("step", [("attribute `deterministic` of node `flip`", "False", "True")]),
        ("scan", None),
        ("scan", [("shape of carry", "f32[]", "f32[3]")]),
        ("scan", [("the step function", "added", "largest")]),
    ]
    told = pipeline.compilations()
    assert (told.counts, len(told)) == ({"step": 3, "scan": 3}, 6)
    assert all(x.seconds > 0 for x in told.events)
    assert told.events[0].when <= told.events[-1].when <= datetime.datetime.now().astimezone()
    head, _, *rows = str(told).split("\n")
    assert head.startswith("step was compiled 3 times, in ")
    assert rows[0] == "entry point  at        seconds  what differs from the program before"
    assert rows[2].endswith("batch_size: 4 -> 8")
    assert json.loads(json.dumps(told.to_dict()))["counts"] == told.counts
    assert "batch_size: 4 -&gt; 8" in told._repr_html_()


def test_a_program_that_another_pipeline_has_left_is_no_compilation() -> None:
    stage = unlike_any()
    first, other = (linear(stage, size=16) for _ in range(2))
    for pipeline in (first, other):
        pipeline.step()
    assert (why(first), why(other)) == ([("step", None)], [])
    assert str(other.compilations()) == "Nothing was compiled for this pipeline."
    other.batch_size = 2
    other.step()
    assert why(other) == [("step", [("batch_size", "4", "2")])]


def test_a_value_that_is_closed_over_is_named_and_warned_of_at_the_third_time() -> None:
    pipeline = pipeline_of(unlike_any())

    def scanned(factor: int) -> None:
        pipeline.scan(lambda batch: batch["x"].sum() * factor, length=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for factor in (2, 3, 3, 4):
            scanned(factor)
    with pytest.warns(RecompilationWarning) as told:
        scanned(5)
    assert [str(x.message) for x in told] == [
        "pipeline.scan was compiled 4 times, 3 of them for one reason: `factor` of the step "
        "function: 2 -> 3, 3 -> 4, 4 -> 5. Pass to the step function as arrays what changes: in "
        "init_carry=…, or as Variables of a module in modules=(…). print(pipeline.compilations()) "
        "tells all of them."
    ]
    assert told[0].filename == __file__


def fact(value: object, name: str = "batch_size") -> dict[tuple[str, str], Said]:
    return {(name, ""): Said(str(value))}


def noted(*facts: dict[tuple[str, str], Said]) -> Compilations:
    history = History()
    for each in facts:
        history.note("step", each, 0.1)
    return history.told()


def weighted(w: Any) -> Callable[[Batch], jax.Array]:
    def step(batch: Batch) -> jax.Array:
        weighted: jax.Array = w.sum() * batch["x"]
        return weighted.sum()

    return step


@pytest.mark.parametrize(
    ("made", "old", "new"),
    [
        (np.float32, "np.float32(2.0)", "np.float32(3.0)"),
        (lambda e: np.full(4, e, np.float32), "f32[4]", "another f32[4]"),
        (lambda e: jnp.full(4, e, jnp.float32), "f32[4]", "another f32[4]"),
    ],
)
def test_an_array_that_is_closed_over_is_named_too(made: Any, old: str, new: str) -> None:
    pipeline = pipeline_of(unlike_any())
    kept = [made(e) for e in range(4)]
    with pytest.warns(RecompilationWarning, match=r"`w` of the step function: "):
        for w in kept:
            pipeline.scan(weighted(w), length=1)
    assert why(pipeline)[-1] == ("scan", [("`w` of the step function", old, new)])


def test_a_program_is_compared_with_the_one_before_that_is_most_like_it() -> None:
    both = {**fact(2), **fact("on", "mesh")}
    changes = [x.changes for x in noted(fact(1), both, fact(3)).events]
    assert [len(x or ()) for x in changes] == [0, 2, 1]
    assert [(c.argument, c.old, c.new) for c in changes[2] or ()] == [("batch_size", "1", "3")]


def test_two_programs_of_a_scan_over_files_are_told_and_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As beside an accelerator, where whole chunks have a program of their own.
    monkeypatch.setattr(_feed, "asks_the_host", lambda: True)
    monkeypatch.setattr(_feed, "batches_of_a_chunk", lambda stream: 4)
    records = host.RandomAccessSource(np.arange(80, dtype=np.float32))
    pipeline = Pipeline[Any, Any](
        source=HostSource[Any](source=records), stages=[unlike_any()], batch_size=4
    )

    def step(factor: float) -> Callable[[jax.Array], jax.Array]:
        return lambda batch: batch.sum() * factor

    for factor in range(1, 5):
        sums = pipeline.scan(step(factor), length=20)
        assert np.array_equal(sums, factor * (16 * np.arange(20) + 6))
    assert len(pipeline.compilations()) == 8
    two = ("batches of a program", "any number", "all that are read at a time")
    assert why(pipeline)[:2] == [("scan", None), ("scan", [two])]


def test_it_is_warned_of_once_for_each_reason_and_never_of_another_step_function() -> None:
    with pytest.warns(RecompilationWarning, match=r"batch_size: 0 -> 1, 1 -> 2, 2 -> 3\. Keep "):
        noted(*map(fact, range(4)))
    with pytest.warns(RecompilationWarning) as told:
        noted(*map(fact, range(9)))
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noted(*(fact(f"f{n}", "the step function") for n in range(9)))
        noted(*itertools.repeat(fact(1), 9))  # nothing differs: JAX has let it go


def test_what_is_remembered_keeps_nothing_alive() -> None:
    pipeline = pipeline_of()
    by = jnp.ones(3)

    def step(batch: Batch) -> jax.Array:
        found: jax.Array = batch["x"].sum() * by
        return found

    pipeline.scan(step, length=1)
    node = weakref.ref(pipeline.nodes["flip"])
    gone = weakref.ref(step)
    told = pipeline.compilations()
    del pipeline, step
    gc.collect()
    assert (node(), gone()) == (None, None)
    assert len(told) == 1
