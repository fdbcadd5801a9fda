"""`Pipeline.variants` is the separate pipelines in one, wherever a pipeline may stand."""

import functools
import gc
import itertools
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import dagrax.nnx_api as dn
import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline, Position, Records, Source
from tests import zoo
from tests.counting import counted
from tests.nnx_zoo import TWINS, Scale, data_of, same
from tests.paths import (
    TRACED,
    Path,
    Steps,
    by_for,
    by_scan,
    by_step,
    by_step_in_jit,
    place,
)
from tests.plainly import FOUR_DEVICES, told
from tests.platforms import on_a_cpu
from tests.programs import reads
from tests.zoo import (
    REMAINDERS,
    Batch,
    BatchNoise,
    Case,
    Graph,
    Mix,
    Noise,
    Remainder,
    Times,
    Turned,
    assert_same,
    part,
)

DATA = jax.tree.map(jnp.asarray, zoo.records(7))
EVEN = jax.tree.map(jnp.asarray, zoo.records(6))
OWN = nnx.Not(nnx.Any(Records, Position))


class TurnedSource(MemorySource):
    """A source of the user's own, whose order is one of its Variables."""

    def __init__(self, turn: int, data: Batch):
        super().__init__(data=data)
        self.turn = nnx.Variable(jnp.uint32(turn))

    def pure(self) -> tuple[dp.AbstractSource, dp.AbstractOrder]:
        turn = self.turn.get_value()
        assert turn.shape == ()  # that of one variant, wherever it is asked for
        return super().pure()[0], Turned(turn)


class Variant(NamedTuple):
    """All that may vary, and the reference for it."""

    gain: float = 0.5
    seed: int = 0
    turn: int = 0
    draws: bool = False  # keys take most of the time to compile

    def graph(self) -> Graph:
        first, last = (Noise, BatchNoise) if self.draws else (Mix, Mix)
        gain = jnp.float32(self.gain)
        return Graph({"a": first(gain), "b": last(2 * gain)}, {"a": [], "b": ["a"]}, "b")

    def pipeline(self, remainder: Remainder = "carry", graph: Graph | None = None) -> Pipeline:
        graph = graph or self.graph()
        return Pipeline.from_dag(
            source=TurnedSource(self.turn, EVEN if remainder == "partial" else DATA),
            nodes={name: TWINS[type(stage)](stage.gain) for name, stage in graph.nodes.items()},
            edges=graph.edges,
            sink=graph.sink,
            batch_size=3,
            rngs=nnx.Rngs(self.seed),
            remainder=remainder,
        )

    def expected(self, remainder: Remainder, count: int, graph: Graph | None = None) -> Steps:
        size = 6 if remainder == "partial" else 7
        case = Case(size, 3, remainder, Turned(jnp.uint32(self.turn)))
        key, graph = nnx.Rngs(self.seed)["pipeline"](), graph or self.graph()
        return [(b.after, graph.expected(zoo.records(size), key, b)) for b in case.batches(count)]


PARAMETERS = [Variant(gain) for gain in (0.5, -1.5, 3.0)]
SEEDS = [Variant(seed=seed, draws=True) for seed in (0, 3, 1)]
ORDERS = [Variant(turn=turn) for turn in (0, 5, 2)]
EVERYTHING = [Variant(0.5, 0, 1), Variant(-1.5, 3, 0), Variant(3.0, 1, 4)]
DRAWING = [variant._replace(draws=True) for variant in EVERYTHING]


def of(each: Sequence[Variant], remainder: Remainder = "carry") -> Pipeline:
    return Pipeline.variants([variant.pipeline(remainder) for variant in each])


def assert_each(steps: Steps, expected: Sequence[Steps]) -> None:
    """Each variant's part of the steps, records, masks and draws bit for bit."""
    for index, own in enumerate(expected):
        assert len(steps) == len(own)
        for (after, batch), (after_alone, alone) in zip(steps, own, strict=True):
            assert after in (None, after_alone)
            assert_same(part(batch, index), part(alone))


def assert_close(actual: Any, expected: Any) -> None:
    """The same tree: integers and keys bit for bit, floats to rounding."""
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    assert str(jax.tree.structure(actual)) == str(jax.tree.structure(expected))
    for got, value in pairs:
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            got, value = jax.random.key_data(got), jax.random.key_data(value)
        assert_same({"": got}, {"": np.asarray(value)})


# The paths


