"""A pipeline over the Explicit axes of a mesh, the default of `jax.make_mesh`, in every loop.

All is run in one process of four CPU devices, for the other tests have one.
"""

import itertools

import pytest

from tests.plainly import FOUR_DEVICES, told

SETUP = (
    FOUR_DEVICES
    + """
import jax, numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec as P
import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, MemorySourceConfig, NoiseOperator, Pipeline

mesh = jax.make_mesh((4,), ("data",))
ROWS = np.arange(400, dtype=np.float32).reshape(100, 4)
HELD = jax.numpy.asarray(ROWS)

def on(spec):
    return jax.device_put(ROWS, NamedSharding(mesh, spec))

def same(batch):
    return batch

def pipe(data, before=same, seed=0):
    source = MemorySource(MemorySourceConfig(shuffle=True), data={"image": data}, rngs=nnx.Rngs(0))
    rngs = nnx.Rngs(pipeline=dp.fast_key(seed))
    stages = {"before": before, "noise": NoiseOperator(0.1)}
    return Pipeline.from_dag(
        source=source, nodes=stages, edges={"before": [], "noise": ["before"]}, sink="noise",
        batch_size=8, rngs=rngs, remainder="carry")

def spread(batch):
    across = NamedSharding(jax.typeof(batch["image"]).sharding.mesh, P("data"))
    return {"image": jax.sharding.reshard(batch["image"], across)}

KINDS = {"sharded": (P("data"), same), "whole": (P(), same), "spread by a stage": (P(), spread)}

def made(kind):
    spec, before = KINDS[kind]
    return pipe(on(spec), before)

def step(p):
    return p.step()["image"]

def loop(p):
    return next(iter(p))["image"]

def scanned(p):
    return p.scan(lambda batch: batch["image"], length=2)

def scan(p):
    return scanned(p)[0]

def outputs(p):
    return p.outputs("noise")["noise"]["image"]

EXPECTED = np.asarray(pipe(HELD).step()["image"])

def agree(way, kind):
    np.testing.assert_allclose(np.asarray(way(made(kind))), EXPECTED, rtol=1e-5)

def restored(kind):
    first, other = made(kind), made(kind)
    first.step()
    nnx.update(other, first.checkpoint())
    np.testing.assert_array_equal(np.asarray(first.step()["image"]), other.step()["image"])

def positioned(kind):
    first, other = iter(made(kind)), iter(made(kind))
    next(first)
    other.set_state(first.get_state())
    np.testing.assert_array_equal(np.asarray(next(first)["image"]), next(other)["image"])

def variants():
    return Pipeline.variants([pipe(HELD, seed=i) for i in range(4)])

def varied(way):
    whole, apart = variants(), variants()
    across = NamedSharding(mesh, P("data"))
    nnx.update(apart, jax.device_put(nnx.state(apart, nnx.Param), across))
    found, expected = way(apart), way(whole)
    assert len(found.sharding.device_set) == 4
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5)
    for one, other in zip(apart.unstack()[:2], whole.unstack()):
        np.testing.assert_allclose(np.asarray(step(one)), np.asarray(step(other)), rtol=1e-5)
"""
)
KINDS = ["sharded", "whole", "spread by a stage"]
CALLS = {
    **{
        f"items 12 and 13: {way}, records {kind}": f"agree({way}, '{kind}')"
        for way, kind in itertools.product(["step", "loop", "scan", "outputs"], KINDS)
    },
    **{f"item 12: a checkpoint, records {kind}": f"restored('{kind}')" for kind in KINDS},
    **{f"item 12: a position, records {kind}": f"positioned('{kind}')" for kind in KINDS},
    **{f"item 14: variants by {way}": f"varied({way})" for way in ("step", "scanned")},
}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[str, str]]:
    return told(SETUP, CALLS.values())


@pytest.mark.parametrize("item", CALLS)
def test_items_12_to_14(answers: dict[str, tuple[str, str]], item: str) -> None:
    assert answers[CALLS[item]] == ("nothing", "")
