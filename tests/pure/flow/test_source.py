from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp

IDS = jnp.array([2, 0, 2], jnp.uint32)


class Pair(NamedTuple):
    image: Any
    label: Any


@pytest.mark.parametrize(
    "data",
    [
        np.arange(8).reshape(4, 2),
        {"x": np.arange(4), "meta": {"camera": np.arange(8.0).reshape(4, 2)}},
        (np.arange(4), [np.arange(4) > 1]),
        Pair(jnp.arange(4.0), np.arange(4, dtype=np.uint8)),
        {"x": np.arange(4, dtype=jnp.bfloat16), "z": np.arange(4) * 1j},
        {"key": jax.random.split(jax.random.key(0), 4)},
        {"x": jnp.arange(4), "nothing": None},
    ],
    ids=["array", "nested dicts", "tuple and list", "NamedTuple", "dtypes", "keys", "None"],
)
def test_rows_are_those_of_the_ids_in_the_structure_of_the_data(data: Any) -> None:
    source = dp.ArraySource(data)
    rows = source.rows(IDS)
    assert source.size == 4
    assert str(jax.tree.structure(rows)) == str(jax.tree.structure(data))
    for row, leaf in zip(jax.tree.leaves(rows), jax.tree.leaves(data), strict=True):
        assert isinstance(row, jax.Array)
        assert bool(jnp.all(row == jnp.asarray(leaf)[np.array([2, 0, 2])]))


def test_the_arrays_are_leaves() -> None:
    source = dp.ArraySource({"x": np.zeros(4), "y": jnp.ones(4)})
    assert [type(leaf) for leaf in jax.tree.leaves(source)] == [type(jnp.ones(1))] * 2


def test_rows_can_be_taken_under_jit() -> None:
    source = dp.ArraySource({"x": np.arange(4)})
    assert jax.jit(dp.ArraySource.rows)(source, IDS)["x"].tolist() == [2, 0, 2]


def test_64_bit_numbers_become_32_bit_ones() -> None:
    source = dp.ArraySource({"i": np.arange(4), "x": np.arange(4.0)})
    assert {name: row.dtype for name, row in source.rows(IDS).items()} == {
        "i": jnp.int32,
        "x": jnp.float32,
    }


def test_large_integers_are_welcome_where_64_bit_types_are_enabled() -> None:
    with jax.enable_x64(True):
        assert dp.ArraySource({"i": np.array([2**40])}).rows(jnp.uint32([0]))["i"].tolist() == [
            2**40
        ]


def test_the_largest_integers_of_32_bits_fit() -> None:
    data = {"i": np.array([-(2**31), 2**31 - 1]), "u": np.array([0, 2**32 - 1], np.uint64)}
    rows = dp.ArraySource(data).rows(jnp.arange(2, dtype=jnp.uint32))
    assert {name: row.tolist() for name, row in rows.items()} == {
        n: x.tolist() for n, x in data.items()
    }


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (
            {},
            ValueError,
            "The data {} hold no arrays; pass a pytree of arrays, such as "
            '{"image": images, "label": labels}.',
        ),
        (
            None,
            ValueError,
            "The data None hold no arrays; pass a pytree of arrays, such as "
            '{"image": images, "label": labels}.',
        ),
        (
            {"x": np.zeros((3, 2)), "meta": {"y": np.zeros(4)}, "z": np.zeros(3)},
            ValueError,
            "The fields differ in their number of records: `meta/y` has 4, `x` has 3, `z` has 3. "
            "Give all of them the same leading axis.",
        ),
        (
            {"a": {"b": np.zeros(3)}, "a/b": np.zeros(4)},
            ValueError,
            "The fields differ in their number of records: `a/b` has 3, `a/b` has 4. "
            "Give all of them the same leading axis.",
        ),
        (
            (np.zeros(3), np.zeros(4)),
            ValueError,
            "The fields differ in their number of records: `0` has 3, `1` has 4. "
            "Give all of them the same leading axis.",
        ),
        (
            {"x": np.zeros((0, 2))},
            ValueError,
            "The data hold zero records (field `x` has shape (0, 2)); pass at least one.",
        ),
        (
            np.zeros(0),
            ValueError,
            "The data hold zero records (field `data` has shape (0,)); pass at least one.",
        ),
        (
            {"x": np.zeros(3), "scale": 2.0},
            ValueError,
            "Field `scale` is a scalar; expected an array whose leading axis is the records. "
            "Repeat it for each record, or drop it.",
        ),
        (
            {"name": np.array(["ab", "cd"])},
            TypeError,
            "Field `name` is an array of dtype <U2; expected numbers or booleans. "
            "Encode the field as integers, or drop it.",
        ),
        (
            {"meta": {"box": np.array([[1], None], object)}},
            TypeError,
            "Field `meta/box` is an array of dtype object; expected numbers or booleans. "
            "Encode the field as integers, or drop it.",
        ),
        (
            {"day": np.array(["2024-01-01"], "datetime64[D]")},
            TypeError,
            "Field `day` is an array of dtype datetime64[D]; expected numbers or booleans. "
            "Encode the field as integers, or drop it.",
        ),
        (
            {"x": np.ma.masked_less(np.arange(4), 2)},
            TypeError,
            "Field `x` is a masked array, whose mask a source would lose; pass "
            "array.filled(value), and the mask as a field of its own.",
        ),
        (
            {"user": np.array([0, 2**31])},
            ValueError,
            "Field `user` holds integers from 0 to 2147483648, which int32 cannot hold; "
            "re-number them, or set `jax_enable_x64`.",
        ),
        (
            {"user": np.array([-(2**31) - 1, 0])},
            ValueError,
            "Field `user` holds integers from -2147483649 to 0, which int32 cannot hold; "
            "re-number them, or set `jax_enable_x64`.",
        ),
        (
            {"user": np.array([0, 2**32], np.uint64)},
            ValueError,
            "Field `user` holds integers from 0 to 4294967296, which uint32 cannot hold; "
            "re-number them, or set `jax_enable_x64`.",
        ),
    ],
)
def test_data_that_cannot_be_a_source_are_refused(
    data: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as error:
        dp.ArraySource(data)
    assert str(error.value) == text


def test_a_source_of_ones_own_needs_a_size_and_rows() -> None:
    class Squares(dp.AbstractSource):
        @property
        def size(self) -> int:
            return 10

        def rows(self, ids: jax.Array) -> jax.Array:
            return ids * ids

    stream = dp.Stream(Squares(), batch_size=3, remainder="carry")
    assert stream.take(dp.Cursor(np.uint32(0), np.uint32(8)))[1].tolist() == [64, 81, 0]


def test_a_list_of_numbers_is_no_field() -> None:
    with pytest.raises(ValueError) as error:
        dp.ArraySource({"image": np.zeros((3, 2)), "label": [0, 1, 2]})
    assert str(error.value) == (
        "Field `label` is a list or tuple of numbers; expected an array: write np.asarray(...) "
        "around it."
    )
