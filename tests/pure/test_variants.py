"""Variants in one program are the separate runs, one by one; their data are there once."""

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dagrax.pure as dp
from tests.counting import counted
from tests.plainly import FOUR_DEVICES, told
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
    graphs,
    part,
    records,
)

SIZES = {"partial": 6, "drop": 7, "pad": 7, "carry": 7}
SOURCES = {size: dp.ArraySource(records(size)) for size in range(1, 10)}
WORDS = jax.random.split(jax.random.key(3), 4)
ALONE = jax.jit(dp.step)


class Variant(NamedTuple):
    """All that may vary."""

    gain: Any = 0.5
    seed: int = 0
    turn: int = 0
    draws: bool = False  # keys take most of the time to compile

    def graph(self) -> Graph:
        """Two branches off the source and a merge."""
        left, right = (Noise, BatchNoise) if self.draws else (Mix, Mix)
        return Graph(
            {"left": left(self.gain), "right": right(self.gain), "merge": Mix(self.gain)},
            {"left": [], "right": [], "merge": ["left", "right", "left"]},
            "merge",
        )

    def case(self, remainder: Remainder) -> Case:
        return Case(SIZES[remainder], 3, remainder, Turned(np.uint32(self.turn)))

    def arguments(self, remainder: Remainder) -> dict[str, Any]:
        case = self.case(remainder)
        stream = dp.Stream(SOURCES[case.size], case.order, batch_size=3, remainder=remainder)
        return {"pipeline": self.graph().pipeline(), "stream": stream, "key": WORDS[self.seed]}

    def expected(self, remainder: Remainder, count: int) -> list[Batch]:
        case = self.case(remainder)
        data, key = records(case.size), WORDS[self.seed]
        return [self.graph().expected(data, key, batch) for batch in case.batches(count)]


VARIED: dict[str, list[Variant]] = {
    "parameters": [Variant(gain=jnp.float32(gain)) for gain in (0.5, -1.5, 3.0)],
    "Python floats": [Variant(gain=gain) for gain in (0.5, -1.5, 3.0)],
    "seeds": [Variant(seed=seed, draws=True) for seed in (0, 1, 2)],
    "orders": [Variant(turn=turn) for turn in (0, 5, 2)],
    "parameters and orders": [Variant(0.5, turn=1), Variant(-1.5, turn=4), Variant(3.0)],
    "everything": [Variant(0.5, 3, 1, True), Variant(-1.5, 0, 4, True), Variant(3.0, 2, 0, True)],
}
VARY = {
    "parameters": ["pipeline"],
    "Python floats": ["pipeline"],
    "seeds": ["key"],
    "orders": ["stream"],
    "parameters and orders": ["pipeline", "stream"],
    "everything": ["pipeline", "stream", "key"],
}


def together(what: str, remainder: Remainder) -> dict[str, Any]:
    """The arguments of all variants: stacks of those that vary."""
    each = [variant.arguments(remainder) for variant in VARIED[what]]
    return {
        name: dp.stack([arguments[name] for arguments in each]) if name in VARY[what] else shared
        for name, shared in each[0].items()
    }


def assert_bits(actual: Any, expected: Any) -> None:
    """The same values, dtypes and structure, floats bit for bit."""
    assert str(jax.tree.structure(actual)) == str(jax.tree.structure(expected))
    for got, value in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        got, value = map(words, (got, value))
        assert got.dtype == value.dtype
        np.testing.assert_array_equal(got, value)


def words(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf, None if hasattr(leaf, "dtype") else jnp.result_type(leaf))


# Stacks

