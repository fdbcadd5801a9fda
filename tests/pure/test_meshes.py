"""Records and parameters that are spread over a mesh give what they give on one device, to the bit.

All is run in one process of four CPU devices, for the other tests have one.
"""

import pytest

from tests.plainly import FOUR_DEVICES, told

SETUP = (
    FOUR_DEVICES
    + """
import functools
import equinox as eqx, jax, jax.numpy as jnp, numpy as np
import dagrax.pure as dp
from dagrax.pure._fingerprint import source_digest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

jax.config.update("jax_numpy_dtype_promotion", "strict")
Auto, Explicit = AxisType.Auto, AxisType.Explicit
MESHES = {
    "4 explicit": jax.make_mesh((4,), ("data",)),
    "4 auto": jax.make_mesh((4,), ("data",), axis_types=(Auto,)),
    "2x2 explicit": jax.make_mesh((2, 2), ("data", "model")),
    "2x2 auto": jax.make_mesh((2, 2), ("data", "model"), axis_types=(Auto, Auto)),
    "2x2 mixed": jax.make_mesh((2, 2), ("data", "model"), axis_types=(Explicit, Auto)),
    "1 explicit": jax.make_mesh((1,), ("data",), devices=jax.devices()[:1]),
}
KEY = dp.fast_key(1)  # whose programs compile sooner
rng = np.random.default_rng(0)
DATA = {
    "x": rng.standard_normal((40, 4, 6), np.float32),
    "n": np.arange(40, dtype=np.int32),
    "b": rng.integers(0, 2, 40).astype(bool),
}
CURSOR = dp.Cursor(np.uint32(0), np.uint32(0))

def placed(data, mesh, spec):
    short = lambda x: P(*spec[: x.ndim])
    return {k: jax.device_put(x, NamedSharding(mesh, short(x))) for k, x in data.items()}

def draw(record, *, key):
    return {**record, "bits": jax.random.bits(key, (3,)), "x": -record["x"]}

PIPELINE = dp.Pipeline.linear([lambda batch: {**batch, "m": batch["n"] + 1}, dp.per_record(draw)])

def stream(data, size=8, remainder="carry"):
    return dp.Stream(
        dp.ArraySource(data), dp.Shuffled(jax.random.key(0)), batch_size=size, remainder=remainder
    )

def step(s):
    return dp.step(PIPELINE, s, CURSOR, key=KEY)

def jitted(s):
    return jax.jit(lambda s, c: dp.step(PIPELINE, s, c, key=KEY))(s, CURSOR)

def scan(s):
    body = lambda carry, batch: (carry + 1, batch)
    run = jax.jit(lambda s, c: dp.scan(body, jnp.int32(0), PIPELINE, s, c, key=KEY, length=4))
    return run(s, CURSOR)

def epoch(s):
    return [batch for _, batch in dp.epoch(PIPELINE, s, CURSOR, key=KEY)]

def outputs(s):
    _, batch, origin = s.take(CURSOR)
    return dp.outputs(PIPELINE, batch, ("lambda", "draw"), key=KEY, origin=origin)

def equal(found, expected):
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), *jax.tree.map(
        np.asarray, (found, expected)))
    assert all(jax.tree.leaves(same)), same

@functools.cache
def alone(way, size, remainder):
    return way(stream(DATA, size, remainder))

def agree(way, mesh, spec, size, remainder):
    spread = stream(placed(DATA, MESHES[mesh], spec), size, remainder)
    equal(way(spread), alone(way, size, remainder))

def specs(array):
    return jax.typeof(array).sharding.spec

def over(mesh, spec, size=8):
    return stream(placed(DATA, MESHES[mesh], spec), size)

def check(mesh, spec):
    equal_spec = lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype)
    found, expected = dp.check(PIPELINE, over(mesh, spec)), dp.check(PIPELINE, stream(DATA))
    assert all(jax.tree.leaves(jax.tree.map(equal_spec, found, expected)))

def digested(mesh, spec):
    assert source_digest(over(mesh, spec).source) == source_digest(stream(DATA).source)

def sloped(mesh):
    def loss(source):
        batch = dp.Stream(source, batch_size=8).read(CURSOR, 8)[0]
        return (batch["x"] ** 2).sum()

    data = placed(DATA, MESHES[mesh], P("data"))
    slope = jax.jit(jax.grad(loss, allow_int=True))(dp.ArraySource(data)).data["x"]
    assert specs(slope)[0] == "data"
    expected = np.zeros_like(DATA["x"])
    expected[:8] = 2 * DATA["x"][:8]
    np.testing.assert_allclose(slope, expected, rtol=1e-6)

def read_in_place():
    text = jax.jit(step).lower(over("4 explicit", P("data"))).compile().as_text()
    assert "f32[10,4,6]" in text and "f32[40,4,6]" not in text

def reshard(batch, spec=P("data")):
    mesh = jax.typeof(batch["x"]).sharding.mesh
    return jax.tree.map(lambda x: jax.sharding.reshard(x, NamedSharding(mesh, spec)), batch)

def respread(mesh, spec):
    spread = dp.Pipeline.linear([reshard, dp.per_record(draw), lambda b: reshard(b, P()),
                                 dp.per_record(draw)])
    whole = dp.Pipeline.linear([lambda b: b, dp.per_record(draw), lambda b: b, dp.per_record(draw)])
    edges = [p.schedule.order for p in (spread, whole)]
    rename = dict(zip(*edges))
    whole = dp.Pipeline(dict(zip(spread.schedule.order, whole.stages.values())), spread.schedule)
    run = jax.jit(lambda p, s: dp.step(p, s, CURSOR, key=KEY)[1])
    equal(run(spread, over(mesh, spec)), run(whole, stream(DATA)))

def mixed(mesh):
    number = lambda b: {**b, "own": jnp.arange(8)}
    pipeline = dp.Pipeline.linear([number, dp.per_record(draw)])
    run = jax.jit(lambda s: dp.step(pipeline, s, CURSOR, key=KEY)[1])
    equal(run(over(mesh, P("data"))), run(stream(DATA)))

class Gain(eqx.Module):
    gain: jax.Array
    def __call__(self, record, *, key):
        return {**record, "x": record["x"] * self.gain, "bits": jax.random.bits(key, (2,))}

gained = lambda i: dp.Pipeline.linear([dp.per_record(Gain(jnp.float32(2**i)))])
PIPELINES = dp.stack([gained(i) for i in range(4)])
SOURCE = dp.ArraySource(DATA)
ordered = lambda i: dp.Stream(
    SOURCE, dp.Shuffled(jax.random.key(i)), batch_size=8, remainder="carry")
STREAM, STREAMS = stream(DATA), dp.stack([ordered(i) for i in range(4)])

def along(tree, mesh, axis="data"):
    return jax.device_put(tree, NamedSharding(MESHES[mesh], P(axis)))

def varied(mesh, stream, vary, axis="data"):
    def batches(pipeline, stream):
        return dp.step(pipeline, stream, CURSOR, key=KEY)[1]

    run = jax.jit(dp.vmap_variants(batches, vary=vary))
    found = run(along(PIPELINES, mesh, axis), stream)
    assert found["x"].sharding.shard_shape(found["x"].shape)[0] < 4
    equal(found, run(PIPELINES, STREAMS if "stream" in vary else STREAM))

def orders_along(mesh):
    return dp.Stream(SOURCE, along(STREAMS.order, mesh), batch_size=8, remainder="carry")

def unstacked(mesh):
    spread = along(PIPELINES, mesh)
    equal(jax.tree.leaves(dp.unstack(spread)), jax.tree.leaves(dp.unstack(PIPELINES)))
    equal(jax.tree.leaves(dp.select(spread, 2)), jax.tree.leaves(dp.select(PIPELINES, 2)))
    equal(jax.tree.leaves(dp.stack(dp.unstack(spread))), jax.tree.leaves(PIPELINES))

def stacked(mesh):
    weights = [{"w": jnp.arange(8.0).reshape(4, 2) + i} for i in range(3)]
    found = dp.stack([along(w, mesh) for w in weights])
    assert specs(found["w"]) == P(None, "data", None)
    equal(found, dp.stack(weights))

def sent_once(mesh):
    spread = NamedSharding(MESHES[mesh], P("data"))
    source = jax.device_put(dp.ArraySource(DATA), spread)
    constrain = lambda b: jax.tree.map(
        lambda x: jax.sharding.reshard(x, spread) if "explicit" in mesh
        else jax.lax.with_sharding_constraint(x, spread), b)
    pipeline = dp.Pipeline.linear([constrain])
    run = jax.jit(lambda p, s, c: dp.step(p, s, c))
    whole = NamedSharding(MESHES[mesh], P())
    cursor, order = jax.device_put((CURSOR, dp.Shuffled(jax.random.key(0))), whole)
    made = dp.Stream(source, order, batch_size=8, remainder="carry")
    cursor, _ = run(pipeline, made, cursor)
    with jax.transfer_guard("disallow"):
        cursor, batch = run(pipeline, made, cursor)
    expected = dp.Stream(SOURCE, dp.Shuffled(jax.random.key(0)), batch_size=8, remainder="carry")
    equal(batch, dp.step(dp.Pipeline.linear([lambda b: b]), expected, dp.Cursor(0, 8))[1])

def joined(data, other):
    whole, late = dp.ArraySource(data), dp.ArraySource(other)
    first, rest = dp.split(dp.Zip({"a": whole, "b": dp.Windows(late.data, 1)}), 0.5, key=KEY)
    parts = dp.Concat([dp.where(first, np.arange(20) % 3 > 0), dp.Subset(first, range(19, -1, -2))])
    return dp.Stream(dp.Mixture({"a": (parts, 0.7), "b": (rest, 0.3)}, KEY), batch_size=8)

def joined_alike(mesh, spec, other):
    run = jax.jit(lambda s: s.read(CURSOR, 8)[0])
    spread = joined(placed(DATA, MESHES[mesh], spec), placed(DATA, MESHES[mesh], other))
    equal(run(spread), run(joined(DATA, DATA)))
    parts = dp.Concat([dp.ArraySource(placed(DATA, MESHES[mesh], x)) for x in (spec, other)])
    together = jax.jit(lambda s, ids: s.rows(ids))(parts, jnp.asarray([1, 39, 40, 79], jnp.uint32))
    equal(together["n"], np.array([1, 39, 0, 39], np.int32))

def of_two_meshes():
    dp.Concat([over(mesh, P("data")).source for mesh in ("4 explicit", "2x2 explicit")])

def batch_spec(mesh, spec, size):
    return jax.eval_shape(step, over(mesh, spec, size))[1]["x"].sharding.spec
"""
)