@pytest.mark.parametrize(
    ("path", "remainder"),
    [
        *itertools.product([by_step, by_for], REMAINDERS),
        *itertools.product([by_scan], ["partial", "drop", "pad"]),
        *itertools.product(TRACED, ["carry"]),
    ],
)
def test_every_path_equals_the_reference_in_every_variant(path: Path, remainder: Remainder) -> None:
    steps = path(of(EVERYTHING, remainder), 4)
    assert_each(steps, [variant.expected(remainder, 4) for variant in EVERYTHING])


@pytest.mark.parametrize(
    ("each", "path"),
    [(PARAMETERS, by_step), (ORDERS, by_step), (SEEDS, by_scan), (DRAWING, by_step_in_jit)],
    ids=["parameters", "orders", "seeds", "everything"],
)
def test_parameters_orders_seeds_may_vary_alone_or_together(
    each: list[Variant], path: Path
) -> None:
    assert_each(path(of(each), 3), [variant.expected("carry", 3) for variant in each])


@settings(max_examples=4)
@given(graph=zoo.graphs(largest=3), count=st.integers(1, 4), remainder=st.sampled_from(REMAINDERS))
def test_any_graph_in_any_number_of_variants_equals_the_reference(
    graph: Graph, count: int, remainder: Remainder
) -> None:
    each = [Variant(seed=i, turn=i % 2) for i in range(count)]
    own = [
        graph._replace(nodes={n: type(s)(s.gain * (i + 1)) for n, s in graph.nodes.items()})
        for i in range(count)
    ]
    pairs = list(zip(each, own, strict=True))
    pipelines = Pipeline.variants([variant.pipeline(remainder, g) for variant, g in pairs])
    assert_each(by_step(pipelines, 2), [v.expected(remainder, 2, g) for v, g in pairs])


def test_the_short_last_batch_is_short_in_every_variant() -> None:
    pipelines = of(PARAMETERS)
    pipelines.batch_size, pipelines.remainder = 4, "partial"
    assert [batch["id"].shape for batch in pipelines] == [(3, 4), (3, 3)]


def test_shuffles_of_other_seeds_are_those_of_the_separate_pipelines() -> None:
    def shuffled(seed: int) -> Pipeline:
        config = MemorySourceConfig(shuffle=True)
        source = MemorySource(config, data=DATA, rngs=nnx.Rngs(shuffle=seed))
        return Pipeline(source=source, stages=[same], batch_size=7, rngs=nnx.Rngs(0))

    ids = Pipeline.variants([shuffled(seed) for seed in range(2)]).step()["id"]
    for seed, own in enumerate(ids.tolist()):
        assert own == shuffled(seed).step()["id"].tolist()
        assert sorted(own) == list(range(7))


# State


class Restless(nnx.Module):
    """Draws from Rngs of its own, and keeps state of every kind."""

    def __init__(self, gain: float, seed: int):
        self.gain = nnx.Param(jnp.float32(gain))
        self.mean = nnx.BatchStat(jnp.float32(0))
        self.rngs = nnx.Rngs(noise=seed)
        self.seen = nnx.Variable({"ids": jnp.uint32(0), "batches": jnp.int32(0)})
        self.plain = jnp.uint32(seed)  # held without a Variable

    def __call__(self, batch: Batch) -> Batch:
        x, bits = batch["x"] * self.gain[...], jax.random.key_data(self.rngs.noise())[0]
        self.mean[...] = 0.5 * self.mean[...] + 0.5 * x.mean()
        seen = self.seen.get_value()
        ids = seen["ids"] * 3 + batch["id"].sum()
        self.seen.set_value({"ids": ids, "batches": seen["batches"] + 1})
        self.plain = self.plain + 1
        return {**batch, "bits": batch["bits"] ^ bits ^ self.plain, "x": x - self.mean[...]}


def restless(i: int) -> Pipeline:
    return Pipeline(
        source=TurnedSource(i, DATA),
        stages=[Restless(i + 0.5, i)],
        batch_size=3,
        rngs=nnx.Rngs(i),
        remainder="pad",
    )


def test_the_state_of_every_variant_goes_on_as_that_of_the_separate_pipeline() -> None:
    alone = [restless(i) for i in range(2)]
    pipelines = Pipeline.variants([restless(i) for i in range(2)])
    for path, count in ((by_step, 2), (by_scan, 2), (by_for, 1)):
        own = [path(one, count) for one in alone]
        assert_each(path(pipelines, count), own)
    for one, separate in zip(pipelines.unstack(), alone, strict=True):
        assert_close(nnx.state(one), nnx.state(separate))


