"""A list of records becomes one array for each field, and no number becomes another."""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from dagrax.pure.internal import stacked_records


class Pair(NamedTuple):
    id: Any
    x: Any


RIGHT: dict[str, tuple[list[Any], Any]] = {
    "numbers": ([3, 1], np.array([3, 1])),
    "large integers": ([2**53 + 1, 0], np.array([2**53 + 1, 0])),
    "booleans": ([True, False], np.array([True, False])),
    "arrays": ([np.zeros((2, 3)), np.ones((2, 3))], np.stack([np.zeros((2, 3)), np.ones((2, 3))])),
    "small floats": ([np.float16(1), np.float16(2)], np.array([1, 2], np.float16)),
    "bfloat16": ([ml_dtypes.bfloat16(1)] * 2, np.array([1, 1], ml_dtypes.bfloat16)),
    "dicts": (
        [{"id": 16777217, "m": {"x": 1.5}}, {"id": 1, "m": {"x": 2.0}}],
        {"id": np.array([16777217, 1]), "m": {"x": np.array([1.5, 2.0])}},
    ),
    "an OrderedDict": (
        [collections.OrderedDict(b=1, a=2)] * 2,
        collections.OrderedDict(b=np.array([1, 1]), a=np.array([2, 2])),
    ),
    "names in another order": (
        [{"a": 1, "b": 2}, {"b": 3, "a": 4}],
        {"a": np.array([1, 4]), "b": np.array([2, 3])},
    ),
    "tuples": ([(1, 2.0), (3, 4.0)], (np.array([1, 3]), np.array([2.0, 4.0]))),
    "NamedTuples": ([Pair(1, 2.0)] * 2, Pair(np.array([1, 1]), np.array([2.0, 2.0]))),
    "lists of numbers": ([[1, 2], [3, 4]], [np.array([1, 3]), np.array([2, 4])]),
    "JAX arrays": ([jnp.int32(1), jnp.int32(2)], np.array([1, 2], np.int32)),
    "a field that is None": ([{"x": 1, "y": None}], {"x": np.array([1]), "y": None}),
    "dtypes that JAX holds as one": ([1, np.int32(2), jnp.int32(3)], np.array([1, 2, 3])),
}


@pytest.mark.parametrize(("records", "expected"), RIGHT.values(), ids=RIGHT)
def test_records_are_stacked_field_by_field(records: list[Any], expected: Any) -> None:
    data = stacked_records(records)
    assert str(jax.tree.structure(data)) == str(jax.tree.structure(expected))
    for own, its in zip(jax.tree.leaves(data), jax.tree.leaves(expected), strict=True):
        assert own.dtype == its.dtype
        np.testing.assert_array_equal(own, its)


def test_keys_and_traced_numbers_are_stacked_too() -> None:
    keys = jax.random.split(jax.random.key(0), 2)
    stacked = stacked_records([{"key": key} for key in keys])
    np.testing.assert_array_equal(jax.random.key_data(stacked["key"]), jax.random.key_data(keys))
    assert jax.jit(lambda x: stacked_records([x, x + 1]))(jnp.float32(1)).tolist() == [1, 2]


MIXED: dict[str, tuple[Any, Any, str]] = {
    "an id and a float": (16777217, 1.5, "is f32[]{}, record 0 is i32[]"),
    "a float and an id": (1.5, 16777217, "is i32[]{}, record 0 is f32[]"),
    "a boolean": (1, True, "is bool[]{}, record 0 is i32[]"),
    "a small integer": (np.int32(1), np.uint8(1), "is u8[]{}, record 0 is i32[]"),
    "another sign": (np.int32(1), np.uint32(1), "is u32[]{}, record 0 is i32[]"),
    "a half": (np.float32(1), np.float16(1), "is f16[]{}, record 0 is f32[]"),
    "a complex number": (1.0, 1j, "is c64[]{}, record 0 is f32[]"),
    "an array": (np.zeros(3, np.uint8), np.zeros(3), "is f32[3]{}, record 0 is u8[3]"),
}


@pytest.mark.parametrize(("first", "other", "text"), MIXED.values(), ids=MIXED)
@pytest.mark.parametrize(
    ("record", "field"),
    [
        (lambda x: x, ""),
        (lambda x: {"a": 0, "id": x}, " in field `id`"),
        (lambda x: ({"m": x},), " in field `0/m`"),
    ],
    ids=["numbers", "dicts", "nested"],
)
def test_item_25_records_of_other_dtypes_are_refused_and_not_promoted(
    record: Callable[[Any], Any], field: str, first: Any, other: Any, text: str
) -> None:
    with pytest.raises(TypeError) as error:
        stacked_records([record(first), record(first), record(other), record(first)])
    assert str(error.value) == (
        f"Record 2 {text.format(field)}; nothing is promoted, for large integers would become "
        "other numbers. Give all records the same dtype."
    )


def shape(size: int) -> Any:
    return np.zeros(size, np.float32)
