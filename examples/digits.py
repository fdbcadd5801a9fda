"""Learn handwritten digits and, by gradients through the pipeline, how to augment them.

The data are the 1,797 scanned digits of 8 by 8 pixels that ship with scikit-learn. By the number
of the record, every fifth one is for testing (0, 5, 10, …), the one after it for validation (1, 6,
11, …), and the others are for training.

A training record goes two ways, through a random shift and through random noise, each of learnable
strength. `mix` blends the two by learnable weights, in the manner of AugMix (Hendrycks et al.,
2020), and `scale` standardises. Each epoch is one compiled scan in which a small convolutional
network learns. Then the pipeline learns. The training loss could not teach it, for it is lowest
without any augmentation; so it follows the validation loss some training steps later, whose
gradient flows back through these steps into the batches they were taken on. (So short a look ahead
favours mild augmentation: Wu et al., 2018, on short-horizon bias.)
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from dagrax.nnx_api import (
    Element,
    MemorySource,
    MemorySourceConfig,
    NoiseOperator,
    OperatorModule,
    Pipeline,
)

Data = dict[str, Shaped[np.ndarray, "records ..."]]
Batch = dict[str, Shaped[Array, "batch ..."]]

AHEAD = 11  # the training steps after which the validation loss judges the pipeline
LOOKS = 3  # how often it is judged after each epoch


class ShiftOperator(OperatorModule):
    """Move a record by up to `strength` pixels along each axis, interpolating between pixels."""

    def __init__(self, strength: float) -> None:
        self.strength = nnx.Param(jnp.float32(strength))

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        image = element.data["image"]
        down, right = self.strength[...] * jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        moved = jnp.einsum("rs,cd,sdk->rck", _move(8, down), _move(8, right), image)
        return element.update_data({"image": moved})


def _move(size: int, by: Float[Array, ""]) -> Float[Array, "size size"]:
    """The matrix that moves a line of pixels: near the diagonal, and differentiable in `by`."""
    pixel = jnp.arange(size)
    return jax.nn.relu(1 - jnp.abs(pixel[:, None] - by - pixel[None, :]))


class Mix(nnx.Module):
    """A weighted mean of two images, with learnable weights."""

    def __init__(self) -> None:
        self.logits = nnx.Param(jnp.zeros(2))

    @property
    def weights(self) -> Float[Array, "2"]:
        return jax.nn.softmax(self.logits[...])

    def __call__(self, shifted: Batch, noisy: Batch) -> Batch:
        first, second = self.weights
        return {**shifted, "image": first * shifted["image"] + second * noisy["image"]}


def scale(batch: Batch) -> Batch:
    """Bring the images to about zero mean and unit variance."""
    return {**batch, "image": (batch["image"] - 0.3) / 0.38}


class Convolution(nnx.Module):
    """A 3 by 3 convolution, written as a matrix product.

    `nnx.Conv` would do as well, but its weight gradients are slow in loops on a CPU.
    """

    def __init__(self, channels: int, features: int, *, stride: int = 1, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(9 * channels, features, rngs=rngs)
        self.stride = stride

    def __call__(self, x: Float[Array, "batch h w c"]) -> Float[Array, "batch hs ws f"]:
        _, h, w, _ = x.shape
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        down, right = ([slice(i, i + size, self.stride) for i in range(3)] for size in (h, w))
        window = [padded[:, rows, columns] for rows in down for columns in right]
        return self.linear(jnp.concatenate(window, axis=-1))


class Network(nnx.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.first = Convolution(1, 16, rngs=rngs)
        self.second = Convolution(16, 32, stride=2, rngs=rngs)
        self.last = nnx.Linear(4 * 4 * 32, 10, rngs=rngs)

    def __call__(self, image: Float[Array, "batch 8 8 1"]) -> Float[Array, "batch 10"]:
        x = nnx.relu(self.second(nnx.relu(self.first(image))))
        return self.last(x.reshape(len(x), -1))


def mean_loss(model: Network, batch: Batch) -> Float[Array, ""]:
    """The cross-entropy of the network's answers."""
    logits = model(batch["image"])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]))


