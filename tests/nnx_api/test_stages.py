"""What may be a stage: whatever holds a module or arrays, they count as the pipeline's own."""

import dataclasses
import functools
import re
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.errors import TraceContextError
from jax.experimental import io_callback

import dagrax.pure as dp
from dagrax.nnx_api import Pipeline
from tests.nnx_zoo import counting, linear, same, xs
from tests.platforms import on_a_cpu
from tests.zoo import Batch


class Affine(nnx.Module):
    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.float32(1))
        self.bias = 0.0

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "x": batch["x"] * self.weight[...] + self.bias}

    def method(self, batch: Batch) -> Batch:
        return self(batch)


class Holder(eqx.Module):
    module: Affine

    def __call__(self, batch: Batch) -> Batch:
        return self.module(batch)


class Times(eqx.Module):
    by: jax.Array

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "x": batch["x"] * self.by}


def call(module: Affine, batch: Batch) -> Batch:
    return module(batch)


HOLDERS: dict[str, Callable[[Affine], Any]] = {
    "itself": lambda module: module,
    "its method": lambda module: module.method,
    "functools.partial": lambda module: functools.partial(call, module),
    "jax Partial": lambda module: jax.tree_util.Partial(call, module),
    "eqx.Module": Holder,
    "per_record": dp.per_record,
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("run", ["step", "for", "scan"])
def test_a_module_within_a_stage_is_seen_to_change(run: str, hold: Any) -> None:
    module = Affine()
    pipeline = linear(hold(module))

    def first() -> list[float]:
        pipeline.seek(epoch=0)
        if run == "step":
            return xs(pipeline.step())
        if run == "for":
            return xs(next(iter(pipeline)))
        return list(pipeline.scan(take_x, length=1)[0].tolist())

    pipeline.remainder = "drop"
    assert len(jax.tree.leaves(nnx.state(pipeline, nnx.Param))) == 1
    assert first() == [0, 1, 2, 3]
    module.weight[...] = jnp.float32(2)
    assert first() == [0, 2, 4, 6]
    module.bias = 1.0
    assert first() == [1, 3, 5, 7]


def take_x(batch: Batch) -> Any:
    return batch["x"]


def test_a_stage_of_equinox_works_on_every_path_and_stays_out_of_the_checkpoint() -> None:
    pipeline = linear(Times(jnp.float32(3)), remainder="drop")
    assert xs(pipeline.step()) == [0, 3, 6, 9]
    assert pipeline.scan(take_x, length=1).tolist() == [[12, 15, 18, 21]]
    state = pipeline.checkpoint()
    assert "nodes" not in state
    nnx.update(pipeline, state)
    assert pipeline.cursor == (1, 0)


def test_a_setting_that_changes_in_place_is_seen() -> None:
    class Chosen(nnx.Module):
        def __init__(self) -> None:
            self.on = {"double"}

        def __call__(self, batch: Batch) -> Batch:
            return {"x": batch["x"] * (2.0 if "double" in self.on else 1.0)}

    stage = Chosen()
    pipeline = linear(stage)
    assert xs(pipeline.step()) == [0, 2, 4, 6]
    stage.on.clear()
    assert xs(pipeline.step()) == [4, 5, 6, 7]


def test_another_pipeline_may_be_trained_within_a_scan() -> None:
    other, pipeline = linear(Affine(), remainder="drop"), linear(remainder="drop")

    def train_step(other: Pipeline, batch: Batch) -> Any:
        gradients = nnx.grad(lambda other: jnp.sum(other(batch)["x"]))(other)
        return gradients["nodes"]["affine"]["weight"][...]

    slopes = pipeline.scan(train_step, length=2, modules=(other,))
    assert slopes.tolist() == [6, 22]


# Refusals


def test_a_class_is_no_stage() -> None:
    with pytest.raises(TypeError) as error:
        linear(Affine)
    assert str(error.value) == (
        "Node `affine` is the class Affine; expected an instance of it, or a function: write "
        "Affine(...)."
    )


def test_a_pipeline_is_no_stage() -> None:
    with pytest.raises(TypeError) as error:
        linear(linear(Affine()))
    assert str(error.value) == (
        "Node `pipeline` is a Pipeline, which does not know where the records of its batches come "
        "from; put its stages into this one."
    )


@dataclasses.dataclass
class Settings:
    shift: float = 1.0


SETTINGS = [
    Settings(2.0),
    slice(2, None),
    types.MappingProxyType({"shift": 2.0}),
    deque([2.0]),
    {"shift": 2.0},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda x: type(x).__name__)
def test_item_32_a_module_may_hold_what_has_no_hash(setting: Any) -> None:
    class Set(nnx.Module):
        def __init__(self, setting: Any):
            self.setting = nnx.static(setting)

        def __call__(self, batch: Batch) -> Batch:
            by = self.setting
            if isinstance(by, slice):
                return {"x": batch["x"] + by.start}
            shift = (
                by.shift if isinstance(by, Settings) else by[0 if by == deque([2.0]) else "shift"]
            )
            return {"x": batch["x"] + shift}

    pipeline = linear(Set(setting), remainder="drop")
    assert pipeline.step()["x"].tolist() == [2, 3, 4, 5]
    assert pipeline.scan(lambda batch: batch["x"][0], length=1).tolist() == [6]


@pytest.mark.parametrize(
    "run",
    [lambda p: p.step(), lambda p: next(iter(p)), lambda p: p.scan(take_x, length=1)],
    ids=["step", "for", "scan"],
)
def test_a_pipeline_that_a_traced_function_closes_over_cannot_move(run: Any) -> None:
    pipeline = linear(remainder="drop")
    with pytest.raises(TraceContextError) as error:
        jax.jit(lambda: run(pipeline))()
    assert error.value.__notes__[0] == (
        "The function that is being traced closes over a pipeline made outside it, whose position "
        "it cannot move; pass the pipeline to it as an argument: nnx.jit(f)(pipeline). (Or it "
        "merges Variables of another trace: write nnx.merge(..., copy=True).)"
    )
    assert pipeline.cursor == (0, 0)


def test_a_step_function_that_sets_a_module_it_closes_over_is_told_what_to_do() -> None:
    count = nnx.Variable(jnp.int32(0))

    def step(batch: Batch) -> None:
        count[...] += 1

    with pytest.raises(TraceContextError) as error:
        linear(remainder="drop").scan(step, length=1)
    told = (
        "If the step function closes over the module that it changes, pass the module to it: "
        "modules=(module,)."
    )
    assert told in error.value.__notes__


# Taps


def test_outputs_come_in_the_order_asked_for_and_the_sink_keeps_its_mask() -> None:
    pipeline = linear(Affine(), lambda batch: {"x": batch["x"]}, remainder="pad")
    pipeline.seek(offset=8)
    taps = pipeline.outputs("lambda", "affine")
    assert list(taps) == ["lambda", "affine"]
    assert taps["lambda"]["valid"].tolist() == [True, True, False, False]
    np.testing.assert_array_equal(taps["affine"]["x"], [8, 9, 0, 1])


GLOBAL = Affine()


def reads_a_global(batch: Any) -> Any:
    return GLOBAL(batch)


def test_item_1_a_function_that_reads_a_module_from_its_globals_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        linear(reads_a_global)
    assert str(error.value) == (
        "A Variable that is no part of the pipeline would become a constant of the compiled "
        "program, which later changes of it would not reach:\n"
        "  - node `reads_a_global`: `GLOBAL.weight` (Param), a global of its module\n"
        "Make the module that holds it a stage, or an attribute of a stage that is an nnx.Module; "
        "or bind it by functools.partial(f, module)."
    )


@pytest.mark.parametrize("kind", ["hijax", "ref"])
def test_item_36_a_variable_that_is_no_value_is_refused_by_its_place(kind: str) -> None:
    class Odd(nnx.Module):
        def __init__(self) -> None:
            self.weight = nnx.Param(jnp.float32(1), **{kind: True})

        def __call__(self, batch: Batch) -> Batch:
            return {"x": batch["x"] * self.weight[...]}

    with pytest.raises(TypeError) as error:
        linear(Odd())
    assert str(error.value) == (
        f"`nodes.odd.weight` is a Variable made with {kind}=True, which a compiled call cannot "
        f"read and write by its value; leave out {kind}=True."
    )


def test_item_46_what_draws_without_a_seed_is_refused_by_its_node() -> None:
    def noise(batch: Batch, *, record_keys: Any) -> Batch:
        return batch

    with pytest.raises(ValueError) as error:
        Pipeline(source=counting(), stages=[noise], batch_size=4)
    assert str(error.value) == (
        "The nodes `noise` draw random numbers, but the pipeline was made without a seed; pass "
        "rngs=nnx.Rngs(0)."
    )
    assert len(list(Pipeline(source=counting(), stages=[same], batch_size=4))) == 3


def test_a_batch_size_that_a_stage_cannot_take_is_refused_and_the_old_one_kept() -> None:
    pipeline = linear(lambda batch: {"x": batch["x"].reshape(4, 1)}, size=8)
    with pytest.raises(ValueError, match="cannot reshape"):
        pipeline.batch_size = 3
    assert pipeline.batch_size == 4


def looked_up(x: np.ndarray) -> np.ndarray:
    raise KeyError("no such word")


def ask(batch: Any) -> Any:
    x = batch["x"]
    return {**batch, "x": jax.pure_callback(looked_up, jax.typeof(x), x)}


def tell(batch: Any) -> Any:
    fails: Any = looked_up
    jax.debug.callback(fails, batch["x"])
    return batch


def write(batch: Any) -> Any:
    x = batch["x"]
    return {**batch, "x": io_callback(looked_up, jax.typeof(x), x)}


@on_a_cpu  # elsewhere the call has returned before the callback is made
@pytest.mark.parametrize("stage", [ask, tell, write])
def test_an_error_in_a_callback_names_the_node_that_calls(stage: Any) -> None:
    nodes: dict[str, Any] = {"half": lambda batch: batch, "words": [lambda batch: batch, stage]}
    data = {"x": np.zeros(4, np.float32)}
    pipeline = Pipeline.from_arrays(data, nodes, batch_size=2)
    graph, stream, key = pipeline.pure()
    calls: list[Callable[[], Any]] = [
        pipeline.step,
        lambda: next(iter(pipeline)),
        lambda: pipeline.scan(lambda batch: batch["x"].sum()),
        lambda: pipeline(data),
        lambda: dp.step(graph, stream, stream.start(), key=key),
    ]
    note = (
        f"It was raised in a callback to Python; such a call is made in `words/{stage.__name__}`."
    )
    for call in calls:
        with pytest.raises(RuntimeError, match="no such word") as caught:
            jax.block_until_ready(call())
        assert note in caught.value.__notes__


class Twice:
    def __call__(self, batch: Any) -> Any:
        return {**batch, "x": batch["x"] * 2}


def plus(batch: Any, by: float) -> Any:
    return {**batch, "x": batch["x"] + by}


@pytest.mark.parametrize(
    "call", [Twice(), functools.partial(plus, by=0.0), staticmethod(same)], ids=type
)
def test_what_a_class_is_called_by_need_not_be_a_function(call: Any) -> None:
    stage: Any = type("Stage", (), {"__call__": call})()
    data = {"x": np.ones(4, np.float32)}
    assert Pipeline.from_arrays(data, [stage], batch_size=2).step()["x"].shape == (2,)
    assert dp.apply(dp.Pipeline.linear([stage]), data)["x"].shape == (4,)
    told = "node `stage` is called with 1 input (the source), but its signature is (first, second)"
    two: Any = type("Stage", (), {"__call__": staticmethod(lambda first, second: first)})()
    with pytest.raises(ValueError, match=re.escape(told)):
        dp.Pipeline.linear([two])
