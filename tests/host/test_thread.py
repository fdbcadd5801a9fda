"""The thread that reads ahead: it ends with what it reads for, and nothing that fails is lost."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dagrax.nnx_api import HostSource, Pipeline
from dagrax.pure import host


class Numbers(host.AbstractHostSource):
    """The numbers from 0 on, of which one may be asked to do something first."""

    size = 100
    element_spec = jax.ShapeDtypeStruct((), np.int32)

    def __init__(self, before: Callable[[np.ndarray], object] = lambda ids: None):
        self.before = before

    def fetch(self, ids: np.ndarray, out: Any = None) -> Any:
        self.before(ids)
        return ids.astype(np.int32)


def made(before: Callable[[np.ndarray], object] = lambda ids: None) -> Pipeline[Any, Any]:
    return Pipeline(source=HostSource[Any](source=Numbers(before)), batch_size=5)


def threads() -> int:
    return sum(thread.name == "dagrax-gather" for thread in threading.enumerate())


def gone() -> bool:
    end = time.monotonic() + 5
    while threads() and time.monotonic() < end:
        time.sleep(0.01)
    return not threads()


def test_loops_broken_off_leave_no_thread() -> None:
    pipeline = made()
    for turn in range(300):
        for batch in pipeline:
            assert batch.shape == (5,)
            break
        assert pipeline.cursor == ((turn + 1) // 20, (turn + 1) % 20 * 5)
    assert gone()
    for _ in range(20):
        other = made()
        next(iter(other))
        del other
        gc.collect()
        assert threads() == 0


def test_the_end_of_a_with_ends_the_thread_and_what_comes_after_is_told() -> None:
    with made() as pipeline:
        pipeline.step()
    assert threads() == 0
    for call in (pipeline.step, pipeline.outputs, lambda: pipeline.scan(lambda batch: batch)):
        with pytest.raises(RuntimeError, match=r"^The pipeline was closed, by close\(\) or at the"):
            call()
    pipeline.close()


def test_a_record_that_cannot_be_read_stops_what_it_is_in_and_nothing_before() -> None:
    broken = True

    def before(ids: np.ndarray) -> None:
        if broken and 32 in ids:
            raise OSError("the disk is on fire")

    pipeline, seen = made(before), []
    with pytest.raises(OSError, match="the disk is on fire") as caught:
        for batch in pipeline:
            seen.append(batch)
    assert caught.value.__notes__ == ["This happened while record 32 of the source was read."]
    assert np.concatenate(seen).tolist() == list(range(30))
    assert pipeline.cursor == (0, 30)
    broken = False
    seen += pipeline
    assert np.concatenate(seen).tolist() == list(range(100))


def test_a_scan_that_fails_leaves_the_pipeline_where_it_stood() -> None:
    def before(ids: np.ndarray) -> None:
        if 77 in ids:
            raise KeyError("lost")

    pipeline = made(before)
    pipeline.step()
    with pytest.raises(KeyError, match="lost"):
        pipeline.scan(lambda batch: batch, length=19)
    assert pipeline.cursor == (0, 5)
    assert (
        pipeline.scan(lambda batch: batch, length=4).tolist()
        == np.arange(5, 25).reshape(4, 5).tolist()
    )


def test_an_interrupt_reaches_the_loop_while_a_source_hangs() -> None:
    release = threading.Event()

    def interrupt() -> None:
        # Again, since what Python raises in a finalizer reaches nobody.
        while not release.wait(1.0):
            os.kill(os.getpid(), signal.SIGINT)

    def before(ids: np.ndarray) -> None:
        if 50 in ids and not release.is_set():
            threading.Thread(target=interrupt, daemon=True).start()
            release.wait(60)

    pipeline, seen = made(before), []
    # As in a fresh process: a library may have put a handler of its own there.
    other = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            for batch in pipeline:
                seen.append(batch)
    finally:
        release.set()
        signal.signal(signal.SIGINT, other)
    assert pipeline.cursor == (0, 5 * len(seen))
    seen += pipeline
    assert np.concatenate(seen).tolist() == list(range(100))


def test_threads_that_share_a_loop_get_each_batch_once() -> None:
    pipeline = made()
    seen: list[np.ndarray] = []
    batches = iter(pipeline)
    workers = [
        threading.Thread(target=lambda: seen.extend(map(np.asarray, batches))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(np.concatenate(seen).tolist()) == list(range(100))


def test_what_was_waited_for_is_told_by_its_cause() -> None:
    slow = made(lambda ids: time.sleep(0.02 * len(ids) / 5))
    list(slow)
    assert set(slow.waited) == {"gather", "place", "compute"}
    assert slow.waited["gather"] > 0.05
    busy = made()
    for _ in range(6):
        busy.step()
        time.sleep(0.05)
    assert busy.waited["compute"] > busy.waited["gather"] + busy.waited["place"]


@pytest.mark.parametrize("how", ["", "raise SystemExit", "sys.exit(0)"])
def test_a_process_that_ends_in_the_middle_of_a_loop_ends_well(how: str, tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", np.zeros((1000, 100), np.float32))
    code = f"""
        import sys
        from dagrax.nnx_api import HostSource, Pipeline
        from dagrax.pure import host

        pipeline = Pipeline(source=HostSource(source=host.DiskSource({str(path)!r})), batch_size=5)
        for batch in pipeline:
            {how or "break"}
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