TREES: dict[str, Callable[[int], Any]] = {
    "arrays": lambda i: {"a": jnp.full((2, 3), i), "b": (jnp.float32(i), None)},
    "Python numbers": lambda i: {"a": float(i), "b": i, "c": bool(i % 2), "d": complex(i)},
    "numpy": lambda i: [np.arange(i, i + 2, dtype=np.float32), np.uint32(i)],
    "keys": lambda i: (jax.random.key(i), jax.random.PRNGKey(i)),
    "a cursor": lambda i: dp.Cursor(np.uint32(i), np.uint32(2)),
    "a pipeline": lambda i: Variant(jnp.float32(i)).graph().pipeline(),
    "a stream": lambda i: Variant(turn=i).arguments("pad")["stream"],
    "what is no number": lambda i: {"name": "mean", "fn": jnp.mean, "a": jnp.float32(i)},
    "a network": lambda i: eqx.nn.MLP(2, 2, 3, 1, key=jax.random.key(i)),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
@pytest.mark.parametrize("count", [1, 3])
def test_stacked_and_unstacked_is_as_before(tree: Callable[[int], Any], count: int) -> None:
    trees = [tree(i) for i in range(count)]
    alone = dp.unstack(dp.stack(trees))
    assert len(alone) == count
    for one, before in zip(alone, trees, strict=True):
        assert_bits(*(eqx.filter(x, eqx.is_array_like) for x in (one, before)))
        assert str(jax.tree.structure(one)) == str(jax.tree.structure(before))


@settings(max_examples=10)
@given(
    count=st.integers(1, 4),
    shapes=st.dictionaries(st.sampled_from("abc"), st.sampled_from([(), (2,), (1, 3)]), min_size=1),
)
def test_a_stack_has_one_axis_more(count: int, shapes: dict[str, tuple[int, ...]]) -> None:
    trees = [{n: np.full(s, i, np.int32) for n, s in shapes.items()} for i in range(count)]
    stacked = dp.stack(trees)
    assert {name: x.shape for name, x in stacked.items()} == {
        name: (count, *shape) for name, shape in shapes.items()
    }
    for one, before in zip(dp.unstack(stacked), trees, strict=True):
        assert_bits(one, before)


@pytest.mark.parametrize("traced", [False, True])
def test_selecting_is_unstacking_one(traced: bool) -> None:
    stacked = dp.stack([TREES["arrays"](i) for i in range(3)])
    select = jax.jit(dp.select) if traced else dp.select
    for index, one in enumerate(dp.unstack(stacked)):
        assert_bits(select(stacked, index), one)


def test_a_traced_index_selects_from_numpy_arrays_too() -> None:
    assert jax.jit(lambda i: dp.select({"a": np.arange(3)}, i))(2)["a"] == 2


def test_a_scan_may_go_through_the_variants() -> None:
    stacked = dp.stack([Times(jnp.float32(gain)) for gain in (2, 3)])

    def body(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        return total + dp.select(stacked, index)({"x": jnp.float32(10)})["x"], None

    assert jax.lax.scan(body, jnp.float32(0), jnp.arange(2))[0] == 50


def test_stacks_of_stacks_have_two_axes() -> None:
    inner = [dp.stack([Times(float(10 * i + j)) for j in range(3)]) for i in range(2)]
    outer = dp.stack(inner)
    assert outer.by.tolist() == [[0, 1, 2], [10, 11, 12]]
    for one, before in zip(dp.unstack(outer), inner, strict=True):
        assert_bits(one, before)
        assert [x.by.item() for x in dp.unstack(one)] == before.by.tolist()


def test_a_python_float_stays_of_weak_type_in_a_stack() -> None:
    pipelines = dp.stack([dp.Pipeline.linear([Times(gain)]) for gain in (2.0, 3.0)])
    batch = {"x": jnp.ones(2, jnp.bfloat16)}  # strict promotion refuses float32 here
    doubled = dp.vmap_variants(dp.apply)(pipelines, batch)["x"]
    assert (doubled.dtype, doubled.tolist()) == (jnp.bfloat16, [[2, 2], [3, 3]])


def test_stacking_works_inside_a_trace() -> None:
    both = jax.jit(lambda x: dp.stack([Times(x), Times(x + 1)]))(jnp.float32(1))
    assert both.by.tolist() == [1, 2]


# Variants are the separate runs


@pytest.mark.parametrize(
    ("what", "remainder"),
    [*itertools.product(VARIED, ["pad"]), ("parameters and orders", "drop")],
)
def test_each_step_is_that_of_every_variant_alone_and_of_the_reference(
    what: str, remainder: Remainder
) -> None:
    step = jax.jit(dp.vmap_variants(dp.step, vary=VARY[what]))
    arguments, count = together(what, remainder), 4
    expected = [variant.expected(remainder, count) for variant in VARIED[what]]
    cursor = arguments["stream"].start()
    for i in range(count):
        after, outputs = step(**arguments, cursor=cursor)
        for index, variant in enumerate(VARIED[what]):
            place, output = ALONE(**variant.arguments(remainder), cursor=cursor)
            assert_bits(after, place)
            assert_same(part(outputs, index), part(output))
            assert_same(part(outputs, index), expected[index][i])
        cursor = after


def kept(carry: Any, batch: Batch) -> tuple[Any, Batch]:
    return carry + batch["bits"].sum() + batch["id"][0], batch


@pytest.mark.parametrize(
    ("what", "remainder", "more"),
    [
        ("parameters and orders", "partial", 0),
        ("parameters and orders", "drop", 0),
        ("parameters and orders", "pad", 2),
        ("everything", "carry", 2),
    ],
)
def test_a_scan_of_an_epoch_or_more_is_that_of_every_variant_alone_and_of_the_reference(
    what: str, remainder: Remainder, more: int
) -> None:
    variants, static = VARIED[what], ("body", "length")
    vary = [*VARY[what], "carry"]
    arguments = together(what, remainder)
    length = arguments["stream"].steps_per_epoch + more
    options = {"body": kept, "cursor": arguments["stream"].start(), "length": length}
    scan = jax.jit(dp.vmap_variants(dp.scan, vary=vary), static_argnames=static)
    alone = jax.jit(dp.scan, static_argnames=static)
    carries = np.arange(3, dtype=np.uint32)
    cursor, carry, ys = scan(**arguments, **options, carry=carries)
    for index, variant in enumerate(variants):
        one = alone(**variant.arguments(remainder), **options, carry=carries[index])
        assert_bits((cursor, part(carry, index)), jax.device_get(one[:2]))
        assert_same(part(ys, index), part(one[2]))
        for i, batch in enumerate(variant.expected(remainder, length)):
            assert_same(part(ys, index, i), batch)


def test_floats_are_bit_for_bit_where_nothing_is_left_to_round_twice() -> None:
    pipelines = [dp.Pipeline.linear([Times(gain)]) for gain in (0.1, -7.3, 1e-3)]
    stream = Variant().arguments("pad")["stream"]
    _, outputs = jax.jit(dp.vmap_variants(dp.step))(dp.stack(pipelines), stream, stream.start())
    for index, pipeline in enumerate(pipelines):
        _, alone = ALONE(pipeline, stream, stream.start())
        assert_bits(part(outputs, index), part(alone))


def test_a_batch_of_ones_own_goes_through_every_variant() -> None:
    variants, batch = VARIED["everything"], records(4)
    stacks = together("everything", "pad")
    apply = jax.jit(dp.vmap_variants(dp.apply, vary=["pipeline", "key"]))
    outputs = apply(stacks["pipeline"], batch, key=stacks["key"])
    for index, variant in enumerate(variants):
        alone = jax.jit(dp.apply)(variant.graph().pipeline(), batch, key=WORDS[variant.seed])
        assert_same(part(outputs, index), part(alone))


def test_outside_a_trace_the_last_batch_is_short() -> None:
    pipelines = dp.stack([dp.Pipeline.linear([Times(gain)]) for gain in (2.0, 3.0)])
    stream = dp.Stream(SOURCES[7], batch_size=4)
    cursor, output = dp.vmap_variants(dp.step)(pipelines, stream, dp.Cursor(0, 4))
    x = records(7)["x"][4:]
    assert output["id"].tolist() == [[4, 5, 6]] * 2
    np.testing.assert_array_equal(output["x"], np.stack([2 * x, 3 * x]))
    assert cursor == (1, 0)


@settings(max_examples=4)
@given(
    graph=graphs(largest=3),
    count=st.integers(1, 4),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 5)),
    remainder=st.sampled_from(REMAINDERS[1:]),
)
def test_any_graph_in_any_number_of_variants_equals_the_reference(
    graph: Graph, count: int, shape: tuple[int, int], remainder: Remainder
) -> None:
    size, batch_size = shape if remainder != "drop" else (max(shape), min(shape))
    case = Case(size, batch_size, remainder, cursor=(1, size - 1))
    variants = [
        graph._replace(nodes={n: type(s)(s.gain * (i + 1)) for n, s in graph.nodes.items()})
        for i in range(count)
    ]
    pipelines = dp.stack([variant.pipeline() for variant in variants])
    step = jax.jit(dp.vmap_variants(dp.step, vary=["pipeline", "key"]))
    cursor, outputs = step(pipelines, case.stream(), case.start(), key=WORDS[:count])
    (batch,) = case.batches(1)
    assert (int(cursor.epoch), int(cursor.offset)) == batch.after
    for index, variant in enumerate(variants):
        expected = variant.expected(records(size), WORDS[index], batch)
        assert_same(part(outputs, index), expected)