def test_unstacked_they_are_ordinary_pipelines_that_go_on_where_they_were() -> None:
    pipelines = of(EVERYTHING)
    pipelines.step()
    for variant, one in zip(EVERYTHING, pipelines.unstack(), strict=True):
        steps = [(after, part(batch, None)) for after, batch in by_step(one, 2)]
        assert_each(steps, [variant.expected("carry", 3)[1:]])
    assert pipelines.cursor == (0, 3)


def test_stacked_again_they_go_on_too() -> None:
    pipelines = Pipeline.variants(of(EVERYTHING).unstack())
    assert_each(by_step(pipelines, 1), [variant.expected("carry", 1) for variant in EVERYTHING])


def test_a_pipeline_that_was_unstacked_or_cloned_can_be_stacked_with_a_new_one() -> None:
    first, second, third = EVERYTHING
    mixed = [nnx.clone(first.pipeline()), second.pipeline(), of([third]).unstack()[0]]
    steps = by_step(Pipeline.variants(mixed), 1)
    assert_each(steps, [variant.expected("carry", 1) for variant in EVERYTHING])


def test_the_pipelines_that_were_stacked_stay_as_they_are() -> None:
    alone = [restless(i) for i in range(2)]
    before = [jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(p, OWN_NUMBERS))) for p in alone]
    pipelines = Pipeline.variants(alone)
    pipelines.step()
    pipelines.scan(same, length=2)
    after = [nnx.to_pure_dict(nnx.state(p, OWN_NUMBERS)) for p in alone]
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert all(place(pipeline) == (0, 0) for pipeline in alone)


OWN_NUMBERS = nnx.All(OWN, nnx.Not(dn.Seed), nnx.Not(nnx.RngKey))


def test_the_cursor_is_one_for_all() -> None:
    pipelines = of(PARAMETERS, "pad")
    assert (len(pipelines), pipelines.batch_size, pipelines.cursor) == (3, 3, (0, 0))
    pipelines.step()
    assert pipelines.cursor == (0, 3)
    pipelines.seek(epoch=1, offset=6)
    assert pipelines.step()["valid"].tolist() == [[True, False, False]] * 3
    assert pipelines.cursor == (2, 0)
    assert [one.cursor for one in pipelines.unstack()] == [(2, 0)] * 3


def test_a_checkpoint_brings_every_variant_back() -> None:
    pipelines = Pipeline.variants([restless(i) for i in range(2)])
    pipelines.step()
    state = pipelines.checkpoint()
    steps = by_step(pipelines, 2)
    nnx.update(pipelines, state)
    assert_close([batch for _, batch in by_step(pipelines, 2)], [batch for _, batch in steps])
    other = Pipeline.variants([restless(i) for i in range(2)])
    nnx.update(other, state)
    assert_close(other.step(), steps[0][1])


def test_an_iterators_state_is_that_of_all_variants() -> None:
    pipelines = of(EVERYTHING)
    pipelines.step()
    state = iter(pipelines).get_state()
    (_, batch) = by_step(pipelines, 1)[0]
    iter(pipelines).set_state(state)
    assert_close(pipelines.step(), batch)
    again = of(EVERYTHING)
    iter(again).set_state(state)
    assert again.cursor == (0, 3)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (EVERYTHING[:2], "order and another seed"),
        ([*EVERYTHING[:2], EVERYTHING[2]._replace(seed=9)], "seed"),
        ([*EVERYTHING[:2], EVERYTHING[2]._replace(turn=5)], "order"),
    ],
    ids=["another count", "another seed", "another order"],
)
def test_an_iterators_state_of_other_variants_is_refused(other: list[Variant], names: str) -> None:
    with pytest.raises(ValueError, match=f"another {names};"):
        iter(of(other)).set_state(iter(of(EVERYTHING)).get_state())


# Calls


def test_a_batch_of_ones_own_goes_through_every_variant() -> None:
    pipelines, batch = of(EVERYTHING), zoo.records(5)
    alone = [variant.pipeline()(batch) for variant in EVERYTHING]
    called, jitted = pipelines(batch), nnx.jit(lambda p, b: p(b))(pipelines, batch)
    tapped = pipelines.outputs("b", batch=batch)["b"]
    for outputs in (called, jitted, tapped):
        assert_each([(None, outputs)], [[((0, 0), one)] for one in alone])
    assert pipelines.cursor == (0, 0)


def test_outputs_are_those_of_the_next_step_in_every_variant() -> None:
    pipelines = of(EVERYTHING, "pad")
    taps = pipelines.outputs()
    assert list(taps) == ["a", "b"]
    assert taps["a"]["id"].shape == (3, 3)
    assert_each([((0, 3), taps["b"])], [v.expected("pad", 1) for v in EVERYTHING])
    assert_close(pipelines.step(), taps["b"])


