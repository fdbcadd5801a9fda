"""How strongly to augment: a grid of 64 trainings run as one program, and a descent by slopes.

The data are 100 of the handwritten digits of 8 by 8 pixels that ship with scikit-learn. A random
affine map makes more of them: without it, a network learns them by heart, and where it is too
strong, the network learns other digits. What is best lies in between.

The first part is a grid: eight strengths, each with eight seeds for weights and draws, are one
`Pipeline.variants`. Every variant has a network and an optimizer of its own, and each epoch of all
of them is one compiled scan over one copy of the data. The best one is then trained once more,
alone, and comes to the same numbers but for rounding.

The second part descends: a whole training, from the first draw to the validation loss of the
network that comes out, is differentiated by the strength. Eight starts are eight variants again.
(A look only some steps ahead, as in examples/digits.py, costs less, but favours mild augmentation:
Wu et al., 2018, on short-horizon bias.) For this one number the grid is enough; but a slope says
where to go between the points of a grid.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, Shaped
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from dagrax.nnx_api import (
    Element,
    MemorySource,
    MemorySourceConfig,
    OperatorModule,
    Pipeline,
    stack,
)

Batch = dict[str, Shaped[Array, "batch ..."]]
Losses = Float[np.ndarray, "*variants epochs steps"]

RECORDS = 100  # for training
STRENGTHS = np.arange(8) / 10
SEEDS = range(8)
RATE = 0.25  # how far a descent goes along a slope
# Variants share their functions, so there is one optimizer for all. The root of zero has no
# derivative: `eps_root` keeps Adam differentiable.
ADAM = optax.adam(5e-3, eps_root=1e-8)


class AffineOperator(OperatorModule):
    """Put a record through a random affine map, interpolating between pixels.

    The shift is normally distributed, `strength` pixels along each axis, and so are the entries of
    the matrix, a quarter of `strength` off the identity: it turns, scales and shears.
    """

    def __init__(self, strength: float) -> None:
        self.strength = nnx.Param(jnp.float32(strength))

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        drawn = self.strength[...] * jax.random.normal(key, (2, 3))
        matrix, shift = jnp.eye(2) + drawn[:, :2] / 4, drawn[:, 2]
        pixel = jnp.indices((8, 8)).astype(jnp.float32) - 3.5
        place = jnp.einsum("ij,jrc->irc", matrix, pixel) + shift[:, None, None] + 3.5
        image = jax.scipy.ndimage.map_coordinates(element.data["image"], list(place), order=1)
        return element.update_data({"image": image})


class Network(nnx.Module):
    """Two linear layers with a smooth function between, for slopes that last a whole training."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(64, 128, rngs=rngs)
        self.last = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, image: Float[Array, "batch 8 8"]) -> Float[Array, "batch 10"]:
        return self.last(nnx.tanh(self.first(image.reshape(len(image), 64))))


def train_step(model: Network, optimizer: nnx.Optimizer[Network], batch: Batch) -> Any:
    """One step of one network on one batch: what `pipeline.scan` repeats, for all variants."""

    def mean_loss(model: Network) -> Float[Array, ""]:
        target = optax.smooth_labels(jax.nn.one_hot(batch["label"], 10), 0.1)
        return jnp.mean(optax.softmax_cross_entropy(model(batch["image"]), target))

    loss, gradients = nnx.value_and_grad(mean_loss)(model)
    optimizer.update(model, gradients)
    return loss


def accuracy(model: Network, batch: Batch) -> Float[Array, ""]:
    """How many records the network recognises, in per cent: what the grid is ranked by."""
    return 100 * jnp.mean(jnp.argmax(model(batch["image"]), axis=-1) == batch["label"])


def cross_entropy(model: Network, batch: Batch) -> Float[Array, ""]:
    """The loss of its answers: what the descent goes down."""
    logits = model(batch["image"])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]))


# Both for a stack of networks on one batch.
accuracies = nnx.jit(nnx.vmap(accuracy, in_axes=(0, None)))
cross_entropies = nnx.vmap(cross_entropy, in_axes=(0, None))


