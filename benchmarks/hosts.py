"""What each of 1, 2 and 4 processes computes and reads, of one training over all of them.

A pipeline on a mesh of one CPU device a process, over the loopback: 2,048 shuffled images, 32x32x3
uint8 a step, from memory and from a file; a flip and noise drawn for each; an MLP of 64 units with
its gradient; in a scan. Each process reads and computes its part of every batch. The order, calls
from Python, and the exchange of gradients are the same in all. CPU time is that of all threads of a
process, of the busiest one; where there are fewer cores than processes, wall time says little.
"""

import multiprocessing
import socket
import statistics
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rounds import Bound, Report

import dagrax.pure as dp
from dagrax.nnx_api import HostSource, MemorySource, Pipeline
from dagrax.pure import host

COUNTS = (1, 2, 4)
AT_MOST = {2: 0.6, 4: 0.35}
RECORDS, BATCH, STEPS = 8192, 2048, 4


class Augment(nnx.Module):
    """A flip and noise, drawn for each record."""

    def __call__(self, batch: Any, *, record_keys: Any) -> Any:
        def one(key: Any, image: Any) -> Any:
            scaled = image.astype(jnp.float32) / 255
            flipped = jnp.where(jax.random.bernoulli(key), scaled[:, ::-1], scaled)
            return flipped + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), image.shape)

        return {**batch, "image": jax.vmap(one)(record_keys, batch["image"])}


class Net(nnx.Module):
    """An MLP."""

    def __init__(self) -> None:
        self.hidden = nnx.Linear(3072, 64, rngs=nnx.Rngs(0))
        self.out = nnx.Linear(64, 10, rngs=nnx.Rngs(1))

    def __call__(self, images: Any) -> Any:
        return self.out(jax.nn.relu(self.hidden(images.reshape(images.shape[0], -1))))


def train_step(model: Net, batch: Any) -> Any:
    """One step of gradient descent."""

    def loss_of(model: Net) -> Any:
        return (model(batch["image"]) ** 2).sum(-1).mean()

    loss, slopes = nnx.value_and_grad(loss_of)(model)
    nnx.update(model, jax.tree.map(lambda x, slope: x - 0.01 * slope, nnx.state(model), slopes))
    return loss


class Counted(host.AbstractHostSource[Any]):
    """A file of images, and how many bytes of it were asked for."""

    def __init__(self, path: str):
        self.file = host.DiskSource({"image": path})
        self.size, self.element_spec = self.file.size, self.file.element_spec
        self.asked = 0

    def fetch(self, ids: np.ndarray, out: Any = None) -> Any:
        self.asked += len(ids) * 3072
        return self.file.fetch(ids, out)


def pipeline_of(source: Any) -> Pipeline[Any, Any]:
    """The pipeline over the devices of all processes."""
    return Pipeline(
        source=source,
        stages=[Augment()],
        batch_size=BATCH,
        remainder="carry",
        rngs=nnx.Rngs(pipeline=dp.fast_key(0)),
        mesh=jax.make_mesh((jax.device_count(),), ("data",)),
    )


def measured(pipeline: Pipeline[Any, Any], rounds: int) -> tuple[float, float, float]:
    """Seconds of CPU and of the wall a step, and the last loss."""
    model = Net()
    cpu, wall, loss = [], [], 0.0
    for _ in range(rounds + 1):  # the first one compiles
        start, began = time.process_time(), time.perf_counter()
        losses = pipeline.scan(train_step, length=STEPS, modules=(model,))
        loss = float(losses[-1])
        cpu.append((time.process_time() - start) / STEPS)
        wall.append((time.perf_counter() - began) / STEPS)
    return statistics.median(cpu[1:]), statistics.median(wall[1:]), loss


def worker(rank: int, count: int, port: int, rounds: int, path: str, found: Any) -> None:
    """One process: what was measured of each source, and the bytes that it asked the file for."""
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", count, rank)
    held = MemorySource(data={"image": np.load(path)}, shuffle=True, rngs=nnx.Rngs(0))
    memory = measured(pipeline_of(held), rounds)
    file = Counted(path)
    with pipeline_of(HostSource(source=file, shuffle=True, rngs=nnx.Rngs(0))) as pipeline:
        found.put((memory, measured(pipeline, rounds), file.asked))
    if count > 1:
        jax.distributed.shutdown()


def fleet(count: int, rounds: int, path: str) -> list[Any]:
    """What each process of so many has found."""
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    processes = [
        context.Process(target=worker, args=(rank, count, port, rounds, path, found))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    answers = [found.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return answers


def main() -> None:
    report = Report("hosts", str(__doc__), rounds=9)
    report.say(str(__doc__))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/images.npy"
        rng = np.random.default_rng(0)
        np.save(path, rng.integers(0, 256, (RECORDS, 32, 32, 3), dtype=np.uint8))
        answers = {count: fleet(count, report.rounds, path) for count in COUNTS}
    rows: list[list[Any]] = []
    bounds = []
    for index, name in enumerate(("memory", "file")):
        alone = answers[1][0][index][0]
        for count, found in answers.items():
            cpu, wall = (max(answer[index][i] for answer in found) for i in (0, 1))
            losses = {answer[index][2] for answer in found}
            if len(losses) > 1:
                raise AssertionError(f"Processes learn apart: {losses}")
            asked = max(answer[2] for answer in found) / 1e6 if name == "file" else ""
            rows.append([name, count, cpu * 1e3, cpu / alone, wall * 1e3, asked, *losses])
            if count in AT_MOST:
                measure = f"CPU a process, {count} processes / 1, from {name}"
                bounds.append(Bound(measure, AT_MOST[count], cpu / alone))
    heads = ["from", "processes", "CPU ms a step, each", "/ 1", "wall ms a step"]
    title = f"A training over processes, batch {BATCH}"
    report.table(title, [*heads, "MB asked of the file, each", "loss"], rows, bounds)
    report.save()


if __name__ == "__main__":
    main()
