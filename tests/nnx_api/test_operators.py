"""Operators are written for one record; the pipeline maps them over the batch."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.errors import TraceContextError

import dagrax.pure as dp
from dagrax.nnx_api import (
    BrightnessOperator,
    Element,
    MemorySource,
    NoiseOperator,
    OperatorModule,
    Pipeline,
)
from tests import reference
from tests.nnx_zoo import evaluate, linear, same, train, xs
from tests.paths import PATHS, Path, by_scan, by_step, by_step_in_jit
from tests.zoo import Batch, drawn


def over(data: Any, *stages: Any, batch_size: int = 2) -> Pipeline:
    source = MemorySource(data=data)
    return Pipeline(source=source, stages=stages, batch_size=batch_size, rngs=nnx.Rngs(0))


# Elements


def test_an_element_is_updated_without_touching_the_first() -> None:
    element = Element({"x": jnp.ones(2), "y": jnp.zeros(2)})
    updated = element.update_data({"y": jnp.ones(2)})
    assert updated.data["x"] is element.data["x"]
    assert (updated.data["y"].tolist(), element.data["y"].tolist()) == ([1, 1], [0, 0])
    assert list(element.replace(data={"z": jnp.ones(1)}).data) == ["z"]


def test_an_element_is_a_pytree() -> None:
    doubled = jax.tree.map(lambda x: 2 * x, Element({"x": jnp.ones(2)}))
    assert isinstance(doubled, Element)
    assert doubled.data["x"].tolist() == [2, 2]


# Operators


class Negative(OperatorModule):
    """Deterministic, and particular about the shape of one record."""

    def apply(self, element: Element) -> Element:
        assert element.data["x"].shape == ()
        return element.update_data({"x": -element.data["x"]})


class Jitter(OperatorModule):
    """Draws for each record."""

    def apply(self, element: Element, *, key: Any) -> Element:
        assert element.data["x"].shape == ()
        return element.update_data({"x": element.data["x"], "drawn": drawn(key)[0]})


class Renamed(OperatorModule):
    """Sets other fields than it was given."""

    def apply(self, element: Element) -> Element:
        return element.replace(data={"y": element.data["x"]})


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_an_operator_maps_over_the_records_with_their_keys(path: Path) -> None:
    pipeline = linear(Negative(), Jitter(), size=8)
    key = nnx.Rngs(5)["pipeline"]()
    for first, (_, batch) in zip((0, 4), path(pipeline, 2), strict=True):
        ids = range(first, first + 4)
        keys = [reference.record_key(key, "jitter", 0, i) for i in ids]
        assert xs(batch) == [-i for i in ids]
        assert batch["drawn"].tolist() == [int(drawn(key)[0]) for key in keys]


def test_an_operator_may_change_the_fields() -> None:
    assert list(linear(Renamed()).step()) == ["y"]


def test_an_operator_without_an_apply_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"abstract method '?apply'?"):
        OperatorModule()  # type: ignore[abstract]


def images(size: int = 6) -> Batch:
    rng = np.random.default_rng(0)
    return {"image": rng.random((size, 2, 3), np.float32), "label": np.arange(size)}


def test_brightness_adds_its_strength_to_its_field() -> None:
    batch = over(images(), BrightnessOperator(0.25)).step()
    np.testing.assert_allclose(batch["image"], images()["image"][:2] + 0.25, rtol=1e-6)
    assert batch["label"].tolist() == [0, 1]


def test_noise_adds_each_records_own_normal_draw_times_its_strength() -> None:
    batch = over(images(), NoiseOperator(0.5)).step()
    key = nnx.Rngs(0)["pipeline"]()
    keys = [reference.record_key(key, "noise", 0, i) for i in (0, 1)]
    draws = np.stack([np.asarray(jax.random.normal(key, (2, 3))) for key in keys])
    np.testing.assert_allclose(batch["image"], images()["image"][:2] + 0.5 * draws, rtol=1e-5)


def test_a_noise_stage_draws_as_one_record_at_a_time_would_in_the_pure_core() -> None:
    pipeline = over(images(), NoiseOperator(0.5))

    def noise(record: Batch, *, key: Any) -> Batch:
        return {**record, "image": record["image"] + 0.5 * jax.random.normal(key, (2, 3))}

    pure = dp.Pipeline.linear([dp.per_record(noise)])
    stream = dp.Stream(dp.ArraySource(images()), batch_size=2)
    _, expected = dp.step(pure, stream, stream.start(), key=nnx.Rngs(0)["pipeline"]())
    np.testing.assert_allclose(pipeline.step()["image"], expected["image"], rtol=1e-5)


@pytest.mark.parametrize("operator", [BrightnessOperator, NoiseOperator])
def test_a_strength_is_a_learnable_leaf(operator: type[OperatorModule]) -> None:
    pipeline = over(images(), operator())
    (strength,) = jax.tree.leaves(nnx.state(pipeline, nnx.Param))
    assert (strength.shape, strength.dtype) == ((), np.float32)
    loss = lambda pipeline: (pipeline.step()["image"] ** 2).sum()  # noqa: E731
    (grad,) = jax.tree.leaves(nnx.grad(loss)(pipeline))
    assert np.isfinite(grad) and grad != 0


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32])
@pytest.mark.parametrize("operator", [BrightnessOperator, NoiseOperator])
def test_a_floating_field_keeps_its_dtype(operator: type[OperatorModule], dtype: Any) -> None:
    batch = over({"image": jnp.zeros((2, 3), dtype)}, operator()).step()
    assert batch["image"].dtype == dtype


# Keys


class Silent(OperatorModule):
    """Draws, and has no `deterministic`."""

    def apply(self, element: Element, *, key: Any) -> Element:
        return element.update_data({"drawn": drawn(key)[0]})


class Switched(Silent):
    """Draws, and can be turned off."""

    def __init__(self) -> None:
        self.deterministic = False


class Own(NoiseOperator):
    """Calls itself in a way of its own."""

    def __call__(self, first: Batch, second: Batch, *, key: Any) -> Batch:  # type: ignore[override]
        return {**first, **second}


class Optional(OperatorModule):
    def apply(self, element: Element, *, key: Any = None) -> Element:
        return element


def off(operator: OperatorModule) -> OperatorModule:
    evaluate(operator)
    return operator


SIGNATURES: dict[str, tuple[Callable[[], OperatorModule], tuple[str, ...]]] = {
    "brightness": (BrightnessOperator, ("batch",)),
    "noise": (NoiseOperator, ("batch", "record_keys")),
    "noise that is off": (lambda: off(NoiseOperator()), ("batch",)),
    "without keys": (Negative, ("batch",)),
    "with a key": (Jitter, ("batch", "record_keys")),
    "with a key, and no switch": (lambda: off(Silent()), ("batch", "record_keys")),
    "with a key and a switch": (Switched, ("batch", "record_keys")),
    "with a key and a switch that is off": (lambda: off(Switched()), ("batch",)),
    "with a key by default": (Optional, ("batch", "record_keys")),
    "with a call of its own": (Own, ("first", "second", "key")),
}


@pytest.mark.parametrize(("make", "names"), SIGNATURES.values(), ids=SIGNATURES)
def test_item_34_an_operator_declares_keys_only_if_its_apply_draws(
    make: Callable[[], OperatorModule], names: tuple[str, ...]
) -> None:
    operator = make()
    assert tuple(inspect.signature(operator).parameters) == names
    assert tuple(inspect.signature(copy.copy(operator)).parameters) == names
    assert tuple(inspect.signature(jax.tree_util.Partial(operator)).parameters) == names
    inspect.signature(type(operator))  # that of the class can be asked for, as that of any


def test_item_34_a_pipeline_of_operators_asks_for_a_key_only_if_one_draws() -> None:
    batch = {"image": np.zeros((4, 2), np.float32)}
    still: dp.Pipeline = dp.Pipeline.linear([BrightnessOperator(1.0)])
    assert dp.apply(still, batch)["image"].tolist() == [[1, 1]] * 4
    drawing: dp.Pipeline = dp.Pipeline.linear([BrightnessOperator(), NoiseOperator()])
    with pytest.raises(ValueError) as error:
        dp.apply(drawing, batch)
    assert str(error.value) == (
        "The nodes `noise` draw random numbers, but no key was given; pass key=jax.random.key(0)."
    )
    assert dp.apply(drawing, batch, key=jax.random.key(0))["image"].shape == (4, 2)


# Off and on


@pytest.mark.parametrize(
    ("path", "switch"),
    [
        *((path, evaluate) for path in (by_step, by_scan, by_step_in_jit)),
        (by_step, lambda p: p.set_attributes(deterministic=True)),
    ],
)
def test_item_45_noise_is_off_in_eval_and_on_again_in_train(path: Path, switch: Any) -> None:
    def run(pipeline: Pipeline) -> list[Any]:
        pipeline.seek(epoch=0)
        return [np.asarray(batch["x"]) for _, batch in path(pipeline, 2)]

    pipeline = linear(NoiseOperator(field="x"), size=8)
    drawn, still = run(pipeline), [np.arange(4), np.arange(4, 8)]
    switch(pipeline)
    np.testing.assert_array_equal(run(pipeline), still)
    train(pipeline)
    again = run(pipeline)
    np.testing.assert_array_equal(again, drawn)
    assert not np.any(np.equal(again, still))


@pytest.mark.parametrize("path", [by_step, by_scan], ids=lambda path: path.__name__)
def test_item_45_what_has_no_deterministic_goes_on_drawing_in_eval(path: Path) -> None:
    def stage(batch: Batch, *, record_keys: Any) -> Batch:
        return {**batch, "by_hand": jax.vmap(lambda key: drawn(key)[0])(record_keys)}

    pipeline = linear(Silent(), stage, size=8)
    before = path(pipeline, 2)
    pipeline.seek(epoch=0)
    evaluate(pipeline)
    for (_, own), (_, its) in zip(path(pipeline, 2), before, strict=True):
        assert own["drawn"].tolist() == its["drawn"].tolist()
        assert own["by_hand"].tolist() == its["by_hand"].tolist()


@pytest.mark.parametrize(
    "run",
    [
        lambda p: p(images()),
        lambda p: p.outputs("noise")["noise"],
        lambda p: p.outputs("noise", batch=images())["noise"],
        lambda p: dp.apply(dp.Pipeline.linear(list(p.stages)), images()),
        lambda p: nnx.jit(lambda p: p(images()))(p),
    ],
    ids=["call", "outputs", "outputs of a batch", "the core", "jit"],
)
def test_item_45_noise_that_is_off_is_the_identity_everywhere(run: Any) -> None:
    pipeline = over(images(), NoiseOperator(), batch_size=6)
    evaluate(pipeline)
    np.testing.assert_array_equal(run(pipeline)["image"], images()["image"])


def test_item_45_one_operator_can_be_off_and_another_on() -> None:
    first, second = NoiseOperator(), NoiseOperator(field="label")
    data = {**images(), "label": np.zeros(6, np.float32)}
    evaluate(first)
    batch = over(data, first, second).step()
    np.testing.assert_array_equal(batch["image"], images()["image"][:2])
    assert np.all(batch["label"] != 0)


def test_item_45_an_operator_without_keys_reads_its_own_switch() -> None:
    class Doubled(OperatorModule):
        def __init__(self) -> None:
            self.deterministic = False

        def apply(self, element: Element) -> Element:
            return element.update_data(
                {"x": element.data["x"] * (1.0 if self.deterministic else 2.0)}
            )

    pipeline = linear(Doubled(), size=4)
    assert xs(pipeline.step()) == [0, 2, 4, 6]
    evaluate(pipeline)
    assert xs(pipeline.step()) == [0, 1, 2, 3]


# What is wrong


def test_an_operator_that_draws_needs_keys_and_another_needs_none() -> None:
    batch = {"x": jnp.zeros(3)}
    assert BrightnessOperator(2.0, field="x")(batch)["x"].tolist() == [2, 2, 2]
    with pytest.raises(ValueError) as error:
        NoiseOperator(field="x")(batch)
    assert str(error.value) == (
        "NoiseOperator draws random numbers, but was given no keys. A pipeline gives keys to its "
        "stages, not to what they hold: list the operators one by one, stages=[a, b], in place of "
        "nnx.Sequential(a, b). By hand, pass record_keys=jax.random.split(key, records)."
    )


class Drawing(OperatorModule):
    def __init__(self) -> None:
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    def apply(self, element: Element) -> Element:
        return element.update_data({"x": self.dropout(element.data["x"])})


def test_an_operator_that_sets_a_variable_is_told_what_to_do() -> None:
    with pytest.raises(ValueError) as error:
        linear(Drawing())
    assert isinstance(error.value.__cause__, TraceContextError)
    assert str(error.value).endswith(
        "Drawing.apply works on one record of many at once, so it cannot set a Variable. For "
        "random numbers declare `key` in apply; to keep state, write an nnx.Module whose __call__ "
        "takes the batch."
    )


@pytest.mark.parametrize(
    "strength", [1, 1.0, np.float64(1), np.int32(1), np.array(1.0), jnp.float32(1)], ids=repr
)
def test_a_strength_may_be_any_number(strength: Any) -> None:
    batch = over(
        {"x": np.zeros((2, 3), np.float32)}, BrightnessOperator(strength, field="x")
    ).step()
    assert batch["x"].tolist() == [[1] * 3] * 2


def test_strengths_may_be_mapped_over() -> None:
    make: Any = lambda strength: BrightnessOperator(strength).strength[...]  # noqa: E731
    assert jax.vmap(make)(jnp.arange(3.0)).tolist() == [0, 1, 2]


class Around(nnx.Module):
    def __init__(self, operator: OperatorModule):
        self.operator = operator

    def __call__(self, batch: Batch) -> Batch:
        return self.operator(batch)


def test_item_35_one_operator_in_a_sequential_that_does_not_draw_is_a_stage() -> None:
    batch = over(images(), nnx.Sequential(BrightnessOperator(1.0))).step()
    np.testing.assert_allclose(batch["image"], images()["image"][:2] + 1, rtol=1e-6)
    assert over(images(), Around(BrightnessOperator(1.0)), same).step().keys() == batch.keys()


def test_an_element_can_be_copied_and_pickled() -> None:
    element = Element({"x": np.ones(2)})
    for twin in (copy.copy(element), copy.deepcopy(element), pickle.loads(pickle.dumps(element))):
        assert twin.data["x"].tolist() == [1, 1]