def test_check_and_describe_show_batches_with_the_axis_of_variants() -> None:
    pipelines = of(EVERYTHING)
    specs = pipelines.check()
    assert {name: spec["x"].shape for name, spec in specs.items()} == {
        "a": (3, 3, 2),
        "b": (3, 3, 2),
    }
    assert pipelines.describe() == (
        "3 variants of 7 records in batches of 3, Turned, remainder 'carry': 3 batches\n"
        "  an epoch\n"
        "node      reads   stage         output                         bytes  parameters\n"
        "source            TurnedSource  bits: u32[3], id: u32[3],       48 B\n"
        "                                x: f32[3,2]\n"
        "a         source  Mix           bits: u32[3,3], id: u32[3,3],  144 B   1 in each\n"
        "                                x: f32[3,3,2]\n"
        "b (sink)  a       Mix           bits: u32[3,3], id: u32[3,3],  144 B   1 in each\n"
        "                                x: f32[3,3,2]\n"
        "\n"
        "node      notes\n"
        "source\n"
        "a         varies in gain: 0.5, -1.5, 3\n"
        "b (sink)  varies in gain: 1, -3, 6\n"
        "each variant has its own seed and order\n"
        "memory: data 112 B, parameters 24 B, carry 44 B, a batch 48 B"
    )


class Summed(Pipeline):
    """A pipeline of the user's own."""

    def __call__(self, batch: Any, **draws: Any) -> Any:
        return {**super().__call__(batch, **draws), "sum": batch["id"].sum()}


def test_a_subclass_keeps_its_own_call() -> None:
    def summed(i: int) -> Summed:
        return Summed(source=TurnedSource(i, DATA), stages=[same], batch_size=3, rngs=nnx.Rngs(0))

    pipelines = Summed.variants([summed(i) for i in range(2)])
    assert pipelines.step()["sum"].tolist() == [0 + 1 + 2, 1 + 2 + 3]
    assert isinstance(pipelines.unstack()[0], Summed)


# Variants of variants


def test_variants_of_variants_are_runs_of_each_strength_with_each_seed() -> None:
    strengths, seeds = (0.5, -1.5), (0, 3, 1)
    each = [[Variant(gain, seed, 1, draws=True) for seed in seeds] for gain in strengths]
    nested = Pipeline.variants([of(row) for row in each])
    ys = nested.scan(same, length=2)
    for i, row in enumerate(each):
        steps: Steps = [(None, part(ys, i, slice(None), n)) for n in range(2)]
        assert_each(steps, [variant.expected("carry", 2) for variant in row])
    assert [[place(x) for x in row.unstack()] for row in nested.unstack()] == [[(0, 6)] * 3] * 2


@pytest.mark.parametrize("outer", [False, True], ids=["inner orders", "outer orders"])
def test_orders_may_vary_at_either_level(outer: bool) -> None:
    turns = [[2 * i if outer else 2 * j for j in range(2)] for i in range(2)]
    nested = Pipeline.variants([of([Variant(turn=turn) for turn in row]) for row in turns])
    assert nested.step()["id"][:, :, 0].tolist() == turns
    rows = nested.unstack()
    for row, starts in zip(rows, turns, strict=True):
        assert row.step()["id"][:, 0].tolist() == [turn + 3 for turn in starts]
    assert rows[1].unstack()[1].step()["id"][0] == (turns[1][1] + 6) % 7


# Modules in a scan


class Model(nnx.Module):
    """A dense layer, a statistic and a draw."""

    def __init__(self, seed: int):
        self.dense = nnx.Linear(2, 1, rngs=nnx.Rngs(seed))
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(seed))
        self.rngs = nnx.Rngs(noise=seed)

    def __call__(self, x: jax.Array) -> jax.Array:
        noise = jax.random.uniform(self.rngs.noise(), x.shape)
        y: jax.Array = self.dense(self.norm(x + noise))
        return y


TX = optax.sgd(1e-2, momentum=0.9)  # one for all: a function of its own in each would not stack


def trained(seed: int) -> tuple[Model, nnx.Optimizer[Model]]:
    model = Model(seed)
    return model, nnx.Optimizer(model, TX, wrt=nnx.Param)


