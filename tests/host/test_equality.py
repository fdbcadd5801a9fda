"""A pipeline over files is the pipeline over the arrays: records, masks and numbers, to the bit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array, PyTree

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, HostSource, MemorySource, Pipeline, Source
from dagrax.pure import host

SIZE = 103
DATA = {
    "image": np.random.default_rng(0).integers(0, 256, (SIZE, 4, 4, 3), np.uint8),
    "label": np.arange(SIZE, dtype=np.int32),
}
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> host.DiskSource:
    folder = tmp_path_factory.mktemp("files")
    (folder / "image").mkdir()
    for number, part in enumerate(np.split(DATA["image"], [40, 41, 90])):
        np.save(folder / "image" / f"{number}.npy", part)
    np.save(folder / "label.npy", DATA["label"])
    return host.DiskSource({"image": folder / "image", "label": folder / "label.npy"})


class Normalize(nnx.Module):
    """Counts the batches that it has seen, and scales by a parameter."""

    def __init__(self) -> None:
        self.scale = nnx.Param(jnp.full((), 1 / 255, jnp.float32))
        self.seen = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, batch: dict[str, Array], *, record_keys: Array) -> dict[str, Array]:
        self.seen[...] += 1
        image = batch["image"].astype(jnp.float32) * self.scale[...]
        noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(record_keys)
        return {**batch, "image": image + noise}


def made(source: Source[Any], **more: Any) -> Pipeline[Any, Any]:
    more = {"batch_size": 10, "record_ids": "id", **more}
    return Pipeline(source=source, stages=[Normalize()], rngs=nnx.Rngs(0), **more)


def pair(files: host.DiskSource, **more: Any) -> tuple[Pipeline[Any, Any], Pipeline[Any, Any]]:
    memory = MemorySource[Any](data=DATA, shuffle=True, rngs=nnx.Rngs(3))
    disk = HostSource[Any](True, source=files, rngs=nnx.Rngs(3))
    return made(memory, **more), made(disk, **more)


def same(own: PyTree, expected: PyTree) -> None:
    (ours, structure), (theirs, its) = map(jax.tree.flatten, (own, expected))
    assert len({structure, its}) == 1
    for x, y in zip(ours, theirs, strict=True):
        assert x.dtype == y.dtype
        assert np.array_equal(x, y)


def stand(pipeline: Pipeline[Any, Any]) -> list[object]:
    state = nnx.state(pipeline.nodes["normalize"])
    return [pipeline.cursor, *map(np.asarray, jax.tree.leaves(state))]


@pytest.mark.parametrize("remainder", ["partial", "drop", "pad", "carry"])
def test_steps_of_files_are_those_of_arrays(remainder: str, files: host.DiskSource) -> None:
    memory, disk = pair(files, remainder=remainder)
    for _ in range(2):
        for own, expected in zip(disk, memory, strict=True):
            same(own, expected)
        assert stand(disk) == stand(memory)
    for pipeline in (memory, disk):
        pipeline.seek(epoch=7, offset=33)
    same(disk.outputs(), memory.outputs())
    same(disk.step(), memory.step())
    assert iter(disk).get_state() == iter(memory).get_state()
    memory.batch_size = disk.batch_size = 7
    same(disk.step(), memory.step())
    assert stand(disk) == stand(memory)


def step(carry: Array, model: nnx.Linear, batch: dict[str, Array]) -> tuple[Array, Array]:
    loss = jnp.mean(model(batch["image"].reshape(10, -1)) ** 2)
    model.kernel[...] -= 0.01 * loss * model.kernel[...]
    return carry + loss, loss


def test_scans_and_blocks_of_files_are_those_of_arrays(files: host.DiskSource) -> None:
    results: list[list[object]] = []
    for pipeline in pair(files, remainder="pad"):
        model = nnx.Linear(48, 2, rngs=nnx.Rngs(1))
        pipeline.seek(epoch=2, offset=20)
        found = [pipeline.scan(step, length=19, modules=(model,), init_carry=jnp.float32(0))]
        found += pipeline.blocks(step, every=4, modules=(model,), init_carry=jnp.float32(0))
        found.append(pipeline.step())
        results.append([found, nnx.state(model), stand(pipeline)])
    own, expected = results[1], results[0]
    same(own[:2], expected[:2])
    assert own[2] == expected[2]


def test_a_view_a_join_and_an_order_of_files_are_those_of_arrays(files: host.DiskSource) -> None:
    arrays = dp.ArraySource[Any](DATA)
    weights = np.arange(SIZE, dtype=np.float32)
    zipped: list[dp.AbstractSource[Any]] = [dp.Zip({"a": files}), dp.Zip({"a": arrays})]
    own = HostSource[Any](source=zipped[0], order=dp.Weighted(KEY, weights))
    its = ArraySource[Any](zipped[1], order=dp.Weighted(KEY, weights))
    disk, memory = (
        Pipeline[Any, Any](source=x, batch_size=16, record_ids="id") for x in (own, its)
    )
    same(disk.step(), memory.step())
    mixed: list[tuple[dp.AbstractSource[Any], dp.AbstractSource[Any]]] = [
        (dp.Concat([files, arrays]), dp.Concat([arrays, arrays])),
        (
            dp.Mixture({"a": (files, 0.75), "b": (arrays, 0.25)}, KEY),
            dp.Mixture({"a": (arrays, 0.75), "b": (arrays, 0.25)}, KEY),
        ),
    ]
    for one, other in mixed:
        disk, memory = (
            Pipeline[Any, Any](source=x, batch_size=60)
            for x in (HostSource[Any](source=one), ArraySource[Any](other))
        )
        for batch, expected in zip(disk, memory, strict=True):
            same(batch, expected)


def test_views_in_the_face_read_what_they_show(files: host.DiskSource) -> None:
    memory, disk = pair(files)
    for view, model in (
        (disk.source.split(0.5, key=KEY)[1], memory.source.split(0.5, key=KEY)[1]),
        (disk.source[DATA["label"] % 3 == 0], memory.source[DATA["label"] % 3 == 0]),
    ):
        own, its = made(view, batch_size=20), made(model, batch_size=20)
        same(own.step(), its.step())
        assert iter(own).get_state() == iter(its).get_state()


def test_a_checkpoint_goes_from_one_to_the_other(files: host.DiskSource) -> None:
    memory, disk = pair(files)
    for _ in range(3):
        memory.step()
    nnx.update(disk, memory.checkpoint())
    same(disk.step(), memory.step())
    assert stand(disk) == stand(memory)


def test_another_order_is_heeded_by_the_next_batch(files: host.DiskSource) -> None:
    source = HostSource[Any](source=files, order=dp.Shuffled(KEY))
    disk = Pipeline[Any, Any](source=source, batch_size=10)
    disk.step()
    source.reorder(dp.Shuffled(jax.random.key(8)))
    batch = disk.step()
    order = dp.Shuffled(jax.random.key(8))
    ids = order.ids(jnp.arange(10, 20, dtype=jnp.uint32), jnp.uint32(0), SIZE)
    assert np.array_equal(batch["label"], ids)


def test_variants_share_what_is_read_and_must_share_its_order(files: host.DiskSource) -> None:
    def variants(source: Source[Any]) -> Pipeline[Any, Any]:
        return Pipeline.variants(
            [
                Pipeline(
                    source=source,
                    stages=[images, NoiseStage(scale)],
                    batch_size=10,
                    rngs=nnx.Rngs(0),
                    remainder="drop",
                )
                for scale in (0.0, 1.0)
            ]
        )

    disk, memory = (
        variants(source)
        for source in (
            HostSource[Any](source=files),
            MemorySource[Any](data=DATA),
        )
    )
    same(disk.step(), memory.step())
    same(disk.scan(jnp.mean, length=3), memory.scan(jnp.mean, length=3))
    with pytest.raises(ValueError, match=r"^The variants have orders of their own over a source "):
        Pipeline.variants(
            [made(HostSource[Any](True, source=files, rngs=nnx.Rngs(seed))) for seed in range(2)]
        )


def images(batch: dict[str, Array]) -> Array:
    return batch["image"].astype(jnp.float32)


class NoiseStage(nnx.Module):
    def __init__(self, scale: float) -> None:
        self.scale = nnx.Param(jnp.float32(scale))

    def __call__(self, image: Array, *, record_keys: Array) -> Array:
        noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(record_keys)
        return image + self.scale[...] * noise


def test_a_traced_step_is_refused_by_name(files: host.DiskSource) -> None:
    _, disk = pair(files, remainder="drop")
    with pytest.raises(TypeError, match=r"^The records of a DiskSource are read on the host, and"):
        nnx.jit(lambda pipeline: pipeline.step())(disk)
    same(disk(batch := disk.source.pure()[0].fetch(np.arange(5))), disk(batch))


def test_what_does_not_fit_a_host_source_is_told_from_its_spec(files: host.DiskSource) -> None:
    def flat(batch: dict[str, Array]) -> Array:
        return batch["picture"]

    with pytest.raises(ValueError, match="node `flat`"):
        Pipeline[Any, Any](source=HostSource[Any](source=files), stages=[flat], batch_size=5)