def test_the_cursor_is_shared_unless_it_varies() -> None:
    arguments = Variant().arguments("carry")
    cursors = dp.stack([dp.Cursor(np.uint32(0), np.uint32(i)) for i in (0, 3, 5)])
    step = jax.jit(dp.vmap_variants(dp.step, vary=["cursor"]))
    after, outputs = step(**arguments, cursor=cursors)
    assert (after.epoch.tolist(), after.offset.tolist()) == ([0, 0, 1], [3, 6, 1])
    for index, cursor in enumerate(dp.unstack(cursors)):
        assert_same(part(outputs, index), part(ALONE(**arguments, cursor=cursor)[1]))


@pytest.mark.parametrize("by", ["jax.vmap", "eqx.filter_vmap"])
def test_a_vmap_of_ones_own_does_as_well(by: str) -> None:
    arguments = together("parameters and orders", "pad")
    pipelines, streams = arguments["pipeline"], arguments["stream"]

    def step(pipeline: dp.Pipeline, stream: dp.Stream) -> Any:
        return dp.step(pipeline, stream, dp.Cursor(np.uint32(0), np.uint32(6)))[1]

    vmap: Any = jax.vmap if by == "jax.vmap" else eqx.filter_vmap
    ours = jax.jit(dp.vmap_variants(step, vary=["pipeline", "stream"]))
    axes = dp.variant_axes(pipelines), dp.variant_axes(streams)
    theirs = eqx.filter_jit(vmap(step, in_axes=axes))
    assert_bits(theirs(pipelines, streams), ours(pipelines, streams))