def train_step(
    total: jax.Array, model: Model, optimizer: Any, teacher: Scale, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    target = (batch["x"] * teacher.weight[...]).sum(-1, keepdims=True)
    loss, grads = nnx.value_and_grad(lambda model: jnp.mean((model(batch["x"]) - target) ** 2))(
        model
    )
    optimizer.update(model, grads)
    return total + loss, loss


def fit(pipeline: Pipeline, modules: Any, teacher: Scale, total: jax.Array) -> Any:
    return pipeline.scan(train_step, length=3, modules=modules, shared=(teacher,), init_carry=total)


def test_a_model_and_an_optimizer_are_trained_in_every_variant_also_in_nnx_jit() -> None:
    each, teacher = EVERYTHING[:2], Scale(3.0)
    models, optimizers = zip(*(trained(seed) for seed in range(2)), strict=True)
    totals = jnp.float32([0, 10])
    runs = []
    for run in (fit, nnx.jit(fit)):
        modules = dn.stack(models), dn.stack(optimizers)
        pipelines = of(each)
        outputs = run(pipelines, modules, teacher, totals)
        assert pipelines.cursor == (1, 2)
        runs.append((modules, outputs))
    for index, variant in enumerate(each):
        own = models[index], optimizers[index]
        alone = fit(variant.pipeline(), own, teacher, totals[index])
        for modules, outputs in runs:
            assert_close(part(outputs, index), alone)
            for stacked, separate in zip(modules, own, strict=True):
                assert_close(nnx.state(dn.unstack(stacked)[index]), nnx.state(separate))
    assert teacher.weight[...] == 3


def summed(teacher: Scale, batch: Batch) -> Any:
    return teacher.weight[...] * batch["id"].astype(jnp.float32).sum()


def test_a_shared_module_is_the_same_for_all_variants_and_for_a_pipeline_alone() -> None:
    teacher, (one, *_) = Scale(3.0), PARAMETERS
    assert of(PARAMETERS).scan(summed, length=2, shared=(teacher,)).tolist() == [[9, 36]] * 3
    assert one.pipeline().scan(summed, length=2, shared=(teacher,)).tolist() == [9, 36]


def test_a_shared_module_gathers_the_gradients_of_all_variants() -> None:
    def loss(teacher: Scale, pipelines: Pipeline) -> jax.Array:
        losses: jax.Array = pipelines.scan(summed, length=2, shared=(teacher,))
        return losses.sum()

    grads = nnx.jit(nnx.grad(loss))(Scale(3.0), of(PARAMETERS))
    assert grads["weight"][...] == 3 * (3 + 12)


def test_stacked_pipelines_may_be_modules_of_a_scan_and_move_in_it() -> None:
    def both(other: Pipeline, batch: Batch) -> Any:
        return batch["id"], other.step()["id"]

    pipelines, others = of(ORDERS[:2]), dn.stack([v.pipeline() for v in ORDERS[1:]])
    ids, others_ids = pipelines.scan(both, length=2, modules=(others,))
    assert ids[:, :, 0].tolist() == [[0, 3], [5, 1]]
    assert others_ids[:, :, 0].tolist() == [[5, 1], [2, 5]]
    assert pipelines.cursor == others.cursor == (0, 6)


def test_modules_are_stacked_and_unstacked_as_they_were() -> None:
    models = [trained(seed) for seed in range(3)]
    for kind in zip(*models, strict=True):
        stacked: Any = dn.stack(kind)
        for one, before in zip(dn.unstack(stacked), kind, strict=True):
            assert_close(nnx.state(one), nnx.state(before))
            assert nnx.graphdef(one) == nnx.graphdef(before)


# Gradients


def of_call(pipeline: Pipeline) -> jax.Array:
    return jnp.mean(pipeline(zoo.records(3))["x"] ** 2)


def of_step(pipeline: Pipeline) -> jax.Array:
    return jnp.mean(pipeline.step()["x"] ** 2)


def of_scan(pipeline: Pipeline) -> jax.Array:
    losses: jax.Array = pipeline.scan(lambda batch: jnp.mean(batch["x"] ** 2), length=2)
    return losses.sum()


@pytest.mark.parametrize("loss", [of_call, of_step, of_scan], ids=lambda loss: loss.__name__)
def test_gradients_of_all_are_those_of_each(loss: Callable[[Pipeline], jax.Array]) -> None:
    each = EVERYTHING[:2]  # of equal size, so that the mean of all is the mean of their means
    pipelines = of(each)
    grads = nnx.to_pure_dict(nnx.jit(nnx.grad(loss))(pipelines))
    scale = 1 if loss is of_scan else len(each)
    alone = nnx.jit(nnx.grad(loss))
    for index, variant in enumerate(each):
        own = nnx.to_pure_dict(alone(variant.pipeline()))
        ours = jax.tree.map(lambda g: g[index] * scale, grads)  # noqa: B023
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), ours, own)
    assert pipelines.cursor == ((0, 0) if loss is of_call else (0, 3 if loss is of_step else 6))


