"""Gradients against central finite differences, in 64 bits so that the differences are sharp."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp

KEY = jax.random.key(2)


@pytest.fixture(autouse=True)
def _in_64_bits() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


class Affine(eqx.Module):
    weight: jax.Array
    bias: jax.Array

    def __call__(self, batch: Any) -> Any:
        return {**batch, "x": jnp.tanh(batch["x"] * self.weight[None] + self.bias)}


class Jitter(eqx.Module):
    strength: jax.Array

    def __call__(self, record: Any, *, key: Any) -> Any:
        return {
            **record,
            "x": record["x"] + self.strength * jax.random.uniform(key, record["x"].shape),
        }


class Blend(eqx.Module):
    share: jax.Array

    def __call__(self, *batches: Any) -> Any:
        first, *others = (batch["x"] for batch in batches)
        return {"x": self.share * first + (1 - self.share) * sum(others)}


def pipeline() -> dp.Pipeline:
    """Noise, a branch that is read twice and one that is not, and a sink that joins them."""
    return dp.Pipeline.from_dag(
        nodes={
            "noise": dp.per_record(Jitter(jnp.array(0.3))),
            "affine": Affine(jnp.array([0.7, -0.4]), jnp.array(0.1)),
            "unused": Affine(jnp.array([1.0, 1.0]), jnp.array(0.0)),
            "blend": Blend(jnp.array(0.6)),
        },
        edges={
            "noise": [],
            "affine": ["noise"],
            "unused": ["noise"],
            "blend": ["affine", "noise", "affine"],
        },
        sink="blend",
    )


def data() -> dict[str, Any]:
    return {"x": np.random.default_rng(0).normal(size=(6, 2))}


def stream(remainder: Any = "partial", batch_size: int = 3) -> dp.Stream:
    return dp.Stream(dp.ArraySource(data()), batch_size=batch_size, remainder=remainder)


def loss(batch: Any) -> jax.Array:
    return jnp.sum(batch["x"] ** 2)


def through_apply(pipeline: dp.Pipeline) -> jax.Array:
    return loss(dp.apply(pipeline, data(), key=KEY))


def through_step(pipeline: dp.Pipeline) -> jax.Array:
    return loss(dp.step(pipeline, stream(), stream().start(), key=KEY)[1])


def through_compiled_step(pipeline: dp.Pipeline) -> jax.Array:
    padded = stream("pad", 4)
    _, batch = jax.jit(dp.step)(pipeline, padded, dp.Cursor(np.uint32(0), np.uint32(4)), key=KEY)
    return jnp.sum(jnp.where(batch["valid"][:, None], batch["x"] ** 2, 0.0))


def through_epoch(pipeline: dp.Pipeline) -> jax.Array:
    batches = dp.epoch(pipeline, stream(batch_size=4), stream().start(), key=KEY)
    return jnp.stack([loss(batch) for _, batch in batches]).sum()


def through_scan(pipeline: dp.Pipeline) -> jax.Array:
    def body(total: jax.Array, batch: Any) -> tuple[jax.Array, jax.Array]:
        return total + loss(batch), jnp.mean(batch["x"])

    carried = stream("carry", 4)
    _, total, means = dp.scan(
        body, jnp.zeros(()), pipeline, carried, carried.start(), key=KEY, length=3
    )
    return total + jnp.prod(means)


PATHS = [through_apply, through_step, through_compiled_step, through_epoch, through_scan]


def finite_differences(fn: Callable[[Any], Any], at: Any, eps: float = 1e-5) -> Any:
    leaves, structure = jax.tree.flatten(at)
    slopes = [np.zeros(leaf.shape) for leaf in leaves]
    for i, leaf in enumerate(leaves):
        for where in np.ndindex(leaf.shape):
            ends = []
            for shift in (-eps, eps):
                moved = [*leaves[:i], leaf.at[where].add(shift), *leaves[i + 1 :]]
                ends.append(float(fn(jax.tree.unflatten(structure, moved))))
            slopes[i][where] = (ends[1] - ends[0]) / (2 * eps)
    return jax.tree.unflatten(structure, slopes)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_gradients_of_all_leaves_equal_finite_differences(path: Callable[[Any], jax.Array]) -> None:
    value, gradient = path, jax.grad(path)
    if path is not through_epoch:  # a Python loop, compiled already
        value, gradient = jax.jit(path), jax.jit(gradient)
    gradients, slopes = gradient(pipeline()), finite_differences(value, pipeline())
    jax.tree.map(
        lambda g, s: np.testing.assert_allclose(g, s, rtol=1e-6, atol=1e-8), gradients, slopes
    )
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(gradients.stages["affine"]))
    assert gradients.stages["noise"].fn.strength != 0
    assert gradients.stages["blend"].share != 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients.stages["unused"]))


def test_gradients_reach_the_records() -> None:
    def total(x: jax.Array) -> jax.Array:
        return loss(dp.apply(pipeline(), {"x": x}, key=KEY))

    x = jnp.asarray(data()["x"])
    np.testing.assert_allclose(
        jax.jit(jax.grad(total))(x), finite_differences(jax.jit(total), x), rtol=1e-6
    )


def test_gradients_of_stacked_pipelines_are_those_of_each() -> None:
    other = jax.tree.map(lambda leaf: leaf * 0.5, pipeline())
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), pipeline(), other)
    gradient = jax.grad(through_step)
    together, alone = jax.jit(jax.vmap(gradient))(stacked), jax.jit(gradient)
    for i, one in enumerate([pipeline(), other]):
        each = jax.tree.map(lambda leaf: leaf[i], together)  # noqa: B023
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), each, alone(one))
