"""What a host source is, and what becomes of one that breaks its promises."""

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import HostSource, Pipeline
from dagrax.pure import host
from dagrax.pure._sources._fetched import at_record, buffers, fetched
from dagrax.pure._sources._host_source import check_host_source, spec_of


class Squares(host.AbstractHostSource):
    """A hundred records, of which some raise or are of another kind, as told."""

    size = 100

    def __init__(self, raising: int = -1, dtype: str = "float32", width: int = 3, name: str = "x"):
        self.element_spec = {"x": jax.ShapeDtypeStruct((3,), np.float32)}
        self.told = raising, dtype, width, name

    def fetch(self, ids: np.ndarray, out: object = None) -> dict[str, np.ndarray]:
        raising, dtype, width, name = self.told
        if raising in ids:
            raise OSError("the disk is on fire")
        return {name: np.repeat(ids[:, None] ** 2, width, axis=1).astype(dtype)}


IDS = np.array([3, 99, 3, 0], np.int64)


def test_records_come_in_the_order_asked_for_repeats_and_all() -> None:
    rows = fetched(Squares(), IDS)
    assert rows["x"].tolist() == [[9] * 3, [9801] * 3, [9] * 3, [0] * 3]
    assert rows["x"].dtype == np.float32


def test_they_are_put_where_they_are_wanted() -> None:
    there = buffers(Squares(), 4)
    assert fetched(Squares(), IDS, there) is there
    assert there["x"][1].tolist() == [9801] * 3


@pytest.mark.parametrize("record", [3, 99, 0])
def test_a_source_that_raises_is_told_by_its_own_error_and_the_record(record: int) -> None:
    with pytest.raises(OSError, match="the disk is on fire") as caught:
        fetched(Squares(raising=record), IDS)
    assert caught.value.__notes__ == [
        f"This happened while record {record} of the source was read."
    ]


def test_a_source_that_names_its_record_is_believed() -> None:
    class Own(Squares):
        def fetch(self, ids: np.ndarray, out: object = None) -> dict[str, np.ndarray]:
            raise at_record(KeyError("lost"), 42)

    with pytest.raises(KeyError) as caught:
        fetched(Own(), IDS)
    assert caught.value.__notes__ == ["This happened while record 42 of the source was read."]


