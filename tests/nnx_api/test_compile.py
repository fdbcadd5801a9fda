"""Each way in compiles once, the data stay an argument, and nothing outlives its pipeline."""

import functools
import gc
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, Pipeline, Records, Seed
from tests.counting import counted, programs, unlike_any
from tests.nnx_zoo import RNGS_SEED, Scale, data_of, evaluate, linear, replace_data, same, train, xs
from tests.paths import by_for, by_scan, by_step, place
from tests.zoo import Batch

# Compilations


def test_step_compiles_once_over_many_epochs() -> None:
    pipeline = linear(unlike_any(), size=8)
    with counted() as seen:
        for _ in range(7):
            pipeline.step()
    assert len(seen.compiled) == 1


def test_for_compiles_once_over_many_epochs_and_shares_with_step() -> None:
    pipeline = linear(unlike_any(), size=8)
    with counted() as seen:
        pipeline.step()
        for _ in range(3):
            list(pipeline)
    assert len(seen.compiled) == 1


def test_the_short_last_batch_costs_one_compilation_more() -> None:
    pipeline = linear(unlike_any(), size=10)
    with counted() as seen:
        for _ in range(3):
            list(pipeline)
    assert len(seen.compiled) == 2


@pytest.mark.parametrize("remainder", ["pad", "carry", "drop"])
def test_the_other_policies_compile_once(remainder: Any) -> None:
    pipeline = linear(unlike_any(), size=10, remainder=remainder)
    with counted() as seen:
        for _ in range(3):
            list(pipeline)
    assert len(seen.compiled) == 1


def test_scan_compiles_once_for_a_step_function_over_many_epochs() -> None:
    pipeline, model = linear(unlike_any(), Scale(), size=8), Scale()
    values = [jnp.float32(value) for value in range(4)]

    def train(total: jax.Array, model: Scale, batch: Batch) -> tuple[jax.Array, None]:
        return total + model(batch)["x"].sum(), None

    def scan(model: Scale, length: int) -> None:
        pipeline.scan(train, modules=(model,), length=length, init_carry=values[0])

    with counted() as seen:
        for value in values:
            scan(model, 2)
            model.weight[...] = pipeline.nodes["scale"].weight[...] = value
    assert len(seen.compiled) == 1
    another = Scale()
    with counted() as seen:
        scan(another, 2)
        assert seen.compiled == []
        scan(model, 3)
    assert len(seen.compiled) == 1


def test_outputs_compile_once_a_choice_of_nodes() -> None:
    pipeline = linear(unlike_any(), size=8)
    with counted() as seen:
        for count in (1, 2, 2, 2):
            pipeline.outputs("same")
            if count == 2:
                pipeline.step()
            assert len(seen.compiled) == count


def test_changed_values_of_variables_compile_nothing() -> None:
    pipeline, five = linear(Scale(), size=8), jnp.float32(5)
    pipeline.step()
    saved = pipeline.checkpoint()
    nnx.update(pipeline, saved)  # whose digests take a program of their own
    with counted() as seen:
        pipeline.nodes["scale"].weight[...] = five
        nnx.update(pipeline, saved)
        pipeline.seek(epoch=9, offset=4)
        pipeline.step()
    assert seen.compiled == []


def test_a_structure_seen_before_compiles_nothing_new() -> None:
    pipeline = linear(unlike_any(), Switch(), size=8)
    with counted() as seen:
        pipeline.step()
        for _ in range(3):
            evaluate(pipeline)
            pipeline.step()
            train(pipeline)
            pipeline.step()
            assert len(seen.compiled) == 2


def test_another_batch_size_and_back_compiles_once_each() -> None:
    pipeline = linear(unlike_any(), size=12)
    with counted() as seen:
        for batch_size in (4, 2, 4, 2):
            pipeline.batch_size = batch_size
            pipeline.step()
    assert len(seen.compiled) == 2


def test_other_data_of_the_same_shape_compile_nothing() -> None:
    pipeline = linear(size=8)
    pipeline.step()
    replace_data(pipeline, range(10, 18))
    with counted() as seen:
        assert xs(pipeline.step()) == [14, 15, 16, 17]
    assert seen.compiled == []


class Switch(nnx.Module):
    """Has a mode."""

    def __init__(self) -> None:
        self.deterministic = False

    def __call__(self, batch: Batch) -> Batch:
        return batch


# Where the data are

SIZE = 12_345


def big() -> Pipeline:
    data = {"x": np.arange(SIZE, dtype=np.float32)}
    return Pipeline(
        source=MemorySource(data=data),
        stages=[Scale()],
        batch_size=15,
        rngs=nnx.Rngs(RNGS_SEED),
        remainder="drop",
    )


def one_step(pipeline: Pipeline) -> Any:
    return pipeline.step()