def train_step(model: Network, optimizer: nnx.Optimizer[Network], batch: Batch) -> Any:
    """One step of the network on one batch: what `pipeline.scan` repeats."""
    loss, gradients = nnx.value_and_grad(mean_loss)(model, batch)
    optimizer.update(model, gradients)
    return loss


def count_right(model: Network, batch: Batch) -> Int[Array, ""]:
    """How many records of a padded batch the network recognises; the padding does not count."""
    right = jnp.argmax(model(batch["image"]), axis=-1) == batch["label"]
    return jnp.sum(right & batch["valid"])


def loss_ahead(
    pipeline: Pipeline, model: Network, optimizer: nnx.Optimizer[Network], validation: Pipeline
) -> Float[Array, ""]:
    """Train for some steps; the validation loss of the network that comes out."""
    pipeline.scan(train_step, length=AHEAD, modules=(model, optimizer))
    return mean_loss(model, validation.step())


@nnx.jit
def tune(
    pipeline: Pipeline,
    tuner: nnx.Optimizer[Pipeline],
    model: Network,
    optimizer: nnx.Optimizer[Network],
    validation: Pipeline,
) -> None:
    """Train both: the network for some steps, then the pipeline by what came of them."""
    ahead = nnx.grad(loss_ahead, argnums=nnx.DiffState(0, nnx.Param))
    tuner.update(pipeline, ahead(pipeline, model, optimizer, validation))


class Report(NamedTuple):
    """What is known after an epoch."""

    seconds: float
    loss: float
    accuracy: float
    shift: float
    noise: float
    weights: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"loss {self.loss:.3f}   test accuracy {self.accuracy:.4f}   {self.seconds:6.2f} s   "
            f"shift {self.shift:.2f} px   noise {self.noise:.2f}   "
            f"mix {self.weights[0]:.2f} : {self.weights[1]:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn digits, and how to augment them.")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), help="the folder for digits.png")
    arguments = parser.parse_args()

    train, validation, test = load()
    print(f"{len(train['id'])} records to train, {len(validation['id'])} to validate, ", end="")
    print(f"{len(test['id'])} to test; epoch 1 includes compilation.", flush=True)
    pipeline = augmented(train, nnx.Rngs(arguments.seed))
    reports = []
    for report in learn(pipeline, validation, test, arguments.epochs, arguments.seed):
        reports.append(report)
        print(f"epoch {len(reports):2}   {report}", flush=True)

    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = arguments.out / "digits.png"
    draw(pipeline, train, reports).savefig(picture, dpi=150)
    print(f"The pipeline at work, and the learning curves: {picture}")


def load() -> tuple[Data, Data, Data]:
    """Records for training, validation and testing."""
    pixels, label = load_digits(return_X_y=True)
    number = np.arange(len(label))
    image = np.reshape(pixels, (-1, 8, 8, 1)).astype(np.float32) / 16
    records: Data = {"id": number, "image": image, "label": np.asarray(label)}
    groups = number % 5 > 1, number % 5 == 1, number % 5 == 0
    train, validation, test = ({k: v[group] for k, v in records.items()} for group in groups)
    return train, validation, test


def augmented(data: Data, rngs: nnx.Rngs) -> Pipeline:
    """The pipeline that the network learns from."""
    return Pipeline.from_dag(
        source=MemorySource(MemorySourceConfig(shuffle=True), data=data, rngs=rngs),
        nodes={
            "shift": ShiftOperator(1.0),
            "noise": NoiseOperator(0.3),
            "mix": Mix(),
            "scale": scale,
        },
        edges={"shift": [], "noise": [], "mix": ["shift", "noise"], "scale": ["mix"]},
        sink="scale",
        batch_size=32,
        rngs=rngs,
        remainder="drop",
    )


