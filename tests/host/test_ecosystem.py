"""Data sets of other libraries, written to files here, give the records that are in them.

Each library is asked for where it is needed, and its tests are skipped where it is not installed.
"""

import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, HostSource, MemorySource, Pipeline
from dagrax.pure import host

IDS = np.array([3, 1, 3, 5, 0, 9], np.int64)
IMAGES = np.random.default_rng(0).integers(0, 255, (10, 2, 3), np.uint8)
LABELS = np.arange(10, dtype=np.int64) * 7


def library(name: str) -> Any:
    """A module, or a skip that says what is not installed."""
    return pytest.importorskip(name, reason=f"{name} is not installed")


def assert_gives(source: Any, records: Any, size: int = 10) -> None:
    """The source gives these records, of the dtypes that a program holds, whatever is asked for."""
    held = jax.tree.map(lambda x: x.astype(jax.dtypes.canonicalize_dtype(x.dtype)), records)
    assert source.size == size
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), held)
    assert source.element_spec == spec
    own = source.fetch(IDS)
    filled = jax.tree.map(lambda x: np.zeros((len(IDS), *x.shape[1:]), x.dtype), held)
    given = source.fetch(IDS, filled)
    for found in (own, given):
        structure: Any = jax.tree.structure(found)
        assert structure == jax.tree.structure(held)
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(held), strict=True):
            np.testing.assert_array_equal(x, y[IDS])
            assert x.dtype == y.dtype
    with pytest.raises(IndexError, match="A record 10 was asked for, of 10 from 0 to 9"):
        source.fetch(np.array([0, 10]))


# By number


class MapStyle:
    """A data set like those of torch."""

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> Any:
        return IMAGES[index], int(LABELS[index])


class Batched(MapStyle):
    """One that is asked for several at a time."""

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("it is asked for several at a time")

    def __getitems__(self, indices: list[int]) -> Any:
        assert all(type(index) is int for index in indices)
        return [(IMAGES[i], int(LABELS[i])) for i in indices]