def one_scan(pipeline: Pipeline) -> Any:
    return pipeline.scan(lambda batch: batch["x"].sum(), length=3)


def traced(fn: Callable[[Pipeline], Any]) -> Any:
    """The jaxpr of a user's jit of `fn`, with the pipeline's state as its argument."""
    graphdef, state = nnx.split(big())

    def program(state: Any) -> Any:
        pipeline = nnx.merge(graphdef, state)
        output = fn(pipeline)
        return output, nnx.state(pipeline, nnx.Not(Records))

    return jax.make_jaxpr(program)(state)


@pytest.mark.parametrize("fn", [one_step, one_scan], ids=lambda fn: fn.__name__)
def test_the_data_are_no_constant_of_a_users_program(fn: Callable[[Pipeline], Any]) -> None:
    closed = traced(fn)
    assert all(np.size(const) < 1000 for const in closed.consts)
    assert [v.aval.shape for v in closed.jaxpr.invars].count((SIZE,)) == 1
    assert (SIZE,) not in [v.aval.shape for v in closed.jaxpr.outvars]


def test_the_data_are_no_part_of_the_loops_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked of the call: the program does not tell, since JAX moves out of the loop what stays.
    scan = jax.lax.scan
    carried: list[tuple[int, ...]] = []

    def spy(body: Any, init: Any, *rest: Any, **options: Any) -> Any:
        carried.extend(np.shape(leaf) for leaf in jax.tree.leaves(init))
        return scan(body, init, *rest, **options)

    monkeypatch.setattr(jax.lax, "scan", spy)
    big().scan(lambda batch: batch["x"].sum(), length=3)
    assert carried and (SIZE,) not in carried


@pytest.mark.parametrize("fn", [one_step, one_scan], ids=lambda fn: fn.__name__)
def test_the_data_are_no_text_of_the_compiled_program(fn: Callable[[Pipeline], Any]) -> None:
    graphdef, state = nnx.split(big())
    program = jax.jit(lambda state: fn(nnx.merge(graphdef, state)))
    text = program.lower(state).as_text()
    assert f"tensor<{SIZE}xf32>" in text
    assert len(text) < 200_000
    assert not any(
        f": tensor<{SIZE}xf32>" in line and "constant" in line for line in text.splitlines()
    )


def test_a_step_does_not_touch_the_data_array() -> None:
    pipeline = big()
    before = data_of(pipeline)
    pipeline.step()
    pipeline.scan(same, length=2)
    list(zip(pipeline, range(2), strict=False))
    assert data_of(pipeline) is before


# A stage that raises


class Fragile(nnx.Module):
    """Raises in the midst of a trace, after it has set its state."""

    def __init__(self) -> None:
        self.calls = nnx.Variable(jnp.int32(0))
        self.total = nnx.Variable({"sum": jnp.float32(0)})
        self.broken = False

    def __call__(self, batch: Batch) -> Batch:
        self.calls[...] = self.calls[...] + 1
        self.total.set_value({"sum": self.total.get_value()["sum"] + batch["x"].sum()})
        if self.broken:
            raise RuntimeError("not today")
        return batch


def whole(pipeline: Pipeline) -> list[Any]:
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(pipeline, nnx.Not(Seed)))]


@pytest.mark.parametrize(
    "fail",
    [
        lambda pipeline: pipeline.step(),
        lambda pipeline: next(iter(pipeline)),
        lambda pipeline: pipeline.scan(same, length=2),
        lambda pipeline: pipeline.outputs(),
        lambda pipeline: nnx.jit(one_step)(pipeline),
        lambda pipeline: nnx.grad(lambda p: p.step()["x"].sum())(pipeline),
    ],
    ids=["step", "for", "scan", "outputs", "nnx.jit", "nnx.grad"],
)
def test_a_stage_that_raises_leaves_the_pipeline_as_it_was(fail: Callable[[Pipeline], Any]) -> None:
    fragile = Fragile()
    pipeline = linear(Scale(1.0), fragile, size=12)
    pipeline.step()
    fragile.broken = True
    before, where = whole(pipeline), place(pipeline)
    with pytest.raises(RuntimeError, match="not today") as error:
        fail(pipeline)
    note = "This happened in node `fragile` (Fragile), which was given {x: f32[4]}."
    assert note in error.value.__notes__
    assert place(pipeline) == where
    jax.tree.map(np.testing.assert_array_equal, whole(pipeline), before)
    fragile.broken = False
    assert xs(pipeline.step()) == [4, 5, 6, 7]
    assert fragile.calls[...].item() == 2


