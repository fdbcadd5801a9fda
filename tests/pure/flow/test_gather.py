"""Records by id: the same ones, however many and however large they are."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import dagrax.pure as dp
from tests.plainly import FOUR_DEVICES, told
from tests.platforms import on_a_cpu

RECORDS = 300
SHAPES = {"a number": (), "a row": (7,), "an image": (4, 5, 3), "wide": (600,)}
FEW, MANY = [3, 1, 299, 3], np.arange(200) * 7 % RECORDS


def make_data(shape: tuple[int, ...], dtype: Any = np.float32, records: int = RECORDS) -> Any:
    return np.random.default_rng(0).uniform(0, 99, (records, *shape)).astype(dtype)


def rows(data: Any, ids: Any) -> Any:
    return dp.ArraySource(data).rows(ids)


def as_ids(ids: Any) -> jax.Array:
    return jnp.asarray(ids, jnp.uint32)


@pytest.mark.parametrize("ids", [FEW, MANY, [5], np.arange(100)], ids=["few", "many", "one", "100"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.bool_, np.complex64])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rows_are_the_records_of_the_ids(shape: tuple[int, ...], dtype: Any, ids: Any) -> None:
    data = make_data(shape, dtype)
    got = jax.jit(rows)(jnp.asarray(data), as_ids(ids))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, data[ids])


@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0)])
@pytest.mark.parametrize("ids", [FEW, MANY], ids=["few", "many"])
def test_rows_are_the_same_under_vmap(axes: tuple[int | None, int | None], ids: Any) -> None:
    data = np.stack([make_data((3,)) + k for k in range(4)])
    several = np.stack([(np.asarray(ids) + k) % RECORDS for k in range(4)])
    data_axis, ids_axis = axes
    together = jax.jit(jax.vmap(rows, axes))(
        jnp.asarray(data if data_axis == 0 else data[0]),
        as_ids(several if ids_axis == 0 else several[0]),
    )
    for k in range(4):
        own = data[k if data_axis == 0 else 0][several[k if ids_axis == 0 else 0]]
        np.testing.assert_array_equal(together[k], own)


@pytest.mark.parametrize("ids", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("mapped", [False, True], ids=["alone", "under vmap"])
def test_rows_have_the_gradient_of_an_index(ids: Any, mapped: bool) -> None:
    several = np.stack([(np.asarray(ids) + k) % RECORDS for k in range(3 if mapped else 1)])
    weight = make_data((3,), records=several.size).reshape(*several.shape, 3)

    def loss(data: jax.Array) -> Any:
        def one(ids: jax.Array) -> Any:
            return rows(data, ids)

        read: Any = jax.vmap(one) if mapped else lambda ids: one(ids[0])[None]
        return (read(as_ids(several)) * weight).sum()

    expected = np.zeros((RECORDS, 3), np.float32)
    np.add.at(expected, several, weight)
    data = jnp.asarray(make_data((3,)))
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(data), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jacfwd(loss)(data), expected, rtol=1e-5)


def test_rows_agree_with_finite_differences_to_the_second_order() -> None:
    data = jnp.asarray(make_data((2,), records=5)) / 50
    loss = jax.jit(lambda x: (rows(x, as_ids([0, 3, 3])) ** 3).sum())
    check_grads(loss, (data,), 2, eps=1e-2, rtol=1e-2)


def test_rows_of_integers_may_be_differentiated_by_what_comes_after() -> None:
    data = jnp.asarray(make_data((3,), np.uint8))
    slope = jax.grad(lambda w: (rows(data, as_ids(FEW)).astype(jnp.float32) * w).sum())(2.0)
    assert float(slope) == np.asarray(data)[FEW].sum()


# What the programs contain; all programs here are for a CPU.


def text_of(fn: Any, *args: Any) -> str:
    return jax.jit(fn).lower(*args).compile().as_text() or ""


def reads(text: str) -> set[str]:
    return set(re.findall(r" (gather|dynamic-slice|scatter|while)\(", text))


LARGE = jax.ShapeDtypeStruct((10**6, 8), jnp.float32)


def some(count: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((count,), jnp.uint32)


@on_a_cpu
def test_a_gather_from_large_data_would_be_shared_out_among_threads() -> None:
    def gather(data: jax.Array, ids: jax.Array) -> jax.Array:
        return data.at[ids].get(mode="promise_in_bounds")

    assert "outer_dimension_partitions" in text_of(gather, LARGE, some(64))


@on_a_cpu
def test_few_small_records_are_read_on_one_thread() -> None:
    text = text_of(rows, LARGE, some(64))
    assert "gather" not in reads(text)
    assert "outer_dimension_partitions" not in text


@pytest.mark.parametrize(
    ("data", "count"),
    [(LARGE, 129), (jax.ShapeDtypeStruct((10**5, 1024), jnp.float32), 64)],
    ids=["many", "large"],
)
def test_many_or_large_records_are_gathered(data: Any, count: int) -> None:
    assert reads(text_of(rows, data, some(count))) == {"gather"}


@on_a_cpu
@pytest.mark.parametrize(("fields", "operation"), [(4, "dynamic-slice"), (5, "gather")])
def test_item_20_the_rows_of_many_fields_are_gathered(fields: int, operation: str) -> None:
    # A loop takes long to compile: 200 of them took six times as long as 200 gathers.
    names = [f"column {i}" for i in range(fields)]
    column = jax.ShapeDtypeStruct((10**5,), jnp.float32)
    text = text_of(rows, dict.fromkeys(names, column), some(64))
    assert reads(text) - {"while"} == {operation}
    data = {name: make_data(()) + i for i, name in enumerate(names)}
    read = jax.jit(rows)({name: jnp.asarray(x) for name, x in data.items()}, as_ids(FEW))
    for name, column in data.items():
        np.testing.assert_array_equal(read[name], column[FEW])


def test_several_batches_of_few_records_are_one_gather() -> None:
    ids = jax.ShapeDtypeStruct((3, 64), jnp.uint32)
    assert reads(text_of(jax.vmap(rows, (None, 0)), LARGE, ids)) == {"gather"}


def test_the_gradient_by_the_data_makes_one_copy_of_them() -> None:
    def slope(data: jax.Array, ids: jax.Array) -> Any:
        return jax.grad(lambda data: (rows(data, ids) ** 2).sum())(data)

    program = jax.jit(slope).lower(LARGE, some(64)).compile()
    memory = program.memory_analysis()
    assert memory is not None
    bytes_of_data = 4 * LARGE.size
    assert memory.output_size_in_bytes + memory.temp_size_in_bytes < 1.1 * bytes_of_data


ON_FOUR_DEVICES = (
    FOUR_DEVICES
    + """
import jax, jax.numpy as jnp, numpy as np
import dagrax.pure as dp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

OPTIMIZED = True

mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
rows = np.arange(400, dtype=np.float32).reshape(100, 4)
data = jax.device_put(rows, NamedSharding(mesh, PartitionSpec("data")))
ids = np.asarray([99, 0, 50], np.uint32)
read = jax.jit(lambda data, ids: dp.ArraySource(data).rows(ids)).lower(data, ids).compile()
"""
)

SPREAD = [
    "np.testing.assert_array_equal(read(data, ids), rows[ids])",
    '1 / ("f32[25,4]" in read.as_text())',
    '1 / ("all-gather" not in read.as_text())',
]


def test_data_spread_over_devices_stay_where_they_are() -> None:
    assert told(ON_FOUR_DEVICES, SPREAD) == {call: ("nothing", "") for call in SPREAD}
