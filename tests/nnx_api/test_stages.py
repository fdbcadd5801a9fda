"""What may be a stage: whatever holds a module or arrays, they count as the pipeline's own."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.errors import TraceContextError

import dagrax.pure as dp
from dagrax.nnx_api import Pipeline
from tests.nnx_zoo import linear, xs
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


def test_a_function_that_closes_over_a_module_is_refused() -> None:
    module = Affine()

    def stage(batch: Batch) -> Batch:
        return module(batch)

    with pytest.raises(ValueError) as error:
        linear(stage)
    assert str(error.value) == (
        "Node `stage` is a function that closes over `module`, a Affine, which would become a "
        "constant of the program; make the module the stage, or write "
        "functools.partial(f, module)."
    )


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


def test_a_setting_without_a_hash_is_refused() -> None:
    class Settings:
        __hash__ = None  # type: ignore[assignment]

    stage = Affine()
    stage.bias = Settings()  # type: ignore[assignment]
    with pytest.raises(TypeError) as error:
        linear(stage).step()
    assert str(error.value) == (
        "A module of the pipeline has an attribute without a hash (unhashable type: 'Settings'), "
        "so that a change of it could not be noticed; make its class a frozen dataclass, or hold "
        "what changes in an nnx.Variable."
    )


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


def test_a_function_that_reads_a_module_from_its_globals_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        linear(reads_a_global)
    assert str(error.value) == (
        "Node `reads_a_global` is a function that closes over `GLOBAL`, a Affine, which would "
        "become a constant of the program; make the module the stage, or write "
        "functools.partial(f, GLOBAL)."
    )


def test_a_batch_size_that_a_stage_cannot_take_is_refused_and_the_old_one_kept() -> None:
    pipeline = linear(lambda batch: {"x": batch["x"].reshape(4, 1)}, size=8)
    with pytest.raises(ValueError, match="cannot reshape"):
        pipeline.batch_size = 3
    assert pipeline.batch_size == 4
