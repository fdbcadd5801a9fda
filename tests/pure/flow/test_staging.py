"""How a source holds arrays of NumPy: in memory of its own, copied once, or in a mapped file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp

WIDE = np.arange(12.0).reshape(4, 3)


def held(array: Any) -> jax.Array:
    data: jax.Array = dp.ArraySource(array).data
    return data


@pytest.mark.parametrize(
    "array",
    [
        WIDE,
        WIDE.astype(np.float32),
        WIDE.astype(">f4"),
        WIDE.astype(np.uint8),
        WIDE.astype(jnp.bfloat16),
        WIDE > 5,
        np.asfortranarray(WIDE),
        WIDE[::-2, 1:],
        np.zeros((3, 0)),
        np.array([np.inf, np.nan, -0.0, 1e-320]),
    ],
    ids=str,
)
@pytest.mark.parametrize("x64", [False, True])
def test_an_array_is_held_as_jax_would_hold_it(array: Any, x64: bool) -> None:
    with jax.enable_x64(x64):
        data, expected = held(array), jnp.asarray(array.astype(array.dtype.newbyteorder("=")))
        assert data.dtype == expected.dtype
        assert data.weak_type is False
        np.testing.assert_array_equal(data, expected)


@pytest.mark.parametrize("array", [WIDE.astype(np.float32), np.zeros(100_000, np.uint8)], ids=len)
def test_what_becomes_of_an_array_afterwards_does_not_reach_the_source(array: Any) -> None:
    data = held(array)
    before = np.array(data)
    array += 1
    np.testing.assert_array_equal(data, before)


def test_a_jax_array_is_held_as_it_is() -> None:
    array = jnp.ones(4)
    assert held(array) is array


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_file_that_is_mapped_for_reading_is_read_where_it_lies(tmp_path: Path, mode: Any) -> None:
    np.save(tmp_path / "x.npy", np.arange(1000, dtype=np.int32).reshape(-1, 2))
    array = np.load(tmp_path / "x.npy", mmap_mode=mode)
    data = held(array)
    assert (data.unsafe_buffer_pointer() == array.ctypes.data) is (mode == "r")
    stream = dp.Stream(dp.ArraySource(array), dp.Shuffled(jax.random.key(0)), batch_size=500)
    _, batch, _ = stream.take(stream.start())
    assert sorted(batch[:, 1].tolist()) == list(range(1, 1000, 2))


@pytest.mark.parametrize("dtype", [np.int64, ">i4"])
def test_a_mapped_file_of_another_dtype_is_copied(tmp_path: Path, dtype: Any) -> None:
    np.save(tmp_path / "x.npy", np.arange(10).astype(dtype))
    data = held(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert data.dtype == jnp.int32
    assert data.tolist() == list(range(10))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_data_are_copied_once_with_nothing_besides() -> None:
    code = """
import jax.numpy as jnp, numpy as np, dagrax.pure as dp
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1000
jnp.zeros(3).block_until_ready()
array = np.ones((100_000, 250), np.float32)
before = peak()
source = dp.ArraySource({"x": array})
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 90 < float(run.stdout) < 120  # of 100 MB
