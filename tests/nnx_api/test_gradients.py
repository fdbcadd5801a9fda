"""Gradients flow through every way through a pipeline, to every parameter that matters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import BrightnessOperator, NoiseOperator, Pipeline
from tests.nnx_zoo import RNGS_SEED, Scale, counting, linear, same, xs
from tests.zoo import Batch

Loss = Callable[[Pipeline], jax.Array]


class Merge(nnx.Module):
    """A learned mixture of two branches, in which one parameter is a matrix."""

    def __init__(self) -> None:
        self.mix = nnx.Param(jnp.float32([[0.3, -0.2], [0.1, 0.4]]))

    def __call__(self, left: Batch, right: Batch) -> Batch:
        pair = jnp.stack([left["x"], right["x"]], axis=1)
        return {"x": jnp.tanh(pair @ self.mix[...])}


def pipeline_of() -> Pipeline:
    """Two branches off the source, one of which draws, a learned merge and an idle node."""
    return Pipeline.from_dag(
        source=counting(6),
        nodes={
            "brightness": BrightnessOperator(0.2, field="x"),
            "noise": NoiseOperator(0.5, field="x"),
            "merge": Merge(),
            "idle": Scale(),
        },
        edges={"brightness": [], "noise": [], "merge": ["brightness", "noise"], "idle": []},
        sink="merge",
        batch_size=3,
        rngs=nnx.Rngs(RNGS_SEED),
    )


def of_call(pipeline: Pipeline) -> jax.Array:
    return jnp.mean(pipeline({"x": jnp.arange(3.0)})["x"])


def of_step(pipeline: Pipeline) -> jax.Array:
    pipeline.step()
    return jnp.mean(pipeline.step()["x"])


def of_scan(pipeline: Pipeline) -> jax.Array:
    losses: jax.Array = pipeline.scan(lambda batch: jnp.mean(batch["x"]), length=2)
    return losses.sum()


def of_scan_with_a_carry(pipeline: Pipeline) -> jax.Array:
    def add(total: jax.Array, batch: Batch) -> tuple[jax.Array, None]:
        return total * 0.5 + jnp.mean(batch["x"]), None

    total: jax.Array
    total, _ = pipeline.scan(add, length=2, init_carry=jnp.float32(0))
    return total


LOSSES: list[Loss] = [of_call, of_step, of_scan, of_scan_with_a_carry]


def by_grad(loss: Loss, pipeline: Pipeline) -> Any:
    return nnx.to_pure_dict(nnx.grad(loss)(pipeline))


def by_jitted_grad(loss: Loss, pipeline: Pipeline) -> Any:
    return nnx.to_pure_dict(nnx.jit(nnx.grad(loss))(pipeline))


def by_jax_grad(loss: Loss, pipeline: Pipeline) -> Any:
    """As flax recommends for pure functions: split, merge inside."""
    split: Any = nnx.split(pipeline, nnx.Param, ...)
    graphdef, params, rest = split

    def pure_loss(params: Any) -> jax.Array:
        own = jax.tree.map(lambda x: x, rest)  # flax lets a trace set its own Variables only
        return loss(nnx.merge(graphdef, params, own))

    return nnx.to_pure_dict(jax.grad(pure_loss)(params))


def numeric(loss: Loss, pipeline: Pipeline, step: float = 1e-2) -> Any:
    """Central finite differences, one number of one parameter at a time."""
    params = nnx.state(pipeline, nnx.Param)
    flat, structure = jax.tree.flatten(params)
    loss = nnx.jit(loss)

    def at(leaf: int, index: tuple[int, ...], move: float) -> float:
        moved = [x.at[index].add(move) if i == leaf else x for i, x in enumerate(flat)]
        other = nnx.clone(pipeline)
        nnx.update(other, jax.tree.unflatten(structure, moved))
        return float(loss(other))

    grads = [
        np.array([(at(i, j, step) - at(i, j, -step)) / (2 * step) for j in np.ndindex(x.shape)])
        for i, x in enumerate(flat)
    ]
    grads = [g.reshape(x.shape) for g, x in zip(grads, flat, strict=True)]
    return nnx.to_pure_dict(jax.tree.unflatten(structure, grads))


@pytest.fixture(scope="module", params=LOSSES, ids=lambda loss: loss.__name__)
def loss_and_numeric(request: pytest.FixtureRequest) -> tuple[Loss, Any]:
    return request.param, numeric(request.param, pipeline_of())


@pytest.mark.parametrize("by", [by_grad, by_jitted_grad, by_jax_grad], ids=lambda by: by.__name__)
def test_gradients_are_finite_differences(
    loss_and_numeric: tuple[Loss, Any], by: Callable[[Loss, Pipeline], Any]
) -> None:
    loss, expected = loss_and_numeric
    actual = by(loss, pipeline_of())
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-4)  # noqa: E731
    jax.tree.map(close, actual, expected)
    assert all(np.any(np.abs(g) > 1e-3) for n, g in flat(actual) if "idle" not in n)


def flat(grads: Any) -> list[tuple[str, Any]]:
    pairs = jax.tree_util.tree_leaves_with_path(grads)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in pairs]


def test_a_node_that_the_sink_does_not_need_has_no_gradient() -> None:
    grads = by_grad(of_call, pipeline_of())
    assert grads["nodes"]["idle"]["weight"] == 0


def test_gradients_reach_the_modules_of_a_scan_too() -> None:
    pipeline, model = linear(Scale(2.0), size=8), Scale(3.0)

    def loss(model: Scale, pipeline: Pipeline) -> jax.Array:
        step = lambda model, batch: model(batch)["x"].sum()  # noqa: E731
        losses: jax.Array = pipeline.scan(step, modules=(model,), length=2)
        return losses.sum()

    of_model, of_stage = nnx.grad(loss, argnums=(0, 1))(model, pipeline)
    assert of_model["weight"][...] == 2 * 28
    assert of_stage["nodes"]["scale"]["weight"][...] == 3 * 28


def test_a_gradient_with_respect_to_the_batch_flows_through_a_call() -> None:
    pipeline = linear(lambda batch: {"x": batch["x"] * 2})
    grad = jax.grad(lambda x: pipeline({"x": x})["x"].sum())(jnp.ones(3))
    assert grad.tolist() == [2, 2, 2]


def test_training_a_stage_by_grad_takes_each_batch_in_turn() -> None:
    pipeline = linear(Scale(1.0), size=8)
    for _ in range(2):
        grads = nnx.grad(lambda p: p.step()["x"].sum())(pipeline)
        weight = pipeline.nodes["scale"].weight
        weight[...] = weight[...] - grads["nodes"]["scale"]["weight"][...]
    assert pipeline.nodes["scale"].weight[...] == 1 - 6 - 22


def test_the_data_take_no_gradient_and_stay_as_they_are() -> None:
    pipeline = linear(same, Scale(2.0), size=8)
    grads = nnx.grad(lambda p: p.step()["x"].sum())(pipeline)
    assert list(nnx.to_pure_dict(grads)) == ["nodes"]
    assert xs(pipeline.step()) == [8, 10, 12, 14]
