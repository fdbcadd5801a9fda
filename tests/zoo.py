"""Stages and graphs for the tests, each stage with its NumPy twin.

A batch is `{"id": uint32[batch], "bits": uint32[batch], "x": float32[batch 2]}`. `bits` is exact
integer arithmetic of everything that happened to a record, so that one wrong key, record or order
of arguments shows; `x` is the same in floating numbers.
"""

import abc
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import dagrax.pure as dp
from tests import reference

Batch = dict[str, Any]
Remainder = Literal["partial", "drop", "pad", "carry"]
REMAINDERS: list[Remainder] = ["partial", "drop", "pad", "carry"]
Edges = Mapping[str, Sequence[str]]


def records(size: int, seed: int = 0) -> Batch:
    """Data of `size` records: each knows its own id."""
    rng = np.random.default_rng(seed)
    return {
        "id": np.arange(size, dtype=np.uint32),
        "bits": rng.integers(0, 2**32, size, dtype=np.uint32),
        "x": rng.normal(size=(size, 2)).astype(np.float32),
    }


def mixed(gain: Any, batches: Sequence[Batch]) -> Batch:
    """A weighted sum of the inputs that notices their order; for NumPy and JAX alike."""
    bits, x = batches[0]["bits"] * 3, batches[0]["x"]
    for i, batch in enumerate(batches[1:], start=2):
        bits, x = bits + batch["bits"] * (2 * i + 1), x + batch["x"] * i
    return {"id": batches[0]["id"], "bits": bits, "x": gain * x}


def moved(batch: Batch, bits: Any, x: Any) -> Batch:
    """A batch, or one record of it, with draws added."""
    return {**batch, "bits": batch["bits"] ^ bits, "x": batch["x"] + x}