def learn(
    pipeline: Pipeline, validation: Data, test: Data, epochs: int, seed: int
) -> Iterator[Report]:
    """Train a network by whole epochs, and after each of them the pipeline."""
    rngs = nnx.Rngs(seed)
    validating = Pipeline(
        source=MemorySource(data=validation),
        stages=[scale],
        batch_size=len(validation["id"]),
        rngs=rngs,
    )
    testing = Pipeline(
        source=MemorySource(data=test), stages=[scale], batch_size=64, rngs=rngs, remainder="pad"
    )
    model = Network(rngs=rngs)
    # The root of zero has no gradient: `eps_root` keeps Adam differentiable.
    optimizer = nnx.Optimizer(model, optax.adam(2e-3, eps_root=1e-10), wrt=nnx.Param)
    tuner = nnx.Optimizer(pipeline, optax.adam(3e-2), wrt=nnx.Param)
    nodes: dict[str, Any] = pipeline.nodes

    for _ in range(epochs):
        start = time.perf_counter()
        losses = pipeline.scan(train_step, length=len(pipeline), modules=(model, optimizer))
        for _ in range(LOOKS):
            tune(pipeline, tuner, model, optimizer, validating)
        loss = float(jnp.mean(losses))  # waits for the epoch to end
        seconds = time.perf_counter() - start
        right = testing.scan(count_right, length=len(testing), modules=(model,))
        yield Report(
            seconds=seconds,
            loss=loss,
            accuracy=int(jnp.sum(right)) / len(test["id"]),
            # A draw and its mirror image are equally likely, so the sign of a strength is idle.
            shift=abs(float(nodes["shift"].strength[...])),
            noise=abs(float(nodes["noise"].strength[...])),
            weights=tuple(nodes["mix"].weights.tolist()),
        )


def draw(pipeline: Pipeline, data: Data, reports: list[Report], rows: int = 6) -> Figure:
    """Some records at each node of the pipeline, and what was learned, epoch by epoch."""
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(1, 1.1))
    left, right = panels

    left.suptitle("The next records at each node of the pipeline, after learning")
    nodes = ("shift", "noise", "mix", "scale")
    outputs = pipeline.outputs(*nodes)
    positions = np.searchsorted(data["id"], outputs["mix"]["id"][:rows])
    images = {"record": data["image"][positions]}
    images |= {node: np.asarray(outputs[node]["image"][:rows]) for node in nodes}
    grid = left.subplots(rows, len(images), squeeze=False)
    for column, (node, pictures) in zip(grid.T, images.items(), strict=True):
        column[0].set_title(node)
        dark, bright = (-0.8, 1.8) if node == "scale" else (0.0, 1.0)
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture[..., 0], cmap="gray", vmin=dark, vmax=bright)
            axes.set_axis_off()

    epochs = range(1, len(reports) + 1)
    accuracy, strengths = right.subplots(2, 1, sharex=True)
    accuracy.plot(epochs, [100 * report.accuracy for report in reports], "o-", color="C0")
    accuracy.set_title(f"Test accuracy: {100 * reports[-1].accuracy:.1f} % in the end")
    accuracy.set_ylabel("per cent")
    strengths.plot(epochs, [r.shift for r in reports], "o-", color="C1", label="shift (pixels)")
    strengths.plot(epochs, [r.noise for r in reports], "s-", color="C2", label="noise")
    strengths.plot(
        epochs, [r.weights[0] for r in reports], "^-", color="C3", label="share of shift in mix"
    )
    strengths.set_title("What the pipeline learned, after every epoch")
    strengths.set_xlabel("epoch")
    strengths.set_ylim(0, 1.25 * max(report.shift for report in reports))
    strengths.legend(ncols=3, loc="upper center")
    for axes in accuracy, strengths:
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


if __name__ == "__main__":
    main()
