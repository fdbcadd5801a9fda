"""Records that several threads copy or decode: the same, and what fails is told as by one."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

import dagrax.pure as dp
from dagrax.pure import host
from dagrax.pure.host._sources import _in_parts

DATA = np.arange(2000, dtype=np.int32).repeat(6).reshape(2000, 6)
KEY = jax.random.key(0)


class Rows(Sequence[np.ndarray]):
    """Rows of an array, of which one is broken; as many threads as asked for must come together."""

    def __init__(self, threads: int, broken: int = -1):
        self.met, self.broken = threading.Barrier(threads), broken
        self.names: set[str] = set()

    def __len__(self) -> int:
        return len(DATA)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        if index == self.broken:
            raise OSError("no more")
        name = threading.current_thread().name
        if name not in self.names and len(self.names) < self.met.parties and index:
            self.names.add(name)
            self.met.wait(10)
        row: np.ndarray = DATA[index]
        return row


def epoch(source: host.AbstractHostSource) -> list[np.ndarray]:
    stream = dp.Stream(source, batch_size=90)
    steps = host.epoch(dp.Pipeline.linear([]), stream, stream.start(), key=KEY)
    return [np.asarray(batch) for _, batch in steps]


def test_as_many_threads_as_were_asked_for_read_at_a_time_and_end() -> None:
    source = host.RandomAccessSource(rows := Rows(3), threads=3)
    assert np.array_equal(np.concatenate(epoch(source)), DATA)
    assert len(rows.names) == 3
    assert not [x for x in threading.enumerate() if x.name in rows.names]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_what_fails_in_a_part_names_its_record_and_what_comes_before_is_given(threads: int) -> None:
    source = host.RandomAccessSource(Rows(1, broken=777), threads=threads)
    stream = dp.Stream(source, batch_size=90)
    seen = []
    with pytest.raises(OSError, match="no more") as raised:
        for cursor, _ in host.epoch(dp.Pipeline.linear([]), stream, stream.start(), key=KEY):
            seen.append(int(cursor.offset))
    assert seen == [90 * x for x in range(1, 9)]
    assert raised.value.__notes__ == ["This happened while record 777 of the source was read."]


@pytest.mark.parametrize("is_accelerated", [False, True])
def test_files_are_copied_by_several_threads_beside_an_accelerator_alone(
    is_accelerated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, part in enumerate(np.split(DATA, [300, 1100])):
        np.save(tmp_path / f"{number}.npy", part)
    monkeypatch.setattr(_in_parts, "asks_the_host", lambda: is_accelerated)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert _in_parts.threads_beside() == (4 if is_accelerated else 1)
    assert np.array_equal(np.concatenate(epoch(host.DiskSource(tmp_path))), DATA)


def test_threads_that_are_none_are_refused(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", DATA)
    for threads, told in ((0, "threads is 0; expected at least 1."), (-2, "threads is -2; exp")):
        with pytest.raises(ValueError, match=rf"^{told}"):
            host.DiskSource(path, threads=threads)
