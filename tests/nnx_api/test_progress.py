"""A loop knows how much of it is left, and shows it where somebody looks."""

import io
import math
import sys
from collections.abc import Iterator
from typing import Any

import jax
import pytest
import tqdm
from tqdm.auto import tqdm as auto

from dagrax.nnx_api import HostSource, Pipeline
from dagrax.pure import host
from tests.nnx_zoo import linear
from tests.zoo import REMAINDERS, Batch, Remainder


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def total(batch: Batch) -> jax.Array:
    found: jax.Array = batch["x"].sum()
    return found


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    monkeypatch.setattr(auto, "monitor_interval", 0)  # no thread
    return seen


def are_shown() -> bool:
    bars: Any = auto
    return bool(bars._instances)


@pytest.mark.parametrize("remainder", REMAINDERS)
def test_the_length_of_a_loop_is_what_is_left_of_it(remainder: Remainder) -> None:
    pipeline = linear(size=10, batch_size=4, remainder=remainder)
    for start in (0, 4):  # and in mid-epoch
        pipeline.seek(epoch=0, offset=start)
        loop = iter(pipeline)
        left = len(loop)
        bar = tqdm.tqdm(loop, disable=True)
        assert (bar.total or left) == left == (2 if remainder == "drop" else 3) - start // 4
        assert [len(loop) for _ in bar] == list(range(left))[::-1]
        assert (len(loop), list(loop)) == (0, [])
        if remainder == "partial":
            continue  # whose last batch cannot be scanned
        pipeline.seek(epoch=0, offset=start)
        blocks = pipeline.blocks(total, every=2)
        assert len(blocks) == math.ceil(left / 2)
    some = linear(size=8).blocks(total, every=2, length=5)
    assert len(some) == 3


def test_a_source_that_does_not_say_its_length_has_none() -> None:
    def records() -> Iterator[dict[str, float]]:
        return iter([{"x": 1.0}, {"x": 2.0}, {"x": 3.0}])

    source: HostSource = HostSource(source=host.IterableSource(records))
    with Pipeline(source=source, batch_size=2) as pipeline:
        with pytest.raises(
            TypeError, match=r"^How many batches there are is not known: the source "
        ):
            len(iter(pipeline))
        assert len(list(pipeline)) == 2
        assert len(iter(pipeline)) == 2  # now it is


def test_a_bar_shows_the_blocks_and_goes_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    pipeline = linear(size=16, batch_size=4)
    assert len(list(pipeline.blocks(total, every=2, progress=True))) == 2
    assert "2/2" in terminal.getvalue()
    for _ in pipeline.blocks(total, every=2, progress=True):
        break
    assert not are_shown()
    with pytest.raises(ZeroDivisionError):
        for _ in pipeline.blocks(total, every=2, length=2, progress=True):
            raise ZeroDivisionError
    assert not are_shown()


def test_it_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = linear(size=16, batch_size=4)
    assert len(list(pipeline.blocks(total, every=2, progress=True))) == 2
    assert capsys.readouterr() == ("", "")


def test_tqdm_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = linear(size=16, batch_size=4)
    for name in [name for name in sys.modules if name.split(".")[0] == "tqdm"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError) as told:
        pipeline.blocks(total, every=2, progress=True)
    assert str(told.value) == (
        "blocks(…, progress=True) needs the library tqdm, which is not installed; run "
        'pip install "dagrax[progress]".'
    )
