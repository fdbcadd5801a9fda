"""How a source holds arrays of NumPy: in memory of its own, copied once, or in a mapped file."""

import mmap
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from tests.plainly import told
from tests.platforms import on_a_cpu

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


# Mapped files


windows_of = np.lib.stride_tricks.sliding_window_view
LARGE = np.arange(2**18 * 12, dtype=np.int32).reshape(2**18, 12)  # 12.6 MB, of 48 bytes a record


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mapped")
    np.save(folder / "native.npy", LARGE)
    np.save(folder / "row.npy", LARGE.reshape(-1))
    np.save(folder / "fortran.npy", np.asfortranarray(LARGE))
    np.save(folder / "swapped.npy", LARGE.astype(">i4"))
    np.save(folder / "wide.npy", LARGE.astype(np.int64))
    np.save(folder / "bf16.npy", LARGE.astype(jnp.bfloat16))
    (folder / "raw.bin").write_bytes(b"header!" + LARGE.tobytes())
    return folder


def mapped(files: Path, name: str = "native", mode: Any = "r") -> Any:
    return np.load(files / f"{name}.npy", mmap_mode=mode)


def raw(files: Path) -> Any:
    with open(files / "native.npy", "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(memory, np.int32, offset=128).reshape(LARGE.shape)


def locked(array: Any) -> Any:
    array.flags.writeable = False
    return array


IN_PLACE: dict[str, Callable[[Path], Any]] = {
    "the whole": mapped,
    "a part from a multiple of 64 bytes on": lambda files: mapped(files)[4:],
    "a part up to a record": lambda files: mapped(files)[:-3],
    "one record": lambda files: mapped(files)[8:9],
    "a part of a part": lambda files: mapped(files)[4:][8:-4],
    "another shape": lambda files: mapped(files).reshape(-1, 3, 4),
    "another type of the same bytes": lambda files: mapped(files).view(np.uint32),
    "bfloat16 as np.save leaves it": lambda files: mapped(files, "bf16").view(jnp.bfloat16),
    "a plain array of the mapped one": lambda files: np.asarray(mapped(files)),
    "a mapping by hand": raw,
}


@on_a_cpu
@pytest.mark.parametrize("make", IN_PLACE.values(), ids=IN_PLACE)
def test_items_26_and_46_a_file_that_jax_can_read_is_read_where_it_lies(
    files: Path, make: Callable[[Path], Any]
) -> None:
    array = make(files)
    data = held(array)
    assert data.unsafe_buffer_pointer() == array.ctypes.data
    np.testing.assert_array_equal(data[:5], array[:5])
    np.testing.assert_array_equal(data[-5:], array[-5:])


FOR_WRITING = 'the file is mapped for writing; map it for reading: np.load(path, mmap_mode="r")'
STRIDED = (
    "its records are strided parts of those of the file; pass them whole and cut or transpose the "
    "batch in a stage, or save np.ascontiguousarray(x)"
)
VIEW = (
    "pass the whole file and make a view of it, dp.Subset(dp.ArraySource(x), range({0})), or "
    "source[range({0})] of a module"
)


def windows(files: Path) -> Any:
    return windows_of(mapped(files)[:10_000, 0], 100)


TOLD: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "a part that starts askew": (
        lambda files: mapped(files)[1:],
        13,
        "it starts 48 bytes past a multiple of 64; start it at a multiple of 4 records, or "
        + VIEW.format("1, 262144"),
    ),
    "a part of records of 4 bytes": (
        lambda files: mapped(files).reshape(-1)[5:],
        13,
        "it starts 20 bytes past a multiple of 64; start it at a multiple of 16 records, or save "
        "the part to a file of its own",
    ),
    "a file with a header of 7 bytes": (
        lambda files: np.memmap(files / "raw.bin", np.int32, "r", 7, LARGE.shape),
        13,
        "it starts 7 bytes past a multiple of 64; save it by np.save",
    ),
    "every other record": (
        lambda files: mapped(files)[::2],
        6,
        "it is a strided part of the file; " + VIEW.format("0, 262144, 2"),
    ),
    "backwards": (
        lambda files: mapped(files)[::-1],
        13,
        "it is a strided part of the file; " + VIEW.format("262143, -1, -1"),
    ),
    "some columns": (lambda files: mapped(files)[:, :3], 3, STRIDED),
    "axes in another order": (lambda files: mapped(files).reshape(-1, 3, 4).mT, 13, STRIDED),
    "one record many times": (
        lambda files: np.broadcast_to(mapped(files)[0], (10**5, 12)),
        5,
        STRIDED,
    ),
    "windows of a column": (windows, 4, STRIDED),
    "windows": (
        lambda files: windows_of(mapped(files, "row"), 100)[:10_000],
        4,
        "it is windows of the file; write dp.Windows(x, 100)",
    ),
    "windows with a stride": (
        lambda files: windows_of(mapped(files, "row")[1:], 100)[:30_000:3],
        4,
        "it is windows of the file; write dp.Windows(x, 100, stride=3)",
    ),
    "Fortran order": (
        lambda files: mapped(files, "fortran"),
        13,
        "the file is in Fortran order; save np.ascontiguousarray(x)",
    ),
    "other byte order": (
        lambda files: mapped(files, "swapped"),
        13,
        "its bytes are in the other order, >i4; save it as int32",
    ),
    "64 bits": (
        lambda files: mapped(files, "wide"),
        13,
        "int64 becomes int32; save it as int32, or set `jax_enable_x64`",
    ),
    "copy on write": (lambda files: mapped(files, mode="c"), 13, FOR_WRITING),
    "open for writing": (lambda files: mapped(files, mode="r+"), 13, FOR_WRITING),
    "a locked view of what is open for writing": (
        lambda files: locked(mapped(files, mode="r+")[4:]),
        13,
        FOR_WRITING,
    ),
}


