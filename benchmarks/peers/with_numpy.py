"""A NumPy loop, with OpenCV where it helps."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import workloads
from workloads import SIZE, Arrays, Workload

from peers import Contestants, Epoch

try:
    import cv2
except ImportError:
    cv2 = None


def contestants(workload: Workload, data: Arrays, shuffle: bool) -> Contestants:
    """NumPy alone, with OpenCV on one or all threads, and rows from NumPy for jitted JAX."""
    by_opencv = {"scale": _scale, "augment": _augment}.get(workload.kind)
    ways: dict[str, Callable[..., Any]] = {"NumPy": lambda: workload.numpy}
    if cv2 and by_opencv:
        ways["OpenCV, 1 thread"] = partial(_opencv, by_opencv, 1)
        ways["OpenCV, all threads"] = partial(_opencv, by_opencv, -1)
    ways["rows only, then jitted JAX"] = partial(_jitted, workload)
    return {
        "NumPy loop": {
            name: partial(_epochs, workload, data, shuffle, way) for name, way in ways.items()
        }
    }


def _epochs(workload: Workload, data: Arrays, shuffle: bool, way: Callable[..., Any]) -> Epoch:
    records, size = len(data["id"]), workload.batch
    rng = np.random.default_rng(0)
    transform = way()

    def epoch() -> Iterator[Arrays]:
        order = rng.permutation(records) if shuffle else None
        for start in range(0, records, size):
            rows = slice(start, start + size)
            ids = rows if order is None else order[rows]
            batch = transform({name: x[ids] for name, x in data.items()}, rng)
            yield {name: jnp.asarray(x) for name, x in batch.items()}

    return epoch


def _jitted(workload: Workload) -> Callable[..., Arrays]:
    fn = jax.jit(lambda batch, number: workload.jax(batch, jax.random.key(number)))
    return lambda batch, rng: fn(batch, rng.integers(2**31, dtype=np.int32))


def _opencv(fn: Callable[..., Arrays], threads: int) -> Callable[..., Arrays]:
    def transform(batch: Arrays, rng: np.random.Generator) -> Arrays:
        cv2.setNumThreads(threads)
        return fn(batch, rng)

    return transform


BYTES = np.arange(256, dtype=np.float32)


def _scale(batch: Arrays, rng: np.random.Generator) -> Arrays:
    image = batch["image"]
    flat = cv2.LUT(image.reshape(len(image), -1), BYTES * np.float32(1 / 255))
    return {**batch, "image": flat.reshape(image.shape)}


def _augment(batch: Arrays, rng: np.random.Generator) -> Arrays:
    image = batch["image"]
    count, height, width, channels = image.shape
    corners = rng.integers(0, [height - SIZE + 1, width - SIZE + 1], (count, 2))
    flips = rng.random(count) < 0.5
    gains, biases = workloads.jitter(rng.random((2, count), dtype=np.float32))
    output = np.empty((count, SIZE, SIZE, channels), np.float32)
    for row, (top, left) in enumerate(corners):
        crop = image[row, top : top + SIZE, left : left + SIZE]
        crop = cv2.flip(crop, 1) if flips[row] else crop
        cv2.LUT(crop, BYTES * gains[row] + biases[row], dst=output[row])
    return {**batch, "image": output}
