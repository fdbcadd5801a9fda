"""The position is one value: it cannot tear, be handed out twice, cost a transfer, or overflow."""

import operator
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline
from tests.nnx_zoo import Scale, linear, same, xs
from tests.paths import place
from tests.zoo import REMAINDERS, Batch, Remainder

Use = Callable[[Pipeline], Any]


SETTING = ("_calls.py", "_module.py", "_kept.py", "_parts.py", "_plan.py", "_pipeline.py")


def interrupted(pipeline: Pipeline, use: Use, at: int) -> bool:
    """Whether `use` was interrupted at the `at`-th line that it runs of those that set things."""
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(SETTING):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        use(pipeline)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def one_step(pipeline: Pipeline) -> Any:
    return pipeline.step()


def one_scan(pipeline: Pipeline) -> Any:
    return pipeline.scan(same, length=1)


def one_seek(pipeline: Pipeline) -> Any:
    pipeline.seek(epoch=1, offset=0)


@pytest.mark.parametrize("use", [one_step, one_scan, one_seek], ids=lambda use: use.__name__)
def test_item_8_an_interrupt_at_any_line_leaves_the_old_place_or_the_new_one(use: Use) -> None:
    stage = Scale()
    pipeline = linear(stage, size=40, remainder="drop")
    for each in (one_step, one_scan, one_seek):
        each(pipeline)  # compiled
    at, seen = 0, Counter[tuple[int, int]]()
    while True:
        at += 1
        pipeline.seek(epoch=0, offset=36)
        calls = int(stage.calls[...])
        was_interrupted = interrupted(pipeline, use, at)
        seen[place(pipeline)] += 1
        moved = place(pipeline) == (1, 0)
        assert place(pipeline) in [(0, 36), (1, 0)]
        if use is not one_seek:  # what a stage keeps goes with the position
            assert int(stage.calls[...]) == calls + moved
        expected = [0, 2, 4, 6] if moved else [72, 74, 76, 78]
        assert xs(pipeline.step()) == expected
        if not was_interrupted:
            break
    assert at > 10 and seen[0, 36] > 5


@pytest.mark.parametrize(("threads", "remainder"), [(8, "partial"), (2, "carry")])
def test_item_9_threads_that_share_a_pipeline_get_each_batch_once(
    threads: int, remainder: Remainder
) -> None:
    pipeline = linear(size=398, remainder=remainder, shuffle=True)
    count = 99
    with ThreadPoolExecutor(threads) as pool:
        batches = list(pool.map(lambda _: pipeline.step(), range(count)))
    alone = linear(size=398, remainder=remainder, shuffle=True)
    expected = [tuple(xs(alone.step())) for _ in range(count)]
    assert Counter(tuple(xs(batch)) for batch in batches) == Counter(expected)
    assert place(pipeline) == place(alone)


@pytest.mark.parametrize("threads", [2, 4])
def test_item_9_threads_that_share_an_iterator_drain_one_epoch(threads: int) -> None:
    pipeline = linear(size=398)
    iterator, delivered = iter(pipeline), list[Any]()

    def drain() -> None:
        for batch in iterator:
            delivered.append(tuple(xs(batch)))

    crew = [threading.Thread(target=drain) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert sorted(x for batch in delivered for x in batch) == list(range(398))
    assert len(delivered) == 100
    assert place(pipeline) == (1, 0)


def test_item_9_a_copy_that_is_first_used_by_threads_is_safe_too() -> None:
    pipeline = nnx.clone(linear(size=400))
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: pipeline.step(), range(100)))
    assert sorted(x for batch in batches for x in xs(batch)) == list(range(400))


# Transfers


@pytest.mark.parametrize("remainder", REMAINDERS)
def test_item_10_no_loop_sends_anything_to_the_device(remainder: Remainder) -> None:
    stage = Scale()
    pipeline = linear(stage, size=10, remainder=remainder)
    model = Scale()

    def train(total: Any, model: Scale, batch: Batch) -> Any:
        return total + model(batch)["x"].sum(), None

    with jax.transfer_guard_host_to_device("disallow"):
        for _ in range(3):
            list(pipeline)
            pipeline.step()
            pipeline.outputs()
            list(pipeline)
            if remainder != "partial":
                pipeline.scan(train, length=2, modules=(model,), init_carry=0.0)
                pipeline.scan(same, length=2)


def test_item_10_the_host_knows_the_position_without_asking_the_device() -> None:
    pipeline = linear(size=10)
    with jax.transfer_guard_device_to_host("disallow_explicit"):
        for _ in pipeline:
            assert isinstance(pipeline.cursor.offset, int)
    assert pipeline.cursor == (1, 0)


