"""Recipes for graphs: each a few lines, each ending with a line that it has verified."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Shaped

from dagrax.nnx_api import BrightnessOperator, MemorySource, MemorySourceConfig, Pipeline

Batch = dict[str, Shaped[Array, "batch ..."]]

# 32 pictures, the darkest first, and the least dark ones with the label 1.
IMAGES = np.linspace(0, 1, 32 * 4 * 4 * 3, dtype=np.float32).reshape(32, 4, 4, 3)
DATA = {"image": IMAGES, "label": np.float32(np.arange(32) >= 16)}


def source() -> MemorySource:
    return MemorySource(MemorySourceConfig(), data=DATA, rngs=nnx.Rngs(0))


class Brighten(nnx.Module):
    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "image": jnp.clip(batch["image"] + 0.1, 0.0, 1.0)}


class Invert(nnx.Module):
    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "image": 1.0 - batch["image"]}


class Halve(nnx.Module):
    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "image": batch["image"] / 2.0}


class Average(nnx.Module):
    """A merge is called with the outputs of its predecessors, in the order of its edges."""

    def __call__(self, first: Batch, second: Batch) -> Batch:
        return {**first, "image": (first["image"] + second["image"]) / 2.0}


def linear_pipeline() -> None:
    """Each stage reads the output of the one before it."""
    pipeline = Pipeline(source=source(), stages=[Invert(), Halve()], batch_size=8, rngs=nnx.Rngs(0))
    batches = list(pipeline)
    image = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_allclose(image, (1 - IMAGES) / 2, atol=1e-6)
    print(f"linear: {len(batches)} batches, image {batches[0]['image'].shape} = (1 - x) / 2")


def branching_graph() -> None:
    """A node with two readers is computed once, and neither sees what the other does."""
    pipeline = Pipeline.from_dag(
        source=source(),
        nodes={"halve": Halve(), "brighten": Brighten(), "invert": Invert(), "merge": Average()},
        edges={
            "halve": [],
            "brighten": ["halve"],
            "invert": ["halve"],
            "merge": ["brighten", "invert"],
        },
        sink="merge",
        batch_size=8,
        rngs=nnx.Rngs(0),
    )
    outputs = pipeline.outputs("halve", "merge")
    batch = pipeline.step()
    np.testing.assert_allclose(outputs["halve"]["image"], IMAGES[:8] / 2, atol=1e-6)
    np.testing.assert_allclose(batch["image"], 0.55, atol=1e-6)
    np.testing.assert_array_equal(outputs["merge"]["image"], batch["image"])
    print(f"branching: image {batch['image'].shape} = ((x / 2 + 0.1) + (1 - x / 2)) / 2 = 0.55")


class Stack(nnx.Module):
    """The two branches side by side along a new axis; the label is the same on both."""

    def __call__(self, halved: Batch, inverted: Batch) -> Batch:
        image = jnp.stack([halved["image"], inverted["image"]], axis=1)
        return {"image": image, "label": halved["label"]}


def parallel_and_stack() -> None:
    """Two nodes without predecessors both read the source."""
    pipeline = Pipeline.from_dag(
        source=source(),
        nodes={"halve": Halve(), "invert": Invert(), "stack": Stack()},
        edges={"halve": [], "invert": [], "stack": ["halve", "invert"]},
        sink="stack",
        batch_size=8,
        rngs=nnx.Rngs(0),
    )
    image = next(iter(pipeline))["image"]
    assert image.shape == (8, 2, 4, 4, 3)
    np.testing.assert_allclose(image[:, 0], IMAGES[:8] / 2, atol=1e-6)
    np.testing.assert_allclose(image[:, 1], 1 - IMAGES[:8], atol=1e-6)
    print(f"parallel: image {image.shape}, the branches stacked along axis 1")


def merge_by_average() -> None:
    """The mean of two views of the source."""
    pipeline = Pipeline.from_dag(
        source=source(),
        nodes={"brighten": Brighten(), "invert": Invert(), "merge": Average()},
        edges={"brighten": [], "invert": [], "merge": ["brighten", "invert"]},
        sink="merge",
        batch_size=8,
        rngs=nnx.Rngs(0),
    )
    image = next(iter(pipeline))["image"]
    np.testing.assert_allclose(image, 0.55, atol=1e-6)
    print(f"merge: image {image.shape} = ((x + 0.1) + (1 - x)) / 2 = 0.55")


class BrightenIfDark(nnx.Module):
    """Brighten a batch whose mean is below 0.3, halve the others."""

    def __call__(self, batch: Batch) -> Batch:
        image = jax.lax.cond(
            jnp.mean(batch["image"]) < 0.3,
            lambda image: jnp.clip(image + 0.1, 0.0, 1.0),
            lambda image: image / 2.0,
            batch["image"],
        )
        return {**batch, "image": image}


def branch_by_cond() -> None:
    """A batch takes one of two ways, decided by its content."""
    pipeline = Pipeline(source=source(), stages=[BrightenIfDark()], batch_size=8, rngs=nnx.Rngs(0))
    first, *_, last = pipeline
    np.testing.assert_allclose(first["image"], IMAGES[:8] + 0.1, atol=1e-6)
    np.testing.assert_allclose(last["image"], IMAGES[-8:] / 2, atol=1e-6)
    print(f"lax.cond: image {first['image'].shape}, dark batch + 0.1, light batch / 2")


class Lift(nnx.Module):
    """A learnable offset that counts how often it was used."""

    def __init__(self) -> None:
        self.offset = nnx.Param(jnp.float32(0.25))
        self.used = nnx.Variable(jnp.int32(0))

    def __call__(self, image: Float[Array, "batch h w c"]) -> Float[Array, "batch h w c"]:
        self.used[...] += 1
        return image + self.offset[...]


class LiftIfDark(nnx.Module):
    """The same choice where a branch has state: `nnx.cond` is given the module as an argument."""

    def __init__(self) -> None:
        self.lift = Lift()

    def __call__(self, batch: Batch) -> Batch:
        image = nnx.cond(
            jnp.mean(batch["image"]) < 0.3,
            lambda lift, image: lift(image),
            lambda _, image: image,
            self.lift,
            batch["image"],
        )
        return {**batch, "image": image}


def branch_with_state() -> None:
    """What a branch writes into its Variables survives, and its Params have gradients."""
    stage = LiftIfDark()
    pipeline = Pipeline(source=source(), stages=[stage], batch_size=8, rngs=nnx.Rngs(0))
    means = [float(jnp.mean(batch["image"])) for batch in pipeline]
    after_for = int(stage.lift.used[...])
    more = pipeline.scan(lambda batch: jnp.mean(batch["image"]), length=len(pipeline))
    after_scan = int(stage.lift.used[...])
    assert (after_for, after_scan) == (1, 2)  # one of the four batches is dark
    np.testing.assert_allclose(means, more, atol=1e-6)

    def total(stage: LiftIfDark, batch: Any) -> Float[Array, ""]:
        return jnp.sum(stage(batch)["image"])

    slopes = [nnx.grad(total)(stage, {"image": IMAGES * gain}) for gain in (0.1, 1.0)]
    dark, light = (float(slope["lift"]["offset"][...]) for slope in slopes)
    assert (dark, light) == (IMAGES.size, 0.0)
    print("nnx.cond: used once in a for, twice after a scan; ", end="")
    print(f"gradient {dark:.0f} if dark, {light:.0f} if light")


class Channels(nnx.Module):
    def __call__(self, *branches: Batch) -> Batch:
        image = jnp.concatenate([branch["image"] for branch in branches], axis=-1)
        return {**branches[0], "image": image}


def triple_branch() -> None:
    """A merge may take any number of predecessors."""
    pipeline = Pipeline.from_dag(
        source=source(),
        nodes={"halve": Halve(), "invert": Invert(), "brighten": Brighten(), "join": Channels()},
        edges={"halve": [], "invert": [], "brighten": [], "join": ["halve", "invert", "brighten"]},
        sink="join",
        batch_size=8,
        rngs=nnx.Rngs(0),
    )
    image = next(iter(pipeline))["image"]
    assert image.shape == (8, 4, 4, 9)
    expected = np.concatenate([IMAGES / 2, 1 - IMAGES, IMAGES + 0.1], axis=-1)
    np.testing.assert_allclose(image, expected[:8], atol=1e-6)
    print(f"triple: image {image.shape}, three branches of 3 channels each")


def whole_epoch_scan() -> None:
    """An epoch of training as one compiled loop."""
    pipeline = Pipeline(
        source=source(), stages=[BrightnessOperator(0.1)], batch_size=8, rngs=nnx.Rngs(0)
    )
    model = nnx.Linear(4 * 4 * 3, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(1e-2, momentum=0.9), wrt=nnx.Param)

    def loss_of(model: nnx.Linear, batch: Batch) -> Float[Array, ""]:
        logits = model(batch["image"].reshape(len(batch["label"]), -1))[:, 0]
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, batch["label"]))

    def train_step(
        seen: Array, model: nnx.Linear, optimizer: nnx.Optimizer[nnx.Linear], batch: Batch
    ) -> tuple[Array, Array]:
        loss, gradients = nnx.value_and_grad(loss_of)(model, batch)
        optimizer.update(model, gradients)
        return seen + len(batch["label"]), loss

    epochs = []
    seen = jnp.int32(0)
    for _ in range(10):
        seen, losses = pipeline.scan(
            train_step, length=len(pipeline), modules=(model, optimizer), init_carry=seen
        )
        epochs.append(losses)
    steps = len(epochs[0])
    assert (steps, int(seen), int(optimizer.step[...])) == (4, 320, 40)
    assert jnp.mean(epochs[-1]) < jnp.mean(epochs[0])
    print(f"scan: {len(epochs)} epochs of {steps} steps saw {seen} records; the loss fell")


def main() -> None:
    """All recipes."""
    linear_pipeline()
    branching_graph()
    parallel_and_stack()
    merge_by_average()
    branch_by_cond()
    branch_with_state()
    triple_branch()
    whole_epoch_scan()


if __name__ == "__main__":
    main()