def test_a_step_function_that_raises_leaves_pipeline_and_modules_as_they_were() -> None:
    pipeline, model = linear(Scale(1.0), size=8), Scale(1.0)

    def train(model: Scale, batch: Batch) -> Any:
        model(batch)
        model.weight[...] = model.weight[...] + 1
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        pipeline.scan(train, modules=(model,), length=2)
    assert place(pipeline) == (0, 0)
    assert (model.weight[...].item(), model.calls[...].item()) == (1, 0)
    assert pipeline.nodes["scale"].calls[...].item() == 0
    assert xs(pipeline.step()) == [0, 1, 2, 3]


@pytest.mark.parametrize("run", [by_step, by_for, by_scan], ids=lambda run: run.__name__)
def test_nothing_leaks_out_of_a_trace(run: Callable[[Pipeline, int], Any]) -> None:
    with jax.checking_leaks():
        run(linear(Scale(), size=8), 2)


def resized(pipeline: Pipeline) -> Any:
    pipeline.batch_size = 2
    return pipeline.step()["x"]


def sought(pipeline: Pipeline) -> Any:
    pipeline.seek(epoch=3, offset=4)
    return [len(pipeline), *pipeline.cursor]


def rebuilt(pipeline: Pipeline) -> Any:
    source: MemorySource[Any] = MemorySource(data={"x": data_of(pipeline)})
    stages = [pipeline.nodes["scale"]]
    again = Pipeline(source=source, stages=stages, batch_size=4, rngs=nnx.Rngs(0))
    return again.step()["x"]


@pytest.mark.parametrize(
    "use",
    [
        lambda pipeline: pipeline.step()["x"],
        lambda pipeline: pipeline.outputs("scale")["scale"]["x"],
        lambda pipeline: pipeline.scan(lambda batch: batch["x"], length=2),
        lambda pipeline: pipeline.check()["scale"]["x"].shape,
        lambda pipeline: [ord(letter) for letter in pipeline.describe()],
        sought,
        resized,
        rebuilt,
    ],
    ids=["step", "outputs", "scan", "check", "describe", "seek", "batch size", "construction"],
)
def test_inside_a_trace_a_pipeline_can_do_what_it_can_outside(use: Any) -> None:
    jitted: Any = nnx.jit(use)
    inside = jitted(linear(Scale(2.0), size=8))
    jax.tree.map(np.testing.assert_array_equal, inside, use(linear(Scale(2.0), size=8)))


# Memory


@pytest.mark.parametrize(
    "use",
    [
        lambda pipeline: pipeline.step(),
        lambda pipeline: list(pipeline),
        lambda pipeline: pipeline.scan(lambda batch: batch["x"], length=2),
        lambda pipeline: pipeline.scan(same, length=2),
        lambda pipeline: pipeline.outputs(),
        lambda pipeline: iter(pipeline).get_state(),
    ],
    ids=["step", "for", "scan", "scan by a lasting function", "outputs", "get_state"],
)
def test_a_pipeline_dies_with_its_last_name(use: Callable[[Pipeline], Any]) -> None:
    stage = Scale()
    pipeline = linear(stage, size=8)
    use(pipeline)
    data = data_of(pipeline)
    gone = [weakref.ref(x) for x in (pipeline, stage, pipeline.source, data)]
    del pipeline, stage, data
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4


def test_a_stage_replaced_is_let_go() -> None:
    stage = Scale()
    pipeline = linear(stage, size=8)
    pipeline.step()
    pipeline.nodes["scale"] = Scale(3.0)
    pipeline.step()
    gone = weakref.ref(stage)
    del stage
    gc.collect()
    assert gone() is None


def test_data_replaced_are_let_go_with_the_next_step() -> None:
    pipeline = linear(size=8)
    pipeline.step()
    data = data_of(pipeline)
    gone = weakref.ref(data)
    replace_data(pipeline, range(8))
    pipeline.step()
    del data
    gc.collect()
    assert gone() is None


def held() -> tuple[Counter[str], int]:
    """The objects of dagrax, and how many arrays, that are alive."""
    gc.collect()
    kinds = [type(x) for x in gc.get_objects()]
    own = Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("dagrax."))
    return own, len(jax.live_arrays())


def test_many_pipelines_leave_nothing_behind() -> None:
    source = linear(size=8).source

    def use(count: int) -> None:
        for i in range(count):
            stages = [Scale()]
            pipeline = Pipeline(source=source, stages=stages, batch_size=4, rngs=nnx.Rngs(0))
            if i % 30 == 0:
                pipeline.step()
                pipeline.scan(same, length=2)

    use(1)
    before = held()
    use(60)
    assert held() == before


def test_the_programs_that_are_kept_for_step_functions_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dagrax.nnx_api._call._programs._MOST", 4)
    pipeline = linear(size=8)
    with programs() as kept:
        for i in range(6):
            pipeline.scan(functools.partial(lambda i, batch: i, jnp.float32(i)), length=1)
    assert len(kept) <= 4
