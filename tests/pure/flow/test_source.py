"""Records by id: as they stand in the data, refused where they are none."""

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


def test_a_source_of_ones_own_needs_a_size_and_rows() -> None:
    class Squares(dp.AbstractSource):
        @property
        def size(self) -> int:
            return 10

        def rows(self, ids: jax.Array) -> jax.Array:
            return ids * ids

    stream = dp.Stream(Squares(), batch_size=3, remainder="carry")
    assert stream.take(dp.Cursor(np.uint32(0), np.uint32(8)))[1].tolist() == [64, 81, 0]
