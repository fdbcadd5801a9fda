"""A pipeline in four processes, in two and in one of eight devices: each saves what it has seen.

`python -m tests.host.fleet FOLDER` runs them one after the other, over the loopback. JAX is
imported once: a process is forked before JAX has looked at any device. Nothing is judged here.
"""

import importlib.util
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh

import dagrax.pure as dp
from dagrax.nnx_api import HostSource, MemorySource, Pipeline
from dagrax.pure import host
from tests.zoo import Remainder

COUNTS = (4, 2, 1)  # the first saves a position, which the others go on from
KINDS = {"explicit": AxisType.Explicit, "auto": AxisType.Auto}
STEPS, BEFORE = 7, 3
BATCHES = {4: 8, 2: 6, 1: 16}  # of the epoch that is gone on with
LENGTHS = (45, 44, 37, 45)  # of passes, which nobody is told
POLICIES: tuple[Remainder, ...] = ("drop", "pad", "carry")
HAS_ORBAX = importlib.util.find_spec("orbax") is not None
_MOST = 120  # seconds, for all of a count's processes
Arrays: TypeAlias = dict[str, jax.Array]
ROWS = np.random.default_rng(0).standard_normal((45, 4), np.float32)


class Draw(nnx.Module):
    """Numbers drawn for each record, with a parameter."""

    def __init__(self) -> None:
        self.by = nnx.Param(jnp.float32(0.5))

    def __call__(self, batch: Arrays, *, record_keys: jax.Array) -> object:
        bits = jax.vmap(jax.random.bits)(record_keys)
        return {**batch, "image": batch["image"] * self.by[...], "bits": bits}


def pipeline_of(
    mesh: Mesh | None, batch_size: int = 8, read: host.AbstractHostSource | None = None
) -> Pipeline:
    """The pipeline, on a mesh or on one device; over rows in memory, or read on the host."""
    held = MemorySource(data={"image": ROWS}, shuffle=True, rngs=nnx.Rngs(0))
    return Pipeline(
        source=held if read is None else HostSource(True, source=read, rngs=nnx.Rngs(0)),
        stages=[Draw()],
        batch_size=batch_size,
        remainder="pad",
        record_ids="id",
        rngs=nnx.Rngs(pipeline=dp.fast_key(1)),
        mesh=mesh,
    )


def passes_of(mesh: Mesh | None, remainder: Remainder) -> Pipeline:
    """The pipeline over rows that can only be iterated over, each pass of another length."""
    lengths = iter(LENGTHS)

    def one() -> Iterator[dict[str, np.ndarray]]:
        yield from ({"image": row} for row in ROWS[: next(lengths)])

    return Pipeline(
        source=HostSource(source=host.IterableSource(one)),
        stages=[Draw()],
        batch_size=8,
        remainder=remainder,
        record_ids="id",
        rngs=nnx.Rngs(pipeline=dp.fast_key(1)),
        mesh=mesh,
    )


class Rows(host.AbstractHostSource):
    """The rows, read on the host, and how many of them were asked for."""

    size = len(ROWS)

    def __init__(self) -> None:
        self.element_spec = {"image": jax.ShapeDtypeStruct((4,), np.float32)}
        self.asked: list[int] = []

    def fetch(self, ids: np.ndarray, out: dict[str, np.ndarray] | None = None) -> object:
        self.asked += ids.tolist()
        if out is None:
            return {"image": ROWS[ids]}
        out["image"][:] = ROWS[ids]
        return out


def trained(pipeline: Pipeline) -> tuple[Arrays, Arrays]:
    """The batches of some steps, and what was learned in them."""

    def loss_of(model: nnx.Linear, batch: Arrays) -> jax.Array:
        errors = (model(batch["image"]) ** 2).sum(-1)
        return jnp.where(batch["valid"], errors, 0).mean()

    def step(model: nnx.Linear, batch: Arrays) -> tuple[jax.Array, Arrays]:
        loss, slopes = nnx.value_and_grad(loss_of)(model, batch)
        moved = jax.tree.map(lambda x, slope: x - 0.1 * slope, nnx.state(model), slopes)
        nnx.update(model, moved)
        return loss, batch

    model = nnx.Linear(4, 2, rngs=nnx.Rngs(2))
    losses, batches = pipeline.scan(step, length=STEPS, modules=(model,))
    return batches, {"losses": losses, "kernel": model.kernel[...]}


def passed(pipeline: Pipeline) -> Arrays:
    """The batches of a scan over the ends of passes, and on to the end of one."""
    first = pipeline.scan(lambda batch: batch, length=13)
    rest = pipeline.scan(lambda batch: batch)
    found: Arrays = jax.tree.map(lambda *x: jnp.concatenate(x), first, rest)
    return found


