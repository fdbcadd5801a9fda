"""Blocks are a scan with a pause after every so many steps, in which the user sees what it left."""

import itertools
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import Pipeline
from dagrax.nnx_api._call._plan import Plan
from tests.counting import counted, unlike_any
from tests.nnx_zoo import Scale, graph, linear
from tests.paths import place
from tests.zoo import Batch

FACTOR = 1.0


def seen(batch: Batch) -> Any:
    return batch["x"]


def add(total: Any, batch: Batch) -> Any:
    return total + batch["x"].sum(), batch["x"][0]


def learn(model: Scale, batch: Batch) -> Any:
    model.weight[...] = model.weight[...] + batch["x"].mean()
    return model.weight[...]


def listed(blocks: Any) -> list[list[float]]:
    return [ys.tolist() for ys in blocks]


def test_blocks_give_what_a_scan_gives_and_write_back_before_each() -> None:
    model, twin = Scale(1.0), Scale(1.0)
    weights = linear(size=40, shuffle=True).scan(learn, modules=(twin,)).tolist()
    pipeline, found, left = linear(size=40, shuffle=True), [], []
    for ys in pipeline.blocks(learn, every=4, modules=(model,)):
        found += ys.tolist()
        assert model.weight[...] == found[-1]
        left.append((len(found), place(pipeline)))
    np.testing.assert_allclose(found, weights, rtol=1e-6)
    assert left == [(4, (0, 16)), (8, (0, 32)), (10, (1, 0))]


def test_at_most_two_programs_are_compiled() -> None:
    pipeline = linear(unlike_any(), size=40)
    with counted() as told:
        for _ in range(3):
            assert [len(ys) for ys in pipeline.blocks(seen, every=4)] == [4, 4, 2]
    assert len(told.compiled) == 2


def test_the_carry_is_handed_on_though_it_starts_as_a_number() -> None:
    pipeline = linear(unlike_any(), size=40)
    with counted() as told:
        found = list(pipeline.blocks(add, every=3, init_carry=0))
    assert [(float(total), ys.tolist()) for total, ys in found] == [
        (66, [0, 4, 8]), (276, [12, 16, 20]), (630, [24, 28, 32]), (780, [36])
    ]  # fmt: skip
    assert len([name for name in told.compiled if "_run" in name]) == 2
    (total, _), *_ = linear(size=8).blocks(add, every=2, init_carry=jnp.float32(1))
    assert total == 29


def test_a_length_goes_on_into_the_next_epoch() -> None:
    pipeline = linear(size=8)
    assert listed(pipeline.blocks(lambda b: b["x"][0], every=2, length=5)) == [[0, 4], [0, 4], [0]]
    assert place(pipeline) == (2, 4)
    assert listed(pipeline.blocks(lambda b: b["x"][0], every=9)) == [[4]]


def test_breaking_off_leaves_the_position_behind_the_last_block() -> None:
    pipeline = linear(size=40)
    for _ in pipeline.blocks(seen, every=3):
        break
    assert place(pipeline) == (0, 12)
    assert pipeline.step()["x"][0] == 12


def test_the_hint_is_the_number_of_blocks_left_and_an_end_is_an_end() -> None:
    pipeline = linear(size=40)
    blocks, some = pipeline.blocks(seen, every=4), pipeline.blocks(seen, every=2, length=3)
    assert operator.length_hint(blocks) == 3
    next(blocks)
    assert operator.length_hint(blocks) == 2
    assert len(list(blocks)) == 2
    assert (operator.length_hint(blocks), list(blocks)) == (0, [])
    pipeline.seek(epoch=0)
    assert (operator.length_hint(blocks), list(blocks)) == (0, [])
    assert operator.length_hint(some) == len(list(some)) == 2
    assert list(some) == []


class Doubling(nnx.Module):
    """Doubles in training."""

    def __init__(self) -> None:
        self.deterministic = False

    def __call__(self, batch: Batch) -> Batch:
        return batch if self.deterministic else {"x": batch["x"] * 2}