def test_the_axes_of_a_stack_are_those_of_its_arrays_but_not_of_the_source() -> None:
    pipelines = dp.stack([dp.Pipeline.linear([Times(gain)]) for gain in (2.0, 3.0)])
    assert jax.tree.leaves(dp.variant_axes(pipelines)) == [0]
    axes = dp.variant_axes(together("orders", "pad")["stream"])
    assert (axes.source, axes.order.by) == (None, 0)


def test_variants_of_variants_are_runs_of_each_strength_with_each_seed() -> None:
    strengths, seeds = [2.0, 3.0], [0, 2, 1]
    pipelines = dp.stack([Variant(gain, draws=True).graph().pipeline() for gain in strengths])
    stream, keys = Variant().arguments("pad")["stream"], WORDS[jnp.array(seeds)]
    nested = dp.vmap_variants(dp.vmap_variants(dp.step, vary=["key"]))
    cursor, outputs = jax.jit(nested)(pipelines, stream, stream.start(), key=keys)
    assert cursor.offset == 3
    for i, j in itertools.product(range(2), range(3)):
        (expected,) = Variant(strengths[i], seeds[j], draws=True).expected("pad", 1)
        assert_same(part(outputs, i, j), expected)


# What a function over variants may return


def test_what_no_variant_changes_is_repeated_for_each() -> None:
    stacked = dp.stack([Times(1.0), Times(2.0)])
    outputs = dp.vmap_variants(lambda times, x: (x, None, 3))(stacked, jnp.float32(5))
    assert_bits(outputs, (jnp.float32([5, 5]), None, jnp.int32([3, 3])))