def test_the_device_and_the_host_agree_on_the_position() -> None:
    for remainder in REMAINDERS:
        pipeline = linear(size=10, remainder=remainder)
        for _ in range(9):
            pipeline.step()
            words = np.asarray(pipeline._position.get_raw_value())
            assert words.tolist() == list(pipeline.cursor)


def test_the_position_is_one_array_of_two_numbers() -> None:
    pipeline = linear(size=10)
    pipeline.step()
    (position,) = (x for p, x in nnx.to_flat_state(nnx.state(pipeline)) if p == ("_position",))
    value: Any = position.get_value()
    assert (value.shape, value.dtype) == ((2,), jnp.uint32)


# The end


def test_item_11_a_position_ends_where_it_is_said_to_before_anything_moves() -> None:
    model = Scale()
    pipeline = linear(Scale(), size=8)
    pipeline.seek(epoch=2**32 - 1)
    told = (
        "The pipeline has come to the end of epoch 4294967295, the last that can be counted; "
        "nothing was moved. Go back: pipeline.seek(epoch=0)."
    )
    with pytest.raises(OverflowError) as error:
        pipeline.scan(lambda model, batch: model(batch)["x"].sum(), length=3, modules=(model,))
    assert str(error.value) == told
    assert (place(pipeline), int(model.calls[...])) == ((2**32 - 1, 0), 0)
    pipeline.step()
    with pytest.raises(OverflowError) as error:
        pipeline.step()
    assert str(error.value) == told
    assert place(pipeline) == (2**32 - 1, 4)
    pipeline.seek(epoch=0)
    assert xs(pipeline.step()) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("epoch", "offset", "told"),
    [
        (0, 2.5, "offset is 2.5 of type float; expected an int."),
        ("0", 0, "epoch is '0' of type str; expected an int."),
        (1.5, 0, "epoch is 1.5 of type float; expected an int."),
        (True, 0, "epoch is True of type bool; expected an int."),
        (2**32, 0, "epoch is 4294967296; expected at least 0 and less than 4294967296."),
        (-1, 0, "epoch is -1; expected at least 0 and less than 4294967296."),
        (0, 10, "offset is 10; expected at least 0 and less than 10."),
    ],
)
def test_item_11_what_is_no_position_is_refused(epoch: Any, offset: Any, told: str) -> None:
    pipeline = linear(size=10)
    state = iter(pipeline).get_state()
    with pytest.raises((TypeError, ValueError)) as error:
        iter(pipeline).set_state({**state, "epoch": epoch, "offset": offset})
    assert str(error.value) == told
    assert place(pipeline) == (0, 0)


# What is left


@pytest.mark.parametrize("remainder", REMAINDERS)
def test_item_43_a_for_a_length_and_a_hint_agree(remainder: Remainder) -> None:
    pipeline = linear(size=10, remainder=remainder)
    iterator = iter(pipeline)
    assert operator.length_hint(iterator) == len(pipeline)
    next(iterator)
    assert operator.length_hint(iterator) == len(pipeline) - 1 == len(list(iterator))
    assert operator.length_hint(iterator) == 0


@pytest.mark.parametrize("remainder", ["drop", "pad", "carry"])
def test_item_43_a_scan_without_a_length_covers_what_a_for_would(remainder: Remainder) -> None:
    for offset in (0, 3):
        scanned, looped = linear(size=10, remainder=remainder), linear(size=10, remainder=remainder)
        scanned.seek(offset=offset)
        looped.seek(offset=offset)
        rows = scanned.scan(lambda batch: batch["x"])
        np.testing.assert_array_equal(rows, [batch["x"] for batch in looped])
        assert place(scanned) == place(looped)


def test_a_scan_without_a_length_inside_a_trace_is_told_to_have_one() -> None:
    def whole(pipeline: Pipeline) -> Any:
        return pipeline.scan(same)

    run: Any = nnx.jit(whole)
    with pytest.raises(TypeError) as error:
        run(linear(size=8))
    assert str(error.value) == (
        "length is None inside a trace (jit, scan, vmap), where it is not known how many batches "
        "are left; pass it: pipeline.scan(step_fn, length=len(pipeline))."
    )


def test_two_pipelines_over_one_source_have_positions_of_their_own() -> None:
    source: MemorySource[Any] = MemorySource(data={"x": np.arange(8.0, dtype=np.float32)})
    one, other = (Pipeline(source=source, stages=[same], batch_size=4) for _ in range(2))
    one.step()
    assert (one.cursor, other.cursor) == (dp.Cursor(0, 4), dp.Cursor(0, 0))
