"""A small GPT on the windows of a text that stays on disk, block by block.

The text is the source code of Python's standard library, which is at hand wherever this runs: a
few megabytes, written once to a file of bytes and mapped for reading. A record is a window of it;
none is ever copied out, and the windows of a batch overlap as they come. The last tenth of the
file is kept for validation, whose last batch is filled up under `"pad"` and counted by `valid`.

Training goes by `pipeline.blocks`: some hundred steps as one program, then back to Python, where
the loss is shown, the model validated, and everything saved. The program then forgets it all,
restores the last checkpoint into a pipeline, a model and an optimizer made anew, and trains the
last block again, to the same losses. It fails if the model has not learned more than which
byte follows which.
"""

import argparse
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt8

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, Pipeline

CONTEXT, WIDTH, HEADS, LAYERS, BATCH = 64, 64, 4, 2, 32
Batch = dict[str, Any]


class Block(nnx.Module):
    """Attention to what came before, then two layers for each byte."""

    def __init__(self, rngs: nnx.Rngs):
        self.before_attention = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.before_layers = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch time width"], mask: Bool[Array, "1 1 time time"]
    ) -> Float[Array, "batch time width"]:
        x = x + self.attention(self.before_attention(x), mask=mask)
        return x + self.down(nnx.gelu(self.up(self.before_layers(x))))


class GPT(nnx.Module):
    """The logits of the next byte, behind each byte of a window."""

    def __init__(self, rngs: nnx.Rngs):
        self.bytes = nnx.Embed(256, WIDTH, rngs=rngs)
        self.places = nnx.Embed(CONTEXT, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS)])
        self.last = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, 256, rngs=rngs)

    def __call__(self, text: Int[Array, "batch time"]) -> Float[Array, "batch time bytes"]:
        mask = nnx.make_causal_mask(text)[:1]
        x = self.bytes(text) + self.places(jnp.arange(text.shape[1]))[None]
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.last(x))


def bits(model: GPT, batch: Batch) -> Float[Array, " batch"]:
    """Bits for each byte of each window: what a code that the model makes would take."""
    losses = optax.softmax_cross_entropy_with_integer_labels(model(batch["seen"]), batch["next"])
    a_byte: Float[Array, " batch"] = losses.mean(axis=1) / jnp.log(2.0)
    return a_byte


def train_step(model: GPT, optimizer: nnx.Optimizer[GPT], batch: Batch) -> Float[Array, ""]:
    """One step; the bits that the batch took before it."""
    loss: Float[Array, ""]
    loss, slopes = nnx.value_and_grad(lambda model: bits(model, batch).mean())(model)
    optimizer.update(model, slopes)
    return loss


def validate_step(
    total: tuple[Array, Array], model: GPT, batch: Batch
) -> tuple[tuple[Array, Array], None]:
    """The sums over the windows that count."""
    valid = batch["valid"].astype(jnp.float32)
    return (total[0] + (bits(model, batch) * valid).sum(), total[1] + valid.sum()), None


def shifted(batch: Batch) -> Batch:
    """A stage: what is seen of a window, and the bytes that follow."""
    text = batch["text"].astype(jnp.int32)
    return {"seen": text[:, :-1], "next": text[:, 1:]}


def written(folder: Path) -> UInt8[np.ndarray, " bytes"]:
    """The text as a file of bytes, mapped for reading."""
    library = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(library.glob("*.py")))
    np.save(folder / "text.npy", np.frombuffer(text, np.uint8))
    mapped: UInt8[np.ndarray, " bytes"] = np.load(folder / "text.npy", mmap_mode="r")
    return mapped


def pipeline_of(text: UInt8[np.ndarray, " bytes"], seed: int) -> Pipeline:
    """Batches of windows at every place of the text."""
    windows = dp.Windows({"text": text}, CONTEXT + 1)
    source = ArraySource(source=windows, shuffle=True, rngs=nnx.Rngs(seed))
    return Pipeline(source=source, stages=[shifted], batch_size=BATCH, remainder="drop")


def learner() -> tuple[GPT, nnx.Optimizer[GPT]]:
    model = GPT(nnx.Rngs(0))
    return model, nnx.Optimizer(model, optax.adamw(2e-3), wrt=nnx.Param)


def by_pairs(text: UInt8[np.ndarray, " bytes"], other: UInt8[np.ndarray, " bytes"]) -> float:
    """Bits for each byte of another text by the counts of pairs in a text: what is to be beaten."""
    counts = np.full((256, 256), 0.01)
    np.add.at(counts, (text[:-1], text[1:]), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return float(-np.log2(shares[other[:-1], other[1:]]).mean())


def main() -> None:
    """Train, validate and save by blocks; then come back to the last checkpoint."""
    parser = argparse.ArgumentParser(description="Train a small GPT on source code, by blocks.")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--every", type=int, default=100)
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        text = written(Path(folder))
        # A part of a mapped file stays on disk too, where it starts at a multiple of 64 bytes.
        cut = len(text) * 9 // 10 // 64 * 64
        train, rest = text[:cut], text[cut:]
        held_out = Pipeline(
            source=ArraySource(source=dp.Windows({"text": rest}, CONTEXT + 1, stride=16 * CONTEXT)),
            stages=[shifted],
            batch_size=BATCH,
            remainder="pad",
        )
        pipeline, (model, optimizer) = pipeline_of(train, 0), learner()
        print(f"{len(text)} bytes, {len(pipeline.source)} windows to train on")

        save = ocp.StandardCheckpointer()
        losses: list[np.ndarray] = []
        took = float("inf")
        length = options.blocks * options.every
        modules = (model, optimizer)
        nothing = (jnp.zeros(()), jnp.zeros(()))
        for block in pipeline.blocks(
            train_step, every=options.every, length=length, modules=modules
        ):
            (total, count), _ = held_out.scan(validate_step, shared=(model,), init_carry=nothing)
            took = float(total / count)
            print(
                f"step {len(losses) * options.every + len(block):4d}: {float(block.mean()):.2f} "
                f"bits a byte, validation {took:.2f}, {time.perf_counter() - start:3.0f} s"
            )
            losses.append(np.asarray(block))
            state = {"pipeline": pipeline.checkpoint(), "learner": nnx.state(modules)}
            save.save(Path(folder) / f"block-{len(losses)}", state)
        save.wait_until_finished()

        again, anew = pipeline_of(train, 0), learner()
        state = {"pipeline": again.checkpoint(), "learner": nnx.state(anew)}
        restored = save.restore(Path(folder) / f"block-{len(losses) - 1}", state)
        nnx.update(again, restored["pipeline"])
        nnx.update(anew, restored["learner"])
        repeated = again.scan(train_step, length=options.every, modules=anew)
        np.testing.assert_allclose(repeated, losses[-1], rtol=1e-3)
        print("restored: the last block again, to the same losses")

        pairs = by_pairs(train, rest)
        assert took < pairs, f"{took:.2f} bits a byte, by pairs of bytes {pairs:.2f}"
        print(f"learned: {took:.2f} bits a byte, where pairs of bytes give {pairs:.2f}")


if __name__ == "__main__":
    main()
