"""Data sets of habits of their own: what ends, is masked or listed, or writes over its records."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dagrax.nnx_api import HostSource, Pipeline
from dagrax.pure import host
from dagrax.pure._sources._fetched import fetched
from dagrax.pure._sources._host_source import checked_ids, mend_to_host_source


class Records:
    """Ten records by number, each made by a function."""

    def __init__(self, make: Callable[[int], Any]):
        self.make = make

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def ending(index: int) -> int:
    return index if index != 6 else next(iter(()))


TOLD = "The source raised StopIteration, by which no record can be told."
NAMED = ["This happened while record 6 of the source was read."]


class Ending(host.AbstractHostSource):
    """A source whose `fetch` ends at record 6."""

    size = 10
    element_spec = host.RandomAccessSource([1]).element_spec

    def fetch(self, ids: np.ndarray, out: object = None) -> np.ndarray:
        return np.array([ending(i) for i in ids.tolist()], np.int32)


@pytest.mark.parametrize("threads", [1, 2, None])
def test_a_source_that_raises_stop_iteration_is_an_error_that_names_the_record(
    threads: int | None,
) -> None:
    source: Any = Ending()
    if threads is not None:
        source = host.RandomAccessSource(Records(ending), threads=threads)
    with pytest.raises(RuntimeError) as caught:
        fetched(source, np.arange(10))
    assert str(caught.value) == TOLD
    assert caught.value.__notes__ == NAMED
    assert isinstance(caught.value.__cause__, StopIteration)


def test_it_ends_no_epoch() -> None:
    source = HostSource(source=host.RandomAccessSource(Records(ending)))
    with Pipeline(source=source, batch_size=2) as pipeline:
        seen = []
        for _ in range(2):
            with pytest.raises(RuntimeError, match="raised StopIteration"):
                seen.extend([batch.tolist() for batch in pipeline])
        assert pipeline.cursor.offset == 6


def test_the_cause_of_an_error_of_a_data_set_stays() -> None:
    def caused(index: int) -> int:
        if index == 6:
            raise ValueError("no header") from OSError("gone")
        return index

    with pytest.raises(ValueError, match="no header") as caught:
        fetched(host.RandomAccessSource(Records(caused)), np.arange(10))
    assert isinstance(caught.value.__cause__, OSError)


def reused() -> Callable[[int], Any]:
    memory = np.zeros(2, np.int32)

    def make(index: int) -> Any:
        memory[:] = index
        return {"x": memory}

    return make


def test_a_data_set_may_give_every_record_in_the_same_memory() -> None:
    def passing() -> Iterator[Any]:
        make = reused()
        return (make(index) for index in range(10))

    for source in (host.RandomAccessSource(Records(reused())), host.IterableSource(passing)):
        rows: Any = source.fetch(np.arange(10))
        assert rows["x"].tolist() == [[index] * 2 for index in range(10)]


def test_lists_of_numbers_are_arrays_and_tuples_are_fields() -> None:
    def listed(index: int) -> Any:
        return {"x": [index, 2.5], "pairs": [[1, 2], [3, index]], "both": (index, [True])}

    for source in (
        host.RandomAccessSource(Records(listed)),
        host.IterableSource([listed(index) for index in range(10)]),
    ):
        rows: Any = source.fetch(np.array([3, 4]))
        assert rows["x"].tolist() == [[3, 2.5], [4, 2.5]]
        assert rows["x"].dtype == np.float32
        assert rows["pairs"].tolist() == [[[1, 2], [3, 3]], [[1, 2], [3, 4]]]
        assert [x.tolist() for x in rows["both"]] == [[3, 4], [[True], [True]]]


def test_columns_of_arrow_and_records_of_lists_are_alike() -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = arrow.table({"x": [[1.0, 2.0], [3.0, 4.0]]})
    by_column: Any = host.ArrowSource(table).fetch(np.array([1, 0]))
    by_record: Any = host.RandomAccessSource(table.to_pylist()).fetch(np.array([1, 0]))
    np.testing.assert_array_equal(by_column["x"], by_record["x"])


WANTED = "expected an array of whole numbers: source.fetch(np.array([0, 1]))."
IDS: dict[str, tuple[object, type[Exception], str]] = {
    "list": ([1, 2], TypeError, f"ids is of type list; {WANTED}"),
    "number": (np.int64(3), TypeError, f"ids is of type int64; {WANTED}"),
    "floats": (np.array([1.5]), TypeError, f"ids is an array of dtype float64; {WANTED}"),
    "booleans": (np.array([True]), TypeError, f"ids is an array of dtype bool; {WANTED}"),
    "axes": (
        np.zeros((1, 2), int),
        ValueError,
        f"ids has shape (1, 2); expected one axis, {WANTED.removeprefix('expected ')}",
    ),
    "below": (np.array([-1]), IndexError, "A record -1 was asked for, of 5 from 0 to 4."),
    "above": (np.array([5]), IndexError, "A record 5 was asked for, of 5 from 0 to 4."),
}


@pytest.mark.parametrize("what", IDS)
def test_ids_that_are_none_are_refused(what: str) -> None:
    ids, kind, message = IDS[what]
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        checked_ids(ids, 5)


def test_ids_are_whole_numbers_of_64_bits() -> None:
    assert checked_ids(np.array([3, 0], np.uint8), 5).dtype == np.int64


def test_what_is_no_host_source_is_told_the_source_that_reads_it() -> None:
    arrow = type("Table", (list,), {"__module__": "pyarrow.lib"})
    for value, mend in (
        (Path("x.npy"), "host.DiskSource(path)."),
        ({"x": "x.npy"}, "host.DiskSource(path)."),
        ("folder", "host.DiskSource(path)."),
        *((f"d.{end}", "host.ArrowSource(path).") for end in ("parquet", "arrow", "feather")),
        ("x.npz", "MemorySource(data=dict(np.load(path))), or save each array as .npy."),
        ("x.h5", 'host.RandomAccessSource(h5py.File(path)["image"]).'),
        (Records(ending), "host.RandomAccessSource(dataset)."),
        ({"x": Records(ending)}, "host.RandomAccessSource(dataset)."),
        (iter([1]), "host.IterableSource(dataset)."),
        (arrow(), "host.ArrowSource(dataset)."),
        (3, "host.DiskSource(path)."),
        (
            {"x": jax.numpy.zeros(3)},
            "host.DiskSource(path). Data in memory belong into MemorySource(data=…).",
        ),
    ):
        told = mend_to_host_source(value)
        assert told == f"a source that is read on the host: write {mend}"


def test_hdf5_that_was_closed_is_told(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=np.arange(10), chunks=(2,))
        source = host.RandomAccessSource(data)
    for use in (lambda: source.fetch(np.array([1])), lambda: host.RandomAccessSource(data)):
        with pytest.raises(ValueError, match=r"^The HDF5 file of the data set was closed; keep it"):
            use()
