"""A stage that draws from Python's or NumPy's generators while it is traced is told so, by node."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from tests.nnx_zoo import linear
from tests.zoo import Batch

BATCH = {"x": jnp.ones(4)}


def of_numpy(batch: Batch) -> Batch:
    return {"x": batch["x"] + np.random.rand(4).astype(np.float32)}


def of_python(batch: Batch) -> Batch:
    return {"x": batch["x"] * random.random()}


def of_both(batch: Batch) -> Batch:
    return of_python(of_numpy(batch))


def told(node: str, names: str) -> str:
    return (
        f"Node `{node}` draws from {names} while it is traced, so that its numbers are frozen: the "
        "compiled program has the same in every batch. Draw by jax.random from a key: declare the "
        "keyword `record_keys`, one for each record, or `key`, one for each batch."
    )


DRAWS = {
    of_numpy: told("of_numpy", "`np.random`"),
    of_python: told("of_python", "`random`"),
    of_both: told("of_both", "`random` and `np.random`"),
}


def stream() -> dp.Stream:
    return dp.Stream(dp.ArraySource({"x": np.ones(8, np.float32)}), batch_size=4)


WAYS: dict[str, Callable[[Any], Any]] = {
    "apply in jit": lambda stage: jax.jit(
        lambda batch: dp.apply(dp.Pipeline.linear([stage]), batch)
    )(BATCH),
    "step": lambda stage: dp.step(dp.Pipeline.linear([stage]), stream(), stream().start()),
    "check": lambda stage: dp.check(dp.Pipeline.linear([stage]), stream()),
    "the face": lambda stage: linear(stage, size=8),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", DRAWS, ids=lambda stage: stage.__name__)
def test_item_5_draws_that_freeze_are_told_by_their_node(stage: Any, way: str) -> None:
    with pytest.warns(UserWarning) as seen:
        WAYS[way](stage)
    assert str(seen[0].message) == DRAWS[stage]


@pytest.mark.parametrize("way", WAYS)
def test_item_5_draws_before_the_trace_and_draws_of_jax_are_nobodys_business(way: str) -> None:
    shift = np.random.rand()

    def stage(batch: Batch) -> Batch:
        return {"x": batch["x"] + shift + jax.random.normal(jax.random.key(0), batch["x"].shape)}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WAYS[way](stage)
