"""Records in files: those of NumPy, however they are cut, and files that are no good by name."""

import ctypes
import errno
import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dagrax.pure import host
from dagrax.pure.host._sources import _side_by_side
from dagrax.pure.host._sources._shard import Shard

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (530, 6, 5, 3), np.uint8)
LABELS = RNG.integers(-1000, 1000, 530, np.int32)
IDS = np.array([0, 529, 17, 17, 400, 3, 222, 528], np.int64)


def saved(folder: Path, array: np.ndarray, *ends: int) -> Path:
    """A folder of shards, cut at these places, named by numbers without zeros before them."""
    folder.mkdir()
    for number, part in enumerate(np.split(array, ends)):
        np.save(folder / f"part-{number + 7}.npy", part)
    return folder


@pytest.fixture(params=["side by side", "one by one"])
def shards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which several files are read; the second where the system has not the first."""
    if request.param == "one by one":
        monkeypatch.setattr(_side_by_side, "_MMAP", None)


@pytest.mark.parametrize("shape", [(), (7,), (3, 1001), (6, 5, 3), (4096,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, ">f4", np.float64])
@pytest.mark.usefixtures("shards")
def test_a_folder_is_the_array_that_was_cut(
    shape: tuple[int, ...], dtype: np.typing.DTypeLike, tmp_path: Path
) -> None:
    array = RNG.integers(0, 100, (61, *shape)).astype(dtype)
    saved(tmp_path / "x", array, 0, 1, 20, 20, 47, 60)
    for threads in (1, 3, None):
        source = host.DiskSource(tmp_path / "x", threads=threads)
        ids = RNG.integers(0, 61, 40)
        assert np.array_equal(source.fetch(ids), array[ids])


def test_files_that_have_no_mapping_left_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = host.DiskSource(saved(tmp_path / "x", LABELS, 100, 200, 300))
    assert np.array_equal(source.fetch(here := IDS[IDS < 100]), LABELS[here])

    def refused(*given: object) -> int:
        ctypes.set_errno(errno.ENOMEM)
        return 2**64 - 1

    monkeypatch.setattr(_side_by_side, "_MMAP", refused)
    assert np.array_equal(source.fetch(IDS), LABELS[IDS])


@pytest.mark.usefixtures("shards")
def test_no_records_are_an_array_of_none(tmp_path: Path) -> None:
    source = host.DiskSource(saved(tmp_path / "x", IMAGES, 100))
    assert source.fetch(IDS[:0]).shape == (0, *IMAGES.shape[1:])


def test_address_space_is_taken_in_proportion(tmp_path: Path) -> None:
    saved(tmp_path / "odd", np.zeros((6, 1_000_003), np.uint8), 2, 4)  # whole pages are 4 GB apart
    saved(tmp_path / "even", np.zeros((6, 4096), np.uint8), 2, 4)
    for name, is_taken in (("odd", False), ("even", True)):
        shards = [Shard(path) for path in sorted((tmp_path / name).iterdir())]
        starts = np.array([0, 2, 4, 6])
        assert (_side_by_side.side_by_side(shards, starts) is not None) is is_taken


def test_files_whose_data_begin_at_other_places_are_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "x", LABELS, 100, 200)
    with (folder / "part-8.npy").open("wb") as file:
        np.lib.format.write_array(file, LABELS[100:200], version=(2, 0))
    head = {"descr": "<i4", "fortran_order": False, "shape": (330,)}
    text = (repr(head).ljust(400) + "\n").encode()
    magic = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    (folder / "part-9.npy").write_bytes(magic + text + LABELS[200:].tobytes())
    source = host.DiskSource(folder)
    assert np.array_equal(source.fetch(IDS), LABELS[IDS])


def test_a_file_that_is_kept_open_by_nobody_is_still_judged(tmp_path: Path) -> None:
    folder = saved(tmp_path / "x", IMAGES, 100, 250)
    source = host.DiskSource(folder)
    source.fetch(np.array([0, 120]))
    (folder / "part-8.npy").unlink()
    assert np.array_equal(source.fetch(here := IDS[IDS < 250]), IMAGES[here])  # it was mapped
    (folder / "part-9.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"part-9.npy was removed since the sourc"):
        source.fetch(np.array([400]))
    np.save(folder / "part-8.npy", IMAGES[:150])
    with pytest.raises(OSError, match=r"part-8.npy has changed since the source was made"):
        source.fetch(np.array([120]))
    os.truncate(folder / "part-7.npy", 1000)
    with pytest.raises(OSError, match=r"part-7.npy has shrunk to 1000 bytes since it was"):
        source.fetch(np.array([99]))


def test_a_file_is_a_record_of_one_array(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", IMAGES)
    source = host.DiskSource(path)
    assert source.size == 530
    assert (source.element_spec.shape, source.element_spec.dtype) == ((6, 5, 3), np.uint8)
    assert np.array_equal(source.fetch(IDS), IMAGES[IDS])
    out = np.empty((8, 6, 5, 3), np.uint8)
    assert source.fetch(IDS, out) is out
    assert np.array_equal(out, IMAGES[IDS])


@pytest.mark.usefixtures("shards")
def test_a_folder_is_its_files_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    source = host.DiskSource(str(saved(tmp_path / "x", LABELS, 3, 100, 101, 101, 400)))
    assert sorted(os.listdir(tmp_path / "x"))[0] == "part-10.npy"
    assert np.array_equal(source.fetch(np.arange(530)), LABELS)
    assert np.array_equal(source.fetch(IDS), LABELS[IDS])


@pytest.mark.usefixtures("shards")
def test_fields_may_be_cut_at_different_places(tmp_path: Path) -> None:
    images, labels = saved(tmp_path / "i", IMAGES, 100, 250), saved(tmp_path / "l", LABELS, 33)
    source = host.DiskSource({"image": images, "label": labels})
    rows = source.fetch(IDS)
    assert np.array_equal(rows["image"], IMAGES[IDS])
    assert np.array_equal(rows["label"], LABELS[IDS])


@pytest.mark.usefixtures("shards")
def test_more_shards_than_a_process_may_open_are_read(tmp_path: Path) -> None:
    source = host.DiskSource(saved(tmp_path / "x", LABELS, *range(2, 530, 2)))
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    assert np.array_equal(source.fetch(np.arange(530)), LABELS)
    after = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    assert after - before <= 130


def test_numbers_of_64_bits_become_those_of_32_or_are_refused_by_field(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", np.array([1, 2**31 - 1, 2**31]))
    source = host.DiskSource({"n": path})
    assert source.fetch(np.array([1, 0]))["n"].tolist() == [2**31 - 1, 1]
    assert source.element_spec["n"].dtype == np.int32
    with pytest.raises(ValueError, match=r"^Field `n` holds integers from 2147483648 to"):
        source.fetch(np.array([2]))


def test_a_record_that_is_not_there_is_refused(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", LABELS)
    with pytest.raises(IndexError, match=r"^A record 530 was asked for, of 530 from 0 to 529.$"):
        host.DiskSource(path).fetch(np.array([0, 530]))


def test_a_file_that_shrank_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", np.zeros((5000, 100)))
    source = host.DiskSource(path)
    source.fetch(np.array([4999]))
    os.truncate(path, 10 * mmap.PAGESIZE)
    message = rf"^{re.escape(str(path))} has shrunk to {10 * mmap.PAGESIZE} bytes since it was"
    with pytest.raises(OSError, match=message):
        source.fetch(np.array([4999]))


def short(path: Path) -> None:
    np.save(path, LABELS)
    os.truncate(path, path.stat().st_size - 1)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=LABELS)


def fortran(path: Path) -> None:
    np.save(path, np.asfortranarray(np.zeros((3, 4))))


def objects(path: Path) -> None:
    np.save(path, np.array([None, 1], object))


def header(path: Path) -> None:
    np.save(path, LABELS)
    data = bytearray(path.read_bytes())
    data[12:20] = b"damaged!"
    path.write_bytes(bytes(data))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (short, " is cut short: it has 2247 bytes, of 2248 that its header promises;"),
    "Fortran order": (fortran, " is in Fortran order, so that a record lies all over the file;"),
    "Python objects": (objects, " holds Python objects; expected numbers:"),
    "an archive": (
        archive,
        " is an .npz archive; expected one that np.save wrote. Write "
        "MemorySource(data=dict(np.load(path))), or save each array as .npy.",
    ),
    "Parquet": (
        lambda path: path.write_bytes(b"PAR1"),
        " is Parquet; expected one that np.save wrote. Write host.ArrowSource(path).",
    ),
    "a file of Arrow": (
        lambda path: path.write_bytes(b"ARROW1"),
        " is Arrow; expected one that np.save wrote. Write host.ArrowSource(path).",
    ),
    "a stream of Arrow": (
        lambda path: path.write_bytes(b"\xff" * 4),
        " is Arrow; expected one that np.save wrote. Write host.ArrowSource(path).",
    ),
    "HDF5": (
        lambda path: path.write_bytes(b"\x89HDF"),
        " is an HDF5 file; expected one that np.save wrote. Write "
        'host.RandomAccessSource(h5py.File(path)["image"]).',
    ),
    "foreign": (
        lambda path: path.write_bytes(b"something else"),
        " is not a .npy file; expected one that np.save wrote.",
    ),
    "no records": (lambda path: np.save(path, LABELS[:0]), "; expected at least one."),
    "a number": (lambda path: np.save(path, 3), " holds a single number; expected an array"),
    "a damaged header": (header, " is damaged: "),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_good_is_refused_by_its_name(kind: str, tmp_path: Path) -> None:
    write, message = BAD[kind]
    write(path := tmp_path / "x.npy")
    with pytest.raises(ValueError, match=re.escape(f"{path}{message}")):
        host.DiskSource({"x": path})


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    np.save(one := tmp_path / "a.npy", LABELS)
    np.save(other := tmp_path / "b.npy", LABELS[:9])
    with pytest.raises(ValueError, match=r"^The fields differ in their number of records: `a` has"):
        host.DiskSource({"a": one, "b": other})
    np.save(other, LABELS.astype(np.int16))
    with pytest.raises(ValueError, match=r"^The data has records of shape \(\) and dtype int32 in"):
        host.DiskSource(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^Field `a`: there is no nowhere.npy; expected"):
        host.DiskSource({"a": "nowhere.npy"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no .npy files, but none; expected shards"):
        host.DiskSource(tmp_path / "empty")
