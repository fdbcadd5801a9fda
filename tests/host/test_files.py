"""Files and tables as they lie: which are a source's, what their kinds mean, and what changed."""

import errno
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import Pipeline
from dagrax.pure import host
from dagrax.pure.host._sources import _disk

IDS = np.array([2, 0])


def test_names_that_start_with_a_dot_are_no_shards(tmp_path: Path) -> None:
    for name in ("0.npy", "1.npy", ".0-tmp.npy", "._1.npy"):
        np.save(tmp_path / name, np.full(3, len(name)))
    assert host.DiskSource(tmp_path).size == 6


@pytest.mark.parametrize("way", ["written", "replaced", "mapped for writing", "forgotten"])
def test_a_file_that_was_written_meanwhile_is_refused_by_name(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(8, dtype=np.float32))
    source = host.DiskSource(path)
    if way != "forgotten":
        source.fetch(IDS)
    if way == "replaced":
        np.save(tmp_path / "other.npy", np.zeros(8, np.float32))
        (tmp_path / "other.npy").rename(path)
    elif way == "mapped for writing":
        own = np.load(path, mmap_mode="r+")
        own[:] = 1
        own.flush()
        os.utime(path, ns=(1, 1))  # which a system may do later
    else:
        np.save(path, np.zeros(8, np.int64))
    with pytest.raises(OSError, match="has changed since the source was made") as caught:
        source.fetch(IDS)
    assert str(caught.value) == (
        f"{path} has changed since the source was made: it was written, or another file took its "
        "place. Make the source anew, and write to a new file while one is in use."
    )
    assert host.DiskSource(path).fetch(IDS).shape == (2,)


def test_a_mapped_file_that_was_removed_is_read_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(8, dtype=np.float32))
    source = host.DiskSource(tmp_path / "x.npy")
    source.fetch(IDS)
    (tmp_path / "x.npy").unlink()
    assert source.fetch(IDS).tolist() == [2, 0]


def test_tensors_and_flags_of_arrow_are_what_they_mean() -> None:
    pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    numbers = np.arange(30, dtype=np.int32)
    stored = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 10)
    turned = pa.fixed_shape_tensor(pa.int32(), [2, 5], permutation=[1, 0])
    tensors = {
        "plain": pa.FixedShapeTensorArray.from_numpy_ndarray(numbers.reshape(3, 2, 5)),
        "turned": pa.ExtensionArray.from_storage(turned, stored),
    }
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, 2], pa.int8()))
    table = pa.table({**tensors, "flags": flags})
    for source in (host.ArrowSource(table), host.ArrowSource(pa.concat_tables([table, table]))):
        rows: Any = source.fetch(IDS)
        for name, array in tensors.items():
            assert (rows[name] == array.to_numpy_ndarray()[IDS]).all()
            assert source.element_spec[name].shape == array.to_numpy_ndarray().shape[1:]
        assert rows["flags"].tolist() == [True, False]


def test_an_arrow_file_that_shrinks_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table, path = pa.table({"x": np.arange(100_000)}), tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    source, size = host.ArrowSource(path), path.stat().st_size
    source.fetch(IDS)
    os.truncate(path, 100)
    with pytest.raises(OSError, match="shrunk") as caught:
        source.fetch(IDS)
    assert str(caught.value) == (
        f"{path} has shrunk to 100 bytes since it was opened, of {size}; write data to a new file, "
        "and open that."
    )


def test_what_a_data_set_does_to_its_columns_is_not_left_out_in_silence(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="datasets is not installed")
    kind = datasets.Features({"x": datasets.Array2D((2, 2), "int32")})
    dataset = datasets.Dataset.from_dict({"x": [[[1, 2], [3, i]] for i in range(3)]}, kind)
    rows: Any = host.ArrowSource(dataset.with_format("numpy")).fetch(IDS)
    assert rows["x"].tolist() == [[[1, 2], [3, 2]], [[1, 2], [3, 0]]]

    def doubled(batch: Any) -> Any:
        return {"x": [2 * np.asarray(x) for x in batch["x"]]}

    with pytest.raises(TypeError, match="has the transform") as caught:
        host.ArrowSource(dataset.with_transform(doubled))
    assert str(caught.value) == (
        f"dataset has the transform {doubled.__qualname__!r}, which its columns do not know; to "
        "read it record by record write host.RandomAccessSource(dataset), to read its columns "
        "dataset.with_format(None)."
    )
    with pytest.raises(TypeError, match="with dtype") as caught:
        host.ArrowSource(dataset.with_format("numpy", dtype="float16"))
    assert str(caught.value) == (
        "dataset has the format 'numpy' with dtype float16, but its columns are read as they are "
        "stored; cast them: dataset.with_format(None).cast_column(…)."
    )


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted by /proc")
def test_more_files_than_may_be_open_are_told_by_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_disk, "side_by_side", lambda *_: None)  # as where a system allows of none
    for number in range(9):
        np.save(tmp_path / f"{number}.npy", np.arange(4.0))
    source = host.DiskSource(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_open = [int(x) for x in os.listdir("/proc/self/fd")]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(is_open) + 4, hard))
    held = []
    try:
        while True:  # what is free below the highest number
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(3):
            os.close(held.pop())
    try:
        with pytest.raises(OSError) as caught:
            source.fetch(np.arange(36))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in held:
            os.close(file)
    path, told = Path(caught.value.filename), str(caught.value)
    assert path.parent == tmp_path
    assert told == (
        "[Errno 24] Too many open files. A field keeps 128 of its own open: raise the limit, "
        f"ulimit -n: '{path}'"
    )
    assert source.fetch(np.arange(36)).tolist() == [*range(4)] * 9


# Behind a write that was refused, others of Orbax may end when nobody waits for them any more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("limit", [200_000, 50])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_the_system_refuses_is_told_in_its_words_and_once(
    tmp_path: Path, asynchronous: bool, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
    pipeline = Pipeline.from_arrays({"x": np.zeros(4)}, batch_size=2, rngs=nnx.Rngs(0))
    state = {"w": np.random.default_rng(0).normal(size=300_000).astype(np.float32)}
    checkpoints = host.Checkpoints(tmp_path / "run", asynchronous=asynchronous)
    checkpoints.save(1, pipeline, state=state)
    checkpoints.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="was not written") as caught:
            checkpoints.save(2, pipeline, state=state)
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == (
        f"The checkpoint of step 2 was not written to `{tmp_path / 'run'}`: "
        f"{os.strerror(errno.EFBIG)}. The last one before it is that of step 1."
    )
    (tmp_path / "run" / "1" / "_CHECKPOINT_METADATA").write_text("{{{")
    assert checkpoints.restore(pipeline, state=state) == 1
    assert [x.message for x in caplog.records if x.levelno >= logging.ERROR] == []
    assert logging.getLogger("absl").filters == []