def test_a_network_comes_back_with_its_functions() -> None:
    networks = dp.stack([TREES["a network"](i) for i in range(2)])
    halved = dp.vmap_variants(
        lambda network: jax.tree.map(lambda x: x / 2 if eqx.is_array(x) else x, network)
    )(networks)
    x = jnp.ones(2)
    call = dp.vmap_variants(lambda network: network(x))
    assert halved.activation is networks.activation
    assert call(halved).shape == (2, 2)


# Gradients


def of_apply(pipeline: dp.Pipeline, key: jax.Array) -> jax.Array:
    return jnp.sum(dp.apply(pipeline, records(3), key=key)["x"] ** 2)


def of_step(pipeline: dp.Pipeline, key: jax.Array) -> jax.Array:
    stream = Variant().arguments("pad")["stream"]
    return jnp.sum(dp.step(pipeline, stream, stream.start(), key=key)[1]["x"] ** 2)


def of_scan(pipeline: dp.Pipeline, key: jax.Array) -> jax.Array:
    stream = Variant().arguments("pad")["stream"]

    def body(total: jax.Array, batch: Batch) -> tuple[jax.Array, None]:
        return total + jnp.sum(batch["x"] ** 2), None

    zero: jax.Array = jnp.zeros(())
    _, total, _ = dp.scan(body, zero, pipeline, stream, stream.start(), key=key, length=3)
    return total


@pytest.mark.parametrize("loss", [of_apply, of_step, of_scan], ids=lambda loss: loss.__name__)
def test_the_gradient_of_a_stack_is_the_stack_of_gradients(loss: Callable[..., Any]) -> None:
    draws = loss is of_step
    graphs = [Variant(jnp.float32(gain), draws=draws).graph() for gain in (0.5, -1.5, 3.0)]
    pipelines = [graph.pipeline() for graph in graphs]
    keys, vary = WORDS[:3], ["pipeline", "key"]
    stacked, alone = dp.stack(pipelines), jax.jit(jax.grad(loss))
    of_all = jax.grad(lambda stacked: dp.vmap_variants(loss, vary=vary)(stacked, keys).sum())
    of_each = dp.vmap_variants(jax.grad(loss), vary=vary)
    expected = dp.stack([alone(*both) for both in zip(pipelines, keys, strict=True)])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    jax.tree.map(close, jax.jit(of_all)(stacked), expected)
    jax.tree.map(close, jax.jit(of_each)(stacked, keys), expected)
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(expected))


# Programs and data


def test_variants_of_other_values_compile_nothing_new() -> None:
    def step(pipeline: dp.Pipeline, stream: dp.Stream, cursor: dp.Cursor, key: jax.Array) -> Any:
        return dp.step(pipeline, stream, cursor, key=key)

    program = jax.jit(dp.vmap_variants(step, vary=["pipeline", "stream", "key"]))
    stacks = []
    for what in (VARIED["everything"], VARIED["everything"][::-1]):
        each = [variant.arguments("pad") for variant in what]
        stacks.append({name: dp.stack([one[name] for one in each]) for name in each[0]})
    with counted() as seen:
        for stack in stacks:
            cursor = stack["stream"].start()
            for _ in range(3):
                cursor, _ = program(**stack, cursor=cursor)
    assert len(seen.compiled) == 1


SIZE = 1234  # no other axis is as long
BIG = dp.ArraySource({"x": jnp.zeros((SIZE, 2))})


def big(seed: int) -> dp.Stream:
    return dp.Stream(BIG, dp.Shuffled(jax.random.key(seed)), batch_size=5, remainder="drop")


@pytest.mark.parametrize(
    ("stream", "vary", "read"),
    [
        # Few rows, which a CPU reads one after the other.
        (big(0), ["pipeline"], ["1x2" if jax.default_backend() == "cpu" else "5x2"]),
        (dp.stack([big(i) for i in range(3)]), ["pipeline", "stream"], ["3x5x2"]),
    ],
    ids=["one order", "own orders"],
)
def test_the_data_are_never_repeated_and_read_once_where_the_order_is_one(
    stream: dp.Stream, vary: list[str], read: list[str]
) -> None:
    pipelines = dp.stack([dp.Pipeline.linear([Times(gain)]) for gain in (1.0, 2.0, 3.0)])
    step = jax.jit(dp.vmap_variants(dp.step, vary=vary))
    program = step.lower(pipelines, stream, dp.Cursor(np.uint32(0), np.uint32(0)))
    text = program.as_text()
    assert reads(text, f"{SIZE}x2") == read
    assert set(re.findall(rf"tensor<[\dx]*{SIZE}[^>]*>", text)) == {f"tensor<{SIZE}x2xf32>"}
    compiled = program.compile().as_text() or ""
    assert set(re.findall(rf"\w+\[[\d,]*{SIZE}[\d,]*\]", compiled)) == {f"f32[{SIZE},2]"}


