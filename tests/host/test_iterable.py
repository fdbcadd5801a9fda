"""A pipeline over what can only be iterated over: an epoch is a pass, and ends where that does."""

from collections.abc import Iterator
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
