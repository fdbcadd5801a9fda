"""A training on files that is killed and goes on: the same curve, to the bit.

It writes 1 GB of images (`--gigabytes`), in shards, and trains a small network on them, which reads
them where they lie: a thread gathers the next batches while these are computed. After every block
of steps a checkpoint is written beside the training. The first run kills itself in the middle, as a
machine does that is taken away; the second finds the newest checkpoint and goes on. A third was
never killed, and both curves are held against each other: they are equal, to the last bit.

Run it as it is, or on less: `python examples/out_of_core.py --gigabytes 0.05`. Checkpoints are
written by Orbax: pip install "dagrax[checkpoints]".
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dagrax.nnx_api import HostSource, NoiseOperator, Pipeline
from dagrax.pure import host

Batch = dict[str, Any]
BLOCKS, SHARDS, SIDE = 8, 8, 32
KILLED_AT = 4  # blocks


def write(folder: Path, gigabytes: float) -> None:
    """Images whose brightness says what they are, in shards, and their labels in one file."""
    records = max(2000, int(gigabytes * 1e9) // (SIDE * SIDE * 3))
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, records, np.int32)
    (folder / "image").mkdir(parents=True)
    for number, part in enumerate(np.array_split(label, SHARDS)):
        noise = rng.integers(0, 64, (len(part), SIDE, SIDE, 3), np.uint8)
        np.save(folder / "image" / f"part-{number}.npy", noise + part[:, None, None, None] * 48)
    np.save(folder / "label.npy", label)


def as_floats(batch: Batch) -> Batch:
    return {**batch, "image": batch["image"].astype(jnp.float32) / 255}


class Network(nnx.Module):
    """Logits of the four kinds of image."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(SIDE * SIDE * 3, 16, rngs=rngs)
        self.last = nnx.Linear(16, 4, rngs=rngs)

    def __call__(
        self, image: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch kinds"]:
        hidden = nnx.relu(self.first(image.reshape(image.shape[0], -1)))
        logits: Float[Array, "batch kinds"] = self.last(hidden)
        return logits


def loss_of(model: Network, image: Array, label: Int[Array, " batch"]) -> Float[Array, ""]:
    right = jax.nn.log_softmax(model(image))[jnp.arange(len(label)), label]
    loss: Float[Array, ""] = -right.mean()
    return loss


def step(model: Network, batch: Batch) -> Float[Array, ""]:
    loss, slope = nnx.value_and_grad(loss_of)(model, batch["image"], batch["label"])
    moved = jax.tree.map(lambda x, g: x - 0.05 * g, nnx.state(model, nnx.Param), slope)
    nnx.update(model, moved)
    own: Float[Array, ""] = loss
    return own


def train(folder: Path, name: str, steps: int, killed_at: int | None) -> list[float]:
    """Train to the end from the newest checkpoint on; the losses of all blocks."""
    data = folder / "data"
    files = host.DiskSource({"image": data / "image", "label": data / "label.npy"})
    pipeline = Pipeline[Batch, Batch](
        source=HostSource(True, source=files, rngs=nnx.Rngs(1)),
        stages=[as_floats, NoiseOperator(0.05)],
        batch_size=128,
        remainder="carry",
        rngs=nnx.Rngs(2),
    )
    model = Network(nnx.Rngs(3))
    curve = {"losses": np.zeros((BLOCKS, steps), np.float32)}
    state = {"model": model, "curve": curve}
    with pipeline, host.Checkpoints(folder / name) as saved:
        start = saved.restore(pipeline, **state) or 0
        print(f"goes on behind block {start}" if start else "starts", flush=True)
        for block in range(start, BLOCKS):
            if block == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            losses = pipeline.scan(step, length=steps, modules=(model,))
            curve["losses"][block] = losses
            print(f"  block {block + 1}: loss {float(losses.mean()):.4f}", flush=True)
            saved.save(block + 1, pipeline, **state)
        waited = {name: f"{seconds:.2f} s" for name, seconds in pipeline.waited.items()}
        print(f"  waited for: {waited}")
    return [float(x) for x in curve["losses"].reshape(-1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=25, help="of each of the blocks")
    parser.add_argument("--folder", type=Path, help="of an earlier run; for the run that is killed")
    options = parser.parse_args()
    if options.folder:
        train(options.folder, "killed", options.steps, KILLED_AT)
        return
    folder = Path(tempfile.mkdtemp(prefix="out_of_core_"))
    try:
        write(folder / "data", options.gigabytes)
        again = "--folder", str(folder), "--steps", str(options.steps)
        first = subprocess.run([sys.executable, __file__, *again], check=False)
        print(f"the first run ended with {first.returncode}: it was killed")
        resumed = train(folder, "killed", options.steps, None)
        whole = train(folder, "whole", options.steps, None)
        assert first.returncode == -signal.SIGKILL
        assert resumed == whole, "the curves differ"
        assert whole[-1] < whole[0]
        print(f"{len(whole)} losses of both are equal, to the bit")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