@pytest.mark.parametrize("dataset", [MapStyle(), Batched()], ids=["one by one", "batched"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_map_style_data_set(dataset: Any, threads: int) -> None:
    assert_gives(host.RandomAccessSource(dataset, threads=threads), (IMAGES, LABELS))
    assert threading.active_count() < 20  # those that read have ended


def test_what_decode_makes_of_a_record() -> None:
    def decode(record: Any) -> Any:
        return {"image": record[0] / np.float32(255), "label": record[1]}

    source = host.RandomAccessSource(MapStyle(), decode=decode)
    assert_gives(source, {"image": IMAGES / np.float32(255), "label": LABELS})


def test_torch(tmp_path: Path) -> None:
    torch = library("torch")
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
    assert_gives(host.RandomAccessSource(dataset), (IMAGES, LABELS))


def test_array_record(tmp_path: Path) -> None:
    module = library("array_record.python.array_record_module")
    path = str(tmp_path / "images.arrayrecord")
    writer = module.ArrayRecordWriter(path, "group_size:1")
    for image in IMAGES:
        writer.write(image.tobytes())
    writer.close()

    def decode(record: bytes) -> Any:
        return np.frombuffer(record, np.uint8).reshape(2, 3)

    reader = module.ArrayRecordReader(path)
    assert_gives(host.RandomAccessSource(reader, decode=decode), IMAGES)
    sources = library("array_record.python.array_record_data_source")
    with sources.ArrayRecordDataSource(path) as dataset:
        assert_gives(host.RandomAccessSource(dataset, decode=decode), IMAGES)
    reader.close()


def test_an_array_record_in_groups_is_told_what_it_costs(tmp_path: Path) -> None:
    module = library("array_record.python.array_record_module")
    path = str(tmp_path / "images.arrayrecord")
    writer = module.ArrayRecordWriter(path, "group_size:5")
    for image in IMAGES:
        writer.write(image.tobytes())
    writer.close()
    reader = module.ArrayRecordReader(path)
    with pytest.warns(UserWarning, match=r"was written with group_size:5, .*\"group_size:1\"\."):
        host.RandomAccessSource(reader, decode=lambda record: np.frombuffer(record, np.uint8))
    reader.close()


def test_grain_map_dataset() -> None:
    grain = library("grain")
    dataset = grain.MapDataset.source(MapStyle()).map(lambda x: {"image": x[0], "label": x[1]})
    assert_gives(host.RandomAccessSource(dataset), {"image": IMAGES, "label": LABELS})


# Arrays


def test_arrays_of_numpy_in_memory_and_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert_gives(host.RandomAccessSource(IMAGES), IMAGES)
    records = {"image": IMAGES, "label": LABELS}
    assert_gives(host.RandomAccessSource({"image": mapped, "label": LABELS}), records)
    decoded = host.RandomAccessSource(
        records, decode=lambda x: int(x["label"]) + int(x["image"].sum())
    )
    assert_gives(decoded, LABELS + IMAGES.sum((1, 2), dtype=np.int64))


def test_hdf5(tmp_path: Path) -> None:
    h5py = library("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["image"] = IMAGES
        file.create_dataset("label", data=LABELS, chunks=(4,), compression="gzip")
    with h5py.File(tmp_path / "data.h5") as file:
        assert_gives(host.RandomAccessSource(file), {"image": IMAGES, "label": LABELS})
        assert_gives(host.RandomAccessSource(file["label"]), LABELS)
        source = host.RandomAccessSource({"image": file["image"]})
    assert_gives(source, {"image": IMAGES})  # mapped: the file is not asked any more
    with (tmp_path / "data.h5").open("r+b") as shrunk:
        shrunk.truncate(100)
    with pytest.raises(OSError, match=r"data\.h5 has shrunk to 100 bytes since it was opened"):
        source.fetch(IDS)


@pytest.mark.parametrize("form", [2, 3])
def test_zarr(tmp_path: Path, form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr = library("zarr")
    group = zarr.open_group(tmp_path / "data.zarr", mode="w", zarr_format=form)
    for name, array in (("image", IMAGES), ("label", LABELS)):
        group.create_array(name, shape=array.shape, chunks=(4, *array.shape[1:]), dtype=array.dtype)
        group[name][:] = array
    arrays = {name: group[name] for name in ("image", "label")}
    records = {"image": IMAGES, "label": LABELS}
    assert_gives(host.RandomAccessSource(arrays), records)
    monkeypatch.setitem(sys.modules, "tensorstore", None)  # as if it was not installed
    assert_gives(host.RandomAccessSource(arrays), records)


def test_tensorstore(tmp_path: Path) -> None:
    tensorstore = library("tensorstore")
    store = {"driver": "file", "path": str(tmp_path / "data")}
    array = tensorstore.open(
        {"driver": "zarr", "kvstore": store},
        create=True,
        dtype=tensorstore.uint8,
        shape=IMAGES.shape,
    ).result()
    array[...] = IMAGES
    assert_gives(host.RandomAccessSource(array), IMAGES)


# Arrow


def table() -> Any:
    arrow = library("pyarrow")
    images = arrow.FixedSizeListArray.from_arrays(
        arrow.FixedSizeListArray.from_arrays(arrow.array(IMAGES.reshape(-1)), 3), 2
    )
    own = arrow.table({"image": images, "label": LABELS, "even": LABELS % 2 == 0})
    lists = arrow.array([[float(i), 1.0] for i in range(10)], arrow.list_(arrow.float32()))
    meta = arrow.StructArray.from_arrays([lists], ["pair"])
    return own.append_column("meta", meta)


RECORDS = {
    "image": IMAGES,
    "label": LABELS,
    "even": LABELS % 2 == 0,
    "meta": {"pair": np.stack([np.arange(10), np.ones(10)], axis=1).astype(np.float32)},
}


def of_arrow(tmp_path: Path) -> Iterator[Any]:
    arrow, feather, parquet = map(library, ("pyarrow", "pyarrow.feather", "pyarrow.parquet"))
    yield table()
    yield arrow.concat_tables([table().slice(0, 4), table().slice(4, 0), table().slice(4)])
    yield table().combine_chunks().to_batches()[0]
    feather.write_feather(table(), tmp_path / "whole.feather", compression="uncompressed")
    yield tmp_path / "whole.feather"
    streamed = str(tmp_path / "streamed.arrow")
    with arrow.OSFile(streamed, "wb") as file, arrow.ipc.new_stream(file, table().schema) as stream:
        stream.write_table(table(), max_chunksize=3)
    yield streamed
    for name, part in (("a", table().slice(0, 7)), ("b", table().slice(7))):
        parquet.write_table(part, tmp_path / f"{name}.parquet")
    yield [tmp_path / "a.parquet", tmp_path / "b.parquet"]


def test_arrow_and_parquet(tmp_path: Path) -> None:
    for dataset in of_arrow(tmp_path):
        assert_gives(host.ArrowSource(dataset), RECORDS)


def test_a_column_of_arrow_is_not_copied() -> None:
    own = table()
    source = host.ArrowSource(own)
    column: Any = source._columns["label"]
    (view,) = column._views.values()
    assert not view.flags.owndata
    address = own.column("label").chunk(0).buffers()[1].address
    assert view.__array_interface__["data"][0] == address


def test_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = library("datasets")
    features = datasets.Features(
        image=datasets.Array2D((2, 3), "uint8"),
        label=datasets.Value("int64"),
        name=datasets.Value("string"),
    )
    columns = {"image": IMAGES, "label": LABELS, "name": ["a"] * 10}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features).save_to_disk(tmp_path / "saved")
    dataset = datasets.load_from_disk(tmp_path / "saved").remove_columns("name")
    records = {"image": IMAGES, "label": LABELS}
    assert_gives(host.ArrowSource(dataset), records)
    shuffled = dataset.shuffle(seed=0)
    order = np.asarray(shuffled["label"][:]) // 7
    assert order.tolist() != list(range(10))
    assert_gives(host.ArrowSource(shuffled), {k: x[order] for k, x in records.items()})
    formatted = dataset.with_format("numpy", columns=["label"])
    assert_gives(host.ArrowSource(formatted), {"label": LABELS})


# One after the other


def assert_passes(source: host.IterableSource, records: Any) -> None:
    """Two passes, in chunks, and what lies behind again."""
    for start, stop in ((0, 4), (4, 8), (8, 10), (6, 10), (0, 3), (3, 10), (2, 5)):
        found = source.fetch(np.arange(start, stop))
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(records), strict=True):
            np.testing.assert_array_equal(x, y[start:stop])


def passing() -> Iterator[Any]:
    for image, label in zip(IMAGES, LABELS, strict=True):
        yield {"image": image, "label": int(label)}


FIELDS = {"image": IMAGES, "label": LABELS}


def test_a_list_and_a_function_that_makes_a_generator() -> None:
    assert host.IterableSource([*passing()]).size == 10
    assert_passes(host.IterableSource([*passing()]), FIELDS)
    assert_passes(host.IterableSource(passing), FIELDS)


def test_a_shard_passes_over_the_records_of_others() -> None:
    source = host.IterableSource(passing)
    assert source.fetch(np.array([0, 1, 4, 5]))["label"].tolist() == LABELS[[0, 1, 4, 5]].tolist()
    assert source.fetch(np.array([8, 9, 0]))["label"].tolist() == LABELS[[8, 9, 0]].tolist()


def test_a_generator_has_one_pass() -> None:
    source = host.IterableSource(passing())
    np.testing.assert_array_equal(source.fetch(np.arange(7))["label"], LABELS[:7])
    np.testing.assert_array_equal(source.fetch(np.arange(5, 10))["label"], LABELS[5:])
    for start in (20, 40, 60, 80):
        with pytest.raises(EOFError, match="ended after 10 records"):
            source.fetch(np.arange(start, start + 1))
    with pytest.raises(ValueError, match="which has one pass and has begun it"):
        source.fetch(np.arange(3))


def test_the_end_of_a_pass_loses_no_record() -> None:
    calls: list[int] = []

    def counted() -> Iterator[Any]:
        calls.append(1)
        return passing()

    source = host.IterableSource(counted)
    for _ in range(2):
        with pytest.raises(EOFError, match=r"The data set has ended after 10 records\.") as caught:
            source.fetch(np.arange(8, 12))
        assert getattr(caught.value, "records", None) == 10
    np.testing.assert_array_equal(source.fetch(np.arange(8, 10))["label"], LABELS[8:])
    assert len(calls) == 1


def test_grain_iter_dataset_and_its_resume() -> None:
    grain = library("grain")
    dataset = grain.MapDataset.source(MapStyle()).shuffle(seed=1).to_iter_dataset()
    expected = [record for record in dataset]
    source = host.IterableSource(dataset)
    for start in (0, 3, 6):
        _, labels = source.fetch(np.arange(start, start + 3))
        assert labels.tolist() == [label for _, label in expected[start : start + 3]]
    state = source.get_state(4)
    assert state["record"] == 3
    again = host.IterableSource(dataset, state=state)
    assert again.fetch(np.arange(4, 6))[1].tolist() == [label for _, label in expected[4:6]]
    assert again.fetch(np.arange(0, 2))[1].tolist() == [label for _, label in expected[:2]]


def test_hugging_face_iterable_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = library("datasets")
    dataset = datasets.IterableDataset.from_generator(lambda: ({"label": i} for i in range(10)))
    source = host.IterableSource(dataset)
    assert source.fetch(np.arange(3))["label"].tolist() == [0, 1, 2]
    assert source.fetch(np.arange(3, 6))["label"].tolist() == [3, 4, 5]
    again = host.IterableSource(dataset, state=source.get_state(5))
    assert again.fetch(np.arange(5, 8))["label"].tolist() == [5, 6, 7]


def test_tf_data() -> None:
    tf = library("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices({"image": IMAGES, "label": LABELS})
    source = host.IterableSource(dataset)
    assert source.size == 10
    assert_passes(source, FIELDS)


def test_batches_of_ray_are_taken_apart() -> None:
    def batches() -> Iterator[Any]:
        for part in (slice(0, 6), slice(6, 10)):
            yield {"image": IMAGES[part], "label": LABELS[part]}

    class Batches:
        def __iter__(self) -> Iterator[Any]:
            return Of(batches())

    class Of:
        __module__ = "ray.data.iterator"

        def __init__(self, batches: Iterator[Any]):
            self.batches = batches

        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            return next(self.batches)

    assert_passes(host.IterableSource(Batches()), FIELDS)


def test_a_data_set_that_breaks_is_told_by_its_record() -> None:
    def breaking() -> Iterator[int]:
        yield from (0, 1, 2)
        raise OSError("gone")

    source = host.IterableSource(breaking)
    with pytest.raises(OSError, match="gone") as caught:
        source.fetch(np.arange(5))
    assert caught.value.__notes__ == ["This happened while record 3 of the source was read."]


def test_a_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    library("pyarrow")
    for name in ("a.arrow", "a.parquet"):
        (tmp_path / name).write_bytes(b"ARROW1")
        with pytest.raises(ValueError, match=rf"{name} is damaged, or no such file: "):
            host.ArrowSource(tmp_path / name)


# What is no record like the others


class Broken(MapStyle):
    def __init__(self, wrong: Any):
        self.wrong = wrong

    def __getitem__(self, index: int) -> Any:
        if index == 5:
            if isinstance(self.wrong, Exception):
                raise self.wrong
            return self.wrong
        return IMAGES[index], int(LABELS[index])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_record_is_named_in_the_very_error_of_a_data_set(threads: int) -> None:
    error = KeyError("moved")
    source = host.RandomAccessSource(Broken(error), threads=threads)
    with pytest.raises(KeyError) as caught:
        source.fetch(IDS)
    assert caught.value is error
    assert error.__notes__ == ["This happened while record 5 of the source was read."]


WRONG: dict[str, tuple[Any, str]] = {
    "shape": ((IMAGES[0, :1], 1), r"u8\[1,3\] in field `0`, the first one u8\[2,3\]; crop, pad"),
    "dtype": ((IMAGES[0], 1.5), r"f32\[\] in field `1`, the first one i32\[\]"),
    "precision": (
        (IMAGES[0], np.int32(1)),
        r"^The record has i32\[\] in field `1`, the first one i64\[\]; crop, pad or cast by decode",
    ),
    "structure": ((IMAGES[0],), r"holds \{0: u8\[2,3\]\}, the first one \{0: u8\[2,3\], 1: i32"),
    "range": ((IMAGES[0], 2**40), r"Field `1` holds integers .* which int32 cannot hold"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_record_unlike_the_first_is_refused_by_field(what: str) -> None:
    wrong, message = WRONG[what]
    source = host.RandomAccessSource(Broken(wrong))
    with pytest.raises(ValueError, match=message) as caught:
        source.fetch(IDS)
    assert caught.value.__notes__ == ["This happened while record 5 of the source was read."]


# Mixtures


def test_a_mixture_gives_what_the_mixture_of_arrays_gives() -> None:
    key = jax.random.key(3)
    few, many = IMAGES[:4], IMAGES[4:]

    def mixed(of: Callable[[Any], Any]) -> Any:
        pairs = {"few": (of(few), 0.25), "many": (of(many), 0.75)}
        return host.Mixture(pairs, key, changes=[(8, {"few": 0.5, "many": 0.5})])

    ours, theirs = mixed(host.RandomAccessSource), mixed(dp.ArraySource)
    positions = np.arange(10, dtype=np.uint32)
    for epoch in (0, 7):
        at = jnp.asarray(positions), jnp.uint32(epoch)
        ids = theirs.order.ids(*at, 10)
        np.testing.assert_array_equal(ours.order.ids(*at, 10), ids)
        own = ours.fetch(np.asarray(ids, np.int64))
        np.testing.assert_array_equal(own, theirs.rows(ids))


# In a pipeline


def batches_of(source: Any) -> list[Any]:
    with Pipeline(source=source, stages=[lambda batch: batch], batch_size=4) as pipeline:
        return [jax.tree.map(np.asarray, batch) for batch in pipeline]


def test_a_shuffled_pipeline_gives_what_it_gives_in_memory() -> None:
    arrow = library("pyarrow")
    expected = batches_of(MemorySource(data={"label": LABELS}, shuffle=True, rngs=nnx.Rngs(1)))
    for source in (
        host.RandomAccessSource([{"label": int(label)} for label in LABELS], threads=2),
        host.ArrowSource(arrow.table({"label": LABELS})),
    ):
        found = batches_of(HostSource(shuffle=True, source=source, rngs=nnx.Rngs(1)))
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_mixture_in_a_pipeline_gives_what_it_gives_in_memory() -> None:
    def mixed(of: Callable[[Any], Any]) -> Any:
        return host.Mixture({"a": (of(LABELS[:4]), 1), "b": (of(LABELS[4:]), 3)}, jax.random.key(0))

    expected = batches_of(ArraySource(source=mixed(dp.ArraySource)))
    found = batches_of(HostSource(source=mixed(host.RandomAccessSource)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_library_that_is_absent_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make, told in (
        ("pyarrow", lambda: host.ArrowSource(types.SimpleNamespace()), "pyarrow"),
        ("orbax.checkpoint", lambda: host.Checkpoints("run"), "orbax-checkpoint"),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf'{told}, .* pip install "dagrax\[\w+\]"\.'):
            make()
