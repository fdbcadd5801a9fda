"""Memory for batches, lent out and taken back: a place that JAX may read is never written again.

On a CPU JAX reads aligned memory where it lies, for as long as an array of it lives, and elsewhere
it may copy later than it says. So memory is lent with a lease that comes back when the last reader
lets go; while none is free there is new memory, and nobody waits. What is held is not known here.
"""

from collections import deque

import jax
import numpy as np
from jaxtyping import PyTree

_ALIGNMENT = 64  # bytes; from there on, JAX on a CPU reads memory as it is
_KEPT = 2  # chunks of memory that nobody has


class Buffers:
    """The memory of chunks of one size, free or lent."""

    def __init__(self) -> None:
        self._free: deque[np.ndarray] = deque(maxlen=_KEPT)

    def of(self, spec: PyTree[jax.ShapeDtypeStruct], *lead: int) -> PyTree[np.ndarray]:
        """Arrays like those of a spec behind some axes, in memory that nobody reads."""
        leaves, structure = jax.tree.flatten(spec)
        sizes = [int(np.prod((*lead, *x.shape))) * x.dtype.itemsize for x in leaves]
        starts = np.cumsum([0, *(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]).tolist()
        memory = self._lent(starts[-1])
        arrays = [
            memory[start : start + size].view(x.dtype).reshape(*lead, *x.shape)
            for x, start, size in zip(leaves, starts, sizes, strict=False)
        ]
        filled: PyTree[np.ndarray] = jax.tree.unflatten(structure, arrays)
        return filled

    def _lent(self, size: int) -> np.ndarray:
        try:
            memory = self._free.pop()
        except IndexError:
            memory = _aligned(size)
        if memory.nbytes != size:  # of a short batch, or before one
            memory = _aligned(size)
        return np.asarray(Lease(memory, self._free))


class Lease:
    """Memory that is lent: an array of it keeps it, and with the last one it comes back."""

    def __init__(self, memory: np.ndarray, free: deque[np.ndarray]):
        self._memory, self._free = memory, free
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._memory)


def _aligned(size: int) -> np.ndarray:
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]
