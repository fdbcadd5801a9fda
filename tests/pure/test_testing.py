"""Self-checks: what holds passes and is told, whatever it is made of; the page `testing` tells the
faults."""

import json
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline
from dagrax.pure import host
from tests.zoo import Mix, Noise, Rotated, diamond, records

KEY = jax.random.key(0)
DATA = records(6)


class Rows(host.AbstractHostSource[Any]):
    """Records that are read on the host."""

    def __init__(self) -> None:
        self.size = 6
        self.element_spec = {k: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for k, x in DATA.items()}

    def fetch(self, ids: Any, out: Any = None) -> Any:
        return {name: x[ids] for name, x in DATA.items()}


class Passes(host.AbstractHostSource[Any]):
    """Records that come one after the other, and of 64 bits."""

    has_own_order = True

    def __init__(self) -> None:
        self.size, self.element_spec = 3, jax.ShapeDtypeStruct((), np.int64)

    def fetch(self, ids: Any, out: Any = None) -> Any:
        return np.asarray(ids)


def told(report: Any) -> dict[str, str]:
    """What was tried and what was seen, of a report that can be kept."""
    kept = json.loads(json.dumps(report.to_dict()))
    return {x["tried"]: x["saw"] for x in kept["seen"]}


# Orders


@pytest.mark.parametrize(
    "order",
    [dp.Shuffled(KEY), dp.Balanced(KEY, np.array([0, 1, 1, 2, 0, 1, 1]))],
    ids=["once", "again"],
)
def test_an_order_of_ours_is_one(order: dp.AbstractOrder) -> None:
    found = told(dp.testing.check_order(order, sizes=[7], shuffles=True))
    assert found["in NumPy and in JAX"] == "the same ids"
    assert found["another epoch"] == "another order"


