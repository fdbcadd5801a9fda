"""The chain of crop, flip and jitter, and random affine warps, by libraries for CPUs.

Each is given a batch in the layout that it likes best, and works on it with two threads; those that
take one image are called in a loop. What is not installed is told and left out.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

THREADS = 2
Peer = Callable[[np.ndarray], Callable[[], Any]]


def installed(name: str) -> ModuleType | None:
    """A module, or None where it cannot be imported, which is told."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # a wheel can miss a library, or another's part
        print(f"{name} is left out: {error}", end="\n\n")
        return None


def _torchvision() -> ModuleType | None:
    name = "torchvision.transforms.v2"
    with contextlib.suppress(ImportError, RuntimeError):
        return importlib.import_module(name)
    if (torch := installed("torch")) is None:
        return None
    # Beside a torch for CPUs alone its library does not load, of which nothing is used here.
    for module in [module for module in sys.modules if module.startswith("torchvision")]:
        del sys.modules[module]
    for function in ("nms", "qnms"):
        schema = "(Tensor a, Tensor b, float c) -> Tensor"
        with contextlib.suppress(RuntimeError):
            torch.library.define(f"torchvision::{function}", schema)
    return installed(name)


def chain(size: int) -> dict[str, Peer]:
    """Crop to `size`, flip and jitter of brightness and contrast, by peer."""
    peers: dict[str, Peer] = {}
    if cv2 := installed("cv2"):
        peers["OpenCV with NumPy"] = lambda batch: _opencv(cv2, batch, size)
    if kornia := installed("kornia.augmentation"):
        peers["kornia"] = lambda batch: _torch(
            kornia.AugmentationSequential(
                kornia.RandomCrop((size, size)),
                kornia.RandomHorizontalFlip(),
                kornia.ColorJitter((0.8, 1.2), (0.8, 1.2), p=1.0),
            ),
            batch,
        )
    if v2 := _torchvision():
        peers["torchvision v2"] = lambda batch: _each(
            v2.Compose([v2.RandomCrop(size), v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2)]),
            batch,
        )
    if album := installed("albumentations"):
        peers["albumentations"] = lambda batch: _one_by_one(
            album.Compose(
                [
                    album.RandomCrop(size, size),
                    album.HorizontalFlip(),
                    album.ColorJitter((0.8, 1.2), (0.8, 1.2), (1, 1), (0, 0), p=1.0),
                ]
            ),
            batch,
        )
    return peers


def affine() -> dict[str, Peer]:
    """Random affine warps, by peer: 15 degrees, a tenth to the sides, 0.8 to 1.2, 5 degrees."""
    peers: dict[str, Peer] = {}
    if kornia := installed("kornia.augmentation"):
        peers["kornia"] = lambda batch: _torch(
            kornia.RandomAffine(15.0, (0.1, 0.1), (0.8, 1.2), 5.0, p=1.0), batch
        )
    if v2 := _torchvision():
        peers["torchvision v2"] = lambda batch: _each(
            v2.RandomAffine(15.0, (0.1, 0.1), (0.8, 1.2), 5.0, v2.InterpolationMode.BILINEAR),
            batch,
        )
    if album := installed("albumentations"):
        move = {"x": (-0.1, 0.1), "y": (-0.1, 0.1)}
        shear = {"x": (-5, 5), "y": (0, 0)}
        peers["albumentations"] = lambda batch: _one_by_one(
            album.Compose([album.Affine((0.8, 1.2), move, rotate=(-15, 15), shear=shear, p=1.0)]),
            batch,
        )
    return peers


def _tensor(batch: np.ndarray) -> Any:
    torch = importlib.import_module("torch")
    torch.set_num_threads(THREADS)
    return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))


def _torch(transform: Callable[[Any], Any], batch: np.ndarray) -> Callable[[], Any]:
    images = _tensor(batch)  # each image of the batch has draws of its own
    return lambda: transform(images)


def _each(transform: Callable[[Any], Any], batch: np.ndarray) -> Callable[[], Any]:
    torch, images = importlib.import_module("torch"), _tensor(batch)
    return lambda: torch.stack([transform(image) for image in images])


def _one_by_one(transform: Callable[..., Any], batch: np.ndarray) -> Callable[[], Any]:
    importlib.import_module("cv2").setNumThreads(THREADS)
    return lambda: np.stack([transform(image=image)["image"] for image in batch])


def _opencv(cv2: ModuleType, batch: np.ndarray, size: int) -> Callable[[], Any]:
    cv2.setNumThreads(THREADS)
    rng = np.random.default_rng(0)
    count, height, width, channels = batch.shape
    luma = np.array([0.299, 0.587, 0.114], np.float32)

    def run() -> np.ndarray:
        tops = rng.integers(0, height - size + 1, count)
        lefts = rng.integers(0, width - size + 1, count)
        flips, orders = rng.random((2, count)) < 0.5
        deltas = rng.uniform(-0.2, 0.2, count)
        factors = rng.uniform(0.8, 1.2, count)
        output = np.empty((count, size, size, channels), np.float32)
        for row in range(count):
            top, left = tops[row], lefts[row]
            image = batch[row, top : top + size, left : left + size]
            image = cv2.flip(image, 1) if flips[row] else image
            for turn in (orders[row], not orders[row]):
                factor, delta = (factors[row], 0.0) if turn else (1.0, deltas[row])
                if turn:
                    delta = float(np.dot(cv2.mean(image)[:3], luma)) * (1 - factor)
                image = np.multiply(image, np.float32(factor), out=output[row])
                np.clip(np.add(image, np.float32(delta), out=image), 0, 1, out=image)
        return output

    return run
