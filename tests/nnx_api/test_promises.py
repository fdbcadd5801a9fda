"""What a pipeline must never do: each of these has happened to users of another library."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline
from tests.nnx_zoo import Scale, graph, linear, xs
from tests.paths import EAGER, Path
from tests.zoo import Batch, drawn


@pytest.mark.parametrize("batch_size", [7, 16])
def test_a_shuffled_epoch_misses_no_record_and_repeats_none(batch_size: int) -> None:
    pipeline = linear(size=100, batch_size=batch_size, shuffle=True)
    assert sorted(x for batch in pipeline for x in xs(batch)) == list(range(100))


def test_a_second_for_is_as_long_as_the_first() -> None:
    pipeline = linear()
    assert [len(list(pipeline)) for _ in range(3)] == [3, 3, 3]


@pytest.mark.parametrize("path", EAGER, ids=lambda path: path.__name__)
def test_parameters_are_not_frozen_by_the_first_batch(path: Path) -> None:
    pipeline = linear(Scale(1.0), size=8)
    ((_, first),) = path(pipeline, 1)
    pipeline.nodes["scale"].weight[...] = jnp.float32(10)
    ((_, second),) = path(pipeline, 1)
    assert (xs(first), xs(second)) == ([0, 1, 2, 3], [40, 50, 60, 70])


def test_a_branch_that_writes_into_its_batch_does_not_reach_its_sibling() -> None:
    def greedy(batch: Batch) -> Batch:
        batch["x"] = batch["x"] * 0
        batch["more"] = batch["x"]
        return batch

    def modest(batch: Batch) -> Batch:
        assert set(batch) == {"x"}
        return batch

    for order in (("greedy", "modest"), ("modest", "greedy")):
        nodes: dict[str, Any] = {"greedy": greedy, "modest": modest}
        edges: dict[str, list[str]] = {name: [] for name in order}
        pipeline = graph(
            {**nodes, "second": lambda greedy, modest: modest},
            {**edges, "second": ["greedy", "modest"]},
            "second",
        )
        own = {"x": jnp.arange(4.0)}
        assert xs(pipeline.step()) == xs(pipeline(own)) == [0, 1, 2, 3]
        assert xs(own) == [0, 1, 2, 3] and set(own) == {"x"}


def test_noise_belongs_to_the_record_not_to_its_place() -> None:
    def noise(batch: Batch, *, record_keys: Any) -> Batch:
        return {**batch, "noise": jax.vmap(lambda key: drawn(key)[0])(record_keys)}

    def noises(batch_size: int, shuffle_seed: int | None) -> dict[float, int]:
        pipeline = Pipeline(
            source=MemorySource(
                MemorySourceConfig(shuffle=shuffle_seed is not None),
                data={"x": np.arange(12, dtype=np.float32)},
                rngs=nnx.Rngs(shuffle_seed or 0),
            ),
            stages=[noise],
            batch_size=batch_size,
            rngs=nnx.Rngs(0),
        )
        pairs = [(xs(batch), batch["noise"].tolist()) for batch in pipeline]
        return {x: n for ids, draws in pairs for x, n in zip(ids, draws, strict=True)}

    expected = noises(4, None)
    assert len(set(expected.values())) == 12
    assert noises(6, None) == noises(4, 1) == noises(3, 2) == expected


def test_a_checkpoint_is_no_larger_for_more_data() -> None:
    small, large = (
        sum(leaf.nbytes for leaf in jax.tree.leaves(linear(size=size).checkpoint()))
        for size in (8, 8000)
    )
    assert small == large < 100


def test_a_missing_edges_entry_is_found_before_the_first_step() -> None:
    with pytest.raises(ValueError, match="node `right` has no entry in `edges`"):
        graph({"left": Scale(), "right": Scale()}, {"left": []}, "left")


def test_a_last_batch_is_never_filled_up_in_silence() -> None:
    assert [len(xs(batch)) for batch in linear()] == [4, 4, 2]
    padded = list(linear(remainder="pad"))
    assert [batch["valid"].tolist() for batch in padded] == [
        [True] * 4,
        [True] * 4,
        [True, True, False, False],
    ]


def test_a_sum_over_the_valid_rows_of_a_padded_epoch_is_the_sum_over_the_data() -> None:
    def valid_sum(batch: Batch) -> jax.Array:
        return jnp.where(batch["valid"], batch["x"], 0).sum()

    pipeline = linear(remainder="pad")
    assert pipeline.scan(valid_sum, length=len(pipeline)).sum() == 45
