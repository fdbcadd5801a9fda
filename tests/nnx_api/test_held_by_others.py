"""What a stage reads that others hold too counts for every way in: globals, classes, modules.

Each case is a stage that multiplies by 1, and a change after which it multiplies by 7. A compiled
call of the pipeline gives 7 then, as one made anew does.
"""

import array
import collections
import contextvars
import dataclasses
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, Pipeline
from tests.zoo import Batch

me: Any = sys.modules[__name__]
factor = 1.0
in_a_dict = {"k": 1.0}
in_a_list = [1.0]
chained = collections.ChainMap({"k": 1.0})
counted = collections.Counter(k=1)
shown = types.MappingProxyType(in_a_dict)
space = types.SimpleNamespace(k=1.0)
buffer = bytearray([1])
numbers = array.array("d", [1.0])
table = np.ones((1, 4), np.float32)
setting: contextvars.ContextVar[float] = contextvars.ContextVar("setting", default=1.0)


def times(read: Callable[[], Any]) -> Callable[[Batch], Batch]:
    """A stage that multiplies by what the function reads."""
    return lambda batch: {"x": batch["x"] * read()}


@dataclasses.dataclass(frozen=True)
class Fields:
    k: float = 1.0


def seven(fields: Fields) -> int:
    return 7


def called() -> float:
    return factor


@functools.cache
def kept() -> float:
    return factor


def forget_what_was_kept() -> None:
    me.factor = 7.0
    kept.cache_clear()


def imported() -> float:
    from tests.nnx_api.test_held_by_others import factor as here

    return here


class OfTheClass(nnx.Module):
    k = 1.0

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] * self.k}


class OfTheBase(OfTheClass):
    pass


class AsAProperty(nnx.Module):
    @property
    def k(self) -> float:
        return factor

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] * self.k}


class Replaced:
    def __call__(self, batch: Batch) -> Batch:
        return batch


def with_default(batch: Batch, k: float = 1.0, *, own: float = 1.0) -> Batch:
    return {"x": batch["x"] * k * own}


class Holding(nnx.Module):
    def __init__(self) -> None:
        self.held = types.SimpleNamespace(table=np.ones((1, 4), np.float32))

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] * self.held.table}


holding = Holding()


def sevenfold(self: object, batch: Batch) -> Batch:
    return {"x": batch["x"] * 7}


CASES: dict[str, tuple[Callable[..., Any], Callable[[], object]]] = {
    "a number": (times(lambda: factor), lambda: setattr(me, "factor", 7.0)),
    "a dict": (times(lambda: in_a_dict["k"]), lambda: in_a_dict.update(k=7.0)),
    "a list": (times(lambda: in_a_list[0]), lambda: in_a_list.__setitem__(0, 7.0)),
    "a chain of dicts": (times(lambda: chained["k"]), lambda: chained.update(k=7.0)),
    "a counter": (times(lambda: float(counted["k"])), lambda: counted.update(k=6)),
    "a view of a dict": (times(lambda: shown["k"]), lambda: in_a_dict.update(k=7.0)),
    "an attribute": (times(lambda: space.k), lambda: setattr(space, "k", 7.0)),
    "bytes": (times(lambda: float(buffer[0])), lambda: buffer.__setitem__(0, 7)),
    "an array of Python": (times(lambda: numbers[0]), lambda: numbers.__setitem__(0, 7.0)),
    "an array of NumPy": (times(lambda: table), lambda: table.fill(7)),
    "one that an object holds": (holding, lambda: holding.held.table.fill(7)),
    "a variable of the context": (times(setting.get), lambda: setting.set(7.0)),
    "a helper's global": (times(lambda: called()), lambda: setattr(me, "factor", 7.0)),
    "what a cache has kept": (times(lambda: kept()), forget_what_was_kept),
    "a module's name": (times(lambda: me.factor), lambda: setattr(me, "factor", 7.0)),
    "an import in a function": (times(imported), lambda: setattr(me, "factor", 7.0)),
    "mapped over records": (
        lambda batch: {"x": jax.vmap(lambda x: x * factor)(batch["x"])},
        lambda: setattr(me, "factor", 7.0),
    ),
    "an attribute of the class": (OfTheClass(), lambda: setattr(OfTheClass, "k", 7.0)),
    "one of its base": (OfTheBase(), lambda: setattr(OfTheClass, "k", 7.0)),
    "a property": (AsAProperty(), lambda: setattr(me, "factor", 7.0)),
    "a method": (Replaced(), lambda: setattr(Replaced, "__call__", sevenfold)),
    "defaults": (with_default, lambda: setattr(with_default, "__defaults__", (7.0,))),
    "those of a dataclass": (
        times(lambda: Fields().k),
        lambda: setattr(Fields.__init__, "__defaults__", (7.0,)),
    ),
    "a method of a dataclass": (
        times(lambda: max(1, min(7, hash(Fields(0.0))))),
        lambda: setattr(Fields, "__hash__", seven),
    ),
    "named ones": (with_default, lambda: setattr(with_default, "__kwdefaults__", {"own": 7.0})),
}
BEFORE: list[tuple[Any, str, Any]] = [
    *((kind, "k", 1.0) for kind in (OfTheClass, space)),
    (me, "factor", 1.0),
    (Replaced, "__call__", Replaced.__call__),
    (Fields.__init__, "__defaults__", (1.0,)),
    (Fields, "__hash__", lambda fields: 1),
    (with_default, "__defaults__", (1.0,)),
    (with_default, "__kwdefaults__", {"own": 1.0}),
]


