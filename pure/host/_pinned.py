"""Memory from which an accelerator copies by itself, while the host goes on gathering.

From other memory the batches would first be copied into such memory by a thread of the host, at a
fraction of the speed. There are two areas, filled in turn: one is written again when what was sent
from it has arrived. It is JAX's own memory of kind `pinned_host`; who gathers is not known here.
"""

import ctypes
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array, PyTree

from ._buffers import Buffers, Memory

_KIND = "pinned_host"
_AREAS = 2


def memory_for_chunks(*, is_spread: bool) -> Memory:
    """The memory that the batches of a chunk are gathered in, by where they go.

    On a CPU JAX reads them where they lie. What is spread over devices, or goes to a device that
    was chosen, is copied by JAX from any memory.
    """
    device = jax.local_devices()[0]
    is_chosen = jax.device_put(np.int8(0)).devices() != {device}
    if is_spread or is_chosen or jax.local_device_count() > 1:
        return Buffers()
    kinds = {memory.kind for memory in device.addressable_memories()}
    if device.platform == "cpu" or _KIND not in kinds:
        return Buffers()
    return Pinned(SingleDeviceSharding(device, memory_kind=device.default_memory().kind))


class _Area(NamedTuple):
    pinned: list[Array]
    views: list[np.ndarray]
    sent: list[Array]


class Pinned:
    """The memory of chunks on their way to a device's own memory."""

    def __init__(self, device: SingleDeviceSharding):
        self._device = device
        self._pinned = device.with_memory_kind(_KIND)
        self._areas: list[_Area] = []

    def of(self, spec: PyTree[jax.ShapeDtypeStruct], *lead: int) -> PyTree[np.ndarray]:
        """Arrays like those of a spec behind some axes, which nothing is copied from any more."""
        leaves, structure = jax.tree.flatten(spec)
        alike = [jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype) for x in leaves]
        area = self._areas.pop(0) if len(self._areas) == _AREAS else None
        if area is None or list(map(_kind, area.views)) != list(map(_kind, alike)):
            area = self._made(alike)
        jax.block_until_ready(area.sent)
        area.sent.clear()
        self._areas.append(area)
        views: PyTree[np.ndarray] = jax.tree.unflatten(structure, area.views)
        return views

    def sent(self, rows: PyTree[np.ndarray]) -> PyTree[Array]:
        """What was gathered in the arrays that `of` gave last, on its way to the device."""
        area = self._areas[-1]
        area.sent.extend(jax.device_put(area.pinned, self._device))
        placed: PyTree[Array] = jax.tree.unflatten(jax.tree.structure(rows), list(area.sent))
        return placed

    def _made(self, alike: list[jax.ShapeDtypeStruct]) -> _Area:
        pinned = [jax.device_put(np.empty(x.shape, x.dtype), self._pinned) for x in alike]
        jax.block_until_ready(pinned)
        return _Area(pinned, [_view(x) for x in pinned], [])


def _kind(array: np.ndarray | jax.ShapeDtypeStruct) -> tuple[tuple[int, ...], np.dtype]:
    return array.shape, array.dtype


def _view(pinned: Array) -> np.ndarray:
    # NumPy's own view of an array of JAX is not to be written to. Who writes to this one waits for
    # every copy from it, and nobody else has the array.
    if not pinned.nbytes:
        return np.empty(pinned.shape, pinned.dtype)
    memory = (ctypes.c_uint8 * pinned.nbytes).from_address(pinned.unsafe_buffer_pointer())
    return np.ctypeslib.as_array(memory).view(pinned.dtype).reshape(pinned.shape)
