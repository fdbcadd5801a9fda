"""A pipeline over what can only be iterated over: an epoch is a pass, and ends where that does."""

import itertools
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import HostSource, Pipeline
from dagrax.pure import host

Batch = dict[str, Any]


def records() -> Iterator[Batch]:
    """Ten, of which nobody knows before."""
    for i in range(10):
        yield {"x": np.float32(i)}


def pipeline_of(iterable: Any = records, **options: Any) -> Pipeline:
    source: HostSource[Any] = HostSource(source=host.IterableSource(iterable))
    return Pipeline(source=source, stages=[lambda batch: batch], **{"batch_size": 4, **options})


def passed(pipeline: Pipeline) -> list[list[float]]:
    return [np.asarray(batch["x"]).tolist() for batch in pipeline]


FULL = [[0, 1, 2, 3], [4, 5, 6, 7]]
POLICIES: dict[str, list[list[list[int]]]] = {
    "partial": [[*FULL, [8, 9]]] * 3,
    "drop": [FULL] * 3,
    "pad": [[*FULL, [8, 9, 0, 1]]] * 3,
    "carry": [[*FULL, [8, 9, 0, 1]], [[2, 3, 4, 5], [6, 7, 8, 9]], [*FULL, [8, 9, 0, 1]]],
}


@pytest.mark.parametrize("remainder", POLICIES)
def test_each_for_is_a_pass(remainder: Any) -> None:
    with pipeline_of(remainder=remainder) as pipeline:
        assert [passed(pipeline) for _ in range(3)] == POLICIES[remainder]
        assert len(pipeline) == (2 if remainder == "drop" else 3)


@pytest.mark.parametrize("loop", [passed, lambda p: list(p.blocks(lambda b: b["x"], every=1))])
def test_a_loop_that_has_found_the_end_stands_behind_it(loop: Callable[[Pipeline], Any]) -> None:
    with pipeline_of(batch_size=5) as pipeline:
        for epoch in range(3):
            assert pipeline.cursor == (epoch, 0)
            loop(pipeline)
    with pipeline_of(batch_size=5) as pipeline:
        pipeline.scan(lambda batch: batch["x"])
        assert pipeline.cursor == (1, 0)


def test_a_pass_begins_anew() -> None:
    passes: list[int] = []

    def other_records() -> Iterator[Batch]:
        passes.append(len(passes))
        yield from ({"x": np.float32(100 * passes[-1] + i)} for i in range(6))

    with pipeline_of(other_records, batch_size=3) as pipeline:
        for number in range(3):
            start = 100 * number
            expected = [[start, start + 1, start + 2], [start + 3, start + 4, start + 5]]
            assert passed(pipeline) == expected


def test_a_generator_gives_its_one_pass_and_a_loop_that_was_broken_off_goes_on() -> None:
    with pipeline_of(records()) as pipeline:
        for batch in pipeline:
            assert batch["x"].tolist() == [0, 1, 2, 3]
            break
        assert passed(pipeline) == [[4, 5, 6, 7], [8, 9]]
        assert pipeline.cursor == (1, 0)
        with pytest.raises(ValueError, match="iterable is an iterator, which has one pass"):
            pipeline.step()


