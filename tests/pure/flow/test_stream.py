from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagrax.pure as dp
from dagrax.pure import internal
from tests import reference
from tests.counting import counted
from tests.paths import place
from tests.platforms import on_a_cpu
from tests.zoo import REMAINDERS, Case, Remainder, Rotated, records

SIZES = [(1, 1), (7, 1), (7, 6), (7, 7), (7, 8), (13, 5), (12, 4), (3, 8)]


def source(size: int = 10) -> dp.ArraySource:
    return dp.ArraySource(records(size))


def stream(size: int = 10, batch_size: int = 4, remainder: Any = "partial") -> dp.Stream:
    return dp.Stream(source(size), batch_size=batch_size, remainder=remainder)


def cases(shapes: list[tuple[int, int]]) -> list[Case]:
    every = [Case(size, batch, remainder) for size, batch in shapes for remainder in REMAINDERS]
    return [case for case in every if case.remainder != "drop" or case.batch_size <= case.size]


def described(batch: Any, origin: dp.Origin) -> tuple[Any, ...]:
    """Record ids, as the origin and as the data have them, epochs, offset and mask."""
    return origin.ids, batch["id"], origin.epochs, origin.lap, origin.offset, batch.get("valid")


def assert_described(actual: tuple[Any, ...], expected: reference.Expected) -> None:
    ids, rows, epochs, lap, offset, valid = jax.tree.map(np.asarray, actual)
    assert ids.tolist() == rows.tolist() == expected.ids
    assert epochs[lap].tolist() == expected.epochs
    assert offset == expected.start[1]
    assert (None if valid is None else valid.tolist()) == expected.valid


# What flows


@pytest.mark.parametrize("case", cases(SIZES), ids=str)
def test_take_equals_the_reference(case: Case) -> None:
    cursor, stream = case.start(), case.stream(["id"])
    for expected in case.batches(2 * stream.steps_per_epoch + 1):
        cursor, batch, origin = stream.take(cursor)
        assert place(cursor) == expected.after
        assert_described(described(batch, origin), expected)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in cases(SIZES)
        if case.remainder != "partial" or not case.size % case.batch_size
    ],
    ids=str,
)
def test_scan_and_compiled_take_equal_the_reference(case: Case) -> None:
    stream, start = case.stream(["id"]), case.start()
    expected = case.batches(2 * stream.steps_per_epoch + 1)

    @jax.jit
    def scan(stream: dp.Stream, cursor: dp.Cursor) -> Any:
        def body(carry: Any, batch: Any, origin: dp.Origin) -> Any:
            return carry, described(batch, origin)

        return stream.scan(body, None, cursor, len(expected)), stream.take(cursor)

    (cursor, _, ys), (after, batch, origin) = jax.device_get(scan(stream, start))
    assert place(cursor) == expected[-1].after
    assert place(after) == expected[0].after
    assert_described(described(batch, origin), expected[0])
    for i, one in enumerate(expected):
        assert_described(jax.tree.map(lambda y: y[i], ys), one)  # noqa: B023


@pytest.mark.parametrize(
    "case",
    [
        Case(10, 4, "partial", cursor=(2, 5)),
        Case(10, 4, "partial", cursor=(2, 10)),
        Case(10, 4, "drop", cursor=(2, 5)),
        Case(10, 4, "drop", cursor=(2, 7)),
        Case(10, 4, "pad", cursor=(2, 9)),
        Case(10, 4, "pad", cursor=(2, 10)),
        Case(10, 4, "carry", cursor=(2, 9)),
        Case(10, 4, "carry", cursor=(2, 10)),
    ],
    ids=str,
)
def test_a_cursor_may_stand_anywhere_in_an_epoch(case: Case) -> None:
    test_take_equals_the_reference(case)
    if case.remainder != "partial":
        test_scan_and_compiled_take_equal_the_reference(case)


@pytest.mark.parametrize("case", cases(SIZES), ids=str)
def test_a_turn_is_the_batch_from_wherever_the_position_stands(case: Case) -> None:
    batching = case.stream(["id"]).batching
    for offset in range(case.size + 1):
        at = dp.Cursor(2, offset)
        now, length, after = batching.turn(at)
        assert now == batching.settle(2, offset)
        assert (now is at) == (now == at)
        assert length == batching.length(now.as_ints()[1])
        assert after == batching.skip(2, offset, 1)