def test_what_the_user_changes_between_blocks_the_next_one_sees() -> None:
    scale = Scale(1.0)
    pipeline = graph(
        {"scale": scale, "doubling": Doubling()},
        {"scale": [], "doubling": ["scale"]},
        "doubling",
        size=40,
    )
    blocks = pipeline.blocks(lambda batch: batch["x"][0], every=2)
    found = [next(blocks).tolist()]
    scale.weight[...] = jnp.float32(3)
    found.append(next(blocks).tolist())
    pipeline.eval()  # type: ignore[no-untyped-call]
    found.append(next(blocks).tolist())
    pipeline.seek(offset=4)
    found.append(next(blocks).tolist())
    pipeline.train()  # type: ignore[no-untyped-call]
    pipeline.batch_size = 2
    found.append(next(blocks).tolist())
    assert found == [[0, 8], [48, 72], [48, 60], [12, 24], [72, 84]]


def test_a_step_function_made_anew_compiles_nothing() -> None:
    pipeline = linear(unlike_any(), size=40)

    def scaled(factor: float) -> Callable[[Batch], Any]:
        return lambda batch: batch["x"][0] * factor

    def run(factor: float) -> None:
        pipeline.scan(scaled(factor), length=5)
        for _ in pipeline.blocks(scaled(factor), every=5):
            pass

    with counted() as first:
        run(2.0)
    with counted() as again:
        run(2.0)
    with counted() as other:
        run(3.0)
    assert [len(x.compiled) for x in (first, again, other)] == [1, 0, 1]


def test_a_global_that_was_set_anew_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(batch: Batch) -> Any:
        return batch["x"][1] * FACTOR

    pipeline = linear(size=40)
    blocks = pipeline.blocks(scaled, every=1, length=3)
    found = [next(blocks).tolist(), pipeline.scan(scaled, length=1).tolist()]
    monkeypatch.setitem(globals(), "FACTOR", 10.0)
    found += [next(blocks).tolist(), pipeline.scan(scaled, length=1).tolist()]
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    found += [next(blocks).tolist(), pipeline.scan(scaled, length=1).tolist()]
    assert found == [[1], [5], [90], [130], [17], [21]]


def test_a_closed_over_value_that_was_set_anew_is_heeded() -> None:
    factor = 1.0
    blocks = linear(size=40).blocks(lambda batch: batch["x"][1] * factor, every=2)
    assert next(blocks).tolist() == [1, 5]
    factor = 10.0
    assert next(blocks).tolist() == [90, 130]


def test_a_failed_block_leaves_everything_as_it_was() -> None:
    wrong = True

    def step(total: Any, batch: Batch) -> Any:
        if wrong:
            raise RuntimeError("no")
        return total + batch["x"].sum(), None

    pipeline = linear(size=16)
    blocks = pipeline.blocks(step, every=2, init_carry=jnp.float32(0))
    with pytest.raises(RuntimeError, match="no"):
        next(blocks)
    assert (place(pipeline), operator.length_hint(blocks)) == ((0, 0), 2)
    wrong = False
    assert [float(total) for total, _ in blocks] == [28, 120]


def test_blocks_run_inside_a_trace_where_their_length_is_known() -> None:
    @nnx.jit
    def run(pipeline: Pipeline) -> Any:
        return jnp.concatenate(list(pipeline.blocks(lambda b: b["x"][0], every=2, length=3)))

    pipeline = linear(size=16)
    pipeline.step()
    assert run(pipeline).tolist() == [4, 8, 12]
    assert place(pipeline) == (1, 0)


def test_variants_run_in_blocks() -> None:
    one, other = linear(Scale(1.0), size=16), linear(Scale(10.0), size=16)
    other.source = one.source
    pipeline = Pipeline.variants([one, other])
    blocks = pipeline.blocks(add, every=3, init_carry=jnp.zeros(2))
    assert [(total.tolist(), ys.tolist()) for total, ys in blocks] == [
        ([66, 660], [[0, 4, 8], [0, 40, 80]]), ([120, 1200], [[12], [120]])
    ]  # fmt: skip


def test_an_equinox_model_is_a_carry_of_scan_and_of_blocks() -> None:
    model = eqx.nn.MLP(1, 1, 4, 1, jax.nn.tanh, key=jax.random.key(0))

    def train(model: eqx.nn.MLP, batch: Batch) -> Any:
        def loss(model: eqx.nn.MLP) -> Any:
            return jnp.mean((jax.vmap(model)(batch["x"][:, None]) - 1) ** 2)

        grads = eqx.filter_grad(loss)(model)  # type: ignore[no-untyped-call]
        return eqx.apply_updates(model, jax.tree.map(lambda g: -0.01 * g, grads)), loss(model)

    last, losses = linear(size=24).scan(train, init_carry=model)
    blocks = list(linear(size=24).blocks(train, every=4, init_carry=model))
    np.testing.assert_allclose(np.concatenate([ys for _, ys in blocks]), losses, rtol=1e-5)
    assert blocks[-1][0].activation is last.activation is model.activation
    x = jnp.ones(1)
    np.testing.assert_allclose(blocks[-1][0](x), last(x), rtol=1e-5)