@pytest.fixture(autouse=True)
def _as_they_were() -> None:
    for owner, name, value in BEFORE:
        setattr(owner, name, value)
    for held in (in_a_dict, chained):
        held["k"] = 1.0
    in_a_list[0] = numbers[0] = 1.0
    counted["k"] = buffer[0] = 1
    for filled in (table, holding.held.table):
        filled.fill(1)
    setting.set(1.0)
    kept.cache_clear()


def first(batch: Batch) -> Any:
    return batch["x"][0, 0]


def ways_in(pipeline: Pipeline) -> list[float]:
    (output,) = pipeline.outputs().values()
    return [
        float(first(pipeline.step())),
        float(first(next(iter(pipeline)))),
        float(pipeline.scan(first, length=1)[0]),
        float(first(output)),
        float(first(pipeline({"x": jnp.ones((2, 4))}))),
    ]


def made(stage: Callable[..., Any]) -> Pipeline:
    source = MemorySource(data={"x": np.ones((2400, 4), np.float32)})
    return Pipeline(source=source, stages=[stage], batch_size=8)


@pytest.mark.parametrize("case", CASES)
def test_a_step_heeds_it(case: str) -> None:
    stage, change = CASES[case]
    pipeline = made(stage)
    assert [float(first(pipeline.step())) for _ in range(2)] == [1, 1]
    change()
    assert [float(first(pipeline.step())) for _ in range(2)] == [7, 7]


@pytest.mark.parametrize(
    "case", ["a dict", "an attribute of the class", "one that an object holds"]
)
def test_every_way_in_heeds_it(case: str) -> None:
    stage, change = CASES[case]
    pipeline = made(stage)
    assert ways_in(pipeline) == [1] * 5
    change()
    assert ways_in(pipeline) == [7] * 5


# What a trace sets


traced: list[int] = []
number_traced = 0


def counted_by_all(batch: Batch) -> Batch:
    global number_traced
    number_traced += 1
    traced.append(1)
    return batch


def test_what_a_stage_sets_while_it_is_traced_compiles_nothing_anew() -> None:
    own: list[int] = []

    def counting(batch: Batch) -> Batch:
        own.append(1)
        return counted_by_all(batch)

    pipelines = made(counting), made(counted_by_all)
    for _ in range(3):
        for pipeline in pipelines:
            ways_in(pipeline)
    for pipeline in pipelines:
        assert pipeline.compilations().counts == {"step": 1, "outputs": 1, "scan": 1}


def test_what_changes_behind_a_trace_that_has_set_something_else_is_heeded() -> None:
    def counting(batch: Batch) -> Batch:
        return counted_by_all({"x": batch["x"] * in_a_dict["k"]})

    pipeline = made(counting)
    assert ways_in(pipeline) == [1] * 5
    in_a_dict["k"] = 7.0
    assert ways_in(pipeline) == [7] * 5


def test_a_step_function_that_counts_its_traces_is_traced_once() -> None:
    counts: list[int] = []
    number = 0

    def counting(batch: Batch) -> Any:
        nonlocal number
        number += 1
        return first(batch)

    pipeline = made(lambda batch: batch)
    for _ in range(3):
        pipeline.scan(counting, length=2)
        pipeline.scan(lambda batch: counts.append(1) or first(batch), length=2)  # type: ignore[func-returns-value]
    assert (number, len(counts)) == (1, 1)


class Lazy:
    k: float | None = None

    def __call__(self, batch: Batch) -> Batch:
        if self.k is None:
            self.k = 1.0
        return {"x": batch["x"] * self.k}


def test_what_was_set_by_a_trace_is_heeded_when_a_user_sets_it() -> None:
    lazy = Lazy()
    pipeline = made(lazy)
    assert ways_in(pipeline) == [1] * 5
    lazy.k = 7.0
    assert ways_in(pipeline) == [7] * 5
