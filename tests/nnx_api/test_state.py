"""Whatever state a stage keeps survives every way through a pipeline alike."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import Pipeline, Records
from dagrax.nnx_api._call._parts import Parts
from tests.nnx_zoo import Scale, graph, linear, xs
from tests.paths import PATHS, TRACED, Path, place
from tests.zoo import Batch

by_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)


class Normalised(nnx.Module):
    """Running statistics, as `BatchStat`s."""

    def __init__(self) -> None:
        self.norm = nnx.BatchNorm(1, momentum=0.5, rngs=nnx.Rngs(0))

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "x": self.norm(batch["x"][:, None])[:, 0]}


class Dropped(nnx.Module):
    """Draws from Rngs of its own."""

    def __init__(self) -> None:
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "x": self.dropout(batch["x"] + 1)}


class Linear(nnx.Module):
    """Holds a layer that others may hold too."""

    def __init__(self, layer: nnx.Linear):
        self.layer = layer
        self.calls = nnx.Variable(jnp.int32(0))

    def __call__(self, batch: Batch) -> Batch:
        self.calls[...] = self.calls[...] + 1
        self.layer.kernel[...] = self.layer.kernel[...] + 1
        return {**batch, "x": self.layer(batch["x"][:, None])[:, 0]}


class LaxBranch(nnx.Module):
    """A choice by the content of the batch, without state."""

    def __call__(self, batch: Batch) -> Batch:
        large = batch["x"].sum() > 10
        x = jax.lax.cond(large, lambda x: x - 100, lambda x: x + 1, batch["x"])
        return {**batch, "x": x}


class NnxBranch(nnx.Module):
    """A choice of which one side keeps state."""

    def __init__(self) -> None:
        self.scale = Scale(3.0)

    def __call__(self, batch: Batch) -> Batch:
        x = nnx.cond(
            batch["x"].sum() > 10,
            lambda scale, x: scale({"x": x})["x"],
            lambda scale, x: x,
            self.scale,
            batch["x"],
        )
        return {**batch, "x": x}


class Plain(nnx.Module):
    """Keeps an array without a Variable around it."""

    def __init__(self) -> None:
        self.total = jnp.float32(0)

    def __call__(self, batch: Batch) -> Batch:
        self.total = self.total + batch["x"].sum()
        return {**batch, "x": batch["x"] + self.total}


class Nested(nnx.Module):
    """Variables whose values are pytrees, in lists and dicts of modules."""

    def __init__(self) -> None:
        self.pair = nnx.Variable({"a": jnp.float32(0), "b": jnp.float32(1)})
        self.parts = nnx.List([Scale(1.0), Scale(2.0)])
        self.by_name = nnx.Dict(one=Scale(3.0))

    def __call__(self, batch: Batch) -> Batch:
        pair = self.pair.get_value()
        self.pair.set_value({"a": pair["b"], "b": pair["a"] + pair["b"]})
        for part in (*self.parts, self.by_name["one"]):
            batch = part(batch)
        return {**batch, "x": batch["x"] + pair["b"]}


def stages() -> dict[str, Any]:
    return {
        "scale": Scale(), "norm": Normalised(), "dropout": Dropped(), "lax_cond": LaxBranch(),
        "nnx_cond": NnxBranch(), "plain": Plain(), "nested": Nested(),
        "linear": Linear(nnx.Linear(1, 1, rngs=nnx.Rngs(0))),
    }  # fmt: skip


def values(module: Any) -> Any:
    """Everything that a module keeps, the data aside."""
    state = nnx.to_pure_dict(nnx.state(module, nnx.Not((Records, nnx.RngKey))))
    return jax.tree.map(np.asarray, state)


def assert_close(actual: Any, expected: Any) -> None:
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # noqa: E731
    jax.tree.map(close, actual, expected)


@pytest.fixture(scope="module")
def called() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The stages after three calls without any pipeline, and what they returned."""
    modules, batches = stages(), np.arange(12, dtype=np.float32).reshape(3, 4)
    outputs = [{n: m({"x": jnp.asarray(x)})["x"] for n, m in modules.items()} for x in batches]
    return modules, outputs


