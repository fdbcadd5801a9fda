"""What is read on its way to an accelerator: by several threads, through memory that stays put."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from dagrax.nnx_api import HostSource, MemorySource, Pipeline
from dagrax.pure import host
from dagrax.pure.host import _feed, _hands, _pinned
from dagrax.pure.host._buffers import Buffers

DEVICE = jax.local_devices()[0]
KINDS = {memory.kind for memory in DEVICE.addressable_memories()}
HERE = SingleDeviceSharding(DEVICE, memory_kind=DEVICE.default_memory().kind)
DATA = {
    "x": np.arange(60_000, dtype=np.float32).reshape(600, 100),
    "label": np.arange(600, dtype=np.int16),
    "flag": np.arange(600) % 3 == 0,
    "none": np.zeros((600, 0), np.uint8),
}


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_pinned.Pinned]]:
    """Feeds whose chunks go through pinned memory, on whatever device there is."""
    made: list[_pinned.Pinned] = []

    def memory(*, is_spread: bool) -> _pinned.Pinned:
        made.append(_pinned.Pinned(HERE))
        return made[-1]

    monkeypatch.setattr(_feed, "memory_for_chunks", memory)
    yield made


class Records(host.AbstractHostSource[Any]):
    """The records of `DATA`, written into the arrays that are given."""

    size = 600
    element_spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), DATA)

    def fetch(self, ids: np.ndarray, out: Any = None) -> Any:
        return {name: np.take(x, ids, axis=0, out=out[name]) for name, x in DATA.items()}


def pipelines(remainder: Any) -> tuple[Pipeline[Any, Any], Pipeline[Any, Any]]:
    hosted: HostSource[Any] = HostSource(source=Records())
    return (
        Pipeline(source=hosted, batch_size=7, remainder=remainder),
        Pipeline(source=MemorySource(data=DATA), batch_size=7, remainder=remainder),
    )


@pytest.mark.skipif("pinned_host" not in KINDS, reason="a backend without such memory")
@pytest.mark.parametrize("remainder", ["carry", "partial"])
def test_batches_through_pinned_memory_are_those_of_memory(
    remainder: str, pinned: list[_pinned.Pinned]
) -> None:
    through, expected = pipelines(remainder)
    # Held, so that memory which was written again too soon would show.
    held = [(through.step(), expected.step()) for _ in range(300)]
    assert pinned
    jax.tree.map(np.testing.assert_array_equal, *map(list, zip(*held, strict=True)))


@pytest.mark.skipif("pinned_host" not in KINDS, reason="a backend without such memory")
def test_what_was_sent_stays_when_the_area_is_filled_again() -> None:
    memory = _pinned.Pinned(HERE)
    spec = jax.ShapeDtypeStruct((3,), np.float32)
    sent = []
    for turn in range(6):
        rows = memory.of(spec, 2)
        rows[...] = turn
        sent.append(memory.sent(rows))
    assert [np.unique(x).tolist() for x in sent] == [[turn] for turn in range(6)]
    assert {x.sharding.memory_kind for x in sent} == {HERE.memory_kind}
    assert len(memory._areas) == 2
    assert memory.of(spec, 5).shape == (5, 3)


def test_memory_is_pinned_where_one_accelerator_has_it() -> None:
    on_this = jax.default_backend() == "cpu" or jax.local_device_count() > 1
    usual = Buffers if on_this or "pinned_host" not in KINDS else _pinned.Pinned
    assert isinstance(_pinned.memory_for_chunks(is_spread=False), usual)
    assert isinstance(_pinned.memory_for_chunks(is_spread=True), Buffers)
    with jax.default_device(jax.devices("cpu")[0]):
        assert isinstance(_pinned.memory_for_chunks(is_spread=False), Buffers)


@pytest.mark.parametrize("shards", [1, 7, 150])
def test_several_threads_read_what_one_reads(
    shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.random.default_rng(0).integers(0, 256, (900, 5000), np.uint8)
    for number, part in enumerate(np.array_split(data, shards)):
        np.save(tmp_path / f"{number}.npy", part)
    source, ids = host.DiskSource(tmp_path), np.random.default_rng(1).permutation(900)
    alone = source.fetch(ids)
    np.testing.assert_array_equal(alone, data[ids])
    monkeypatch.setattr(_hands, "_hands", lambda: 4)
    for _ in range(5):
        np.testing.assert_array_equal(source.fetch(ids), data[ids])
    assert not [x for x in threading.enumerate() if x.name.startswith("dagrax-copy")]


def test_a_copy_that_fails_in_one_of_several_threads_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_hands, "_hands", lambda: 4)
    seen: list[slice] = []

    def copy(hand: int, part: slice) -> None:
        seen.append(part)
        if hand == 3:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        _hands.shared_out(copy, 10, 2**20)
    assert sorted((x.start, x.stop) for x in seen) == [(0, 2), (2, 5), (5, 7), (7, 10)]
    seen.clear()
    _hands.shared_out(copy, 10, 100)  # too little to be shared out
    assert seen == [slice(0, 10)]