def test_a_training_step_of_the_users_own_moves_every_variant_as_alone() -> None:
    @nnx.jit
    def train(pipeline: Pipeline) -> Any:
        grads = nnx.grad(lambda pipeline: jnp.sum(pipeline.step()["x"] ** 2))(pipeline)
        for node, grad in grads["nodes"].items():
            gain = pipeline.nodes[node].gain
            gain[...] = gain[...] - 1e-3 * grad["gain"][...]

    pipelines, alone = of(EVERYTHING[:2]), [variant.pipeline() for variant in EVERYTHING[:2]]
    for pipeline in (pipelines, *alone):
        train(pipeline)
        train(pipeline)
    for one, separate in zip(pipelines.unstack(), alone, strict=True):
        assert_close(nnx.state(one, nnx.Param), nnx.state(separate, nnx.Param))
        assert one.cursor == separate.cursor == (0, 6)


# What may be a stage


class Holder(eqx.Module):
    module: Scale

    def __call__(self, batch: Batch) -> Batch:
        return self.module(batch)


def times(batch: Batch, *, by: Any) -> Batch:
    return {**batch, "x": batch["x"] * by}


def call(module: Scale, batch: Batch) -> Batch:
    return module(batch)


STAGES: dict[str, Callable[[float], Any]] = {
    "an nnx module": Scale,
    "an eqx.Module": lambda by: Times(jnp.float32(by)),
    "an eqx.Module of numpy": lambda by: Times(np.full((), by, np.float32)),
    "functools.partial of an array": lambda by: functools.partial(times, by=jnp.float32(by)),
    "functools.partial of a module": lambda by: functools.partial(call, Scale(by)),
    "the method of a module": lambda by: Scale(by).__call__,
    "an eqx.Module with a module": lambda by: Holder(Scale(by)),
}


X = jnp.arange(6, dtype=jnp.float32)