class Half(Rotated):
    def length(self, size: int) -> int:
        return -(-size // 2)


def test_an_epoch_may_be_shorter_than_its_source() -> None:
    found = told(dp.testing.check_order(Half(), sizes=[4, 7]))
    assert "18 positions, every id in range, each comes once" in found.values()


class Never(Half):
    def length(self, size: int) -> int:
        return 0


def test_a_length_that_is_none_is_told() -> None:
    with pytest.raises(AssertionError, match=r"length\(4\)` is 0; expected at least 1"):
        dp.testing.check_order(Never(), sizes=[4])


# Sources


@pytest.mark.parametrize(
    "source",
    [
        lambda: dp.ArraySource({"a": np.arange(3) > 1, "b": jnp.zeros((3, 2), jnp.bfloat16)}),
        lambda: dp.ArraySource(jax.random.split(KEY, 5)),
        lambda: dp.Subset(Rows(), [4, 1]),
        lambda: dp.Mixture({"one": (dp.ArraySource(DATA), 1), "two": (Rows(), 1)}, KEY),
        lambda: dp.Concat([dp.ArraySource(DATA), dp.ArraySource(DATA)]),
        Passes,
    ],
    ids=[
        "of other dtypes",
        "of keys",
        "a view of the host",
        "mixed",
        "joined",
        "that is iterated over",
    ],
)
def test_a_source_of_ours_is_one(source: Any) -> None:
    assert len(told(dp.testing.check_source(source()))) >= 2


# Epochs


@pytest.mark.parametrize(
    "stream",
    [
        lambda: dp.Stream(
            Rows(), Rotated(), batch_size=4, remainder=dp.Pad("mask"), record_ids="own"
        ),
        lambda: dp.Stream(dp.ArraySource(DATA["x"]), Half(), batch_size=8, shard=(1, 2)),
        lambda: dp.Stream(Passes(), batch_size=2, remainder="carry"),
    ],
    ids=["padded", "sharded, of no fields", "iterated over"],
)
def test_an_epoch_has_what_its_order_promises(stream: Callable[[], dp.Stream]) -> None:
    found = told(dp.testing.check_epoch(stream()))
    assert found['remainder="partial"'].endswith("as promised")
    assert found['remainder="carry"'].endswith("as promised")


def test_of_a_long_epoch_both_ends_are_looked_at() -> None:
    stream = dp.Stream(dp.ArraySource(np.zeros(300_001, np.uint8)), dp.Shuffled(KEY), batch_size=64)
    found = told(dp.testing.check_epoch(stream, shuffles=True))
    assert (
        found['remainder="drop"']
        == "4092 batches at both ends of two epochs, 261888 records as promised"
    )


# Graphs


def host_stream() -> dp.Stream:
    return dp.Stream(Rows(), Rotated(), batch_size=4, remainder="pad")


def test_a_graph_over_the_host_gives_the_same_in_every_way() -> None:
    graph, stream = diamond().pipeline(), host_stream()
    found = told(dp.testing.check_invariance(graph, stream, KEY))
    assert found["2 batches by for, for again, scan and outputs"] == "the same"
    assert len(told(dp.testing.check_resume(graph, stream, KEY))) == 2
    found = told(dp.testing.check_gradients(graph, stream, KEY))
    assert found["`sink`"].endswith(
        "by array `gain` and input `noise/x`, `flip/x`, `root/x`, `noise/x`"
    )


def test_batches_may_be_arrays_alone() -> None:
    graph = dp.Pipeline.linear([jnp.tanh])
    stream = dp.Stream(dp.ArraySource(DATA["x"]), batch_size=3)
    dp.testing.check_invariance(graph, stream)
    assert "input `batch`" in str(dp.testing.check_gradients(graph, stream))


def test_a_first_node_that_mixes_is_told_and_not_what_reads_it() -> None:
    def roll(batch: Any) -> Any:
        return {**batch, "x": jnp.roll(batch["x"], 1, 0)}

    graph = dp.Pipeline.linear(
        {"roll": roll, "mix": Mix(jnp.float32(2)), "noise": Noise(jnp.ones(()))}
    )
    stream = dp.Stream(dp.ArraySource(DATA), batch_size=3)
    found = told(dp.testing.check_invariance(graph, stream, KEY, mixes=["roll"]))
    assert found["records beside others, at `roll`"] == "mixed: not compared"
    with pytest.raises(AssertionError, match=r"^node `roll` \(roll\), record 0: beside other"):
        dp.testing.check_invariance(graph, stream, KEY, mixes=["noise"])


class Infinite(eqx.Module):
    def __call__(self, batch: Any) -> Any:
        return {"x": jnp.sqrt(batch["x"] * 0)}


def test_a_slope_that_is_no_number_is_told_by_its_place() -> None:
    stream = dp.Stream(dp.ArraySource(DATA), batch_size=3)
    with pytest.raises(AssertionError, match=r"input `x`\[0\] of record 0: grad is (nan|inf)"):
        dp.testing.check_gradients(dp.Pipeline.linear([Infinite()]), stream)


# The face


class Counter(nnx.Module):
    def __init__(self) -> None:
        self.count, self.gain = nnx.Variable(jnp.zeros(())), nnx.Param(jnp.ones(()))

    def __call__(self, batch: Any, *, record_keys: Any = None) -> Any:
        self.count[...] = self.count[...] + 1
        return {**batch, "x": batch["x"] * self.gain[...] + self.count[...]}


def test_a_pipeline_of_the_face_is_checked_as_it_is_now() -> None:
    pipeline = Pipeline(
        source=MemorySource(data=DATA), stages=[Counter()], batch_size=4, rngs=nnx.Rngs(0)
    )
    first = pipeline.step()
    found = told(dp.testing.check_invariance(*pipeline.pure()))
    assert found["1 batch by step, for, for again, scan and outputs"] == "the same"
    assert "array `arrays/count`, `arrays/gain`" in str(
        dp.testing.check_gradients(*pipeline.pure())
    )
    assert pipeline.nodes["counter"].count[...] == 1  # nothing was set
    assert pipeline.cursor == dp.Cursor(0, 4)
    np.testing.assert_array_equal(first["x"], DATA["x"][:4] + np.float32(1))


def test_variants_are_taken_one_by_one() -> None:
    source = MemorySource(data=DATA)
    one = Pipeline(source=source, stages=[Counter()], batch_size=2, rngs=nnx.Rngs(0))
    two = Pipeline(source=source, stages=[Counter()], batch_size=2, rngs=nnx.Rngs(1))
    variants = Pipeline.variants([one, two])
    with pytest.raises(ValueError, match=r"one\.pure"):
        variants.pure()
    assert len([x.pure() for x in variants.unstack()]) == 2