def test_a_stack_of_streams_holds_the_one_source() -> None:
    stacked: Any = dp.stack([big(i) for i in range(3)])
    assert stacked.source is BIG
    assert stacked.order.key.shape == (3,)
    for stream in (*dp.unstack(stacked), dp.select(stacked, 1), dp.stack([stacked, stacked])):
        assert stream.source.data["x"] is BIG.data["x"]


def jittered(record: Batch, *, key: jax.Array) -> Batch:
    return {**record, "bits": jax.random.bits(key, (), "uint32")}


def test_draws_of_records_from_keys_of_another_kind_are_those_of_each_seed() -> None:
    keys = jnp.stack([jax.random.key(seed, impl="rbg") for seed in range(2)])
    pipeline = dp.Pipeline.linear([dp.per_record(jittered)])
    stream = Variant().arguments("pad")["stream"]
    step = jax.jit(dp.vmap_variants(dp.step, vary=["key"]))
    _, outputs = step(pipeline, stream, stream.start(), key=keys)
    for index, key in enumerate(keys):
        assert_bits(part(outputs, index), part(ALONE(pipeline, stream, stream.start(), key=key)[1]))


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_shuffles_by_keys_of_any_kind_are_those_of_each_seed(kind: str) -> None:
    orders = [dp.Shuffled(jax.random.key(seed, impl=kind)) for seed in range(2)]
    positions, epoch = jnp.arange(9, dtype=jnp.uint32), jnp.uint32(1)
    shuffled = jax.jit(dp.vmap_variants(lambda order: order.ids(positions, epoch, 9)))
    alone = jax.jit(lambda order: order.ids(positions, epoch, 9))
    for own, order in zip(shuffled(dp.stack(orders)).tolist(), orders, strict=True):
        assert own == alone(order).tolist()
        assert sorted(own) == list(range(9))


# Devices

ON_FOUR_DEVICES = (
    FOUR_DEVICES
    + """
import jax, numpy as np
import dagrax.pure as dp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tests.pure.test_variants import SOURCES, Times, Turned

def stream(turn):
    return dp.Stream(SOURCES[6], Turned(np.uint32(turn)), batch_size=3, remainder="carry")

pipelines = dp.stack([dp.Pipeline.linear([Times(float(i))]) for i in range(4)])
streams = dp.stack([stream(i) for i in range(4)])
start = stream(0).start()

def agree(vary, stream, kind):
    mesh = jax.make_mesh((4,), ("variant",), axis_types=(kind,))
    spread = lambda x: jax.device_put(x, NamedSharding(mesh, PartitionSpec("variant")))
    step, own = jax.jit(dp.vmap_variants(dp.step, vary=vary)), stream
    if "stream" in vary:
        order = spread(stream.order)
        own = dp.Stream(stream.source, order, batch_size=3, remainder="carry")
    _, whole = step(pipelines, stream, start)
    _, apart = step(spread(pipelines), own, start)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, apart[name])
    assert len(apart["x"].sharding.device_set) == 4
    assert apart["x"].sharding.shard_shape((4, 3, 2)) == (1, 3, 2)
"""
)

MESHES = [
    'agree(["pipeline"], stream(0), AxisType.Auto)',
    'agree(["pipeline"], stream(0), AxisType.Explicit)',
    'agree(["pipeline", "stream"], streams, AxisType.Auto)',
]


def test_variants_run_each_on_its_device() -> None:
    assert told(ON_FOUR_DEVICES, MESHES) == {call: ("nothing", "") for call in MESHES}
