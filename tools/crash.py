"""Kill a training by SIGKILL, again and again, and see that it ends as if nothing had happened.

    python tools/crash.py --kills 50

Each kill strikes at a place of its own: before a block of steps, at a file operation of a
checkpoint that is being written, or some milliseconds into one. What goes on starts from the newest
whole checkpoint. In the end losses and parameters are held, bit for bit, against those of a
training that nobody killed.
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiles sooner

import jax
import numpy as np
import optax
import orbax.checkpoint  # noqa: F401  it takes its time, once, before a process is forked
from flax import nnx

from dagrax.nnx_api import MemorySource, Pipeline
from dagrax.pure import host

BLOCKS, EVERY = 10, 4  # blocks of a training, each with a checkpoint behind it; steps of a block
KINDS = ("block", "file", "time")
# Blocks from where it goes on, file operations, milliseconds: not far, and not at once.
RANGES = {"block": (0, 2), "file": (1, 40), "time": (1, 100)}
Kill = tuple[str, int]


def noisy(batch: Any, *, record_keys: jax.Array) -> Any:
    """A stage that draws."""
    return {"x": batch["x"] + jax.vmap(lambda key: jax.random.uniform(key, (8,)))(record_keys)}


class Line(nnx.Module):
    """What is learned."""

    def __init__(self) -> None:
        self.slope = nnx.Param(jax.device_put(np.ones(8, np.float32)))

    def __call__(self, x: jax.Array) -> Any:
        return x @ self.slope[...]


def step(model: Line, optimizer: Any, batch: Any) -> Any:
    """A step of Adam."""
    loss, gradients = nnx.value_and_grad(lambda model: ((model(batch["x"]) - 1) ** 2).mean())(model)
    optimizer.update(model, gradients)
    return loss


def train(folder: Path, kill: Kill | None) -> None:
    """From the newest checkpoint to the end, or to the kill; losses are added to a file."""
    records = np.random.default_rng(0).normal(size=(48, 8)).astype(np.float32)
    pipeline = Pipeline(
        source=MemorySource(data={"x": records}, shuffle=True, rngs=nnx.Rngs(0)),
        stages=[noisy],
        batch_size=5,
        remainder="carry",
        rngs=nnx.Rngs(0),
    )
    model = Line()
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    state = {"model": model, "optimizer": optimizer}
    with host.Checkpoints(folder / "saved") as checkpoints:
        done = checkpoints.restore(pipeline, **state) or 0
        strike = armed(kill, str(folder / "saved"), done)
        for block in range(done, BLOCKS):
            if strike == block:
                os.kill(os.getpid(), signal.SIGKILL)
            losses = pipeline.scan(step, modules=(model, optimizer), length=EVERY)
            with open(folder / "losses", "a") as file:
                file.writelines(f"{block}.{i} {float(x).hex()}\n" for i, x in enumerate(losses))
            checkpoints.save(block + 1, pipeline, **state)
    leaves = jax.tree.leaves(nnx.state((model, optimizer)))
    np.savez(folder / "end.npz", *[np.asarray(leaf) for leaf in leaves])


def armed(kill: Kill | None, saved: str, done: int) -> int | None:
    """Set a trap in this process; the block before which it dies, where it is one."""
    kind, number = kill or ("", 0)
    if kind == "block":
        return done + number
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            if not str(arguments[0]).startswith(saved):
                return
            seen += 1
            if kind == "file" and seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "time" and seen == 1:
                timer = threading.Timer(number / 1000, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()

    if kind:
        sys.addaudithook(watch)
    return None


def forked(folder: Path, kill: Kill | None) -> int:
    """How a training in a process of its own has ended: 0, or the signal by which it was killed."""
    folder.mkdir(exist_ok=True)
    if pid := os.fork():
        status = os.waitpid(pid, 0)[1]
        return os.WTERMSIG(status) or os.WEXITSTATUS(status)
    try:
        train(folder, kill)
    except BaseException:
        traceback.print_exc()
        os._exit(100)
    os._exit(0)


def kills(seed: int) -> Iterator[Kill]:
    """Where to kill: each kind in turn, at places that are drawn."""
    draw = random.Random(seed)
    for kind in itertools.cycle(KINDS):
        yield kind, draw.randint(*RANGES[kind])


def read(folder: Path) -> tuple[dict[str, str], list[np.ndarray]]:
    """Losses by step, which must not differ where a step was taken twice, and what was learned."""
    losses: dict[str, str] = {}
    for line in (folder / "losses").read_text().splitlines():
        name, loss = line.split()
        if losses.setdefault(name, loss) != loss:
            raise SystemExit(f"step {name} gave {losses[name]}, and {loss} when it was taken again")
    with np.load(folder / "end.npz") as end:
        return losses, [end[name] for name in end.files]


def main() -> None:
    """Train undisturbed, then killed, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = Path(temporary, "whole"), Path(temporary, "killed")
        jax.config.update("jax_compilation_cache_dir", str(Path(temporary, "programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        if forked(whole, None):
            raise SystemExit("the training that nobody kills has failed")
        struck, places = 0, kills(options.seed)
        while struck < options.kills:
            ended = forked(killed, kill := next(places))
            if ended not in (0, signal.SIGKILL):
                raise SystemExit(f"the training to be killed at {kill} has failed by itself")
            struck += ended == signal.SIGKILL
            if not ended:  # it came to its end first: it is compared, and once more begun
                compare(whole, killed)
                shutil.rmtree(killed)
        if forked(killed, None):
            raise SystemExit("the training that goes on after the last kill has failed")
        compare(whole, killed)
        print(f"{struck} kills; losses and parameters are the same, bit for bit")


def compare(whole: Path, killed: Path) -> None:
    """Hold what was killed against what was not. **Errors:** SystemExit where they differ."""
    (losses, learned), (others, other) = read(whole), read(killed)
    if losses != others or not all(map(np.array_equal, learned, other)):
        raise SystemExit("losses or parameters are NOT the same")


if __name__ == "__main__":
    main()