@pytest.mark.parametrize("case", cases([(10, 4), (7, 7), (3, 8), (1, 1)]), ids=str)
def test_skipping_batches_is_taking_and_forgetting_them(case: Case) -> None:
    for start in [(0, 0), (1, case.size // 2), (1, case.size)]:
        batches = case._replace(cursor=start).batches(9)
        ahead = [case.stream(["id"]).batching.skip(*start, count) for count in range(10)]
        assert ahead == [batches[0].start, *(batch.after for batch in batches)]


@pytest.mark.parametrize("size", [1, 97])
@pytest.mark.parametrize(
    "order", [dp.Sequential(), dp.Shuffled(jax.random.key(0))], ids=["in order", "shuffled"]
)
def test_an_epoch_visits_every_record_exactly_once(size: int, order: dp.AbstractOrder) -> None:
    stream = dp.Stream(source(size), order, batch_size=32, remainder="pad")
    cursor, seen, take = stream.start(epoch=4), [], jax.jit(dp.Stream.take)
    for _ in range(stream.steps_per_epoch):
        cursor, batch, _ = take(stream, cursor)
        seen += batch["id"][batch["valid"]].tolist()
    assert sorted(seen) == list(range(size))
    assert place(cursor) == (5, 0)


@pytest.mark.parametrize("remainder", REMAINDERS)
def test_item_18_the_length_of_an_epoch_is_known_without_a_trace(remainder: Remainder) -> None:
    held = source(10)
    with counted() as seen:
        assert dp.Stream(held, batch_size=4, remainder=remainder).steps_per_epoch >= 2
    assert seen.traced == []


def test_without_an_order_records_come_as_they_are() -> None:
    _, batch, _ = stream().take(stream().start())
    assert batch["id"].tolist() == [0, 1, 2, 3]


def test_a_batch_holds_the_rows_of_its_ids() -> None:
    data = records(10)
    _, batch, origin = dp.Stream(source(), Rotated(), batch_size=4).take(stream().start())
    np.testing.assert_array_equal(batch["x"], data["x"][np.asarray(origin.ids)])
    np.testing.assert_array_equal(batch["bits"], data["bits"][np.asarray(origin.ids)])


# Numbers


@pytest.mark.parametrize(
    ("remainder", "steps"), [("partial", 3), ("drop", 2), ("pad", 3), ("carry", 3)]
)
def test_steps_per_epoch_counts_a_last_batch_unless_it_is_dropped(
    remainder: Remainder, steps: int
) -> None:
    assert stream(10, 4, remainder).steps_per_epoch == steps
    assert stream(8, 4, remainder).steps_per_epoch == 2


@pytest.mark.parametrize(
    ("remainder", "length"), [("partial", 2), ("drop", 4), ("pad", 4), ("carry", 4)]
)
def test_only_a_partial_batch_is_short(remainder: Remainder, length: int) -> None:
    assert stream(10, 4, remainder).batching.length(0) == 4
    assert stream(10, 4, remainder).batching.length(8) == length


def test_batchings_are_equal_by_value() -> None:
    assert stream(10).batching == stream(10).batching == internal.Batching(10, 4, "partial")
    assert hash(stream(10, 4, "pad").batching) == hash(internal.Batching(10, 4, dp.Pad()))
    assert stream(10).batching != stream(10, 5).batching != stream(11, 5).batching


def test_a_start_is_the_beginning_of_its_epoch() -> None:
    assert stream().start() == (0, 0)
    assert repr(stream().start()) == "Cursor(epoch=0, offset=0)"
    assert stream().start(epoch=3) == (3, 0)


def test_outside_a_trace_a_cursor_is_host_data() -> None:
    after, _, _ = stream().take(stream().start())
    assert [type(x) for x in (*stream().start(), *after)] == [np.uint32] * 4


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from(REMAINDERS),
    st.integers(0, 9),
    st.data(),
)
def test_settling_traced_equals_settling_on_the_host(
    size: int, batch_size: int, remainder: Remainder, epoch: int, data: st.DataObject
) -> None:
    batch_size = min(batch_size, size) if remainder == "drop" else batch_size
    cursor = (epoch, data.draw(st.integers(0, size)))
    batching = internal.Batching(size, batch_size, remainder)
    settled = batching.settle(*cursor)
    assert settled == Case(size, batch_size, remainder, cursor=cursor).batches(1)[0].start
    assert place(batching.settle(*map(jnp.uint32, cursor))) == settled
    assert batching.settle(*settled) == settled


# The mask of `"pad"`


@pytest.mark.parametrize(
    ("remainder", "name"), [("pad", "valid"), (dp.Pad(), "valid"), (dp.Pad("mask"), "mask")]
)
def test_the_mask_has_the_name_that_pad_gives_it(remainder: Any, name: str) -> None:
    padded = stream(10, 4, remainder)
    _, batch, _ = padded.take(dp.Cursor(np.uint32(0), np.uint32(8)))
    assert batch[name].tolist() == [True, True, False, False]
    assert batch[name].dtype == bool
    assert batch["id"].tolist() == [8, 9, 0, 1]


def test_only_pad_adds_a_field() -> None:
    for remainder in ("partial", "drop", "carry"):
        _, batch, _ = stream(10, 4, remainder).take(stream().start())
        assert set(batch) == {"id", "bits", "x"}


def padded_step(sink: Any) -> Any:
    padded = stream(10, 4, dp.Pad("mask"))
    cursor = dp.Cursor(np.uint32(0), np.uint32(8))
    return dp.step(dp.Pipeline.linear([sink]), padded, cursor)[1]


def test_a_sink_that_drops_the_mask_gets_it_back() -> None:
    output = padded_step(lambda batch: {"x": batch["x"]})
    assert set(output) == {"x", "mask"}
    assert output["mask"].tolist() == [True, True, False, False]


def test_stages_see_the_mask() -> None:
    output = padded_step(lambda batch: {"sum": jnp.where(batch["mask"], batch["id"], 0)})
    assert output["sum"].tolist() == [8, 9, 0, 0]


def test_arithmetic_over_all_fields_leaves_the_mask_as_it_is() -> None:
    output = padded_step(lambda batch: {k: x.astype(jnp.float32) * 2 for k, x in batch.items()})
    assert output["mask"].tolist() == [True, True, False, False]


def test_a_sink_may_mark_the_rows_anew() -> None:
    output = padded_step(lambda batch: {"mask": jnp.concatenate([batch["mask"], batch["mask"]])})
    assert output["mask"].tolist() == [True, True, False, False] * 2


# Errors


def test_a_traced_partial_take_from_an_askew_cursor_runs_on_into_the_next_epoch() -> None:
    stream = dp.Stream(source(12), Rotated(), batch_size=4)
    start = dp.Cursor(np.uint32(0), np.uint32(10))
    cursor, batch, origin = jax.jit(dp.Stream.take)(stream, start)
    assert place(cursor) == (1, 2)
    expected = Case(12, 4, "carry", cursor=(0, 10)).batches(1)[0]
    assert_described(described(batch, origin), expected)


@on_a_cpu
@pytest.mark.parametrize("order", [dp.Sequential(), dp.Shuffled(jax.random.key(0))])
def test_item_11_more_records_than_can_be_numbered_are_refused_by_name(
    tmp_path: Path, order: dp.AbstractOrder
) -> None:
    tokens = np.memmap(tmp_path / "tokens", np.uint8, "w+", shape=(2**31,))  # a file of holes
    tokens = np.memmap(tmp_path / "tokens", np.uint8, "r")
    with pytest.raises(ValueError) as error:
        dp.Stream(dp.ArraySource({"tokens": tokens}), order, batch_size=8)
    assert str(error.value) == (
        "The source has 2147483648 records; expected at most 2147483647. Split it into smaller "
        "ones; of one long row of numbers, such as a file of tokens, read windows: "
        "dp.Windows(tokens, width, stride=width)."
    )
    most = dp.Stream(dp.ArraySource({"tokens": tokens[:-1]}), order, batch_size=8)
    assert most.batch_spec["tokens"].shape == (8,)
