"""No program reads as a constant what a user may change later, however it is reached.

A module is held in every way there is, by a stage or by a step function, and its parameter is set
to 7 between two calls: each way in gives 7 then, or has refused the first trace by the place.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline
from tests.nnx_zoo import same
from tests.zoo import Batch


class Gain(nnx.Module):
    def __init__(self, weight: float = 1.0):
        self.w = nnx.Param(jnp.float32(weight))

    def __call__(self, x: Any) -> Any:
        return x * self.w[...]


def made(*stages: Callable[..., Any], **options: Any) -> Pipeline:
    source = MemorySource(data={"x": np.ones((24, 4), np.float32)})
    return Pipeline(source=source, stages=list(stages) or [same], batch_size=8, **options)


# Ways in which a stage may hold a module


class Plain:
    def __init__(self, m: Gain):
        self.m = m

    def __call__(self, batch: Batch) -> Batch:
        return {"x": self.m(batch["x"])}


@dataclasses.dataclass
class Record:
    m: Gain

    def __call__(self, batch: Batch) -> Batch:
        return {"x": self.m(batch["x"])}


class Slotted:
    __slots__ = ("m",)

    def __init__(self, m: Gain):
        self.m = m

    def __call__(self, batch: Batch) -> Batch:
        return {"x": self.m(batch["x"])}


class Static(eqx.Module):
    m: Gain = eqx.field(static=True)

    def __call__(self, batch: Batch) -> Batch:
        return {"x": self.m(batch["x"])}


def closure(m: Gain) -> Callable[..., Any]:
    return lambda batch: {"x": m(batch["x"])}


def default(m: Gain) -> Callable[..., Any]:
    def stage(batch: Batch, *, module: Gain = m) -> Batch:
        return {"x": module(batch["x"])}

    return stage


def in_a_list(m: Gain) -> Callable[..., Any]:
    held = [m]
    return lambda batch: {"x": held[0](batch["x"])}


def in_a_dict(m: Gain) -> Callable[..., Any]:
    held = {"m": m}
    return lambda batch: {"x": held["m"](batch["x"])}


def by_a_helper(m: Gain) -> Callable[..., Any]:
    def helper(x: Any) -> Any:
        return m(x)

    return lambda batch: {"x": helper(batch["x"])}


def wrapped(m: Gain) -> Callable[..., Any]:
    def inner(batch: Batch) -> Batch:
        return {"x": m(batch["x"])}

    @functools.wraps(inner)
    def outer(batch: Batch) -> Batch:
        return inner(batch)

    return outer


def a_bound_method(m: Gain) -> Callable[..., Any]:
    call = m.__call__
    return lambda batch: {"x": call(batch["x"])}


def on_the_class(m: Gain) -> Callable[..., Any]:
    class Holder:
        module = m

        def __call__(self, batch: Batch) -> Batch:
            return {"x": self.module(batch["x"])}

    return Holder()


def per_record(m: Gain) -> Callable[..., Any]:
    return dp.per_record(lambda record: {"x": m(record["x"])})


def jitted(m: Gain) -> Callable[..., Any]:
    return jax.jit(lambda batch: {"x": m(batch["x"])})


def a_variable(m: Gain) -> Callable[..., Any]:
    w = m.w
    return lambda batch: {"x": batch["x"] * w[...]}


def partially(m: Gain) -> Callable[..., Any]:
    return functools.partial(lambda m, batch: {"x": m(batch["x"])}, m)


def a_method(m: Gain) -> Callable[..., Any]:
    return Plain(m).__call__


HELD: list[Any] = [Plain, Record, Slotted, Static, closure, default, in_a_list, in_a_dict]
HELD += [by_a_helper, wrapped, a_bound_method, on_the_class, per_record, jitted, a_variable]
HELD += [partially, a_method]


def by_for(pipeline: Pipeline) -> float:
    return float(next(iter(pipeline))["x"].max())


def by_step(pipeline: Pipeline) -> float:
    return float(pipeline.step()["x"].max())


def by_scan(pipeline: Pipeline) -> float:
    def largest(batch: Batch) -> Any:
        return batch["x"].max()

    return float(pipeline.scan(largest, length=1)[0])


def by_outputs(pipeline: Pipeline) -> float:
    (output,) = pipeline.outputs().values()
    return float(output["x"].max())


def by_call(pipeline: Pipeline) -> float:
    return float(pipeline({"x": jnp.ones((8, 4))})["x"].max())


def by_nnx_jit(pipeline: Pipeline) -> float:
    def stepped(pipeline: Pipeline) -> Any:
        return pipeline.step()

    step: Any = nnx.jit(stepped)
    return float(step(pipeline)["x"].max())


WAYS = [by_step, by_for, by_scan, by_outputs, by_call]


@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
@pytest.mark.parametrize("hold", HELD, ids=lambda hold: hold.__name__)
def test_item_1_a_module_that_a_stage_holds_somehow_is_fresh_or_refused(
    hold: Callable[..., Any],
) -> None:
    module = Gain()
    try:
        pipeline = made(hold(module))
    except ValueError as error:
        assert "node `" in str(error) and "(Param)" in str(error)
        return
    assert [way(pipeline) for way in WAYS] == [1] * 5
    module.w[...] = jnp.float32(7)
    assert [way(pipeline) for way in WAYS] == [7] * 5


PLACES = {
    Plain: "node `plain`: `self.m.w` (Param), held by a plain object",
    Record: "node `record`: `self.m.w` (Param), held by a plain object",
    Slotted: "node `slotted`: `self.m.w` (Param), held by a plain object",
    closure: "node `lambda`: `m.w` (Param), closed over by a function",
    default: "node `stage`: `module.w` (Param), the default of an argument",
    in_a_list: "node `lambda`: `held[0].w` (Param), held by a list",
    in_a_dict: "node `lambda`: `held['m'].w` (Param), held by a dict",
    by_a_helper: "node `lambda`: `m.w` (Param), closed over by a function",
    on_the_class: "node `holder`: `self.module.w` (Param), an attribute of its class",
    a_variable: "node `lambda`: `w` (Param), closed over by a function",
}


@pytest.mark.parametrize("hold", PLACES, ids=lambda hold: hold.__name__)
def test_item_1_what_is_refused_is_told_by_its_place(hold: Callable[..., Any]) -> None:
    with pytest.raises(ValueError) as error:
        made(hold(Gain()))
    assert str(error.value) == (
        "A Variable that is no part of the pipeline would become a constant of the compiled "
        f"program, which later changes of it would not reach:\n  - {PLACES[hold]}\n"
        "Make the module that holds it a stage, or an attribute of a stage that is an nnx.Module; "
        "or bind it by functools.partial(f, module)."
    )


def test_item_1_a_node_replaced_by_a_closure_later_is_refused_then() -> None:
    pipeline, module = made(Gain_()), Gain()
    pipeline.step()
    pipeline.nodes["gain"] = closure(module)
    for way in (by_step, by_for, by_scan, by_outputs):
        with pytest.raises(ValueError, match=r"node `gain`: `m.w` \(Param\), closed over"):
            way(pipeline)


class Gain_(Gain):
    def __call__(self, batch: Any) -> Any:
        return {"x": super().__call__(batch["x"])}


def test_item_1_what_only_shares_a_name_or_a_setting_with_a_module_is_welcome() -> None:
    module = Gain(3.0)
    weight = module.w[...]
    kept: dict[str, list[Any]] = {"modules": [module], "names": ["x"]}

    def stage(batch: Batch) -> Batch:
        return {name: batch[name] * weight for name in kept["names"]}

    assert by_step(made(stage)) == 3
    assert by_step(made(lambda batch: {"x": batch["x"] * len(type(module).__name__)})) == 4


# Step functions


def reading(m: Gain) -> dict[str, Callable[..., Any]]:
    plain = Plain(m)

    class Method:
        def evaluate(self, batch: Batch) -> Any:
            return m(batch["x"]).max()

    return {
        "closure": lambda batch: m(batch["x"]).max(),
        "plain object": lambda batch, held=plain: held(batch)["x"].max(),
        "method": Method().evaluate,
        "list": lambda batch, held=(m,): held[0](batch["x"]).max(),
        "jitted": jax.jit(lambda batch: m(batch["x"]).max()),
    }


@pytest.mark.parametrize("kind", list(reading(Gain())))
def test_item_2_a_step_function_that_reads_a_module_it_is_not_given_is_refused(kind: str) -> None:
    pipeline, module = made(), Gain()
    for _ in range(2):  # the second time too
        with pytest.raises(ValueError) as error:
            pipeline.scan(reading(module)[kind], length=1)
        assert "the step function: `" in str(error.value)
        assert str(error.value).endswith(
            "Pass the module that holds it to the step function: shared=(model,) if it is only "
            "read, modules=(model,) if it changes."
        )
        assert pipeline.cursor == (0, 0)


def test_item_2_a_module_that_is_shared_is_read_anew_by_each_scan() -> None:
    pipeline, module = made(), Gain()
    step = lambda module, batch: module(batch["x"]).max()  # noqa: E731
    assert pipeline.scan(step, length=1, shared=(module,))[0] == 1
    module.w[...] = jnp.float32(7)
    assert pipeline.scan(step, length=1, shared=(module,))[0] == 7


def test_item_2_a_module_as_the_step_function_is_refused_by_its_own_name() -> None:
    class Largest(nnx.Module):
        def __init__(self) -> None:
            self.w = nnx.Param(jnp.float32(1))

        def __call__(self, batch: Batch) -> Any:
            return (batch["x"] * self.w[...]).max()

    for step in (largest := Largest(), largest.__call__):
        with pytest.raises(ValueError, match="the step function: `self"):
            made().scan(step, length=1)


# Metadata


class Switched(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jnp.float32(1), on=True)

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] * (self.w[...] if self.w.get_metadata("on") else 0)}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_item_3_metadata_of_a_variable_count_as_structure(way: Callable[[Pipeline], float]) -> None:
    stage = Switched()
    pipeline = made(stage)
    assert way(pipeline) == 1
    stage.w.set_metadata(on=False)
    assert way(pipeline) == 0
    stage.w.set_metadata(note="kept")
    assert way(pipeline) == 0
    stage.w.set_metadata(on=True)
    assert way(pipeline) == 1


# Plain values that change in place


class Setting:
    def __init__(self) -> None:
        self.factor = 1


class Configured(nnx.Module):
    def __init__(self, setting: Setting):
        self.setting = setting

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] * self.setting.factor}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_item_7_an_attribute_changed_in_place_counts_for_every_way(
    way: Callable[[Pipeline], float],
) -> None:
    setting = Setting()
    pipeline = made(Configured(setting))
    assert way(pipeline) == 1
    setting.factor = 7
    assert way(pipeline) == 7


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_item_7_so_does_what_a_function_closes_over(way: Callable[[Pipeline], float]) -> None:
    factors, factor = [1], 1

    def stage(batch: Batch) -> Batch:
        return {"x": batch["x"] * factors[0] * factor}

    pipeline = made(stage)
    assert way(pipeline) == 1
    factors[0] = 7
    assert way(pipeline) == 7
    factor = 2
    assert way(pipeline) == 14


# What JAX and flax rule


@pytest.mark.parametrize("jit", [jax.jit, eqx.filter_jit])
def test_item_4_a_pipeline_passed_to_a_plain_jit_is_told_to_stand_still(jit: Any) -> None:
    pipeline = made()
    with pytest.warns(UserWarning, match=r"Use flax's transform, nnx.jit\(f\)\(pipeline\)"):
        jit(lambda pipeline: pipeline.step()["x"])(pipeline)
    assert pipeline.cursor == (0, 0)


def test_item_4_flax_own_transforms_move_it_without_a_word() -> None:
    pipeline = made()
    assert by_nnx_jit(pipeline) == 1
    assert pipeline.cursor == (0, 8)


def test_item_6_a_step_of_the_scanned_pipeline_inside_its_own_scan_is_refused() -> None:
    pipeline = made()
    for use in (
        lambda batch: pipeline.step()["x"].max(),
        lambda batch: pipeline.scan(lambda batch: batch["x"].max(), length=1)[0],
        lambda batch: pipeline.outputs()["x"],
    ):
        with pytest.raises(TypeError, match="is called inside one of its own stages"):
            pipeline.scan(use, length=2)
        assert pipeline.cursor == (0, 0)
    assert by_step(pipeline) == 1


def test_item_6_in_a_loop_a_call_is_given_its_draws() -> None:
    def noise(batch: Batch, *, record_keys: Any) -> Batch:
        return {"x": batch["x"] + jax.vmap(jax.random.normal)(record_keys)[:, None]}

    inner, outer = made(noise, rngs=nnx.Rngs(0)), made()
    key = jax.random.key(3)

    def step(inner: Pipeline, batch: Batch) -> Any:
        return inner(batch, key=jax.random.fold_in(key, batch["x"][0, 0].astype(int)))["x"]

    drawn = outer.scan(step, length=1, shared=(inner,))[0]
    expected = inner({"x": jnp.ones((8, 4))}, key=jax.random.fold_in(key, 1))["x"]
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def test_no_warning_is_given_where_nothing_stands_still() -> None:
    pipeline = made()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for way in (*WAYS, by_nnx_jit):
            assert way(pipeline) == 1
