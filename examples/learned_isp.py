"""Learn an image signal processor by what its pictures are for, by gradient through a DAG.

The two photographs that ship with scikit-learn are cut into patches of 32 by 32. A camera takes
them in dim, warm light: linear, dark, noisy (photons are counted), and through filters that let
other colours pass too. A network that was trained on the well-lit patches, and is left as it is
from then on, says from which photograph and which part of it a patch comes: it fails on what the
camera hands out as it is.

Between the two stands a processor of five stages, a DAG: white balance; a smoothed copy of it; the
detail that was lost, put back in part; a matrix of colours; exposure and tone. It is fitted to the
loss of the network, not to the pictures. Beside it, every fixed setting of a grid of exposure,
tone, smoothing and blue is tried, all as variants of one program. The program fails unless what
was learned has a lower loss than the best of them, on patches that neither has seen.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray
from sklearn.datasets import load_sample_images

from dagrax.nnx_api import Element, MemorySource, OperatorModule, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.pure import ops

SIZE, STRIDE, COLUMN, PARTS = 32, 16, 96, 2
LIGHT, PHOTONS = 0.08, 400.0
# What red, green and blue filters let through of the red, green and blue of a warm lamp.
FILTERS = np.array([[0.65, 0.25, 0.05], [0.35, 0.35, 0.08], [0.15, 0.2, 0.15]], np.float32)
GRID = {
    "exposure": (4.0, 8.0, 12.0, 16.0),
    "tone": (1.0, 1.8, 2.2),
    "sigma": (0.3, 0.8),
    "blue": (1.0, 2.0, 4.0),
}
Batch = dict[str, Any]


def patches() -> tuple[Batch, Batch]:
    """Patches to learn from and patches to test by, from other columns of the photographs."""
    images, labels, columns = [], [], []
    for photograph, picture in enumerate(load_sample_images().images):
        high, wide = picture.shape[:2]
        for top in range(0, high - SIZE + 1, STRIDE):
            for left in range(0, wide - SIZE + 1, STRIDE):
                images.append(picture[top : top + SIZE, left : left + SIZE] / 255)
                labels.append(photograph * PARTS + top * PARTS // (high - SIZE + 1))
                columns.append((left // COLUMN % 3 == 2, (left + SIZE - 1) // COLUMN % 3 == 2))
    image, label = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    begins, ends = np.asarray(columns).T
    train, test = (
        {"image": image[x], "label": label[x]} for x in (~(begins | ends), begins & ends)
    )
    return train, test


class Camera(OperatorModule):
    """What a sensor sees of a scene in dim, warm light: linear, and in counted photons."""

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        linear = LIGHT * element.data["image"] ** 2.2 @ FILTERS.T
        return element.update_data({"image": ops.poisson_noise(linear, PHOTONS / LIGHT, key=key)})


class Balance(OperatorModule):
    """A gain for each channel."""

    def __init__(self, blue: float):
        self.gains = nnx.Param(jnp.log(jnp.array([1.0, 1.0, blue])))

    def apply(self, element: Element) -> Element:
        return element.update_data({"image": element.data["image"] * jnp.exp(self.gains[...])})


class Detail(nnx.Module):
    """What smoothing has taken away, put back in part: two inputs."""

    def __init__(self) -> None:
        self.amount = nnx.Param(jnp.float32(0.0))

    def __call__(self, balanced: Batch, smooth: Batch) -> Batch:
        lost = balanced["image"] - smooth["image"]
        return {**smooth, "image": smooth["image"] + self.amount[...] * lost}


class Colours(OperatorModule):
    """A matrix of colours, near the one that changes nothing."""

    def __init__(self) -> None:
        self.matrix = nnx.Param(jnp.eye(3))

    def apply(self, element: Element) -> Element:
        return element.update_data({"image": element.data["image"] @ self.matrix[...].T})


class Tone(OperatorModule):
    """An exposure, and a curve: `(exposure x) ** (1 / tone)`."""

    def __init__(self, exposure: float, tone: float):
        self.exposure = nnx.Param(jnp.float32(np.log(exposure)))
        self.tone = nnx.Param(jnp.float32(np.log(tone)))

    def apply(self, element: Element) -> Element:
        bright = jnp.exp(self.exposure[...]) * element.data["image"]
        curved = jnp.maximum(bright, 1e-4) ** jnp.exp(-self.tone[...])
        return element.update_data({"image": jnp.minimum(curved, 1.0)})


class Network(nnx.Module):
    """Says from which part of which photograph a patch comes."""

    def __init__(self, rngs: nnx.Rngs):
        self.convs = nnx.List(
            nnx.Conv(before, after, (3, 3), strides=2, rngs=rngs)
            for before, after in ((3, 12), (12, 24), (24, 32))
        )
        self.head = nnx.Linear(4 * 4 * 32, 2 * PARTS, rngs=rngs)

    def __call__(self, image: Float[Array, "batch h w 3"]) -> Float[Array, "batch classes"]:
        x = image - 0.5
        for conv in self.convs:
            x = nnx.relu(conv(x))
        return self.head(x.reshape(len(x), -1))


def task_loss(network: Network, batch: Batch) -> Float[Array, ""]:
    """The cross-entropy of what the network says."""
    losses: Float[Array, " batch"] = optax.softmax_cross_entropy_with_integer_labels(
        network(batch["image"]), batch["label"]
    )
    return losses.mean()


def train_network(
    network: Network, optimizer: nnx.Optimizer[Network], batch: Batch
) -> Float[Array, ""]:
    """A step of the network, on well-lit patches."""
    loss, slopes = nnx.value_and_grad(task_loss)(network, batch)
    optimizer.update(network, slopes)
    return loss  # type: ignore[no-any-return]


def train_processor(
    processor: Pipeline, optimizer: nnx.Optimizer[Pipeline], network: Network, batch: Batch
) -> Float[Array, ""]:
    """A step of the processor, by the loss of a network that stays as it is."""

    def loss(processor: Pipeline) -> Float[Array, ""]:
        return task_loss(network, processor(batch))

    value, slopes = nnx.value_and_grad(loss)(processor)
    optimizer.update(processor, slopes)
    return value  # type: ignore[no-any-return]


def judged(
    network: Network, source: MemorySource, processor: Pipeline | None = None
) -> tuple[float, str]:
    """The loss of the task on a source's patches, through a processor or as they are; told with the
    share that are named rightly."""
    batch = {name: source.data[name] for name in ("image", "label")}
    processed = batch if processor is None else processor(batch)
    said: Int[Array, " batch"] = network(processed["image"]).argmax(axis=-1)
    loss, rightly = float(task_loss(network, processed)), (said == batch["label"]).mean()
    return loss, f"loss {loss:.3f}, {rightly:.1%} named rightly"


def processor_of(
    source: MemorySource,
    exposure: float = 8.0,
    tone: float = 2.2,
    sigma: float = 0.6,
    blue: float = 1.0,
) -> Pipeline:
    """The processor: five stages, of which two read the white balance."""
    return Pipeline.from_dag(
        source=source,
        nodes={
            "balance": Balance(blue),
            "smooth": op.GaussianBlur(sigma, radius=2),
            "detail": Detail(),
            "colours": Colours(),
            "tone": Tone(exposure, tone),
        },
        edges={
            "balance": [],
            "smooth": ["balance"],
            "detail": ["balance", "smooth"],
            "colours": ["detail"],
            "tone": ["colours"],
        },
        sink="tone",
        batch_size=128,
        remainder="drop",
    )


def seen_by_camera(data: Batch) -> MemorySource:
    """Each patch as the camera takes it, once."""
    pipeline = Pipeline.from_arrays(
        data, [Camera()], batch_size=len(data["label"]), rngs=nnx.Rngs(7)
    )
    return MemorySource(data=pipeline.step(), shuffle=True, rngs=nnx.Rngs(1))


def draw(path: Path, rows: dict[str, Float[np.ndarray, "n h w 3"]]) -> None:
    """A few patches, as they are after each step, a line for each."""
    count = len(next(iter(rows.values())))
    figure, axes = plt.subplots(len(rows), count, figsize=(count, 1.15 * len(rows)))
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for panel, image in zip(line, images, strict=True):
            panel.imshow(np.clip(image, 0, 1))
            panel.set_xticks([])
            panel.set_yticks([])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Train the network, try the grid, learn the processor, and compare them."""
    parser = argparse.ArgumentParser(description="Learn an image signal processor.")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    train, test = patches()
    print(f"{len(train['label'])} patches to learn from, {len(test['label'])} to test by")

    network = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.adam(2e-3), wrt=nnx.Param)
    lit = Pipeline.from_arrays(
        train,
        [op.RandomBrightness(0.1), op.GaussianNoise(0.02)],
        batch_size=128,
        shuffle=True,
        rngs=nnx.Rngs(0),
        remainder="drop",
    )
    for _ in range(options.epochs):
        lit.scan(train_network, modules=(network, optimizer))
    _, lit_said = judged(network, MemorySource(data=test))

    dim, dim_test = seen_by_camera(train), seen_by_camera(test)
    _, dim_said = judged(network, dim_test)

    settings = list(itertools.product(*GRID.values()))
    grid = Pipeline.variants([processor_of(dim, *setting) for setting in settings])
    lost = np.asarray(grid.scan(task_loss, shared=(network,))).mean(axis=1)
    best = settings[int(lost.argmin())]
    fixed, fixed_said = judged(network, dim_test, processor_of(dim_test, *best))

    learned = processor_of(dim)
    optimizer = nnx.Optimizer(learned, optax.adam(2e-2), wrt=nnx.Param)  # type: ignore[arg-type]
    taken = Pipeline(source=dim, batch_size=128, remainder="drop")
    for epoch in range(options.epochs):
        losses = taken.scan(train_processor, modules=(learned, optimizer), shared=(network,))
        if epoch % 10 == 9 or epoch == options.epochs - 1:
            print(f"epoch {epoch + 1:3d}: loss of the task {float(losses.mean()):.3f}")
    fitted, fitted_said = judged(network, dim_test, learned)

    shown = np.linspace(0, len(test["label"]) - 1, 10).astype(int)
    few = {"image": dim_test.data["image"][shown], "label": dim_test.data["label"][shown]}
    draw(
        options.out / "learned_isp.png",
        {
            "well lit": test["image"][shown],
            "camera, 12 times": np.asarray(few["image"]) * 12,
            "best of the grid": np.asarray(processor_of(dim, *best)(few)["image"]),
            "learned": np.asarray(learned(few)["image"]),
        },
    )
    named = ", ".join(f"{name} {value:g}" for name, value in zip(GRID, best, strict=True))
    print(f"well lit:         {lit_said}")
    print(f"from the camera:  {dim_said}")
    print(f"best of the grid: {fixed_said} ({named}; {len(settings)} settings)")
    print(f"learned:          {fitted_said}, in {time.perf_counter() - start:.0f} s")
    assert fitted < 0.9 * fixed, "the processor has not learned to beat a fixed setting"


if __name__ == "__main__":
    main()