@pytest.mark.parametrize(("make", "size", "reason"), TOLD.values(), ids=TOLD)
def test_items_26_and_46_a_copy_of_a_mapped_file_is_told_with_its_field_size_and_mend(
    files: Path, make: Callable[[Path], Any], size: int, reason: str
) -> None:
    array = make(files)
    with pytest.warns(UserWarning) as heard:
        source = dp.ArraySource({"y": np.zeros(len(array), np.float32), "m": {"x": array}})
    assert [str(warning.message) for warning in heard] == [
        f"Field `m/x` lies in a mapped file, but its {size} MB are copied into memory, for "
        f"{reason}. (To copy it without this warning, pass np.array(x).)"
    ]
    data = source.data["m"]["x"]
    np.testing.assert_array_equal(data, array)
    if array.flags.writeable:
        array[:2] = 0
        assert data[1].tolist() == LARGE[1].tolist()


@pytest.mark.parametrize(
    ("rows", "size"), [(1, "48 bytes"), (100, "5 kB")], ids=["bytes", "kilobytes"]
)
def test_a_small_copy_of_a_mapped_file_is_told_too(files: Path, rows: int, size: str) -> None:
    with pytest.warns(UserWarning, match=f"mapped file, but its {size} are copied into memory"):
        dp.ArraySource(mapped(files)[1 : 1 + rows])


WINDOWS: dict[str, tuple[Callable[[Any], Any], dict[str, Any], str]] = {
    "a part": (lambda x: x[20:1000], {}, "dp.Subset(dp.Windows(x, 8), range(20, 993))"),
    "a part by strides": (
        lambda x: x[20:1000],
        {"stride": 4},
        "dp.Subset(dp.Windows(x, 8, stride=4), range(5, 249))",
    ),
    "a part between strides": (lambda x: x[20:], {"stride": 3}, "save the part to a file"),
    "documents": (lambda x: x[20:], {"boundaries": [50]}, "save the part to a file"),
    "every other number": (lambda x: x[::2], {}, "save np.ascontiguousarray(x)"),
}


@on_a_cpu
@pytest.mark.parametrize(("cut", "options", "mend"), WINDOWS.values(), ids=WINDOWS)
def test_windows_of_a_part_of_a_mapped_file_name_the_view_of_the_whole_if_there_is_one(
    files: Path, cut: Callable[[Any], Any], options: dict[str, Any], mend: str
) -> None:
    row = mapped(files, "row")
    with pytest.warns(UserWarning) as heard:
        copied = dp.Windows(cut(row), 8, **options)
    told = str(heard[0].message)
    assert mend in told
    if mend.startswith("dp."):
        view = eval(mend, {"dp": dp, "x": row})
        places = jnp.arange(view.size, dtype=jnp.uint32)
        np.testing.assert_array_equal(view.rows(places), copied.rows(places))


