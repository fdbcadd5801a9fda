"""A pipeline on a mesh: what it hands out is what it hands out on one device, bit by bit.

All is run in one process of four CPU devices, for the other tests have one.
"""

import pytest

from tests.plainly import FOUR_DEVICES, told

SETUP = (
    FOUR_DEVICES
    + """
import functools
import equinox as eqx, jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, MemorySource, NoiseOperator, Pipeline

Auto, Explicit = AxisType.Auto, AxisType.Explicit
MESHES = {
    "explicit": jax.make_mesh((4,), ("data",), axis_types=(Explicit,)),
    "auto": jax.make_mesh((4,), ("data",), axis_types=(Auto,)),
    "2x2 explicit": jax.make_mesh((2, 2), ("data", "model"), axis_types=(Explicit, Explicit)),
    "2x2 mixed": jax.make_mesh((2, 2), ("data", "model"), axis_types=(Auto, Explicit)),
    "of two": jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(Auto,)),
    "of one": jax.make_mesh((1,), ("data",), devices=jax.devices()[:1], axis_types=(Explicit,)),
    None: None,
}
ROWS = np.arange(180, dtype=np.float32).reshape(45, 4)
DATA = {"image": ROWS, "label": np.arange(45)}

class Draw(nnx.Module):
    def __init__(self, by=1.0):
        self.by = nnx.Param(jnp.float32(by))
    def __call__(self, batch, *, record_keys):
        bits = jax.vmap(lambda key, image: jax.random.bits(key))(record_keys, batch["image"])
        return {**batch, "image": batch["image"] * self.by[...], "bits": bits}

def pipe(mesh, data=DATA, stages=None, batch_axis="data", **options):
    source = options.pop("source", None)
    source = source or MemorySource(data=data)
    options = {"batch_size": 8, "remainder": "carry", "record_ids": "id", **options}
    return Pipeline(
        source=source, stages=[Draw()] if stages is None else stages, mesh=MESHES[mesh],
        batch_axis=batch_axis, rngs=nnx.Rngs(pipeline=dp.fast_key(1)), **options)

def equal(found, expected):
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), *jax.tree.map(
        np.asarray, (found, expected)))
    assert all(jax.tree.leaves(same)), same

def spec(array):
    return array.sharding.spec[0]

# The ways in which batches are handed out

def loop(p):
    return [*p, *p]

def steps(p):
    return [p.step() for _ in range(7)]

def scan(p):
    return p.scan(lambda batch: batch, length=7)

def blocks(p):
    return [*p.blocks(lambda batch: batch, every=3, length=6)]

def outputs(p):
    p.seek(epoch=1, offset=16)
    return p.outputs()

@functools.cache
def alone(way, remainder):
    return way(pipe(None, remainder=remainder))

def agree(way, mesh, remainder, **options):
    equal(way(pipe(mesh, remainder=remainder, **options)), alone(way, remainder))

def placed(mesh, *names):
    there = NamedSharding(MESHES[mesh], P(*names))
    return {"image": jax.device_put(np.concatenate([ROWS, ROWS[:3]]), there)}

def as_placed(mesh, spec):
    data = {"image": placed(mesh, *spec)["image"]}
    found, expected = pipe(mesh, data), pipe(None, {k: np.asarray(x) for k, x in data.items()})
    assert found.source.data["image"].get_value() is data["image"]
    batch = found.step()
    equal(batch, expected.step())
    assert batch["image"].sharding.shard_shape(batch["image"].shape)[0] < 8

def spread(mesh):
    p = pipe(mesh, remainder="partial")
    *full, last = p
    assert {spec(x) for x in full[0].values()} == {"data"}
    assert last["image"].shape[0] == 5 and last["image"].sharding.is_fully_replicated

def sent_once(mesh):
    source = MemorySource(data=DATA, shuffle=True, rngs=nnx.Rngs(0))
    p = pipe(mesh, source=source, stages=[NoiseOperator(0.1), Scale(jnp.float32(2)), Count()])
    p.step()
    p.scan(lambda batch: batch["image"].sum(), length=2)
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            p.step()
        p.scan(lambda batch: batch["image"].sum(), length=2)

class Scale(eqx.Module):
    by: jax.Array
    def __call__(self, batch):
        return {**batch, "image": batch["image"] * self.by}

class Count(nnx.Module):
    def __init__(self):
        self.seen = nnx.BatchStat(jnp.zeros((), jnp.int32))
        self.linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    def __call__(self, batch):
        self.seen.set_value(self.seen.get_value() + 1)
        return {**batch, "image": self.linear(batch["image"])}

def read_in_part(mesh):
    source = dp.ArraySource(DATA)
    stream = dp.Stream(source, dp.Sequential(), batch_size=8, remainder="carry",
                       mesh=MESHES[mesh])
    at = dp.on_mesh(np.zeros(2, np.uint32), MESHES[mesh])
    read = jax.jit(lambda s, at: s.read(dp.Cursor(at[0], at[1]), 8)[0])
    text = read.lower(stream, at).compile().as_text()
    gathers = [line for line in text.splitlines() if " gather(" in line and "4]" in line]
    assert gathers and all("f32[2," in line for line in gathers), gathers
    assert "all-" not in text and "collective" not in text

def varied(mesh, way):
    def made(mesh):
        source = MemorySource(data=DATA, shuffle=True, rngs=nnx.Rngs(0))
        of = lambda i: pipe(mesh, source=source, stages=[Draw(i)])
        return Pipeline.variants([of(1), of(2)])
    equal(way(made(mesh)), way(made(None)))

def of_orders(mesh):
    data = dp.ArraySource(DATA).data
    sources = [MemorySource(data=data, shuffle=True, rngs=nnx.Rngs(i)) for i in range(2)]
    alone = [pipe(None, source=source).step() for source in sources]
    sources[1].data = sources[0].data
    found = Pipeline.variants([pipe(mesh, source=source) for source in sources]).step()
    equal(found, jax.tree.map(lambda *x: np.stack(x), *alone))

def joined(mesh):
    def made(mesh):
        one, two = dp.ArraySource(DATA), dp.ArraySource({**DATA, "label": np.arange(45) + 50})
        parts = {"one": dp.split(one, 0.8, key=jax.random.key(3))[0], "two": two}
        return pipe(mesh, source=ArraySource(dp.Concat([*parts.values()]), shuffle=True,
                                             rngs=nnx.Rngs(0)))
    equal(steps(made(mesh)), steps(made(None)))

def weighted(mesh):
    def made(mesh):
        order = dp.Weighted(jax.random.key(2), np.arange(45, dtype=np.float32) + 1)
        return pipe(mesh, source=MemorySource(data=DATA, order=order))
    p = made(mesh)
    equal(steps(p), steps(made(None)))
    with jax.transfer_guard("disallow"):
        p.step()

def sharded(mesh):
    first = pipe(mesh, batch_size=16, shard=(0, 2))
    whole = alone(steps, "carry")
    equal([first.step() for _ in range(3)], whole[:5:2])

def own_batch(mesh):
    batch = {"image": ROWS[:8], "label": np.arange(8), "id": np.arange(8, dtype=np.uint32)}
    found, expected = (p.outputs(batch=batch) for p in (pipe(mesh), pipe(None)))
    equal(found, expected)

def own_source(mesh):
    class Squares(dp.AbstractSource):
        roots: jax.Array
        @property
        def size(self):
            return 45
        def rows(self, ids):
            return {"image": self.roots[ids] ** 2}
    made = lambda mesh: pipe(mesh, source=ArraySource(Squares(jnp.arange(45.0)), shuffle=True,
                                                      rngs=nnx.Rngs(0)), stages=[])
    p = made(mesh)
    batch = p.step()
    equal(batch, made(None).step())
    assert spec(batch["image"]) == "data"

def restored(saved_on, restored_on, batch_size=8):
    first, second = pipe(saved_on), pipe(restored_on, batch_size=batch_size)
    before = steps(first)
    state = first.checkpoint()
    nnx.update(second, state)
    assert second.cursor == first.cursor
    rest = first.step()
    found = [second.step() for _ in range(8 // batch_size)]
    equal(jax.tree.map(lambda *x: np.concatenate(x), *found), rest)
    with jax.transfer_guard("disallow"):
        second.step()

def positioned(saved_on, restored_on):
    first, second = pipe(saved_on), pipe(restored_on, batch_size=4)
    steps(first)
    iter(second).set_state(iter(first).get_state())
    rest, found = first.step(), [second.step(), second.step()]
    equal(jax.tree.map(lambda *x: np.concatenate(x), *found), rest)

def changed(mesh):
    p, q = pipe(mesh), pipe(None)
    for each in (p, q):
        each.step()
        each.batch_size = 4
        each.remainder = "drop"
        each.seek(epoch=3, offset=8)
    equal([p.step(), p.step()], [q.step(), q.step()])

def trained(mesh):
    def made(mesh):
        model = nnx.Linear(4, 2, rngs=nnx.Rngs(0))
        return pipe(mesh), model
    def loss_of(model, batch):
        return ((model(batch["image"]) / 100) ** 2).mean()
    def step(model, batch):
        loss, slopes = nnx.value_and_grad(loss_of)(model, batch)
        nnx.update(model, jax.tree.map(lambda x, g: x - 0.1 * g, nnx.state(model), slopes))
        return loss
    (p, model), (q, other) = made(mesh), made(None)
    found = p.scan(step, length=5, modules=(model,))
    np.testing.assert_allclose(found, q.scan(step, length=5, modules=(other,)), rtol=1e-5)
    np.testing.assert_allclose(model.kernel[...], other.kernel[...], rtol=1e-5)

def by_dag(mesh):
    p = Pipeline.from_dag(source=MemorySource(data=DATA), nodes={"draw": Draw()},
                          edges={"draw": []}, sink="draw", batch_size=8, mesh=MESHES[mesh],
                          rngs=nnx.Rngs(0))
    q = Pipeline.from_arrays(DATA, {"draw": Draw()}, batch_size=8, mesh=MESHES[mesh],
                             batch_axis="data", rngs=nnx.Rngs(0))
    assert spec(p.step()["image"]) == spec(q.step()["image"]) == "data"

# The pure core

def draw(record, *, key):
    return {**record, "bits": jax.random.bits(key, (2,))}

def of_the_core(mesh, remainder):
    key, graph = dp.fast_key(0), dp.Pipeline.linear([dp.per_record(draw)])
    def batches(mesh):
        stream = dp.Stream(dp.ArraySource(DATA), dp.Shuffled(dp.fast_key(2)), batch_size=8,
                           remainder=remainder, mesh=mesh)
        given = key if mesh is None else dp.on_mesh(key, mesh)
        found = [batch for _, batch in dp.epoch(graph, stream, stream.start(), key=given)]
        body = lambda carry, batch: (carry + 1, batch)
        found += dp.scan(body, 0, graph, stream, stream.start(1), key=given, length=3)[1:]
        if mesh is not None:
            cursor, _ = dp.step(graph, stream, stream.start(), key=given)
            with jax.transfer_guard("disallow"):
                dp.step(graph, stream, cursor, key=given)
        return found
    equal(batches(MESHES[mesh]), batches(None))
"""
)
SAME = {
    **{
        f"{way} on {mesh} axes, {remainder}": f"agree({way}, '{mesh}', '{remainder}')"
        for way, mesh, remainder in [
            ("loop", "explicit", "partial"),
            ("loop", "auto", "pad"),
            ("scan", "explicit", "carry"),
            ("scan", "auto", "pad"),
            ("blocks", "auto", "drop"),
            ("outputs", "explicit", "carry"),
            ("steps", "2x2 mixed", "carry"),
            ("steps", "of one", "carry"),
        ]
    },
    "steps over two axes": "agree(steps, '2x2 explicit', 'carry', batch_axis=('data', 'model'))",
    "records that lie apart, on explicit axes": "as_placed('explicit', ('data',))",
    "records that lie apart, on auto axes": "as_placed('auto', ('data',))",
    "numbers that lie apart": "as_placed('2x2 explicit', (None, 'model'))",
}
TRUE = {
    "batches are spread, a short last one is whole": "spread('explicit')",
    "nothing is sent in a loop, on explicit axes": "sent_once('explicit')",
    "nothing is sent in a loop, on auto axes": "sent_once('auto')",
    "a device reads its own rows, and no one else's, on explicit axes": "read_in_part('explicit')",
    "a device reads its own rows, and no one else's, on auto axes": "read_in_part('auto')",
    "variants step": "varied('explicit', steps)",
    "variants scan": "varied('auto', scan)",
    "variants with orders of their own": "of_orders('explicit')",
    "views and sources joined": "joined('explicit')",
    "orders with weights": "weighted('auto')",
    "shards of a batch": "sharded('explicit')",
    "a batch of one's own": "own_batch('explicit')",
    "a source of one's own": "own_source('explicit')",
    "saved on four devices, restored on two": "restored('explicit', 'of two', 4)",
    "saved on one device, restored on four": "restored(None, 'explicit')",
    "saved on four devices, restored on one": "restored('explicit', None)",
    "a position saved on four devices, restored on two": "positioned('explicit', 'of two')",
    "another batch size, remainder and place": "changed('explicit')",
    "training on explicit axes": "trained('explicit')",
    "the other constructors": "by_dag('explicit')",
    "the pure core on explicit axes": "of_the_core('explicit', 'carry')",
}
CALLS = {**SAME, **TRUE}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[str, str]]:
    return told(SETUP, CALLS.values())


@pytest.mark.parametrize("what", CALLS)
def test_a_mesh_changes_where_and_nothing_else(
    answers: dict[str, tuple[str, str]], what: str
) -> None:
    assert answers[CALLS[what]] == ("nothing", "")
