"""Sources take what users have, and say how to bring what they cannot take."""

import collections
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dagrax.nnx_api import MemorySource, MemorySourceConfig, Pipeline, Records
from tests import paths
from tests.nnx_zoo import same, xs
from tests.paths import PATHS


def over(data: Any, *stages: Any, batch_size: int = 2) -> Pipeline:
    stages = stages or (lambda batch: batch,)
    source = MemorySource(data=data)
    return Pipeline(source=source, stages=stages, batch_size=batch_size, rngs=nnx.Rngs(0))


def test_data_may_be_one_array() -> None:
    assert over(np.arange(4)).step().tolist() == [0, 1]


def test_data_may_be_a_nested_pytree() -> None:
    data = {"a": (np.arange(4), {"b": jnp.zeros((4, 2, 3))}), "c": [np.ones((4, 1), bool)]}
    batch = over(data).step()
    shapes = jax.tree.map(lambda x: x.shape[1:], batch)
    assert shapes == {"a": ((), {"b": (2, 3)}), "c": [(1,)]}


def test_a_list_of_records_is_stacked() -> None:
    records = [{"image": np.full((2, 2), i, np.float32), "meta": {"label": i}} for i in range(3)]
    batch = over(records).step()
    assert batch["image"].shape == (2, 2, 2)
    assert batch["meta"]["label"].tolist() == [0, 1]


def test_a_list_of_plain_numbers_is_a_list_of_records() -> None:
    assert over([3, 1, 2]).step().tolist() == [3, 1]


def test_a_tuple_is_a_pytree_not_a_list_of_records() -> None:
    images, labels = over((np.zeros((5, 2)), np.arange(5))).step()
    assert (images.shape, labels.tolist()) == ((2, 2), [0, 1])


def test_integers_booleans_and_small_floats_keep_their_dtype() -> None:
    data = {"u8": np.zeros(2, np.uint8), "b": np.zeros(2, bool), "f16": np.zeros(2, np.float16)}
    dtypes = {name: str(x.dtype) for name, x in over(data).step().items()}
    assert dtypes == {"u8": "uint8", "b": "bool", "f16": "float16"}


def test_a_source_knows_its_length_and_holds_its_data_as_records() -> None:
    source = MemorySource(data={"x": np.zeros(7)})
    assert len(source) == 7
    assert all(isinstance(x, Records) for x in source.data.values())


def test_the_order_depends_on_the_seed_alone() -> None:
    def order(seed: int) -> list[float]:
        config = MemorySourceConfig(shuffle=True)
        source = MemorySource(
            config, data={"x": np.arange(9.0, dtype=np.float32)}, rngs=nnx.Rngs(seed)
        )
        return xs(
            Pipeline(
                source=source, stages=[lambda b: b], batch_size=9, rngs=nnx.Rngs(seed + 1)
            ).step()
        )

    assert order(0) == order(0) != order(1)


def test_a_stream_of_its_own_name_seeds_each_kind_of_draw() -> None:
    rngs = nnx.Rngs(shuffle=3, pipeline=4)
    source = MemorySource(MemorySourceConfig(shuffle=True), data={"x": np.arange(9)}, rngs=rngs)
    Pipeline(source=source, stages=[lambda b: b], batch_size=9, rngs=rngs)


# Arguments


DATA = {"x": np.arange(4, dtype=np.float32)}
SHUFFLED = MemorySourceConfig(shuffle=True)


def order_of(source: MemorySource) -> list[float]:
    return xs(Pipeline(source=source, stages=[same], batch_size=4, rngs=nnx.Rngs(0)).step())