def drawn(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bits and two numbers from a key: its own words, which need no compilation of a generator."""
    words = jax.random.key_data(key)
    return words[0] ^ words[1], (words >> 8).astype(jnp.float32) * jnp.float32(2**-24)


class Rotated(dp.AbstractOrder):
    """Another order each epoch, cheap to compile."""

    def ids(self, positions: jax.Array, epoch: jax.Array, size: int) -> jax.Array:
        return (positions + epoch * 3 + 1) % size


class Turned(dp.AbstractOrder):
    """An order with a number in it, cheap to compile."""

    by: Any

    def ids(self, positions: jax.Array, epoch: jax.Array, size: int) -> Any:
        return (positions + epoch * 3 + self.by) % size


class Times(eqx.Module):
    """`x` times a number: one rounding, so that floats are exact too."""

    by: Any

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "x": batch["x"] * self.by}


class Stage(eqx.Module):
    """A stage of any number of inputs with one parameter."""

    gain: jax.Array

    @abc.abstractmethod
    def plain(self, key: jax.Array | None, expected: reference.Expected) -> Callable[..., Batch]:
        """The twin: called with the node's name and the inputs as NumPy arrays."""


class Mix(Stage):
    def __call__(self, *batches: Batch) -> Batch:
        return mixed(self.gain, batches)

    def plain(self, key: jax.Array | None, expected: reference.Expected) -> Callable[..., Batch]:
        return lambda node, *batches: mixed(np.float32(self.gain), batches)


class Noise(Stage):
    """Draws for each record."""

    def __call__(self, *batches: Batch, record_keys: jax.Array) -> Batch:
        return moved(mixed(self.gain, batches), *jax.vmap(drawn)(record_keys))

    def plain(self, key: jax.Array | None, expected: reference.Expected) -> Callable[..., Batch]:
        def call(node: str, *batches: Batch) -> Batch:
            assert key is not None
            draws = [
                drawn(reference.record_key(key, node, epoch, record))
                for epoch, record in zip(expected.epochs, expected.ids, strict=True)
            ]
            bits, x = (np.stack(values) for values in zip(*draws, strict=True))
            return moved(mixed(np.float32(self.gain), batches), bits, x)

        return call


class BatchNoise(Stage):
    """Draws once for the batch."""

    def __call__(self, *batches: Batch, key: jax.Array) -> Batch:
        bits, x = drawn(key)
        return moved(mixed(self.gain, batches), bits, x[None])

    def plain(self, key: jax.Array | None, expected: reference.Expected) -> Callable[..., Batch]:
        def call(node: str, *batches: Batch) -> Batch:
            assert key is not None
            bits, x = map(np.asarray, drawn(reference.batch_key(key, node, *expected.start)))
            return moved(mixed(np.float32(self.gain), batches), bits, x[None])

        return call


class Case(NamedTuple):
    """A stream, described twice: for the library and for the reference."""

    size: int
    batch_size: int
    remainder: Remainder
    order: dp.AbstractOrder = Rotated()
    cursor: tuple[int, int] = (0, 0)

    def stream(self, fields: Sequence[str] = ("id", "bits", "x")) -> dp.Stream:
        data = records(self.size)
        source = dp.ArraySource({name: data[name] for name in fields})
        return dp.Stream(source, self.order, batch_size=self.batch_size, remainder=self.remainder)

    def start(self) -> dp.Cursor:
        return dp.Cursor(*map(np.uint32, self.cursor))

    def batches(self, count: int) -> list[reference.Expected]:
        """The first batches by the reference."""
        ids_of = reference.permutation(self.order, self.size)
        endless = reference.batches(self.size, self.batch_size, self.remainder, ids_of, self.cursor)
        return list(itertools.islice(endless, count))

    def __str__(self) -> str:
        order, (epoch, offset) = type(self.order).__name__, self.cursor
        return f"{self.size} by {self.batch_size} {self.remainder} {order} from {epoch}:{offset}"


class Graph(NamedTuple):
    """A graph of stages and all that is needed to build it."""

    nodes: dict[str, Stage]
    edges: Edges
    sink: str

    def pipeline(self) -> dp.Pipeline:
        nodes: dict[str, Any] = dict(self.nodes)
        return dp.Pipeline.from_dag(nodes=nodes, edges=self.edges, sink=self.sink)

    def expected(self, data: Batch, key: jax.Array | None, batch: reference.Expected) -> Batch:
        """What the pipeline makes of a batch, by the reference."""
        rows = {name: values[np.asarray(batch.ids)] for name, values in data.items()}
        plain = {name: stage.plain(key, batch) for name, stage in self.nodes.items()}
        output: Batch = reference.evaluate(self.sink, self.edges, plain, rows)
        return output if batch.valid is None else {**output, "valid": np.asarray(batch.valid)}


def diamond() -> Graph:
    """Every kind of stage, a fan-out, a fan-in, a predecessor named twice and a node left out."""
    return Graph(
        nodes={
            "sink": Mix(jnp.float32(0.5)),
            "noise": Noise(jnp.float32(1.5)),
            "flip": BatchNoise(jnp.float32(-1.0)),
            "root": Noise(jnp.float32(2.0)),
            "unused": Mix(jnp.float32(9.0)),
        },
        edges={
            "sink": ["noise", "flip", "root", "noise"],
            "noise": ["root"],
            "flip": ["root"],
            "root": [],
            "unused": ["root"],
        },
        sink="sink",
    )


def topologies(largest: int = 7) -> st.SearchStrategy[tuple[dict[str, list[str]], str]]:
    """Edges of a graph without cycles, listed in any order, and a sink."""

    @st.composite
    def topology(draw: st.DrawFn) -> tuple[dict[str, list[str]], str]:
        names = draw(st.permutations("abcdefghij"[: draw(st.integers(1, largest))]))
        before = [
            draw(st.lists(st.sampled_from(names[:i]), max_size=3)) if i else []
            for i in range(len(names))
        ]
        listed = draw(st.permutations(range(len(names))))
        return {names[i]: before[i] for i in listed}, draw(st.sampled_from(names))

    return topology()


def graphs(largest: int = 5) -> st.SearchStrategy[Graph]:
    """Topologies with a stage at each node."""

    def dressed(shape: tuple[dict[str, list[str]], str], kinds: list[type[Stage]]) -> Graph:
        edges, sink = shape
        stages = {name: kinds[i](jnp.float32(0.5 + i / 4)) for i, name in enumerate(edges)}
        return Graph(stages, edges, sink)

    kinds = st.lists(st.sampled_from([Mix, Noise, BatchNoise]), min_size=largest, max_size=largest)
    return st.builds(dressed, topologies(largest), kinds)


def assert_same(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Records, masks and draws bit for bit, floating numbers to rounding."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        got = np.asarray(actual[name])
        assert (got.shape, got.dtype) == (value.shape, value.dtype), name
        if got.dtype.kind == "f":
            np.testing.assert_allclose(got, value, rtol=2e-5, atol=2e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(got, value, err_msg=name)


def part(tree: Any, *index: Any) -> Any:
    """The same tree of each leaf's part, as NumPy arrays."""
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)