@by_path
def test_state_after_three_batches_is_that_of_three_calls(
    path: Path, called: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    modules, expected = called
    nodes: dict[str, Any] = stages()
    gather = lambda *batches: {n: b["x"] for n, b in zip(nodes, batches, strict=True)}  # noqa: E731
    edges: dict[str, list[str]] = {**{name: [] for name in nodes}, "all": list(nodes)}
    pipeline = graph({**nodes, "all": gather}, edges, "all", size=12)
    actual = path(pipeline, 3)
    for name, module in modules.items():
        assert_close([batch[name] for _, batch in actual], [batch[name] for batch in expected])
        assert_close(values(pipeline.nodes[name]), values(module))
    assert place(pipeline) == (1, 0)


@by_path
def test_a_layer_in_two_nodes_stays_one_layer(path: Path) -> None:
    layer = nnx.Linear(1, 1, use_bias=False, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.ones((1, 1))
    pipeline = graph(
        {"left": Linear(layer), "right": Linear(layer), "sum": lambda a, b: {"x": a["x"] + b["x"]}},
        {"left": [], "right": [], "sum": ["left", "right"]},
        "sum",
    )
    (_, first), (_, second) = path(pipeline, 2)
    left, right = pipeline.nodes["left"], pipeline.nodes["right"]
    assert left.layer is right.layer is layer
    assert layer.kernel[...].item() == 5
    assert (left.calls[...].item(), right.calls[...].item()) == (2, 2)
    assert xs(first) == [5 * i for i in range(4)]
    assert xs(second) == [9 * i for i in range(4, 8)]


def test_a_stage_may_be_shared_with_a_module_of_the_scan() -> None:
    scale = Scale(1.0)
    pipeline = linear(scale, size=8)

    def double(scale: Scale, batch: Batch) -> Any:
        scale.weight[...] = scale.weight[...] * 2
        return batch["x"].sum()

    sums = pipeline.scan(double, modules=(scale,), length=2)
    assert sums.tolist() == [6, 2 * 22]
    assert scale.weight[...].item() == 4
    assert scale.calls[...].item() == 2


def test_a_scan_keeps_what_it_changes_in_its_modules() -> None:
    model, seen = Scale(1.0), Scale(0.0)
    pipeline = linear(size=8)

    def train(
        total: jax.Array, model: Scale, seen: Scale, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        model.weight[...] = model.weight[...] + 1
        seen(batch)
        return total + batch["x"].sum(), model.weight[...]

    total, weights = pipeline.scan(
        train, modules=(model, seen), length=2, init_carry=jnp.float32(0)
    )
    assert total == 28
    assert weights.tolist() == [2, 3]
    assert model.weight[...].item() == 3
    assert seen.calls[...].item() == 2


def test_a_carry_may_start_as_a_python_number() -> None:
    total, ys = linear(size=8).scan(lambda c, b: (c + 1, None), length=2, init_carry=0)
    assert (int(total), ys) == (2, None)


# What a user wraps around a step


def test_state_and_position_survive_the_users_grad() -> None:
    pipeline = linear(Scale(), size=8)

    def loss(pipeline: Pipeline) -> jax.Array:
        total: jax.Array = pipeline.step()["x"].sum()
        return total

    grads = [nnx.grad(loss)(pipeline) for _ in range(2)]
    sums = [grad["nodes"]["scale"]["weight"][...].item() for grad in grads]
    assert sums == [6, 22]
    assert pipeline.nodes["scale"].calls[...].item() == 2
    assert place(pipeline) == (1, 0)
    assert xs(pipeline.step()) == [0, 2, 4, 6]


def test_state_and_position_survive_the_users_vmap_over_parameters() -> None:
    pipeline = linear(Scale(), size=8)
    pipeline.nodes["scale"].weight = nnx.Param(jnp.arange(1.0, 4.0))
    axes = nnx.StateAxes([(nnx.Param, 0), (..., None)])
    step: Any = nnx.vmap(lambda pipeline: pipeline.step(), in_axes=(axes,))
    assert step(pipeline)["x"].tolist() == [[0, 1, 2, 3], [0, 2, 4, 6], [0, 3, 6, 9]]
    assert step(pipeline)["x"].tolist() == [[4, 5, 6, 7], [8, 10, 12, 14], [12, 15, 18, 21]]
    assert pipeline.nodes["scale"].weight.shape == (3,)
    assert pipeline.nodes["scale"].calls[...].item() == 2
    assert place(pipeline) == (1, 0)


def test_the_users_jit_of_a_training_step_keeps_everything() -> None:
    pipeline, model = linear(Scale(), size=8), Scale(1.0)

    @nnx.jit
    def train(pipeline: Pipeline, model: Scale) -> Any:
        def loss(model: Scale, pipeline: Pipeline) -> jax.Array:
            total: jax.Array = model(pipeline.step())["x"].sum()
            return total

        value, grads = nnx.value_and_grad(loss)(model, pipeline)
        model.weight[...] = model.weight[...] - 0.5 * grads["weight"][...]
        return value

    assert train(pipeline, model) == 12
    assert model.weight[...].item() == 1 - 0.5 * 12
    assert train(pipeline, model) == -5 * 44
    assert (model.calls[...].item(), pipeline.nodes["scale"].calls[...].item()) == (2, 2)
    assert place(pipeline) == (1, 0)


@pytest.mark.parametrize("wrap", [nnx.jit, jax.jit], ids=["nnx.jit", "jax.jit"])
def test_a_pipeline_that_a_trace_was_not_given_is_refused_and_stays_as_it_was(wrap: Any) -> None:
    pipeline = linear(Scale())
    with pytest.raises(Exception, match=r"Cannot mutate .* from a different trace level"):
        wrap(lambda: pipeline.step())()
    assert place(pipeline) == (0, 0)
    assert pipeline.nodes["scale"].calls[...].item() == 0
    assert xs(pipeline.step()) == [0, 2, 4, 6]


# Subclasses


class Logged(Pipeline):
    """Overrides the call, keeps state, and uses names that a careless base class would claim."""

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        self.offset = nnx.Variable(jnp.int32(0))
        self.epoch = "an epoch of mine"
        self.key = jax.random.key(0)

    def __call__(self, batch: Any, **draws: Any) -> Any:
        self.offset[...] = self.offset[...] + 1
        output = super().__call__(batch, **draws)
        return {**output, "x": output["x"] + 1000}


@by_path
def test_an_overridden_call_is_honoured(path: Path) -> None:
    base = linear(Scale(), size=8)
    pipeline = Logged(source=base.source, stages=[Scale()], batch_size=4, rngs=nnx.Rngs(0))
    (_, first), (_, second) = path(pipeline, 2)
    assert xs(first) == [1000, 1002, 1004, 1006]
    assert xs(second) == [1008, 1010, 1012, 1014]
    assert pipeline.offset[...].item() == 2
    assert pipeline.epoch == "an epoch of mine"
    assert place(pipeline) == (1, 0)


@pytest.mark.parametrize("path", TRACED[:1], ids=lambda path: path.__name__)
def test_a_stage_that_draws_draws_alike_under_an_overridden_call(path: Path) -> None:
    def noisy(batch: Batch, *, record_keys: Any) -> Batch:
        return {"x": batch["x"] + jax.vmap(jax.random.uniform)(record_keys)}

    base = linear(noisy, size=8)
    pipeline = Logged(source=base.source, stages=[noisy], batch_size=4, rngs=nnx.Rngs(5))
    for (_, ours), (_, theirs) in zip(path(pipeline, 2), path(base, 2), strict=True):
        np.testing.assert_allclose(ours["x"], theirs["x"] + 1000, rtol=1e-6)


# A copy


@pytest.mark.parametrize("stepped", [False, True])
def test_a_clone_goes_its_own_way(stepped: bool) -> None:
    pipeline = linear(Scale(), size=8)
    if stepped:
        pipeline.step()
        pipeline.seek(offset=0)
    other = nnx.clone(pipeline)
    other.nodes["scale"].weight[...] = jnp.float32(3)
    assert (xs(pipeline.step()), xs(other.step())) == ([0, 2, 4, 6], [0, 3, 6, 9])
    assert (xs(other.step()), place(pipeline)) == ([12, 15, 18, 21], (0, 4))


@pytest.mark.parametrize("setting", [[1, 2], {"a": 1, "b": 2}, {1, 2}, (1, [2])], ids=str)
def test_a_stage_may_hold_lists_dicts_and_sets_of_settings(setting: Any) -> None:
    class Set(nnx.Module):
        def __init__(self) -> None:
            self.setting = setting

        def __call__(self, batch: Batch) -> Batch:
            return {"x": batch["x"] + len(self.setting)}

    assert xs(linear(Set()).step()) == [2, 3, 4, 5]


def test_an_array_without_a_variable_is_written_back_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Plain()
    parts, update, calls = Parts.of(stage), nnx.update, 0

    def interrupted(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        update(*arguments)

    monkeypatch.setattr(nnx, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parts.write(stage, {0: jnp.float32(1)})
    assert (parts.values(), stage.total) == ([0.0], 0.0)
    parts.write(stage, {0: jnp.float32(1)})
    assert (parts.values(), stage.total) == ([1.0], 1.0)