def test_blocks_over_several_epochs_are_counted_from_where_they_start() -> None:
    pipeline = linear(size=10, remainder="carry")
    assert listed(pipeline.blocks(lambda b: b["x"][0], every=2)) == [[0, 4], [8]]
    assert place(pipeline) == (1, 2)
    rest = pipeline.blocks(lambda b: b["x"][0], every=1)
    assert listed(itertools.islice(rest, 5)) == [[2], [6]]


# Two pipelines, and one that learns


def test_two_pipelines_go_in_one_loop_each_at_its_own_pace() -> None:
    def step(other: Pipeline, batch: Batch) -> Any:
        return batch["x"][0], other.step()["x"][0]

    labelled, unlabelled = linear(size=8), linear(size=9, batch_size=3)
    twin = linear(size=9, batch_size=3)
    expected = [float(twin.step()["x"][0]) for _ in range(6)]
    one, other = labelled.scan(step, length=4, modules=(unlabelled,))
    assert (one.tolist(), other.tolist()) == ([0, 4, 0, 4], expected[:4])
    assert (place(labelled), place(unlabelled)) == ((2, 0), (1, 3))
    for one, other in labelled.blocks(step, every=2, modules=(unlabelled,)):
        assert (one.tolist(), other.tolist()) == ([0, 4], expected[4:])
    assert (place(labelled), place(unlabelled)) == ((3, 0), place(twin))


def test_a_pipeline_learns_inside_its_own_loop() -> None:
    pipeline = linear(Scale(1.0), size=16)

    def train(own: Pipeline, batch: Batch) -> Any:
        weight = own.nodes["scale"].weight
        loss, slope = jax.value_and_grad(lambda w: ((batch["x"] / weight[...] * w) ** 2).mean())(
            weight[...]
        )
        weight[...] = weight[...] - 0.01 * slope
        return loss, batch["x"][1]

    _, seen = pipeline.scan(train, modules=(pipeline,))
    weight = pipeline.nodes["scale"].weight
    assert seen[0] == 1
    assert seen[1] == pytest.approx(5 * (1 - 0.01 * 2 * 3.5))  # of the weight as it was then
    assert weight[...] < 1
    assert place(pipeline) == (1, 0)
    before = float(weight[...])
    for _ in pipeline.blocks(train, every=2, modules=(pipeline,)):
        assert float(weight[...]) != before
        before = float(weight[...])


@pytest.mark.parametrize("move", [Pipeline.step, lambda p: p.seek(epoch=1)])
def test_a_pipeline_among_its_own_modules_cannot_be_moved(move: Any) -> None:
    def step(own: Pipeline, batch: Batch) -> Any:
        move(own)
        return batch["x"][0]

    pipeline = linear(size=16)
    with pytest.raises(TypeError, match="is called inside one of its own stages or step functions"):
        pipeline.scan(step, modules=(pipeline,))
    assert place(pipeline) == (0, 0)


def test_a_model_that_holds_a_jitted_function_is_planned_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def counted(*given: Any, **options: Any) -> Plan:
        made.append(given)
        return Plan(*given, **options)

    monkeypatch.setattr("dagrax.nnx_api._core._scan.Plan", counted)
    model = nnx.Sequential(nnx.Linear(4, 1, rngs=nnx.Rngs(0)), nnx.relu)
    blocks = linear(size=16).blocks(
        lambda model, batch: model(batch["x"]), every=1, modules=(model,)
    )
    assert len(list(blocks)) == 4
    assert len(made) == 1


def test_a_pipeline_among_its_own_modules_stands_behind_the_batch() -> None:
    pipeline = linear(size=12)

    def places(own: Pipeline, batch: Batch) -> Any:
        return own.cursor.offset, own.cursor.epoch

    offsets, epochs = pipeline.scan(places, length=3, modules=(pipeline,))
    each = pipeline.batch_size
    assert offsets.tolist() == [(i + 1) * each % 12 for i in range(3)]
    assert epochs.tolist() == [(i + 1) * each // 12 for i in range(3)]
