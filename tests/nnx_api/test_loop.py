"""A `for` is an epoch, and what the user changes is what the next batch sees."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import HostSource, Pipeline
from dagrax.nnx_api._core import _fed
from dagrax.pure import host
from tests.nnx_zoo import (
    RotatedSource,
    Scale,
    counting,
    evaluate,
    linear,
    replace_data,
    same,
    train,
    xs,
)
from tests.paths import Path, by_scan, by_step, place
from tests.zoo import Batch, Remainder

# Epochs


@pytest.mark.parametrize(
    ("remainder", "epoch", "then"),
    [
        ("partial", [[0, 1, 2, 3], [4, 5, 6]], [0, 1, 2, 3]),
        ("drop", [[0, 1, 2, 3]], [0, 1, 2, 3]),
        ("pad", [[0, 1, 2, 3], [4, 5, 6, 0]], [0, 1, 2, 3]),
        ("carry", [[0, 1, 2, 3], [4, 5, 6, 0]], [1, 2, 3, 4]),
    ],
)
def test_a_for_is_one_epoch_and_the_next_for_the_next(
    remainder: Remainder, epoch: list[list[float]], then: list[float]
) -> None:
    pipeline = linear(size=7, remainder=remainder)
    assert [xs(batch) for batch in pipeline] == epoch
    assert pipeline.cursor.epoch == 1
    assert xs(next(iter(pipeline))) == then


def test_each_epoch_is_shuffled_anew() -> None:
    pipeline = linear(size=20, shuffle=True)
    first, second = ([x for batch in pipeline for x in xs(batch)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_after_break_the_next_for_finishes_the_epoch() -> None:
    pipeline = linear()
    for batch in pipeline:
        assert xs(batch) == [0, 1, 2, 3]
        break
    assert [xs(batch) for batch in pipeline] == [[4, 5, 6, 7], [8, 9]]
    assert place(pipeline) == (1, 0)


def test_an_iterator_that_has_ended_stays_ended() -> None:
    pipeline = linear()
    iterator = iter(pipeline)
    assert len(list(iterator)) == 3
    assert list(iterator) == []
    pipeline.seek(epoch=0)
    assert list(iterator) == []


def test_two_iterators_share_the_position_of_their_pipeline() -> None:
    pipeline = linear()
    one, other = iter(pipeline), iter(pipeline)
    assert [xs(next(one)), xs(next(other)), xs(next(one))] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(other) == list(one) == []


def test_an_iterator_is_its_own_iterator() -> None:
    iterator = iter(linear())
    assert iter(iterator) is iterator


def test_step_and_for_go_on_from_each_other() -> None:
    pipeline = linear()
    assert xs(pipeline.step()) == [0, 1, 2, 3]
    assert [xs(batch) for batch in pipeline] == [[4, 5, 6, 7], [8, 9]]
    assert xs(pipeline.step()) == [0, 1, 2, 3]


def test_a_scan_goes_on_where_steps_stopped() -> None:
    pipeline = linear(size=12)
    pipeline.step()
    assert pipeline.scan(lambda b: b["x"], length=2).tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert place(pipeline) == (1, 0)
    assert pipeline.scan(lambda b: b["x"][0], length=7).tolist() == [0, 4, 8, 0, 4, 8, 0]
    assert place(pipeline) == (3, 4)


@pytest.mark.parametrize(
    ("size", "batch_size", "remainder", "length"),
    [
        (10, 4, "partial", 3), (10, 4, "drop", 2), (10, 4, "pad", 3), (10, 4, "carry", 3),
        (8, 4, "partial", 2), (3, 4, "partial", 1), (1, 1, "drop", 1),
    ],
)  # fmt: skip
def test_the_length_is_the_number_of_batches_of_an_epoch(
    size: int, batch_size: int, remainder: Remainder, length: int
) -> None:
    pipeline = linear(size=size, batch_size=batch_size, remainder=remainder)
    assert len(pipeline) == length == len(list(pipeline))


# Changes


def test_parameters_updated_inside_the_loop_are_seen_by_the_next_batch() -> None:
    scale = Scale(1.0)
    pipeline = linear(scale)
    sums = []
    for batch in pipeline:
        sums.append(xs(batch))
        scale.weight[...] = scale.weight[...] + 1
    assert sums == [[0, 1, 2, 3], [8, 10, 12, 14], [24, 27]]


def test_an_update_through_a_state_is_seen_by_the_next_batch() -> None:
    pipeline = linear(Scale(1.0))
    iterator = iter(pipeline)
    next(iterator)
    state = nnx.state(pipeline, nnx.Param)
    nnx.update(pipeline, nnx.map_state(lambda _, p: p * 3, state))
    assert xs(next(iterator)) == [12, 15, 18, 21]


class Switch(nnx.Module):
    """Behaves otherwise in evaluation."""

    def __init__(self) -> None:
        self.deterministic = False

    def __call__(self, batch: Batch) -> Batch:
        return batch if self.deterministic else {"x": batch["x"] + 100}


class Attributes(nnx.Module):
    """Static settings and a plain array."""

    def __init__(self) -> None:
        self.factor = 1
        self.factors = [1, 1]
        self.shift = jnp.float32(0)

    def __call__(self, batch: Batch) -> Batch:
        return {"x": batch["x"] * self.factor * self.factors[1] + self.shift}


def set_factor(pipeline: Pipeline) -> None:
    pipeline.nodes["attributes"].factor = 10


def set_factor_in_a_list(pipeline: Pipeline) -> None:
    pipeline.nodes["attributes"].factors[1] = 10


def set_shift(pipeline: Pipeline) -> None:
    pipeline.nodes["attributes"].shift = jnp.float32(1000)


def replace_stage(pipeline: Pipeline) -> None:
    pipeline.nodes["attributes"] = lambda batch: {"x": -batch["x"]}


def replace_parameter(pipeline: Pipeline) -> None:
    pipeline.nodes["scale"].weight = nnx.Param(jnp.float32(7))


def set_batch_size(pipeline: Pipeline) -> None:
    pipeline.batch_size = 2


def replace_data_by_more(pipeline: Pipeline) -> None:
    replace_data(pipeline, range(20, 32))


def replace_data_in_place(pipeline: Any) -> None:
    pipeline.source.data["x"].set_value(jnp.arange(20.0, 28.0))


def replace_source(pipeline: Pipeline) -> None:
    pipeline.source = RotatedSource(data={"x": np.arange(8, dtype=np.float32)})


CHANGES: list[tuple[Callable[[Pipeline], None], list[float]]] = [
    (evaluate, [4, 5, 6, 7]),
    (set_factor, [140, 150, 160, 170]),
    (set_factor_in_a_list, [140, 150, 160, 170]),
    (set_shift, [1104, 1105, 1106, 1107]),
    (replace_stage, [96, 95, 94, 93]),
    (replace_parameter, [128, 135, 142, 149]),
    (set_batch_size, [104, 105]),
    (replace_data_by_more, [124, 125, 126, 127]),
    (replace_data_in_place, [124, 125, 126, 127]),
    (replace_source, [105, 106, 107, 100]),
]


@pytest.mark.parametrize("path", [by_step, by_scan], ids=lambda path: path.__name__)
@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=lambda x: getattr(x, "__name__", ""))
def test_a_change_takes_effect_with_the_next_batch(
    change: Callable[[Pipeline], None], expected: list[float], path: Path
) -> None:
    pipeline = linear(Attributes(), Scale(1.0), Switch(), size=8)
    ((_, before),) = path(pipeline, 1)
    assert xs(before) == [100, 101, 102, 103]
    change(pipeline)
    ((_, after),) = path(pipeline, 1)
    assert xs(after) == expected


def test_training_mode_comes_back() -> None:
    pipeline = linear(Switch(), size=12)
    assert xs(pipeline.step())[0] == 100
    evaluate(pipeline)
    assert xs(pipeline.step())[0] == 4
    train(pipeline)
    assert xs(pipeline.step())[0] == 108


@pytest.mark.parametrize(
    ("remainder", "rest"), [("drop", []), ("pad", [[8, 9, 0, 1]]), ("carry", [[8, 9, 0, 1]])]
)
def test_another_remainder_takes_effect_at_once(
    remainder: Remainder, rest: list[list[float]]
) -> None:
    pipeline = linear()
    pipeline.seek(offset=8)
    pipeline.remainder = remainder
    assert pipeline.remainder == remainder
    assert [xs(batch) for batch in pipeline][: len(rest)] == rest
    assert len(pipeline) == (2 if remainder == "drop" else 3)


def test_another_batch_size_goes_on_at_the_same_record() -> None:
    pipeline = linear()
    pipeline.step()
    pipeline.batch_size = 5
    assert pipeline.batch_size == 5
    assert [xs(batch) for batch in pipeline] == [[4, 5, 6, 7, 8], [9]]
    assert len(pipeline) == 2


def test_fewer_records_than_the_position_begin_the_next_epoch() -> None:
    pipeline = linear()
    pipeline.seek(offset=8)
    pipeline.source = counting(5)
    assert xs(pipeline.step()) == [0, 1, 2, 3]
    assert place(pipeline) == (1, 4)


def test_reading_the_position_length_or_outputs_moves_nothing() -> None:
    pipeline = linear(Scale())
    pipeline.step()
    looks: list[Callable[[], Any]] = [
        lambda: pipeline.cursor,
        lambda: len(pipeline),
        lambda: pipeline.stages,
        lambda: pipeline({"x": jnp.zeros(2)}),
        lambda: iter(pipeline).get_state(),
    ]
    for look in looks:
        look()
        assert place(pipeline) == (0, 4)
    before = pipeline.nodes["scale"].calls[...].item()
    assert xs(pipeline.outputs("scale")["scale"]) == [8, 10, 12, 14]
    assert pipeline.nodes["scale"].calls[...].item() == before
    assert place(pipeline) == (0, 4)


def test_stages_stand_each_after_its_predecessors() -> None:
    one, two = Scale(1.0), Scale(2.0)
    pipeline = linear(one, same, two)
    assert pipeline.stages[0] is one and pipeline.stages[2] is two
    assert list(pipeline.nodes) == ["scale", "same", "scale_1"]
    assert pipeline.nodes["scale_1"] is two


def test_a_change_inside_a_loop_counts_from_the_next_batch_on() -> None:
    pipeline = linear(Scale(1.0))
    seen: list[list[float]] = []
    for batch in pipeline:
        seen.append(xs(batch))
        pipeline.batch_size = 3
        pipeline.nodes["scale"] = Scale(10.0)
    assert seen == [[0, 1, 2, 3], [40, 50, 60], [70, 80, 90]]


def test_a_loop_that_begins_where_no_full_batch_is_left_is_the_whole_next_epoch() -> None:
    pipeline = linear(remainder="drop")
    pipeline.seek(offset=4)
    pipeline.batch_size = 7
    assert [xs(batch) for batch in pipeline] == [[0, 1, 2, 3, 4, 5, 6]]


def test_a_source_that_another_thread_replaces_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    given = host.RandomAccessSource([{"x": np.ones(3, np.float32)}] * 8)
    monkeypatch.setattr(_fed, "feed_of", lambda *_, **__: None)
    pipeline = Pipeline(source=HostSource(source=given), batch_size=4)
    with pipeline, pytest.raises(RuntimeError) as caught:
        pipeline.summary(measure=True)
    assert str(caught.value) == (
        "The source of the pipeline was replaced, by one that is not read on the host, while the "
        "pipeline was called; call it again."
    )
