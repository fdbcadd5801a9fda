"""Digits of which some are rare: records as they come, class balance, or weights.

The data are the 1,797 scanned digits of 8 by 8 pixels that ship with scikit-learn. Each digit of
the training set is left half as many records as the one before: of the 0 about 120, of the 9 two.
The test set has all in equal measure.

The same network learns from three orders of the same source. `Shuffled` visits each record once in
an epoch, so that a rare digit is rare in training too. `Balanced` hands out each class equally
often, exactly, in every batch; the records of a class come in turn, none twice before all have
come. `Weighted` draws records with replacement by weights of their own, here one over the size of
their class (as torch's WeightedRandomSampler does). Where a record comes again, its noise is
another one, in both. The program fails if either does not find more of the rare digits.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int
from sklearn.datasets import load_digits

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, NoiseOperator, Pipeline

Batch = dict[str, Any]
Data = dict[str, np.ndarray]


def skewed() -> tuple[Data, Data]:
    """Records to train on, of each digit half as many as of the one before; and to test on."""
    images, label = map(np.asarray, load_digits(return_X_y=True))
    image = (images / 16).astype(np.float32)
    test = np.arange(len(label)) % 3 == 0
    kept = [
        np.flatnonzero((label == digit) & ~test)[: max(2, 120 // 2**digit)] for digit in range(10)
    ]
    ids = np.concatenate(kept)
    return (
        {"image": image[ids], "label": label[ids].astype(np.int32)},
        {"image": image[test], "label": label[test].astype(np.int32)},
    )


class Network(nnx.Module):
    """Logits of the ten digits."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, 64, rngs=rngs)
        self.last = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, image: Float[Array, "batch pixels"]) -> Float[Array, "batch digits"]:
        logits: Float[Array, "batch digits"] = self.last(nnx.relu(self.first(image)))
        return logits


def train_step(
    network: Network, optimizer: nnx.Optimizer[Network], batch: Batch
) -> Int[Array, " digits"]:
    """One step; how many records of each digit it saw."""

    def loss(network: Network) -> Float[Array, ""]:
        logits, label = network(batch["image"]), batch["label"]
        losses: Float[Array, " batch"] = optax.softmax_cross_entropy_with_integer_labels(
            logits, label
        )
        return losses.mean()

    optimizer.update(network, nnx.grad(loss)(network))
    return jnp.bincount(batch["label"], length=10)


def found(network: Network, test: Data) -> Float[np.ndarray, " digits"]:
    """The share of the records of each digit that are named rightly."""
    named = np.asarray(network(jnp.asarray(test["image"])).argmax(axis=1))
    return np.array([(named == x)[test["label"] == x].mean() for x in range(10)])


def trained(order: dp.AbstractOrder, train: Data, steps: int) -> tuple[Network, np.ndarray]:
    """A network that has learned from records in an order; how many of each digit it saw."""
    pipeline = Pipeline(
        source=MemorySource(data=train, order=order),
        stages=[NoiseOperator(0.3)],
        batch_size=50,
        rngs=nnx.Rngs(0),
        remainder="carry",
    )
    network = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.adam(3e-3), wrt=nnx.Param)
    seen = pipeline.scan(train_step, length=steps, modules=(network, optimizer))
    return network, np.asarray(seen).sum(axis=0)


def main() -> None:
    """Learn in three orders, and compare what is found of the rare digits."""
    parser = argparse.ArgumentParser(description="Class balance against weights.")
    parser.add_argument("--steps", type=int, default=400)
    steps = parser.parse_args().steps
    start = time.perf_counter()
    train, test = skewed()
    sizes = np.bincount(train["label"], minlength=10)
    print(f"records to train on, by digit: {' '.join(map(str, sizes))}")
    key = jax.random.key(0)
    orders: dict[str, dp.AbstractOrder] = {
        "Shuffled": dp.Shuffled(key),
        "Balanced": dp.Balanced(key, train["label"]),
        "Weighted": dp.Weighted(key, 1 / sizes[train["label"]]),
    }
    rare: dict[str, float] = {}
    for name, order in orders.items():
        network, seen = trained(order, train, steps)
        shares = found(network, test)
        rare[name] = float(shares[5:].mean())
        print(
            f"{name}: a 9 is {seen[9] / seen.sum():.1%} of what was seen; found of all digits "
            f"{shares.mean():.1%}, of the five rarest {rare[name]:.1%}"
        )
        if name == "Balanced":
            assert (seen == steps * 5).all(), "each class is handed out equally often"
    print(f"{time.perf_counter() - start:.0f} s")
    for name in ("Balanced", "Weighted"):
        assert rare[name] > rare["Shuffled"] + 0.05, f"{name} finds no more of the rare digits"


if __name__ == "__main__":
    main()
