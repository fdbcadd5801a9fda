"""Windows of a long array: those of NumPy, without a copy, none across a border of documents."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array, Int

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, Pipeline, Records
from dagrax.pure.internal import source_digest
from tests.platforms import on_a_cpu

LONG = np.arange(100, 160)


@jax.jit
def every(source: dp.AbstractSource) -> Any:
    return source.rows(jnp.arange(source.size, dtype=jnp.uint32))


def plain(array: Any, width: int, stride: int, documents: list[tuple[int, int]]) -> Any:
    """The windows by NumPy, one after the other."""
    starts = [i for a, b in documents for i in range(a, b - width + 1, stride)]
    return np.stack([array[i : i + width] for i in starts])


CASES: dict[str, tuple[int, int, Any, list[tuple[int, int]]]] = {
    "next to each other": (8, 8, None, [(0, 60)]),
    "overlapping": (8, 1, None, [(0, 60)]),
    "with gaps": (4, 7, None, [(0, 60)]),
    "the whole": (60, 1, None, [(0, 60)]),
    "one by a long way": (9, 10**12, None, [(0, 60)]),
    "documents": (5, 3, [20, 31], [(0, 20), (20, 31), (31, 60)]),
    "documents with both ends": (5, 3, np.array([0, 20, 31, 60]), [(0, 20), (20, 31), (31, 60)]),
    "documents with one end": (5, 2, (20, 31, 60), [(0, 20), (20, 31), (31, 60)]),
    "documents that are too short": (5, 2, [3, 10, 14, 15, 50, 56], [(3, 10), (15, 50), (50, 56)]),
    "no border": (5, 2, [], [(0, 60)]),
}


@pytest.mark.parametrize(("width", "stride", "boundaries", "documents"), CASES.values(), ids=CASES)
def test_windows_are_those_of_numpy(
    width: int, stride: int, boundaries: Any, documents: list[tuple[int, int]]
) -> None:
    source = dp.Windows(LONG, width, stride, boundaries=boundaries)
    expected = plain(LONG, width, stride, documents)
    assert source.size == len(expected)
    np.testing.assert_array_equal(every(source), expected)


def test_every_array_of_a_tree_is_cut_alike() -> None:
    data = {"audio": np.stack([LONG, -LONG], axis=1).astype(np.float32), "beat": LONG % 2 == 0}
    source = dp.Windows(data, 8, 4, boundaries=[30])
    for name, rows in every(source).items():
        np.testing.assert_array_equal(rows, plain(data[name], 8, 4, [(0, 30), (30, 60)]))
    assert source.element_spec["audio"] == jax.ShapeDtypeStruct((8, 2), jnp.float32)


def test_no_table_of_windows_is_held() -> None:
    source = dp.Windows(LONG, 2, boundaries=[10, 20])
    assert [x.shape for x in jax.tree.leaves(source)] == [(60,), (3,), (3,)]
    assert len(jax.tree.leaves(dp.Windows(LONG, 2))) == 1


@on_a_cpu
def test_windows_of_a_mapped_file_are_read_where_they_lie_past_2_31_numbers(tmp_path: Path) -> None:
    length = 2**31 + 1000
    file = np.memmap(tmp_path / "tokens", np.uint8, "w+", shape=(length,))  # of holes
    file[-9:] = np.arange(1, 10)
    tokens = np.memmap(tmp_path / "tokens", np.uint8, "r")
    source = dp.Windows(tokens, 10, 5)
    assert source.data.unsafe_buffer_pointer() == tokens.ctypes.data
    last = jnp.asarray([source.size - 1], jnp.uint32)
    assert source.rows(last)[0].tolist() == tokens[5 * (source.size - 1) :][:10].tolist()
    several = dp.Windows(tokens, 9, 2**20, boundaries=[length - 9])
    last = jnp.asarray([several.size - 1], jnp.uint32)
    assert several.rows(last)[0].tolist() == [*range(1, 10)]


def test_windows_flow_as_records_do() -> None:
    source = dp.Windows({"x": LONG}, 4, 4)
    order = dp.Shuffled(jax.random.key(0))
    ids = order.ids(jnp.arange(15, dtype=jnp.uint32), jnp.uint32(0), 15).tolist()
    stream = dp.Stream(dp.Subset(source, range(14, -1, -1)), order, batch_size=5)
    body = lambda carry, batch: (carry, batch["x"])  # noqa: E731
    *_, xs = dp.scan(body, None, dp.Pipeline.linear([]), stream, stream.start(), length=3)
    expected = plain(LONG, 4, 4, [(0, 60)])[14 - np.asarray(ids)]
    np.testing.assert_array_equal(np.concatenate(xs), expected)


def test_a_derivative_by_the_data_adds_up_over_windows() -> None:
    def loss(x: jax.Array) -> jax.Array:
        total: jax.Array = dp.Windows(x, 3).rows(jnp.asarray([0, 2], jnp.uint32)).sum()
        return total

    assert jax.grad(loss)(jnp.ones(6)).tolist() == [1, 1, 2, 1, 1, 0]


def shifted(batch: Int[Array, "batch time"]) -> Int[Array, "batch time-1"]:
    return batch[:, 1:]


def test_the_axis_of_a_window_has_the_name_that_it_was_given() -> None:
    stream = dp.Stream(dp.Windows(LONG, 8, 4, "time"), batch_size=2)
    named = dp.Pipeline.linear([shifted, shifted], dims=["time"])
    with pytest.raises(ValueError, match="time=8 from the source"):
        dp.check(named, stream)
    with pytest.raises(ValueError, match=r"the source: .* Its axis `time` is 8, not 7"):
        dp.check(dp.Pipeline.linear([], dims={"time": 7}), stream)
    bare = dp.Stream(dp.Windows(LONG, 8, 4), batch_size=2)
    assert dp.check(dp.Pipeline.linear([shifted, shifted]), bare)["shifted_1"].shape == (2, 6)
    assert source_digest(stream.source) == source_digest(bare.source)
    np.testing.assert_array_equal(every(stream.source), every(bare.source))


def test_the_mask_of_a_last_batch_is_no_window() -> None:
    stream = dp.Stream(dp.Windows({"x": LONG}, 8, 4), batch_size=4, remainder="pad")
    assert dp.check(dp.Pipeline.linear([lambda batch: batch]), stream)["lambda"]["valid"].shape == (
        4,
    )


def test_windows_are_a_source_of_the_face_whose_data_are_not_saved() -> None:
    source = ArraySource(source=dp.Windows(LONG, 6, 6, boundaries=[30]))
    train, valid = source.split(0.8)
    pipeline = Pipeline(source=train, stages=[], batch_size=4)
    np.testing.assert_array_equal(
        np.concatenate([*pipeline]), plain(LONG, 6, 6, [(0, 30), (30, 60)])[:8]
    )
    assert len(valid) == 2
    assert jax.tree.leaves(nnx.state(pipeline.checkpoint(), Records)) == []