ONE_PASS: dict[tuple[str, int], list[list[int]]] = {
    ("partial", 4): [*FULL, [8, 9]],
    ("drop", 4): FULL,
    ("pad", 4): [*FULL, [8, 9, 0, 1]],
    ("pad", 7): [[0, 1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 1, 2, 3]],
    ("pad", 16): [[*range(10), *range(6)]],
    ("pad", 26): [[*range(10), *range(10), *range(6)]],
    ("carry", 5): [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
}


def stepped(pipeline: Pipeline) -> list[list[float]]:
    count = -(-10 // pipeline.batch_size) if pipeline.remainder != "drop" else 2
    return [np.asarray(pipeline.step()["x"]).tolist() for _ in range(count)]


def scanned(pipeline: Pipeline) -> list[list[float]]:
    found: list[list[float]] = pipeline.scan(lambda batch: batch["x"]).tolist()
    return found


def blocked(pipeline: Pipeline) -> list[list[float]]:
    blocks = pipeline.blocks(lambda batch: batch["x"], every=2)
    return [row for block in blocks for row in block.tolist()]


@pytest.mark.parametrize("loop", [passed, stepped, scanned, blocked])
@pytest.mark.parametrize("case", ONE_PASS, ids=str)
def test_an_iterator_gives_an_epoch_of_every_policy(
    case: tuple[Any, int], loop: Callable[[Pipeline], list[list[float]]]
) -> None:
    remainder, size = case
    if remainder == "partial" and loop in (scanned, blocked):
        pytest.skip("a short last batch cannot be scanned")
    with pipeline_of(records(), remainder=remainder, batch_size=size) as pipeline:
        assert loop(pipeline) == ONE_PASS[case]
        for _ in range(2):
            with pytest.raises(ValueError, match="iterable is an iterator, which has one pass"):
                pipeline.step()


def test_padding_is_of_the_pass_that_it_fills_up() -> None:
    begun: list[int] = []

    def others() -> Iterator[Batch]:
        begun.append(len(begun) + 1)
        yield from ({"x": np.float32(100 * begun[-1] + i)} for i in range(2500))

    with pipeline_of(others, remainder="pad", batch_size=1024) as pipeline:
        for number in (1, 2):
            last = np.asarray([batch["x"] for batch in pipeline])[-1] - 100 * number
            assert last.tolist() == [*range(2048, 2500), *range(572)]


def test_an_iterator_whose_batches_run_on_into_another_pass_is_refused() -> None:
    with pipeline_of(records(), remainder="carry") as pipeline:
        assert [pipeline.step()["x"].tolist() for _ in range(2)] == FULL
        with pytest.raises(ValueError, match="iterable is an iterator, which has one pass"):
            pipeline.step()


def test_a_scan_runs_over_the_end_of_a_pass() -> None:
    with pipeline_of(batch_size=5) as pipeline:
        assert pipeline.scan(lambda batch: batch["x"].sum(), length=3).tolist() == [10, 35, 10]
        assert pipeline.cursor == (1, 5)
        assert pipeline.scan(lambda batch: batch["x"].sum()).tolist() == [35]


def test_a_checkpoint_before_the_end_and_one_behind_it_are_of_the_same_source(
    tmp_path: Path,
) -> None:
    pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
    checkpoints = host.Checkpoints(tmp_path, asynchronous=False)
    with pipeline_of() as pipeline, pipeline_of() as other:
        pipeline.step()
        checkpoints.save(1, pipeline)
        assert checkpoints.restore(other) == 1
        assert passed(other) == [[4, 5, 6, 7], [8, 9]]
        checkpoints.save(2, other)
        assert checkpoints.restore(pipeline) == 2
        assert pipeline.cursor == (1, 0)


def test_an_epoch_of_the_core_ends_where_the_data_do() -> None:
    stream = dp.Stream(host.IterableSource(records), batch_size=4)
    identity = dp.Pipeline.linear([lambda batch: batch])
    for epoch in range(2):
        found = list(host.epoch(identity, stream, stream.start(epoch)))
        assert [batch["x"].tolist() for _, batch in found] == [*FULL, [8, 9]]
        assert found[-1][0].as_ints() == (epoch + 1, 0)


ORDERED = {
    "HostSource(source=source, shuffle=True, rngs=nnx.Rngs(0))": (
        "source, of type IterableSource, decides its own order; leave out the shuffle."
    ),
    "dp.Stream(source, dp.Shuffled(jax.random.key(0)), batch_size=4)": (
        "order is Shuffled, but the source decides its own order; leave it out."
    ),
    "dp.Subset(source, [1, 2])": (
        "source is of type IterableSource, whose records come in their own order; choose, join and "
        "mix them by the library that gives them."
    ),
    'host.Mixture({"a": (source, 1)}, jax.random.key(0))': (
        "The source of sources['a'] is of type IterableSource, whose records come in their own "
        "order; "
        "choose, join and mix them by the library that gives them."
    ),
}


@pytest.mark.parametrize("code", ORDERED)
def test_another_order_is_refused(code: str) -> None:
    names = {"HostSource": HostSource, "dp": dp, "host": host, "jax": jax, "nnx": nnx}
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(code, {**names, "source": host.IterableSource(records)})
    assert str(caught.value) == ORDERED[code]


def passes_of(*lengths: int) -> Callable[[], Iterator[Batch]]:
    """Passes of these lengths, one after the other; the records of pass 2 are 200, 201, …"""
    left = enumerate(lengths, 1)

    def one() -> Iterator[Batch]:
        number, length = next(left)
        for i in range(length):
            yield {"x": np.float32(100 * number + i)}

    return one


def counted(*lengths: int) -> list[list[float]]:
    return [[100 * n + i for i in range(length)] for n, length in enumerate(lengths, 1)]


def in_a_row(batches: list[list[float]]) -> list[float]:
    return [x for batch in batches for x in batch]


def test_a_pass_may_be_shorter_or_longer_than_the_one_before() -> None:
    lengths = 4, 7, 10, 3, 5
    with pipeline_of(passes_of(*lengths), batch_size=2) as pipeline:
        assert [in_a_row(passed(pipeline)) for _ in lengths] == counted(*lengths)


def test_a_pass_that_is_dropped_to_whole_batches_is_a_new_one_all_the_same() -> None:
    with pipeline_of(passes_of(5, 9, 3, 8, 1), batch_size=2, remainder="drop") as pipeline:
        assert [in_a_row(passed(pipeline)) for _ in range(4)] == counted(4, 8, 2, 8)


def test_a_batch_that_runs_on_into_the_next_pass_follows_the_lengths_too() -> None:
    with pipeline_of(passes_of(4, 7, 10, 3, 9), batch_size=2, remainder="carry") as pipeline:
        seen = [in_a_row(passed(pipeline)) for _ in range(4)]
        assert in_a_row(seen) == in_a_row(counted(4, 7, 10, 3))


def test_a_pass_that_ends_within_a_batch_that_reaches_into_it_is_refused() -> None:
    with pipeline_of(passes_of(10, 1, 9), batch_size=4, remainder="carry") as pipeline:
        for _ in range(2):
            pipeline.step()
        with pytest.raises(EOFError) as caught:
            pipeline.step()
    assert str(caught.value) == (
        "A pass of the data set has ended after 1 records, within a batch that reaches into it "
        'from the pass before; write remainder="drop" or "pad", by which no batch does.'
    )


def test_scans_follow_the_lengths_of_the_passes_and_read_each_once() -> None:
    lengths = 4, 6, 10, 2, 5
    expected = in_a_row(counted(*lengths))
    identity, source = dp.Pipeline.linear([]), host.IterableSource(passes_of(*lengths))
    stream: dp.Stream[Any] = dp.Stream(source, batch_size=1)
    body = lambda carry, batch: (carry, batch["x"][0])  # noqa: E731
    end, _, ys = host.scan(body, 0, identity, stream, stream.start(), length=25)
    assert (ys.tolist(), end.as_ints()) == (expected[:25], (4, 3))
    with pipeline_of(passes_of(*lengths), batch_size=1) as pipeline:
        to_the_end = [pipeline.scan(lambda batch: batch["x"][0]).tolist() for _ in range(2)]
        assert to_the_end == counted(4, 6)
        assert pipeline.scan(lambda batch: batch["x"][0], length=15).tolist() == expected[10:25]
        assert pipeline.cursor == (4, 3)
    with pipeline_of(passes_of(*lengths), batch_size=2) as pipeline:
        for whole in counted(4, 6, 10):
            blocks = pipeline.blocks(lambda batch: batch["x"], every=2)
            assert np.concatenate([x.reshape(-1) for x in blocks]).tolist() == whole


def failing(fault: list[int | None]) -> Callable[[], Iterator[Batch]]:
    def one() -> Iterator[Batch]:
        for i in range(6):
            if i == fault[0]:
                raise OSError("net")
            yield {"x": np.float32(i)}

    return one


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_an_error_is_not_taken_for_the_end_of_the_data_set(batch_size: int) -> None:
    fault: list[int | None] = [3]
    with pipeline_of(failing(fault), batch_size=batch_size) as pipeline:
        seen: list[list[float]] = []
        for _ in range(2):
            with pytest.raises(OSError, match="net") as caught:
                seen.extend(batch["x"].tolist() for batch in pipeline)
            assert caught.value.__notes__ == [
                "This happened while record 3 of the source was read."
            ]
        fault[0] = None
        assert in_a_row(seen + passed(pipeline)) == [0, 1, 2, 3, 4, 5]
        assert in_a_row(passed(pipeline)) == [0, 1, 2, 3, 4, 5]


def test_an_iterator_that_an_error_has_ended_is_refused_by_name() -> None:
    with pipeline_of(failing([3])(), batch_size=1) as pipeline:
        with pytest.raises(OSError, match="net"):
            passed(pipeline)
        for _ in range(2):
            with pytest.raises(ValueError, match="has one pass") as caught:
                passed(pipeline)
            assert str(caught.value) == (
                "iterable is an iterator, which has one pass, and the OSError at record 3 has "
                "ended it; to go on, pass a function that makes it: "
                "host.IterableSource(lambda: records())."
            )


class Stored:
    """A generator that is begun once only, whoever asks."""

    def __init__(self, iterator: Iterator[Batch]):
        self.iterator = iterator

    def __iter__(self) -> Iterator[Batch]:
        return self.iterator


def test_a_pass_that_does_not_begin_with_the_first_record_is_no_shorter_one() -> None:
    with pipeline_of(Stored(failing([3])()), batch_size=1) as pipeline:
        with pytest.raises(OSError, match="net"):
            passed(pipeline)
        for _ in range(2):
            with pytest.raises(EOFError) as caught:
                passed(pipeline)
            assert str(caught.value) == (
                "A new pass over the data set has ended after 0 records, but was to go on at "
                "record 3. Each pass must begin with the first record: pass a function that makes "
                "it, host.IterableSource(lambda: records())."
            )


def test_a_second_pass_without_records_is_told() -> None:
    left = records()
    with pipeline_of(lambda: left) as pipeline:
        assert len(passed(pipeline)) == 3
        with pytest.raises(EOFError) as caught:
            passed(pipeline)
        assert str(caught.value) == (
            "The data set has ended after 0 records; expected that each pass begins anew: pass a "
            "function that makes it, host.IterableSource(lambda: records())."
        )


def endless() -> Iterator[Batch]:
    return ({"x": np.float32(i)} for i in itertools.count())


def test_a_record_is_debugged_at_once_where_nobody_knows_how_many_there_are() -> None:
    with pipeline_of(endless) as pipeline:
        pipeline.step()
        assert [pipeline.debug(record=x).records for x in (5, 2, 90)] == [(5,), (2,), (90,)]
        assert pipeline.cursor == (0, 4)


def told_of(pipeline: Pipeline) -> dict[str, tuple[str, Callable[[], object], object]]:
    """What tells a number, what it would be of, and what it is when a pass has ended."""
    hosted: Any = pipeline.source.pure()[0]
    source = hosted.handle.source
    stream: dp.Stream[Any] = dp.Stream(source, batch_size=4)
    identity = dp.Pipeline.linear([])
    return {
        "len(pipeline)": ("batches", lambda: len(pipeline), 3),
        "len(iter(pipeline))": ("batches", lambda: len(iter(pipeline)), 3),
        "len(pipeline.blocks)": ("batches", lambda: len(pipeline.blocks(np.shape, every=2)), 2),
        "len(pipeline.source)": ("records", lambda: len(pipeline.source), 10),
        "stream.steps_per_epoch": ("batches", lambda: stream.steps_per_epoch, 3),
        "len(host.epoch)": (
            "batches",
            lambda: len(host.epoch(identity, dp.Stream(source, batch_size=4), stream.start())),  # type: ignore[arg-type]
            3,
        ),
    }


def test_a_length_is_told_as_soon_as_a_pass_has_ended() -> None:
    with pipeline_of(remainder="pad") as pipeline:
        assert pipeline  # without a look at its length
        assert pipeline.source
        ways = told_of(pipeline)
        for what, number, _ in ways.values():
            with pytest.raises(TypeError) as caught:
                number()
            assert str(caught.value) == (
                f"How many {what} there are is not known: the source is iterated over, and does "
                "not say how many records it has until it has ended once."
            )
        loops = [iter(pipeline), pipeline.blocks(np.shape, every=2)]
        assert [operator.length_hint(x, -1) for x in (*loops, pipeline)] == [-1] * 3
        totals = pipeline.summary().totals
        assert (totals.records, totals.batches, totals.padded, totals.dropped) == (None,) * 4
        assert "2075673600" not in f"{pipeline} {pipeline.source} {pipeline.summary()}"
        passed(pipeline)
        assert {name: number() for name, (_, number, _) in ways.items()} == {
            name: known for name, (_, _, known) in ways.items()
        }
        totals = pipeline.summary().totals
        assert (totals.records, totals.batches, totals.padded, totals.dropped) == (10, 3, 2, 0)
        assert len(pipeline) == 3


def test_any_batch_size_may_be_scanned_where_nobody_knows_how_many_there_are() -> None:
    with pipeline_of(endless, batch_size=17) as pipeline:
        assert pipeline.scan(lambda batch: batch["x"][0], length=2).tolist() == [0, 17]


def test_a_place_behind_the_end_of_the_data_set_is_told() -> None:
    with pipeline_of() as pipeline:
        pipeline.seek(offset=100)
        for _ in range(2):
            with pytest.raises(EOFError) as caught:
                pipeline.step()
            assert str(caught.value) == (
                "The data set has ended after 10 records, but was to go on at record 100; go to a "
                "place that is there: pipeline.seek(offset=0)."
            )
        pipeline.seek(offset=0)
        assert in_a_row(passed(pipeline)) == list(range(10))
