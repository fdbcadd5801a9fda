"""A step is quick whatever its stages hold, and what is made alike is compiled once."""

import dataclasses
import gc
import hashlib
import weakref
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline
from tests.counting import counted
from tests.nnx_zoo import Scale, linear, same, xs
from tests.zoo import REMAINDERS, Batch, Remainder


class Holding(nnx.Module):
    """Hands on its batch, whatever it holds."""

    def __init__(self, held: Any):
        self.held = held

    def __call__(self, batch: Batch) -> Batch:
        return batch


@dataclasses.dataclass
class Setting:
    value: Any = None


HELD: dict[str, Any] = {
    "Linear": nnx.Linear(2, 2, rngs=nnx.Rngs(0)),
    "BatchNorm": nnx.BatchNorm(2, rngs=nnx.Rngs(0)),
    "Dropout": nnx.Dropout(0.5, rngs=nnx.Rngs(0)),
    "None": None,
    "dataclass": Setting(),
    "NamedTuple": jax.ShapeDtypeStruct((2,), jnp.float32),
    "function": same,
    "eqx module": nnx.data(eqx.nn.Linear(2, 2, key=jax.random.key(0))),
    "list of None": nnx.static([None, (None, {"a": None})]),
    "plain object": nnx.static(Setting(Setting())),
}


def splits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each time that a module is taken apart anew."""
    seen: list[Any] = []
    split = nnx.split

    def spy(*args: Any, **options: Any) -> Any:
        seen.append(args)
        return split(*args, **options)

    monkeypatch.setattr(nnx, "split", spy)
    return seen


@pytest.mark.parametrize("held", HELD)
def test_item_17_a_stage_may_hold_anything_and_a_step_stays_quick(
    held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = linear(Holding(HELD[held]), Scale(), size=16, remainder="drop")
    train = lambda batch: batch["x"].sum()  # noqa: E731
    pipeline.step()
    pipeline.outputs()
    pipeline.scan(train, length=1)
    seen = splits(monkeypatch)
    for _ in range(3):
        pipeline.step()
        next(iter(pipeline))
        pipeline.outputs()
        pipeline.scan(train, length=1)
        len(pipeline)
    assert seen == []


@pytest.mark.parametrize("remainder", REMAINDERS)
def test_item_18_a_length_and_a_scan_look_at_no_data(
    remainder: Remainder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = linear(size=8, remainder=remainder)
    pipeline.step()
    expected = len(pipeline)
    evaluated: list[Any] = []
    monkeypatch.setattr(jax, "eval_shape", lambda *args: evaluated.append(args))
    assert len(pipeline) == expected
    assert evaluated == []


def test_item_19_digests_are_made_once_for_the_same_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = linear(size=12)
    pipeline.step()
    pipeline.seek(epoch=0)
    iterator = iter(pipeline)
    state = iterator.get_state()
    digested: list[Any] = []
    monkeypatch.setattr(hashlib, "blake2b", lambda *args, **_: digested.append(args))
    next(iterator)
    assert iterator.get_state() == {**state, "offset": 4}
    iterator.set_state(state)
    assert digested == []


# Made anew


def made(weight: float = 2.0, **options: Any) -> Pipeline:
    source: MemorySource[Any] = MemorySource(
        MemorySourceConfig(shuffle=True),
        data={"x": np.arange(12, dtype=np.float32)},
        rngs=nnx.Rngs(0),
    )
    stages: list[Any] = [Scale(weight), lambda batch: {"x": batch["x"] + 1}]
    return Pipeline(source=source, stages=stages, batch_size=4, rngs=nnx.Rngs(0), **options)


def used(pipeline: Pipeline) -> list[Any]:
    return [
        xs(pipeline.step()),
        [xs(batch) for batch in pipeline],
        pipeline.scan(lambda batch: batch["x"].sum(), length=3).tolist(),
        xs(pipeline.outputs()["scale"]),
    ]


def test_item_22_a_step_function_made_anew_in_a_loop_compiles_once() -> None:
    pipeline = linear(size=8)
    pipeline.scan(lambda batch: batch["x"].sum() * 2, length=1)
    with counted() as seen:
        for _ in range(3):
            pipeline.scan(lambda batch: batch["x"].sum() * 2, length=1)
    assert seen.compiled == []
    for factor in (3, 3.0):
        step: Callable[..., Any] = lambda batch, by=factor: batch["x"].sum() * by  # noqa: E731
        total = pipeline.scan(step, length=1)
        assert total.dtype == jnp.float32


def test_item_48_an_equal_pipeline_made_anew_compiles_nothing() -> None:
    expected = used(made())
    with counted() as seen:
        again = made()
        assert used(again) == expected
        other = used(made(3.0))  # another parameter is no other program
    assert [name for name in seen.compiled if "run" in name or "_run" in name] == []
    assert other != expected


def test_item_48_eight_pipelines_in_turn_do_not_push_each_other_out() -> None:
    def of(count: int) -> Pipeline:
        return linear(*(Scale() for _ in range(count)), size=8)

    for count in range(1, 9):
        of(count).step()
    with counted() as seen:
        for count in range(1, 9):
            of(count).step()
    assert [name for name in seen.compiled if "run" in name] == []


class By(nnx.Module):
    def __init__(self, factor: Any):
        self.factor = factor

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] * self.factor}


def test_item_50_settings_that_compare_equal_but_are_not_have_programs_of_their_own() -> None:
    def of(factor: Any) -> Any:
        source = MemorySource(data={"x": np.full(4, 200, np.uint8)})
        with jax.numpy_dtype_promotion("standard"):
            (batch,) = Pipeline(source=source, stages=[By(factor)], batch_size=4)
        return batch["x"].dtype, batch["x"].tolist()

    assert of(2) == (jnp.uint8, [144] * 4)
    assert of(2.0) == (jnp.float32, [400.0] * 4)
    assert of(True) == (jnp.uint8, [200] * 4)
    assert of(1) == (jnp.uint8, [200] * 4)


def test_nothing_is_kept_alive_by_what_is_shared() -> None:
    def gone(make: Callable[[], Pipeline]) -> list[Any]:
        pipeline = make()
        weight = jnp.arange(4.0)
        step = lambda batch: (batch["x"] * weight).sum()  # noqa: E731
        used(pipeline)
        pipeline.scan(step, length=1)
        held = [
            pipeline,
            pipeline.source,
            weight,
            step,
            *jax.tree.leaves(nnx.state(pipeline.source)),
        ]
        refs = [weakref.ref(x) for x in (*held, *pipeline.stages)]
        del pipeline, weight, step, held
        gc.collect()
        return [ref() for ref in refs]

    used(made())
    assert set(gone(made)) == {None}


def test_a_pipeline_and_a_model_go_with_their_last_names_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        pipeline, model = linear(Scale(), size=8), Scale()
        pipeline.step()
        pipeline.scan(lambda model, batch: model(batch)["x"], length=1, modules=(model,))
        gone = weakref.ref(model)
        del model
        assert gone() is None
        left = weakref.ref(pipeline)
        del pipeline
        assert left() is None
    finally:
        gc.enable()
