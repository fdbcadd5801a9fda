"""The work that loaders are compared by: data, and what becomes of a batch, in NumPy and in JAX."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, Any]
SIZE = 56  # of a random crop
FEATURES = 100
CENTRE = np.linspace(-1, 1, FEATURES, dtype=np.float32)
SPREAD = np.linspace(1, 3, FEATURES, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Workload:
    """What to deliver: `numpy` and `jax` turn a batch of `make`'s records into an output batch.

    `numpy_record` does so for one record. Each record has an `id`, its place in the data. Loaders
    that run Python code for each record are measured over `slow_records` of them.
    """

    name: str
    kind: str
    records: int
    slow_records: int
    batch: int
    fields: Callable[[int, np.random.Generator], Arrays]
    numpy: Callable[[Arrays, np.random.Generator], Arrays]
    numpy_record: Callable[[Arrays, np.random.Generator], Arrays]
    jax: Callable[[Arrays, jax.Array], Arrays]
    drawn: bool = False  # random, so that outputs cannot be compared one by one
    layers: int = 0  # of a graph: each is two branches and a merge

    def make(self, records: int) -> Arrays:
        """So many records, the same ones every time."""
        fields = self.fields(records, np.random.default_rng(0))
        return {**fields, "id": np.arange(records, dtype=np.int32)}


def images(size: int, records: int, rng: np.random.Generator) -> Arrays:
    """Random pixels."""
    return {"image": rng.integers(0, 256, (records, size, size, 3), dtype=np.uint8)}


def features(records: int, rng: np.random.Generator) -> Arrays:
    """Rows of numbers with the mean `CENTRE` and the deviation `SPREAD`."""
    return {"x": rng.standard_normal((records, FEATURES), dtype=np.float32) * SPREAD + CENTRE}


def tokens(records: int, rng: np.random.Generator) -> Arrays:
    """Sequences of 512 tokens."""
    return {"tokens": rng.integers(0, 50_000, (records, 512), dtype=np.int32)}


# The same function does for NumPy and JAX, for a batch and for one record.


def scale(batch: Arrays, _: Any) -> Arrays:
    """Images from bytes to floats in [0, 1]."""
    return {**batch, "image": batch["image"].astype(np.float32) * np.float32(1 / 255)}


def standardise(batch: Arrays, _: Any) -> Arrays:
    """Features of mean 0 and deviation 1."""
    return {**batch, "x": (batch["x"] - CENTRE) * (1 / SPREAD)}


def split(batch: Arrays, _: Any) -> Arrays:
    """Tokens, and for each the next one."""
    row = batch["tokens"]
    return {"inputs": row[..., :-1], "targets": row[..., 1:], "id": batch["id"]}


def darken(batch: Arrays) -> Arrays:
    """One branch of a layer."""
    return {**batch, "image": unit(batch["image"]) * np.float32(0.9) + np.float32(0.05)}


def mirror(batch: Arrays) -> Arrays:
    """The other branch."""
    return {**batch, "image": unit(batch["image"])[..., ::-1, :]}


def merge(left: Arrays, right: Arrays) -> Arrays:
    """The mean of both branches."""
    return {**left, "image": (left["image"] + right["image"]) * np.float32(0.5)}


def unit(image: Any) -> Any:
    """Bytes as floats in [0, 1]; floats as they are."""
    if image.dtype == np.float32:
        return image
    return image.astype(np.float32) * np.float32(1 / 255)


def layered(layers: int, batch: Arrays, _: Any) -> Arrays:
    """All layers of the graph, called one after the other."""
    for _ in range(layers):
        batch = merge(darken(batch), mirror(batch))
    return batch


def graph(layers: int) -> tuple[dict[str, Callable[..., Arrays]], dict[str, list[str]], str]:
    """Nodes, edges and sink of the same layers."""
    nodes: dict[str, Callable[..., Arrays]] = {}
    edges: dict[str, list[str]] = {}
    before: list[str] = []
    for layer in range(layers):
        left, right, both = f"darken_{layer}", f"mirror_{layer}", f"merge_{layer}"
        nodes |= {left: darken, right: mirror, both: merge}
        edges |= {left: before, right: before, both: [left, right]}
        before = [both]
    return nodes, edges, before[0]


# Random crop, flip, contrast and brightness: each record draws (top, left), flip, gain and bias.


def jitter(drawn: Any) -> tuple[Any, Any]:
    """Gain and bias for bytes, from two uniform draws: contrast 0.8 to 1.2, brightness ± 0.1."""
    contrast, brightness = 0.8 + 0.4 * drawn[0], 0.2 * drawn[1] - 0.1
    return contrast / 255, 0.5 - 0.5 * contrast + brightness


def augment_numpy(batch: Arrays, rng: np.random.Generator) -> Arrays:
    """Augment a batch, one record after the other."""
    image = batch["image"]
    count, height, width, channels = image.shape
    corners = rng.integers(0, [height - SIZE + 1, width - SIZE + 1], (count, 2))
    flips = rng.random(count) < 0.5
    gains, biases = jitter(rng.random((2, count), dtype=np.float32))
    output = np.empty((count, SIZE, SIZE, channels), np.float32)
    for row in range(count):
        top, left = corners[row]
        crop = image[row, top : top + SIZE, left : left + SIZE]
        np.multiply(crop[:, ::-1] if flips[row] else crop, gains[row], out=output[row])
    output += biases[:, None, None, None]
    return {**batch, "image": output}


def augment_numpy_record(record: Arrays, rng: np.random.Generator) -> Arrays:
    """Augment one record."""
    image = record["image"]
    top, left = rng.integers(0, [image.shape[0] - SIZE + 1, image.shape[1] - SIZE + 1])
    crop = image[top : top + SIZE, left : left + SIZE]
    gain, bias = jitter(rng.random(2, dtype=np.float32))
    output = (crop[:, ::-1] if rng.random() < 0.5 else crop) * np.float32(gain)
    output += np.float32(bias)
    return {**record, "image": output}


def augment_jax(batch: Arrays, key: jax.Array) -> Arrays:
    """Augment a batch, with one key for all of it."""
    count, height, width, _ = batch["image"].shape
    for_corner, for_flip, for_jitter = jax.random.split(key, 3)
    most = jnp.array([height - SIZE + 1, width - SIZE + 1])
    corners = jax.random.randint(for_corner, (count, 2), 0, most)
    flips = jax.random.bernoulli(for_flip, shape=(count,))
    return _augmented(batch, corners, flips, jax.random.uniform(for_jitter, (2, count)))


def augment_jax_records(batch: Arrays, record_keys: jax.Array) -> Arrays:
    """Augment a batch, with a key for each record."""
    most = np.array(batch["image"].shape[1:3]) - SIZE + 1
    drawn = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(record_keys)
    corners = (drawn[:, :2] * most).astype(jnp.int32)
    return _augmented(batch, corners, drawn[:, 2] < 0.5, drawn[:, 3:].T)


def augment_jax_record(record: Arrays, key: jax.Array) -> Arrays:
    """Augment one record, under `jax.vmap`."""
    image = record["image"]
    drawn = jax.random.uniform(key, (5,))
    corner = (drawn[:2] * (np.array(image.shape[:2]) - SIZE + 1)).astype(jnp.int32)
    gain, bias = jitter(drawn[3:])
    crop = _crop(image, corner)
    crop = jnp.where(drawn[2] < 0.5, crop[:, ::-1], crop)
    return {**record, "image": crop.astype(jnp.float32) * gain + bias}


def _augmented(batch: Arrays, corners: Any, flips: Any, for_jitter: Any) -> Arrays:
    # On CPU a loop of slices copies whole rows; under `vmap` it would gather number by number.
    crops = jax.lax.map(lambda one: _crop(*one), (batch["image"], corners))
    gains, biases = (x[:, None, None, None] for x in jitter(for_jitter))
    flipped = jnp.where(flips[:, None, None, None], crops[:, :, ::-1], crops)
    return {**batch, "image": flipped.astype(jnp.float32) * gains + biases}


def _crop(image: Any, corner: Any) -> Any:
    sizes = SIZE, SIZE, image.shape[-1]
    return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), sizes)


def _same(fn: Callable[[Arrays, Any], Arrays]) -> dict[str, Callable[[Arrays, Any], Arrays]]:
    return {"numpy": fn, "numpy_record": fn, "jax": fn}


IMAGE = partial(images, 32)
WORKLOADS = [
    Workload("images 32x32x3", "scale", 12_800, 3_200, 64, IMAGE, **_same(scale)),
    Workload(
        "augmented images 64x64x3",
        "augment",
        2_560,
        1_280,
        128,
        partial(images, 64),
        augment_numpy,
        augment_numpy_record,
        augment_jax,
        drawn=True,
    ),
    Workload("100 features", "standardise", 102_400, 16_384, 1024, features, **_same(standardise)),
    Workload("512 tokens", "split", 12_800, 3_200, 64, tokens, **_same(split)),
    Workload(
        "graph of 3 nodes", "graph", 6_400, 6_400, 64, IMAGE, **_same(partial(layered, 1)), layers=1
    ),
    Workload(
        "graph of 30 nodes",
        "graph",
        6_400,
        6_400,
        64,
        IMAGE,
        **_same(partial(layered, 10)),
        layers=10,
    ),
]