class Trained(NamedTuple):
    """What came of training: for all variants, or for one."""

    losses: Losses
    validation: Float[np.ndarray, "*variants"]
    test: Float[np.ndarray, "*variants"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Search for the strength of an augmentation.")
    parser.add_argument("--epochs", type=int, default=400, help="the epochs of each training")
    parser.add_argument("--descents", type=int, default=6, help="the steps along slopes")
    parser.add_argument("--out", type=Path, default=Path(), help="for augmentation_search.png")
    arguments = parser.parse_args()
    epochs: int = arguments.epochs
    # In the full precision of float32 on accelerators too, for what is compared below.
    jax.config.update("jax_default_matmul_precision", "highest")

    data = train, validation, test = load()
    print(f"{RECORDS} records to train, {len(validation['label'])} to validate, ", end="")
    print(f"{len(test['label'])} to test; times include compilation.\n", flush=True)
    source = MemorySource(MemorySourceConfig(shuffle=True), data=train, rngs=nnx.Rngs(0))

    start = time.perf_counter()
    both = [(float(strength), seed) for strength in STRENGTHS for seed in SEEDS]
    pipelines = Pipeline.variants([augmented(source, *each) for each in both])
    trained = train_all(pipelines, [seed for _, seed in both], data, epochs)
    print(f"Grid: {len(both)} trainings of {epochs} epochs, {time.perf_counter() - start:.1f} s")
    scores, unseen = (x.reshape(len(STRENGTHS), -1) for x in (trained.validation, trained.test))
    for place, index in enumerate(np.argsort(-scores.mean(1), kind="stable"), start=1):
        print(f"{place:4}   strength {STRENGTHS[index]:.2f}   {percent(scores[index])}")

    best = int(np.argmax(trained.validation))
    alone = train_one(augmented(source, *both[best]), both[best][1], data, epochs)
    # One variant or 64, XLA sums in another order: the same numbers, but for rounding.
    np.testing.assert_allclose(alone.losses, trained.losses[best], rtol=1e-3)
    np.testing.assert_allclose(alone.validation, trained.validation[best], atol=0.2)
    apart = np.max(np.abs(alone.losses - trained.losses[best]))
    print(f"Once more alone, strength {both[best][0]:.2f} with seed {both[best][1]}: ", end="")
    print(f"{alone.validation:.2f} %, as a variant {trained.validation[best]:.2f} %;")
    print(f"       {alone.losses.size} losses of training, at most {apart:.0e} apart\n", flush=True)

    start = time.perf_counter()
    paths = descend(source, validation, epochs, arguments.descents)
    count = paths[1:].size
    print(f"Descent: {count} trainings with their slopes, {time.perf_counter() - start:.1f} s")
    print(f"       starts    {'  '.join(f'{x:.2f}' for x in paths[0])}")
    print(f"       ends      {'  '.join(f'{x:.2f}' for x in paths[-1])}")
    learned = float(paths[-1].mean())
    again = Pipeline.variants([augmented(source, learned, seed) for seed in SEEDS])
    found = train_all(again, SEEDS, data, epochs)

    winner = int(np.argmax(scores.mean(1)))
    print(f"\n{'':30}validation        test")
    for name, strength, seen, fresh in (
        ("no augmentation", 0.0, scores[0], unseen[0]),
        ("the grid's best", STRENGTHS[winner], scores[winner], unseen[winner]),
        ("the descents' mean", learned, found.validation, found.test),
    ):
        print(f"{name:18}   {strength:.2f}   {percent(seen)}   {percent(fresh)}")

    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = arguments.out / "augmentation_search.png"
    draw(pipelines, scores, paths).savefig(picture, dpi=150)
    print(f"\nAccuracies, descents, and digits at each strength: {picture}")


def load() -> tuple[Batch, Batch, Batch]:
    """Records for training, validation and testing."""
    pixels, label = load_digits(return_X_y=True)
    image = np.reshape(pixels, (-1, 8, 8)).astype(np.float32) / 16
    number = np.random.default_rng(0).permutation(len(label))
    groups = np.split(number, [RECORDS, RECORDS + 800])
    train, validation, test = (
        {"image": jnp.asarray(image[n]), "label": jnp.asarray(label[n])} for n in groups
    )
    return train, validation, test


def augmented(source: MemorySource, strength: float, seed: int) -> Pipeline:
    """One variant: an ordinary pipeline."""
    return Pipeline(
        source=source,
        stages=[AffineOperator(strength)],
        batch_size=RECORDS // 2,
        rngs=nnx.Rngs(seed),
    )


def beginner(seed: int) -> tuple[Network, nnx.Optimizer[Network]]:
    """A network that has learned nothing, and its optimizer."""
    network = Network(rngs=nnx.Rngs(seed))
    return network, nnx.Optimizer(network, ADAM, wrt=nnx.Param)


def beginners(seeds: Sequence[int]) -> tuple[Network, nnx.Optimizer[Network]]:
    """A stack of both; the variants of one seed start from the same network."""
    made = {seed: beginner(seed) for seed in set(seeds)}
    networks, optimizers = zip(*(made[seed] for seed in seeds), strict=True)
    return stack(networks), stack(optimizers)


def train_epochs(
    pipeline: Pipeline, model: Network, optimizer: nnx.Optimizer[Network], epochs: int
) -> Losses:
    """Train by whole epochs: one network, or a stack of them on the variants of a pipeline."""
    modules = (model, optimizer)
    steps = len(pipeline)
    losses = [pipeline.scan(train_step, length=steps, modules=modules) for _ in range(epochs)]
    return np.stack(losses, axis=-2)


def train_all(
    pipelines: Pipeline, seeds: Sequence[int], data: tuple[Batch, Batch, Batch], epochs: int
) -> Trained:
    """Train a new network on each variant."""
    models, optimizers = beginners(seeds)
    losses = train_epochs(pipelines, models, optimizers, epochs)
    validation, test = (np.asarray(accuracies(models, group)) for group in data[1:])
    return Trained(losses, validation, test)


def train_one(
    pipeline: Pipeline, seed: int, data: tuple[Batch, Batch, Batch], epochs: int
) -> Trained:
    """Train a new network on an ordinary pipeline."""
    model, optimizer = beginner(seed)
    losses = train_epochs(pipeline, model, optimizer, epochs)
    validation, test = (np.asarray(accuracy(model, group)) for group in data[1:])
    return Trained(losses, validation, test)


@nnx.jit(static_argnums=4)
def slopes(
    pipelines: Pipeline,
    models: Network,
    optimizers: nnx.Optimizer[Network],
    validation: Batch,
    epochs: int,
) -> Float[Array, " variants"]:
    """How the validation loss after training depends on the strength, variant by variant.

    One number goes in and one comes out, so the derivative is taken forwards, along with the
    training, of which nothing has to be kept. Copies are trained, so that each call starts from
    the same networks, and sees the same records and draws.
    """

    def losses_after(strengths: Float[Array, " variants"]) -> Float[Array, " variants"]:
        copies = nnx.clone((pipelines, models, optimizers))
        nodes: dict[str, Any] = copies[0].nodes
        nodes["affine"].strength[...] = strengths
        copies[0].scan(train_step, length=epochs * len(pipelines), modules=copies[1:])
        return cross_entropies(copies[1], validation)

    nodes: dict[str, Any] = pipelines.nodes
    strengths = nodes["affine"].strength[...]
    along: Array
    _, along = jax.jvp(losses_after, (strengths,), (jnp.ones_like(strengths),))
    return along


def descend(
    source: MemorySource, validation: Batch, epochs: int, descents: int
) -> Float[np.ndarray, "descents starts"]:
    """Follow the slope, training after training, from a start for each seed; the paths."""
    starts = [float(strength) + 0.05 for strength in STRENGTHS]
    variants = [augmented(source, *each) for each in zip(starts, SEEDS, strict=True)]
    pipelines, (models, optimizers) = Pipeline.variants(variants), beginners(SEEDS)
    nodes: dict[str, Any] = pipelines.nodes
    strengths = nodes["affine"].strength
    path = [strengths[...]]
    for _ in range(descents):
        strengths[...] -= RATE * slopes(pipelines, models, optimizers, validation, epochs)
        path.append(strengths[...])
    # A draw and its mirror image are equally likely, so the sign of a strength is idle.
    return np.asarray(jnp.abs(jnp.stack(path)))


def percent(accuracies: Float[np.ndarray, " seeds"]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{accuracies.mean():.2f} ± {accuracies.std(ddof=1):.2f} %"


def draw(
    pipelines: Pipeline,
    scores: Float[np.ndarray, "strengths seeds"],
    paths: Float[np.ndarray, "descents starts"],
    rows: int = 3,
) -> Figure:
    """Above one axis of strengths: accuracies of the grid, descents, and augmented digits."""
    figure = Figure(figsize=(7.5, 9), layout="constrained")
    panels: Any = figure.subplots(3, 1, sharex=True, height_ratios=(1.4, 1.1, 1))
    grid, descent, digits = panels
    learned = float(paths[-1].mean())

    mean, spread = scores.mean(1), scores.std(1, ddof=1)
    seeds = np.repeat(STRENGTHS, len(SEEDS))
    grid.fill_between(STRENGTHS, mean - spread, mean + spread, color="C0", alpha=0.15, lw=0)
    grid.plot(seeds, scores.ravel(), "o", color="C0", alpha=0.35, ms=4, mew=0)
    grid.plot(STRENGTHS, mean, "o-", color="C0")
    grid.set_title(f"{scores.size} variants: accuracy on the validation records")
    grid.set_ylabel("per cent; mean and spread of the seeds")

    descent.plot(paths, np.arange(len(paths)), "-", color="C1", alpha=0.8)
    descent.plot(paths[0], np.zeros(len(SEEDS)), "o", color="C1", ms=4)
    descent.invert_yaxis()
    descent.yaxis.get_major_locator().set_params(integer=True)
    descent.set_title(f"{paths.shape[1]} descents of the validation loss: to {learned:.2f}")
    descent.set_ylabel("steps along the slope")

    for axes in grid, descent:
        axes.axvline(learned, color="C1", ls="--", lw=1, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)

    images = np.asarray(pipelines.step()["image"]).reshape(len(STRENGTHS), len(SEEDS), -1, 8, 8)
    for strength, column in zip(STRENGTHS, images[:, 0, :rows], strict=True):
        for row, image in enumerate(column):
            box = (strength - 0.045, strength + 0.045, row + 0.95, row + 0.05)
            digits.imshow(image, cmap="gray_r", vmin=0, vmax=1, extent=box, aspect="auto")
    digits.set(xlim=(-0.06, 0.81), ylim=(rows, 0), xticks=STRENGTHS, yticks=[])
    digits.spines[:].set_visible(False)
    digits.set_title("The next records, as the variants of one seed augment them")
    digits.set_xlabel("strength of the augmentation")
    return figure


if __name__ == "__main__":
    main()
