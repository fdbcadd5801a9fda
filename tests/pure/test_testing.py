"""Self-checks: what holds passes and is told, whatever it is made of; the page `testing` tells the
faults."""

import json
import re
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


def test_what_has_no_axis_of_records_is_not_said_to_be_the_same() -> None:
    data = {"x": np.ones((24, 3), np.float32)}
    stream = dp.Stream(dp.ArraySource(data), batch_size=8)
    flat = dp.Pipeline.linear([lambda batch: {"x": batch["x"].reshape(-1)}])
    found = told(dp.testing.check_invariance(flat, stream))
    without = "not all of it has an axis of records: not compared"
    assert found["what comes of `lambda`"] == without
    assert not any("each record the same" in seen for seen in found.values())


class Infinite(eqx.Module):
    def __call__(self, batch: Any) -> Any:
        return {"x": jnp.sqrt(batch["x"] * 0)}


def test_a_slope_that_is_no_number_is_told_by_its_place() -> None:
    stream = dp.Stream(dp.ArraySource(DATA), batch_size=3)
    with pytest.raises(AssertionError, match=r"input `x`\[0\] of record 0: grad is (nan|inf)"):
        dp.testing.check_gradients(dp.Pipeline.linear([Infinite()]), stream)


@jax.custom_vjp
def three(x: Any) -> Any:
    return 2 * x


three.defvjp(lambda x: (2 * x, None), lambda _, slope: (3 * slope,))


class Gained(eqx.Module):
    gain: Any

    def __call__(self, batch: Any) -> Any:
        return {"x": three(self.gain) * batch["x"]}


def stopped(x: Any) -> Any:
    return 2 * jax.lax.stop_gradient(x)


PLANTED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "none at all": (lambda b: {"x": stopped(b["x"])}, "grad is 0, but differences show 2;"),
    "another one": (lambda b: {"x": three(b["x"])}, "grad is 3, but differences show 2;"),
    "of one of two outputs": (
        lambda b: {"x": stopped(b["x"]), "y": b["x"]},
        "grad of `x` is 0, but differences show 2;",
    ),
    "of one of two inputs": (
        lambda b: {"x": b["x"], "y": stopped(b["y"])},
        "grad of `y` is 0, but differences show 2;",
    ),
    "of the small one beside a large one": (
        lambda b: {"x": stopped(b["x"]), "y": 1e5 * b["x"]},
        "grad of `x` is 0, but differences show 2;",
    ),
    "of one record": (
        lambda b: {"x": b["x"].at[-1].set(three(b["x"][-1]))},
        "grad is 3, but differences show 2;",
    ),
    "of a record by another": (
        lambda b: {"x": b["x"] + stopped(b["x"][::-1])},
        "grad is 0, but differences show",
    ),
    "of an array of its own": (Gained(jnp.ones(())), "array `gain`: grad is"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_wrong_derivative_of_numbers_alone_is_found_whatever_the_batch_size(name: str) -> None:
    stage, expected = PLANTED[name]
    rng = np.random.default_rng(1)
    some = {"drawn": rng.normal(size=8), "counted": np.arange(8), "from 1 to 2": None}
    for size, kind in ((2, "counted"), (2, "from 1 to 2"), (3, "drawn"), (8, "drawn")):
        x = np.linspace(1, 2, 8) if some[kind] is None else some[kind]
        data = {"x": np.float32(x), "y": np.float32(rng.normal(size=8))}
        stream = dp.Stream(dp.ArraySource(data), batch_size=size)
        graph = dp.Pipeline.linear({"planted": stage})
        with pytest.raises(AssertionError, match=re.escape(expected)):
            dp.testing.check_gradients(graph, stream)


def test_a_kink_has_any_slope_between_those_of_its_sides() -> None:
    def kinked(batch: Any) -> Any:
        x = batch["x"]
        return {"x": jnp.abs(x - 1), "y": jax.nn.relu(x), "z": jnp.clip(x, 0, 2), "w": x - x.mean()}

    stream = dp.Stream(dp.ArraySource({"x": np.arange(4, dtype=np.float32)}), batch_size=4)
    dp.testing.check_gradients(dp.Pipeline.linear([kinked]), stream)


def test_a_record_that_is_no_number_hides_no_other() -> None:
    def root(batch: Any) -> Any:
        return {"x": jnp.where(batch["x"] < 0, jnp.inf, stopped(batch["x"]))}

    stream = dp.Stream(dp.ArraySource({"x": np.array([-1, 2], np.float32)}), batch_size=2)
    with pytest.raises(AssertionError, match="of record 1: grad is 0, but differences show 2"):
        dp.testing.check_gradients(dp.Pipeline.linear([root]), stream)


# Words


def test_one_record_is_one() -> None:
    stream = dp.Stream(dp.ArraySource({"x": np.array([2], np.float32)}), batch_size=1)
    report = dp.testing.check_gradients(dp.Pipeline.linear([lambda batch: batch]), stream)
    assert report.subject == "1 node over 1 record by 1, Sequential"
    assert "over 1 record, epochs" in str(dp.testing.check_order(Rotated(), sizes=[1]))


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