@pytest.mark.parametrize(
    "make",
    [
        lambda rngs: MemorySource(SHUFFLED, DATA, rngs=rngs),
        lambda rngs: MemorySource(SHUFFLED, data=DATA, rngs=rngs),
        lambda rngs: MemorySource(config=SHUFFLED, data=DATA, rngs=rngs),
        lambda rngs: MemorySource(data=DATA, shuffle=True, rngs=rngs),
        lambda rngs: MemorySource(None, DATA, shuffle=True, rngs=rngs),
        lambda rngs: MemorySource(SHUFFLED, DATA, shuffle=True, rngs=rngs),
        lambda rngs: MemorySource(data=DATA, shuffle=np.bool_(True), rngs=rngs),
        lambda rngs: MemorySource(
            data=[{"x": np.float32(i)} for i in range(4)], shuffle=True, rngs=rngs
        ),
    ],
    ids=["positional", "data", "config", "shuffle", "no config", "both", "of NumPy", "records"],
)
def test_item_29_data_and_shuffle_are_said_in_any_of_the_usual_ways(make: Any) -> None:
    shuffled = MemorySource(MemorySourceConfig(shuffle=True), data=DATA, rngs=nnx.Rngs(3))
    assert order_of(make(nnx.Rngs(3))) == order_of(shuffled) != [0, 1, 2, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda: MemorySource(data=DATA),
        lambda: MemorySource(MemorySourceConfig(), DATA),
        lambda: MemorySource(data=DATA, shuffle=False),
        lambda: MemorySource(MemorySourceConfig(), DATA, shuffle=False, rngs=nnx.Rngs(0)),
    ],
    ids=["data", "config", "shuffle", "everything"],
)
def test_items_29_and_46_a_seed_may_be_left_out_where_nothing_is_shuffled(make: Any) -> None:
    assert order_of(make()) == [0, 1, 2, 3]


# Containers


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
@pytest.mark.parametrize("names", [(0, 1), ("z", "a")], ids=["numbers as names", "an OrderedDict"])
def test_item_28_a_dict_stays_what_it_is_on_every_path(
    path: paths.Path, names: tuple[Any, Any]
) -> None:
    data = collections.OrderedDict(zip(names, (np.arange(4), np.arange(4) * 2.0), strict=True))
    kind = dict if names == (0, 1) else collections.OrderedDict
    pipeline = over(kind(data), same)
    for _, batch in path(pipeline, 2):
        assert type(batch) is kind
        assert list(batch) == list(names)
        assert (batch[names[0]] * 2).tolist() == batch[names[1]].tolist()


# Files larger than memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_item_46_no_call_brings_a_mapped_file_into_memory(tmp_path: Path) -> None:
    code = """
import jax, numpy as np
from flax import nnx
import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, NoiseOperator, Pipeline

def own():  # what the process holds in memory of its own, files aside
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1000

np.lib.format.open_memmap("x.npy", "w+", np.float32, (100_000, 1000))
x = np.load("x.npy", mmap_mode="r")
before = own()
source = MemorySource(data={"x": x}, shuffle=True, rngs=nnx.Rngs(0))
pipeline, other = (
    Pipeline(source=source, stages=[NoiseOperator(strength, field="x")], batch_size=64,
             rngs=nnx.Rngs(0), remainder="drop")
    for strength in (0.1, 0.2)
)
mean = lambda batch: batch["x"].mean()
pipeline.step()
for batch, _ in zip(pipeline, range(3)):
    pass
pipeline.scan(mean, length=3)
pipeline.outputs("noise")
iter(pipeline).set_state(iter(pipeline).get_state())
nnx.update(pipeline, pipeline.checkpoint())
pipeline.seek(epoch=0)
Pipeline.variants([pipeline, other]).step()
core = dp.Pipeline.linear([lambda batch: batch])
stream = dp.Stream(*source.pure(), batch_size=64, remainder="drop")
cursor, _ = dp.step(core, stream, stream.start())
jax.block_until_ready(jax.jit(lambda stream: stream.take(stream.start())[1])(stream))
print(own() - before)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert float(run.stdout) < 300  # of 400 MB; programs, and the memory of many cores, among them