# Each driver once, each kind of mesh and of spreading once: by the driver that compiles soonest.
SAME = [
    f"agree({way}, '{mesh}', {spec}, {size}, '{remainder}')"
    for way, mesh, spec, size, remainder in [
        ("step", "4 explicit", "P('data')", 8, "carry"),
        ("epoch", "4 explicit", "P('data')", 12, "partial"),
        ("outputs", "4 explicit", "P('data')", 6, "pad"),
        ("jitted", "4 explicit", "P()", 8, "carry"),
        ("jitted", "4 auto", "P('data')", 8, "carry"),
        ("scan", "2x2 explicit", "P('data', None, 'model')", 8, "carry"),
        ("jitted", "2x2 explicit", "P(('data', 'model'))", 8, "carry"),
        ("jitted", "2x2 mixed", "P('data')", 6, "pad"),
        ("jitted", "1 explicit", "P('data')", 8, "carry"),
    ]
]
SPREAD = {
    "batch_spec('4 explicit', P('data'), 8)": "P('data', None, None)",
    "batch_spec('4 explicit', P('data'), 6)": "P(None, None, None)",
    "batch_spec('4 explicit', P(), 8)": "P(None, None, None)",
    "batch_spec('2x2 explicit', P('data', None, 'model'), 8)": "P('data', None, 'model')",
    "batch_spec('2x2 explicit', P('data', None, 'model'), 7)": "P(None, None, 'model')",
    "batch_spec('2x2 explicit', P(('data', 'model')), 8)": "P(('data', 'model'), None, None)",
}
# What else an item names, each with the value that is right.
RIGHT = {
    "item 12: a contract is checked": "check('4 explicit', P('data'))",
    "item 12: a summary is made, and measured": "dp.summary(PIPELINE, "
    "over('4 explicit', P('data')), cost=True, measure=True)",
    **{
        f"item 12: the digest of records by {spec}": f"digested('{mesh}', {spec})"
        for mesh, spec in [
            ("4 explicit", "P('data')"),
            ("4 explicit", "P()"),
            ("4 auto", "P('data')"),
            ("2x2 explicit", "P('data', None, 'model')"),
            ("2x2 explicit", "P(('data', 'model'))"),
        ]
    },
    "item 12: the slope by the data": "sloped('4 explicit')",
    "item 12: every index of a batch is read where it lies": "read_in_place()",
    "item 13: records that a stage spreads are drawn for": "respread('4 explicit', P())",
    "item 13: and drawn for again": "respread('4 explicit', P('data'))",
    "item 13: a field of its own beside those that are spread": "mixed('4 explicit')",
    "item 14: variants over an Explicit axis": "varied('4 explicit', STREAM, ['pipeline'])",
    "item 14: with orders of their own": "varied('4 explicit', STREAMS, ['pipeline', 'stream'])",
    "item 14: with orders that are spread too": "varied('4 explicit', "
    "orders_along('4 explicit'), ['pipeline', 'stream'])",
    "item 14: over an Auto axis": "varied('4 auto', STREAM, ['pipeline'])",
    "item 14: over records that are spread": "varied('2x2 explicit', "
    "over('2x2 explicit', P('data')), ['pipeline'], 'model')",
    "item 14: taken apart and stacked again": "unstacked('4 explicit')",
    "views, windows and sources joined, of what is spread and what is not": "joined_alike("
    "'4 explicit', P('data'), P())",
    "item 15: parameters that are spread are stacked": "stacked('4 explicit')",
    "item 16: data that are placed are sent to no device again": "sent_once('4 explicit')",
    "item 16: the same on an Auto mesh": "sent_once('4 auto')",
}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[str, str]]:
    spread = (f"1 / ({a} == {b})" for a, b in SPREAD.items())
    return told(SETUP, [*SAME, *spread, *RIGHT.values(), "of_two_meshes()"])


@pytest.mark.parametrize("call", SAME)
def test_item_12_records_and_draws_are_those_of_one_device(
    answers: dict[str, tuple[str, str]], call: str
) -> None:
    assert answers[call] == ("nothing", "")


@pytest.mark.parametrize("call", SPREAD)
def test_item_12_batches_are_spread_as_the_records_where_the_devices_divide_them(
    answers: dict[str, tuple[str, str]], call: str
) -> None:
    assert answers[f"1 / ({call} == {SPREAD[call]})"] == ("nothing", "")


@pytest.mark.parametrize("item", RIGHT)
def test_items_12_to_16(answers: dict[str, tuple[str, str]], item: str) -> None:
    assert answers[RIGHT[item]] == ("nothing", "")


def test_sources_on_two_meshes_are_refused_by_name(answers: dict[str, tuple[str, str]]) -> None:
    assert answers["of_two_meshes()"] == (
        "ValueError",
        "sources[1] lies on a mesh of {'data': 2, 'model': 2}, sources[0] on one of {'data': 4}; "
        "put all of them on one mesh: jax.device_put(data, sharding).",
    )