@on_a_cpu
@pytest.mark.parametrize("part", [slice(1, 900), slice(0, 1000, 2), slice(900, 99, -3)], ids=str)
def test_the_view_that_a_warning_names_shows_the_same_records_and_copies_nothing(
    files: Path, part: slice
) -> None:
    whole = mapped(files)
    with pytest.warns(UserWarning) as heard:
        copied = dp.ArraySource(whole[part])
    named = re.findall(r"dp\.Subset\(.*?\)\)", str(heard[0].message))
    view = eval(named[0], {"dp": dp, "x": whole})
    places = jnp.arange(copied.size, dtype=jnp.uint32)
    np.testing.assert_array_equal(view.rows(places), copied.data)


@pytest.mark.parametrize(
    "make",
    [
        lambda files: np.array(mapped(files)[1:]),
        lambda files: mapped(files).astype(np.uint32),
        lambda files: mapped(files) + 1,
        lambda files: mapped(files)[np.arange(2**17)],
    ],
    ids=["a copy", "a cast", "a sum", "chosen records"],
)
def test_what_numpy_has_copied_already_is_no_longer_mapped(
    files: Path, make: Callable[[Path], Any]
) -> None:
    array = make(files)
    data = held(array)
    assert data.unsafe_buffer_pointer() != array.ctypes.data
    np.testing.assert_array_equal(data, array)


@on_a_cpu
def test_a_file_of_64_bits_is_read_where_it_lies_if_jax_keeps_them(files: Path) -> None:
    array = mapped(files, "wide")
    with jax.enable_x64(True):
        assert held(array).unsafe_buffer_pointer() == array.ctypes.data


ELSEWHERE = """import types, warnings
import jax, numpy as np, dagrax.pure as dp
class Device:
    platform = "gpu"
    def __str__(self):
        return "cuda:0"
warnings.simplefilter("error")
# As a device with memory of its own would take it.
jax.device_put = lambda memory: types.SimpleNamespace(devices=lambda: [Device()])
"""


def test_item_46_a_mapped_file_that_goes_to_another_device_is_told(files: Path) -> None:
    whole = f"np.load({str(files / 'native.npy')!r}, mmap_mode='r')"
    calls = [f"dp.ArraySource({{'x': {array}}})" for array in (whole, f"{whole}[:1000]")]
    assert told(ELSEWHERE, [*calls, f"dp.ArraySource(np.array({whole}))"]) == {
        calls[0]: (
            "UserWarning",
            "Field `x` lies in a mapped file, but its 13 MB are copied to cuda:0, which cannot "
            "read a file. (To copy it without this warning, pass np.array(x).)",
        ),
        calls[1]: (
            "UserWarning",
            "Field `x` lies in a mapped file, but its 48 kB are copied to cuda:0, which cannot "
            "read a file. (To copy it without this warning, pass np.array(x).)",
        ),
        f"dp.ArraySource(np.array({whole}))": ("nothing", ""),
    }


@on_a_cpu
def test_a_stream_reads_from_the_file(files: Path) -> None:
    array = mapped(files)[4:1004]
    stream = dp.Stream(dp.ArraySource(array), dp.Shuffled(jax.random.key(0)), batch_size=500)
    _, batch, _ = stream.take(stream.start())
    assert set(batch[:, 0].tolist()) < set(LARGE[4:1004, 0].tolist())


# Memory


@on_a_cpu
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("values", "megabytes"),
    [
        ("np.ones((100_000, 250), np.float32)", 100),
        ("np.ones((100_000, 250))", 100),  # of 200 MB, halved
        ("np.ones((100_000, 250), '>i2')", 50),
        ("np.load('x.npy', mmap_mode='r')", 0),
    ],
    ids=["float32", "float64", "other byte order", "mapped"],
)
def test_the_data_are_copied_once_with_nothing_besides(
    tmp_path: Path, values: str, megabytes: int
) -> None:
    np.save(tmp_path / "x.npy", np.ones((100_000, 250), np.float32))
    code = f"""
import jax.numpy as jnp, numpy as np, dagrax.pure as dp

OPTIMIZED = True
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1000
jnp.zeros(3).block_until_ready()
array = {values}
before = peak()
source = dp.ArraySource({{"x": array}})
print(peak() - before)
"""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert megabytes - 10 < float(run.stdout) < megabytes + 20
