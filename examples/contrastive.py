"""Learn to tell digits apart without labels: two views of each image, as two chains of a graph.

The data are the 1,797 scanned digits of 8 by 8 pixels that ship with scikit-learn. A record goes
through two chains of the same stages, a random shift and random noise, under two names: what a
stage draws depends on the name of its chain, so that the views differ, and on the record, so that
each is the same in any batch size. An encoder learns to find the second view of a record among
those of its batch, and the other way round (SimCLR: Chen et al., 2020).

Then a few labels are looked at, five of each digit: an image is named after the class whose mean
is nearest, by pixels and by what the encoder makes of them. The program fails if the encoder does
not do better.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray
from sklearn.datasets import load_digits

from dagrax.nnx_api import Element, MemorySource, NoiseOperator, OperatorModule, Pipeline

Batch = dict[str, Any]
LABELLED, TEMPERATURE = 5, 0.5


class Shift(OperatorModule):
    """Move an image by up to a pixel along each axis; what comes in is black."""

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        image = jnp.pad(element.data["image"], 1)
        down, right = jax.random.randint(key, (2,), 0, 3)
        moved = jax.lax.dynamic_slice(image, (down, right), (8, 8))
        return element.update_data({"image": moved})


def pair(first: Batch, second: Batch) -> Batch:
    """A stage: the two views, one after the other."""
    return {"views": jnp.concatenate([first["image"], second["image"]])}


class Encoder(nnx.Module):
    """Features of an image, and what of them is compared while it learns."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.second = nnx.Conv(32, 64, (3, 3), strides=2, rngs=rngs)
        self.features = nnx.Linear(4 * 4 * 64, 64, rngs=rngs)
        self.compared = nnx.Linear(64, 32, rngs=rngs)

    def __call__(self, image: Float[Array, "batch 8 8"]) -> Float[Array, "batch features"]:
        x = nnx.relu(self.second(nnx.relu(self.first(image[..., None]))))
        return nnx.relu(self.features(x.reshape(len(image), -1)))


def contrast(encoder: Encoder, batch: Batch) -> Float[Array, ""]:
    """How hard it is to find the other view of each record among all views of the batch."""
    compared = encoder.compared(encoder(batch["views"]))
    compared /= jnp.linalg.norm(compared, axis=1, keepdims=True) + 1e-6
    records = len(compared) // 2
    likeness = compared @ compared.T / TEMPERATURE
    likeness = jnp.where(jnp.eye(2 * records, dtype=bool), -jnp.inf, likeness)
    other = jnp.roll(jnp.arange(2 * records), records)
    losses: Float[Array, " views"] = optax.softmax_cross_entropy_with_integer_labels(
        likeness, other
    )
    return losses.mean()


def train_step(
    encoder: Encoder, optimizer: nnx.Optimizer[Encoder], batch: Batch
) -> Float[Array, ""]:
    loss: Float[Array, ""]
    loss, slopes = nnx.value_and_grad(contrast)(encoder, batch)
    optimizer.update(encoder, slopes)
    return loss


def named_rightly(
    x: Float[np.ndarray, "images features"], label: Int[np.ndarray, " images"]
) -> float:
    """The share of images that are nearest to the mean of their class, by a few labelled ones.

    The labelled ones are drawn twenty times.
    """
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6)
    rights = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(label))
        few = [order[label[order] == digit][:LABELLED] for digit in range(10)]
        means = np.stack([x[ids].mean(axis=0) for ids in few])
        others = np.setdiff1d(order, np.concatenate(few))
        nearest = ((x[others, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
        rights.append((nearest == label[others]).mean())
    return float(np.mean(rights))


def main() -> None:
    """Learn without labels; then see what a few of them are worth."""
    parser = argparse.ArgumentParser(description="Learn digits from two views of each.")
    parser.add_argument("--epochs", type=int, default=30)
    epochs = parser.parse_args().epochs
    start = time.perf_counter()
    images, label = map(np.asarray, load_digits(return_X_y=True))
    image = (images.reshape(-1, 8, 8) / 16).astype(np.float32)

    def view() -> list[OperatorModule]:
        return [Shift(), NoiseOperator(0.25)]

    pipeline = Pipeline.from_dag(
        source=MemorySource(data={"image": image}, shuffle=True, rngs=nnx.Rngs(0)),
        nodes={"view_a": view(), "view_b": view(), "pair": pair},
        edges={"view_a": [], "view_b": [], "pair": ["view_a", "view_b"]},
        sink="pair",
        batch_size=128,
        rngs=nnx.Rngs(0),
        remainder="drop",
    )
    encoder = Encoder(nnx.Rngs(0))
    optimizer = nnx.Optimizer(encoder, optax.adam(3e-3), wrt=nnx.Param)
    encode = nnx.jit(lambda encoder, image: encoder(image))
    pixels = named_rightly(image.reshape(len(image), -1), label)
    before = named_rightly(np.asarray(encode(encoder, image)), label)
    for epoch in range(epochs):
        losses = pipeline.scan(train_step, modules=(encoder, optimizer))
        if epoch % 10 == 9 or epoch == epochs - 1:
            print(f"epoch {epoch + 1:3d}: loss {float(losses.mean()):.3f}")
    after = named_rightly(np.asarray(encode(encoder, image)), label)
    print(
        f"named rightly by {LABELLED} labels a class: {pixels:.1%} by pixels, {before:.1%} by the "
        f"encoder before, {after:.1%} after {time.perf_counter() - start:.0f} s without labels"
    )
    assert after > max(pixels, before) + 0.02, "the encoder has learned nothing of use"


if __name__ == "__main__":
    main()
