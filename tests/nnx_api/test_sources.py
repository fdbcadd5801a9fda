"""Sources take what users have; operators are written for one record."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import (
    BrightnessOperator,
    Element,
    MemorySource,
    MemorySourceConfig,
    NoiseOperator,
    OperatorModule,
    Pipeline,
    Records,
)
from tests import reference
from tests.nnx_zoo import PATHS, Path, linear, xs
from tests.zoo import Batch, drawn

# Sources


def over(data: Any, *stages: Any, batch_size: int = 2) -> Pipeline:
    stages = stages or (lambda batch: batch,)
    source = MemorySource(data=data)
    return Pipeline(source=source, stages=stages, batch_size=batch_size, rngs=nnx.Rngs(0))


def test_data_may_be_one_array() -> None:
    assert over(np.arange(4)).step().tolist() == [0, 1]


def test_data_may_be_a_nested_pytree() -> None:
    data = {"a": (np.arange(4), {"b": jnp.zeros((4, 2, 3))}), "c": [np.ones((4, 1), bool)]}
    batch = over(data).step()
    shapes = jax.tree.map(lambda x: x.shape[1:], batch)
    assert shapes == {"a": ((), {"b": (2, 3)}), "c": [(1,)]}


def test_a_list_of_records_is_stacked() -> None:
    records = [{"image": np.full((2, 2), i, np.float32), "meta": {"label": i}} for i in range(3)]
    batch = over(records).step()
    assert batch["image"].shape == (2, 2, 2)
    assert batch["meta"]["label"].tolist() == [0, 1]


def test_a_list_of_plain_numbers_is_a_list_of_records() -> None:
    assert over([3, 1, 2]).step().tolist() == [3, 1]


def test_a_tuple_is_a_pytree_not_a_list_of_records() -> None:
    images, labels = over((np.zeros((5, 2)), np.arange(5))).step()
    assert (images.shape, labels.tolist()) == ((2, 2), [0, 1])


def test_integers_booleans_and_small_floats_keep_their_dtype() -> None:
    data = {"u8": np.zeros(2, np.uint8), "b": np.zeros(2, bool), "f16": np.zeros(2, np.float16)}
    dtypes = {name: str(x.dtype) for name, x in over(data).step().items()}
    assert dtypes == {"u8": "uint8", "b": "bool", "f16": "float16"}


def test_a_source_knows_its_length_and_holds_its_data_as_records() -> None:
    source = MemorySource(data={"x": np.zeros(7)})
    assert len(source) == 7
    assert isinstance(source.data, Records)


def test_the_order_depends_on_the_seed_alone() -> None:
    def order(seed: int) -> list[float]:
        config = MemorySourceConfig(shuffle=True)
        source = MemorySource(
            config, data={"x": np.arange(9.0, dtype=np.float32)}, rngs=nnx.Rngs(seed)
        )
        return xs(
            Pipeline(
                source=source, stages=[lambda b: b], batch_size=9, rngs=nnx.Rngs(seed + 1)
            ).step()
        )

    assert order(0) == order(0) != order(1)


def test_a_stream_of_its_own_name_seeds_each_kind_of_draw() -> None:
    rngs = nnx.Rngs(shuffle=3, pipeline=4)
    source = MemorySource(MemorySourceConfig(shuffle=True), data={"x": np.arange(9)}, rngs=rngs)
    Pipeline(source=source, stages=[lambda b: b], batch_size=9, rngs=rngs)


BAD_DATA: list[tuple[Any, type[Exception], str]] = [
    (
        [],
        ValueError,
        "The data are an empty list; pass at least one record.",
    ),
    (
        {},
        ValueError,
        "The data {} hold no arrays; pass a pytree of arrays, such as "
        '{"image": images, "label": labels}.',
    ),
    (
        {"x": np.zeros((0, 3))},
        ValueError,
        "The data hold zero records (field `x` has shape (0, 3)); pass at least one.",
    ),
    (
        {"x": np.zeros(3), "y": {"z": np.zeros(4)}},
        ValueError,
        "The fields differ in their number of records: `x` has 3, `y/z` has 4. Give all of them "
        "the same leading axis.",
    ),
    (
        {"x": np.zeros(3), "y": 1.0},
        ValueError,
        "Field `y` is a scalar; expected an array whose leading axis is the records. "
        "Repeat it for each record, or drop it.",
    ),
    (
        {"x": np.array(["a", "b"])},
        TypeError,
        "Field `x` is an array of dtype <U1; expected numbers or booleans. "
        "Encode the field as integers, or drop it.",
    ),
    (
        {"x": np.array([None, {}], object)},
        TypeError,
        "Field `x` is an array of dtype object; expected numbers or booleans. "
        "Encode the field as integers, or drop it.",
    ),
    (
        [{"x": 1}, {"x": "two"}],
        TypeError,
        "Field `x` is an array of dtype <U21; expected numbers or booleans. "
        "Encode the field as integers, or drop it.",
    ),
    (
        [{"x": 1}, {"y": 1}],
        ValueError,
        "Record 1 has the structure PyTreeDef({'y': *}), record 0 has PyTreeDef({'x': *}); give "
        "all records of the list the same fields.",
    ),
    (
        [{"x": np.zeros(2)}, {"x": np.zeros(2)}, {"x": np.zeros(3)}],
        ValueError,
        "Record 2 has shape (3,) in field `x`, record 0 has (2,); a list is read as one record an "
        "item. Crop or pad the records to one shape; for a pytree of whole arrays pass a dict or a "
        "tuple.",
    ),
]


@pytest.mark.parametrize(("data", "kind", "message"), BAD_DATA, ids=lambda x: "")
def test_data_that_are_no_records_are_refused(
    data: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        MemorySource(data=data)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MemorySource(MemorySourceConfig(shuffle=True), data={"x": np.zeros(3)}),
            "MemorySourceConfig(shuffle=True) needs a seed; pass rngs=nnx.Rngs(0) to MemorySource.",
        ),
        (
            lambda: MemorySource(
                MemorySourceConfig(shuffle=True), data={"x": np.zeros(3)}, rngs=nnx.Rngs(other=0)
            ),
            "rngs has neither a stream `shuffle` nor a default one; pass nnx.Rngs(0) or "
            "nnx.Rngs(shuffle=0).",
        ),
        (
            lambda: Pipeline(
                source=MemorySource(data={"x": np.zeros(3)}),
                stages=[lambda batch: batch],
                batch_size=1,
                rngs=nnx.Rngs(other=0),
            ),
            "rngs has neither a stream `pipeline` nor a default one; pass nnx.Rngs(0) or "
            "nnx.Rngs(pipeline=0).",
        ),
    ],
    ids=["no rngs", "no stream to shuffle", "no stream to draw"],
)
def test_a_missing_seed_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


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


class NoElement(OperatorModule):
    def apply(self, element: Element) -> Any:
        return element.data


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


def test_an_operator_that_returns_no_element_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        linear(NoElement())
    assert str(error.value) == (
        "The graph cannot be built:\n"
        "  - node `no_element` (NoElement) fails on input `element` (from the source), one "
        "record, {x: f32[]}: "
        "TypeError: NoElement.apply returned dict; expected an Element: return "
        "element.update_data({...})."
    )


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


@pytest.mark.parametrize("operator", [BrightnessOperator, NoiseOperator])
def test_an_integer_field_is_refused(operator: type[OperatorModule]) -> None:
    with pytest.raises(ValueError) as error:
        over({"image": np.zeros((2, 3), np.uint8)}, operator())
    name = operator.__name__
    assert str(error.value) == (
        "The graph cannot be built:\n"
        f"  - node `{name.removesuffix('Operator').lower()}` ({name}) fails on input `element` "
        f"(from the source), one record, {{image: u8[3]}}: TypeError: {name} works on a "
        "floating-point field, but `image` is uint8; cast it in a stage before: "
        "batch['image'].astype(jnp.float32)."
    )


@pytest.mark.parametrize("operator", [BrightnessOperator, NoiseOperator])
def test_a_missing_field_is_refused(operator: Any) -> None:
    with pytest.raises(ValueError) as error:
        over({"pixels": np.zeros((2, 3)), "label": np.zeros(2)}, operator())
    assert str(error.value).endswith(
        f": {operator.__name__} works on the field `image`, but the record has `label`, `pixels`; "
        f"pass field=… to {operator.__name__}."
    )
    over({"pixels": np.zeros((2, 3), np.float32)}, operator(field="pixels")).step()