def through(stage: Any) -> Pipeline:
    source: Source[Any] = MemorySource(data={"x": X})
    return Pipeline(source=source, stages=[stage], batch_size=3, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_of_any_kind_varies(stage: Callable[[float], Any]) -> None:
    pipelines = Pipeline.variants([through(stage(by)) for by in (2.0, 3.0)])
    assert pipelines.step()["x"].tolist() == [[0, 2, 4], [0, 3, 6]]
    assert pipelines.scan(lambda batch: batch["x"], length=1)[:, 0].tolist() == [
        [6, 8, 10],
        [9, 12, 15],
    ]
    assert [one.step()["x"].tolist() for one in pipelines.unstack()] == [[0, 2, 4], [0, 3, 6]]


def test_a_function_is_a_stage_of_all_variants() -> None:
    pipelines = Pipeline.variants([through(same) for _ in range(2)])
    assert pipelines.step()["x"].tolist() == [[0, 1, 2]] * 2


def test_a_variable_may_hold_a_python_number() -> None:
    class Numbered(nnx.Module):
        def __init__(self, by: float):
            self.by = nnx.Variable(by)

        def __call__(self, batch: Batch) -> Batch:
            return {"x": batch["x"] * self.by.get_value()}

    pipelines = Pipeline.variants([through(Numbered(by)) for by in (2.0, 3.0)])
    assert pipelines.step()["x"].tolist() == [[0, 2, 4], [0, 3, 6]]


def test_a_source_may_hold_a_python_number() -> None:
    class Numbered(MemorySource):
        def __init__(self, turn: int, data: Batch):
            super().__init__(data=data)
            self.turn = nnx.Variable(turn)

        def pure(self) -> tuple[dp.AbstractSource, dp.AbstractOrder]:
            turn = jnp.asarray(self.turn.get_value(), jnp.uint32)
            return super().pure()[0], Turned(turn)

    def numbered(turn: int) -> Pipeline:
        source: Source[Any] = Numbered(turn, {"x": X})
        return Pipeline(source=source, stages=[same], batch_size=3, rngs=nnx.Rngs(0))

    pipelines = Pipeline.variants([numbered(turn) for turn in (0, 2)])
    assert pipelines.step()["x"].tolist() == [[0, 1, 2], [2, 3, 4]]


# Programs and data

SIZE = 1234  # no other axis is as long
BIG = jnp.zeros((SIZE, 2))


def big(turns: Sequence[int]) -> Pipeline:
    def pipeline(gain: float, turn: int) -> Pipeline:
        return Pipeline(
            source=TurnedSource(turn, {"x": BIG}),
            stages=[Scale(gain)],
            batch_size=5,
            rngs=nnx.Rngs(0),
            remainder="drop",
        )

    return Pipeline.variants([pipeline(i + 1.0, turn) for i, turn in enumerate(turns)])


@on_a_cpu
@pytest.mark.parametrize(
    ("turns", "read"),
    [((2, 2, 2), ["1x2"]), ((0, 1, 2), ["3x5x2"])],  # few rows are read one after the other
    ids=["one order", "own orders"],
)
@pytest.mark.parametrize("run", ["step", "scan"])
def test_the_data_are_never_repeated_and_read_once_where_the_order_is_one(
    turns: Sequence[int], read: list[str], run: str
) -> None:
    graphdef, state = nnx.split(big(turns))

    def program(state: Any) -> Any:
        pipeline = nnx.merge(graphdef, state)
        output = pipeline.step() if run == "step" else pipeline.scan(same, length=2)
        return output, nnx.state(pipeline, nnx.Not(Records))

    lowered = jax.jit(program).lower(state)
    text = lowered.as_text()
    assert reads(text, f"{SIZE}x2") == read
    assert set(re.findall(rf"tensor<[\dx]*{SIZE}[^>]*>", text)) == {f"tensor<{SIZE}x2xf32>"}
    compiled = lowered.compile().as_text() or ""
    assert set(re.findall(rf"\w+\[[\d,]*{SIZE}[\d,]*\]", compiled)) == {f"f32[{SIZE},2]"}


def test_the_data_are_held_once() -> None:
    pipelines = big((0, 1, 2))
    assert all(data_of(x) is BIG for x in (pipelines, *pipelines.unstack()))
    pipelines.step()
    assert data_of(pipelines) is BIG


def test_all_variants_are_one_program_for_other_values_too() -> None:
    pipelines, others = of(EVERYTHING), of(EVERYTHING[::-1])
    pipelines.step()
    with counted() as seen:
        pipelines.step()
        nnx.update(pipelines, nnx.state(others, nnx.Not(Records)))
        steps = by_step(pipelines, 1)
    assert seen.compiled == []
    assert_each(steps, [v.expected("carry", 1) for v in EVERYTHING[::-1]])


def test_a_scan_over_other_modules_of_the_same_kind_is_the_same_program() -> None:
    pipelines = of(PARAMETERS)

    def train(model: Scale, teacher: Scale, batch: Batch) -> Any:
        return model(batch)["x"].sum() * teacher.weight[...]

    def scan(gains: Sequence[float]) -> list[str]:
        modules, shared = (dn.stack([Scale(gain) for gain in gains]),), (Scale(gains[0]),)
        with counted() as seen:
            pipelines.scan(train, length=2, modules=modules, shared=shared)
        return seen.compiled

    assert len(scan((1.0, 2.0, 3.0))) == 1
    assert scan((4.0, 5.0, 6.0)) == []


class Fragile(nnx.Module):
    """Raises in the midst of a trace, after it has set its state."""

    def __init__(self) -> None:
        self.calls = nnx.Variable(jnp.int32(0))
        self.broken = False

    def __call__(self, batch: Batch) -> Batch:
        self.calls[...] = self.calls[...] + 1
        if self.broken:
            raise RuntimeError("not today")
        return batch


@pytest.mark.parametrize(
    "fail",
    [
        lambda pipeline: pipeline.step(),
        lambda pipeline: pipeline.scan(same, length=2),
        lambda pipeline: nnx.jit(lambda pipeline: pipeline.step())(pipeline),
    ],
    ids=["step", "scan", "nnx.jit"],
)
def test_a_stage_that_raises_leaves_the_variants_as_they_were(
    fail: Callable[[Pipeline], Any],
) -> None:
    pipelines = Pipeline.variants([through(Fragile()) for _ in range(2)])
    stage = pipelines.nodes["fragile"]
    stage.broken = True
    with pytest.raises(RuntimeError, match="not today") as error:
        fail(pipelines)
    note = "This happened in node `fragile` (Fragile), which was given {x: f32[3]}."
    assert note in error.value.__notes__
    stage.broken = False
    assert pipelines.step()["x"].tolist() == [[0, 1, 2]] * 2
    assert stage.calls[...].tolist() == [1, 1]


def test_nothing_leaks_out_of_a_trace() -> None:
    pipelines = of(EVERYTHING)
    with jax.checking_leaks():
        pipelines.scan(same, length=2)


def test_variants_die_with_their_last_name() -> None:
    pipelines = of(PARAMETERS)
    pipelines.step()
    gone = [weakref.ref(x) for x in (pipelines, pipelines.source, pipelines.nodes["a"])]
    del pipelines
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


# A vmap of the user's own

AXES: Any = {Records: None, Position: None, ...: 0}
ONE_SOURCE: Any = {Records: None, Position: None, nnx.PathContains("source"): None, ...: 0}


def over(axes: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    mapped: Callable[..., Any] = nnx.vmap(fn, in_axes=(nnx.StateAxes(axes),))
    return mapped


def test_nnx_vmap_goes_over_a_stack_of_pipelines() -> None:
    stacked = dn.stack([variant.pipeline() for variant in EVERYTHING])
    step = over(AXES, lambda pipeline: pipeline.step())
    steps: Steps = [(place(stacked), step(stacked)) for _ in range(2)]
    expected = [variant.expected("carry", 2) for variant in EVERYTHING]
    assert_each([(None, batch) for _, batch in steps], expected)
    assert stacked.cursor == (0, 6)
    scan = over(AXES, lambda pipeline: pipeline.scan(same, length=1))
    ys = part(scan(stacked), slice(None), 0)
    assert_each([(None, ys)], [variant.expected("carry", 3)[2:] for variant in EVERYTHING])


class Whole(nnx.Module):
    """A module tree that holds a pipeline."""

    def __init__(self, variant: Variant):
        self.pipeline = variant.pipeline()
        self.scale = Scale(variant.gain)

    def __call__(self) -> Batch:
        return self.scale(self.pipeline.step())


def test_nnx_vmap_goes_over_a_module_tree_that_holds_a_pipeline() -> None:
    stacked = dn.stack([Whole(variant) for variant in EVERYTHING])
    outputs = over(AXES, lambda whole: whole())(stacked)
    for index, variant in enumerate(EVERYTHING):
        assert_same(part(outputs, index), part(Whole(variant)()))
    assert stacked.scale.calls[...].tolist() == [1, 1, 1]
    assert [whole.pipeline.cursor for whole in dn.unstack(stacked)] == [(0, 3)] * 3


def test_nnx_vmap_may_share_one_source() -> None:
    stacked = dn.stack([variant.pipeline() for variant in PARAMETERS])
    stacked.source = PARAMETERS[0].pipeline().source
    batch = over(ONE_SOURCE, lambda pipeline: pipeline.step())(stacked)
    assert_each([((0, 3), batch)], [variant.expected("carry", 1) for variant in PARAMETERS])


# Devices

ON_FOUR_DEVICES = (
    FOUR_DEVICES
    + """
import jax, numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from dagrax.nnx_api import Position, Records, stack
from tests.nnx_zoo import Scale
from tests.nnx_api.test_variants import Variant, of

mesh = lambda kind: jax.make_mesh((4,), ("variant",), axis_types=(kind,))
one_order = [Variant(gain) for gain in (0.5, -1.5, 3.0, 1.0)]
own_orders = [Variant(turn=turn) for turn in (0, 5, 2, 1)]

def spread(module, mesh, *shared):
    state = nnx.state(module, nnx.Not(nnx.Any(Records, Position, *shared)))
    nnx.update(module, jax.device_put(state, NamedSharding(mesh, PartitionSpec("variant"))))
    return module

def step(pipeline, place):
    return pipeline.step()

def scan(pipeline, place):
    model = place(stack([Scale(float(i)) for i in range(4)]))
    return pipeline.scan(lambda model, batch: model(batch), length=2, modules=(model,))

def agree(run, each, mesh, *shared):
    whole, apart = of(each), spread(of(each), mesh, *shared)
    a, b = run(whole, lambda model: model), run(apart, lambda model: spread(model, mesh))
    np.testing.assert_array_equal(a["bits"], b["bits"])
    np.testing.assert_allclose(a["x"], b["x"], rtol=2e-5, atol=2e-5)
    assert whole.cursor == apart.cursor
    for array in (b["x"], apart.nodes["a"].gain[...]):
        assert len(array.sharding.device_set) == 4
        assert array.sharding.shard_shape(array.shape)[0] == 1
"""
)

MESHES = [
    'agree(step, one_order, mesh(AxisType.Explicit), nnx.PathContains("source"))',
    'agree(scan, one_order, mesh(AxisType.Auto), nnx.PathContains("source"))',
    "agree(step, own_orders, mesh(AxisType.Auto))",
]


def test_variants_run_each_on_its_device() -> None:
    assert told(ON_FOUR_DEVICES, MESHES) == {call: ("nothing", "") for call in MESHES}