def run(folder: Path, count: int, rank: int, port: int) -> None:
    """One process of so many."""
    if count == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = flags + " --xla_force_host_platform_device_count=8"
        _seen(folder, count, rank)
    else:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", count, rank)
        _seen(folder, count, rank)
        jax.distributed.shutdown()  # together: where the first ends before, the others are ended


def _seen(folder: Path, count: int, rank: int) -> None:
    for kind, of in KINDS.items():
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(of,))
        pipeline = pipeline_of(mesh)
        batches, learned = trained(pipeline)
        found = {name: np.asarray(x) for name, x in learned.items()}
        found |= {name: _own(x, 1)[1] for name, x in batches.items()}
        found["first"] = np.asarray(_own(batches["id"], 1)[0])
        np.savez(folder / f"{kind}_{count}_{rank}.npz", allow_pickle=False, **found)
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    _read(folder / f"read_{count}_{rank}.npz", mesh)
    for remainder in POLICIES:
        with passes_of(mesh, remainder) as pipeline:
            found = {name: _own(x, 1)[1] for name, x in passed(pipeline).items()}
        np.savez(folder / f"{remainder}_{count}_{rank}.npz", allow_pickle=False, **found)
    pipeline = pipeline_of(mesh, BATCHES[count])
    if count == COUNTS[0]:
        _begin(folder, pipeline)
        return
    _go_on(folder, pipeline)
    ids = pipeline.scan(lambda batch: jnp.where(batch["valid"], batch["id"], 99))
    np.savez(folder / f"rest_{count}_{rank}.npz", ids=_own(ids, 1)[1])
    (folder / f"refused_{count}_{rank}.txt").write_text(_refused())


def _read(file: Path, mesh: Mesh) -> None:
    rows = Rows()
    with pipeline_of(mesh, read=rows) as pipeline:
        batches = pipeline.scan(lambda batch: batch, length=STEPS)
        found = {name: _own(x, 1)[1] for name, x in batches.items()}
    np.savez(file, allow_pickle=False, asked=np.array(rows.asked), **found)


def _begin(folder: Path, pipeline: Pipeline) -> None:
    pipeline.nodes["draw"].by.set_value(jnp.float32(0.75))  # as a user may, on one device
    for _ in range(BEFORE):
        pipeline.step()
    if jax.process_index() == 0:
        (folder / "position.json").write_text(json.dumps(iter(pipeline).get_state()))
    if HAS_ORBAX:
        with host.Checkpoints(folder / "run") as checkpoints:
            checkpoints.save(BEFORE, pipeline, notes={"steps": BEFORE})


def _go_on(folder: Path, pipeline: Pipeline) -> None:
    iter(pipeline).set_state(json.loads((folder / "position.json").read_text()))
    if HAS_ORBAX:
        position, notes = pipeline.cursor, {"steps": 0}
        pipeline.seek(epoch=7)
        with host.Checkpoints(folder / "run") as checkpoints:
            assert checkpoints.restore(pipeline, notes=notes) == BEFORE == notes["steps"]
        assert pipeline.cursor == position
        assert float(pipeline.nodes["draw"].by[...]) == 0.75


def _own(array: jax.Array, axis: int) -> tuple[int, np.ndarray]:
    # What the devices of this process hold, which lies together, and where it starts.
    parts = {shard.index[axis].start or 0: np.asarray(shard.data) for shard in _shards(array)}
    return min(parts), np.concatenate([parts[start] for start in sorted(parts)], axis)


def _shards(array: jax.Array) -> list[jax.Shard]:
    return list(array.addressable_shards)


def _refused() -> str:
    # A mesh of the first process's devices is none of the last one's.
    others = [x for x in jax.devices() if x.process_index == 0]
    try:
        pipeline_of(jax.make_mesh((len(others),), ("data",), devices=others))
    except ValueError as error:
        return str(error)
    return "nothing"


def main(folder: Path) -> None:
    """All processes of all counts."""
    fork = multiprocessing.get_context("fork")
    for count in COUNTS:
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        fleet = [fork.Process(target=run, args=(folder, count, r, port)) for r in range(count)]
        for process in fleet:
            process.start()
        for process in fleet:
            process.join(_MOST)
        codes = [process.exitcode for process in fleet]
        for process in fleet:
            process.kill()
        if any(codes):
            raise SystemExit(f"{count} processes ended with {codes}; None is one that hung.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