def test_an_error_that_comes_once_is_told_with_what_was_asked_for() -> None:
    class Once(Squares):
        asked = 0

        def fetch(self, ids: np.ndarray, out: object = None) -> dict[str, np.ndarray]:
            self.asked += 1
            if self.asked == 1:
                raise OSError("time-out")
            return super().fetch(ids, out)

    with pytest.raises(OSError, match="time-out") as caught:
        fetched(Once(), IDS)
    assert caught.value.__notes__ == [
        "This happened in `Once.fetch`, asked for 4 records from record 3 on; none of them fails "
        "by itself."
    ]


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (
            Squares(width=2),
            ValueError,
            "`Squares.fetch` returned f32[4,2] in field `x`, but its element_spec promises "
            "f32[4,3]; crop or pad the records to one shape.",
        ),
        (
            Squares(dtype="float64"),
            TypeError,
            "`Squares.fetch` returned numbers of dtype float64 in field `x`, but its element_spec "
            "promises float32; nothing is promoted: return that dtype, or say the other in "
            "element_spec.",
        ),
        (
            Squares(name="y"),
            ValueError,
            "`Squares.fetch` returned {y: f32[4,3]} for 4 records, but its element_spec promises "
            "{x: f32[4,3]}; return the same fields.",
        ),
    ],
)
def test_another_shape_dtype_or_field_is_refused_by_name(
    source: Squares, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        fetched(source, IDS)


KINDS_OF_ROWS: dict[str, Callable[[np.ndarray], object]] = {
    "a view of one buffer": lambda rows: np.concatenate([rows, rows])[: len(rows)],
    "in Fortran order": np.asfortranarray,
    "big-endian": lambda rows: rows.astype(">f4"),
    "read-only": lambda rows: np.broadcast_to(rows, rows.shape),
    "backwards": lambda rows: np.ascontiguousarray(rows[::-1])[::-1],
    "every other": lambda rows: np.repeat(rows, 2, 0)[::2],
    "of JAX": jax.numpy.asarray,
}


@pytest.mark.parametrize("kind", KINDS_OF_ROWS)
def test_rows_may_lie_in_memory_as_they_like(kind: str) -> None:
    class Lying(Squares):
        buffer = np.zeros((4, 3), np.float32)

        def fetch(self, ids: np.ndarray, out: object = None) -> dict[str, Any]:
            self.buffer[: len(ids)] = super().fetch(ids)["x"]
            return {"x": KINDS_OF_ROWS[kind](self.buffer[: len(ids)])}

    expected, source = fetched(Squares(), IDS)["x"].tolist(), Lying()
    assert [fetched(source, ids)["x"].tolist() for ids in (IDS, IDS[::-1])] == [
        expected,
        expected[::-1],
    ]


class Named(nnx.Module):
    """A stage that pickle finds."""

    def __call__(self, batch: Any) -> Any:
        return batch


def numbers() -> list[np.float32]:
    return [*np.arange(10, dtype=np.float32)]


def disk(folder: Path) -> host.AbstractHostSource:
    np.save(folder / "x.npy", np.arange(10, dtype=np.float32))
    return host.DiskSource(folder / "x.npy")


def arrow(folder: Path) -> host.AbstractHostSource:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return host.ArrowSource(pa.table({"x": numbers()}))


SOURCES: dict[str, Callable[[Path], host.AbstractHostSource]] = {
    "of files": disk,
    "of Arrow": arrow,
    "of what has records by number": lambda _: host.RandomAccessSource(numbers(), threads=2),
    "of a list that is iterated over": lambda _: host.IterableSource(numbers()),
    "of a function": lambda _: host.IterableSource(numbers),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_pipeline_that_was_pickled_goes_on_from_its_place(
    tmp_path: Path, kind: str, again: Callable[[Pipeline], Pipeline]
) -> None:
    source = HostSource[Any](source=SOURCES[kind](tmp_path))
    with Pipeline(source=source, stages=[Named()], batch_size=4, remainder="drop") as pipeline:
        pipeline.step()
        with again(pipeline) as other:
            for _ in range(3):
                jax.tree.map(np.testing.assert_array_equal, pipeline.step(), other.step())
            assert pipeline.cursor == other.cursor


def test_numbers_of_64_bits_are_held_in_32_where_they_fit() -> None:
    class Long(Squares):
        def fetch(self, ids: np.ndarray, out: object = None) -> dict[str, np.ndarray]:
            return {"x": np.repeat(ids[:, None] * 10**9, 3, axis=1)}

    source = Long()
    source.element_spec = {"x": jax.ShapeDtypeStruct((3,), np.int64)}
    assert spec_of(source)["x"].dtype == np.int32
    assert fetched(source, np.array([2]))["x"].tolist() == [[2 * 10**9] * 3]
    with pytest.raises(ValueError, match=r"in field `x` holds integers from 0 to 3000000000,"):
        fetched(source, np.array([0, 3]))


def test_what_is_no_source_or_says_nothing_of_itself_is_refused() -> None:
    class Bare(host.AbstractHostSource):
        def fetch(self, ids: np.ndarray, out: object = None) -> object:
            return ids

    with pytest.raises(TypeError, match=r"^source is of type dict; expected a source that "):
        check_host_source("source", {})
    with pytest.raises(
        TypeError, match=r"^source is a Bare without `size`; expected the number of"
    ):
        check_host_source("source", Bare())
    source = Squares()
    source.size = 0
    with pytest.raises(ValueError, match=r"^source.size of Squares is 0; expected at least 1.$"):
        check_host_source("source", source)
    source.size, source.element_spec = 5, {"x": np.zeros(3)}
    with pytest.raises(TypeError, match="field `x`, is of type ndarray; expected the shape and"):
        check_host_source("source", source)
