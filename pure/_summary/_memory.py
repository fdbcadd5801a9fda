"""What arrays take, where a pipeline runs, and whether that holds them.

Arrays and devices are known here, pipelines are not.
"""

import math
import os
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from ._words import bytes_text

Sized: TypeAlias = jax.Array | np.ndarray | jax.ShapeDtypeStruct
_SIZED = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)


def bytes_of(specs: PyTree) -> int:
    """The bytes of all arrays, or shapes, of a pytree."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in _arrays(specs))


def bytes_held(tree: PyTree) -> int:
    """The bytes of the arrays of a pytree, of which one that is held twice counts once."""
    return bytes_of(list({id(x): x for x in _arrays(tree)}.values()))


def bytes_on_a_device(tree: PyTree) -> int:
    """As much of them as lies on one device."""
    own = {id(x): x for x in _arrays(tree)}.values()
    return sum(math.prod(_part(x)) * x.dtype.itemsize for x in own)


class Device(NamedTuple):
    """Where a pipeline runs: the kind, and the bytes that XLA may have of it, if known."""

    kind: str
    memory: int | None


def device_of(tree: PyTree) -> Device:
    """The device, or the first of them, on which the arrays of a pytree are."""
    real = [x for x in _arrays(tree) if isinstance(x, jax.Array) and not isinstance(x, Tracer)]
    devices: list[Any] = list(real[0].sharding.addressable_devices) if real else jax.local_devices()
    device = min(devices, key=lambda device: device.id)
    if device.platform == "cpu":
        return Device("cpu", _of_this_machine())
    stats = device.memory_stats() or {}
    return Device(device.device_kind, stats.get("bytes_limit"))


def too_much(needed: int, device: Device) -> str | None:
    """What to tell where a device cannot hold what is needed."""
    if device.memory is None or needed <= device.memory:
        return None
    mend = (
        "ead the data on the host (dagrax.pure.host), spread them over a mesh, or take smaller "
        "batches."
    )
    mapped = "Unless they are a file mapped for reading, r"
    mend = f"{mapped if device.kind == 'cpu' else 'R'}{mend}"
    return (
        f"A step needs at least {bytes_text(needed)}, and the {device.kind} has "
        f"{bytes_text(device.memory)}. {mend}"
    )


def _of_this_machine() -> int | None:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _arrays(tree: PyTree) -> list[Sized]:
    return [x for x in jax.tree.leaves(tree) if isinstance(x, _SIZED)]


def _part(array: Sized) -> tuple[int, ...]:
    if isinstance(array, Tracer) or not isinstance(array, jax.Array):
        return array.shape
    part: tuple[int, ...] = array.sharding.shard_shape(array.shape)
    return part
