"""How NumPy's arrays become JAX's: by one copy, or, where a file is mapped, by none.

A mapped file is read where it lies if JAX can. Where it cannot, the copy is told, with its size and
with what would save it (see `_mapped`): data that were to stay on disk are never copied silently.
"""

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Shaped

from .._warning import warn
from ._mapped import ALIGNMENT, View, obstacle_of, view_of, whole_of
from ._numbers import held_as


def staged(
    name: str, array: Shaped[np.ndarray, "*shape"], view: View = view_of
) -> Shaped[Array, "*shape"]:
    """A JAX array of these numbers in memory of its own, copied once.

    An array that lies in a file mapped for reading alone (`np.load(path, mmap_mode="r")`), whole
    or a part, is read where it is on a CPU, if it is of a dtype that JAX keeps, contiguous, and
    starts at a multiple of 64 bytes. Otherwise the copy is warned of, however small it is, and
    for a part of a file the `view` of the whole is named that saves it.
    """
    whole = whole_of(array)
    obstacle = None if whole is None else obstacle_of(array, whole, view)
    if obstacle:
        _tell(name, array, f"into memory, for {obstacle}")
    in_place = whole is not None and obstacle is None
    data: Array = jax.device_put(array.view(np.ndarray) if in_place else _copied(array))
    if in_place and not isinstance(data, Tracer):
        for device in data.devices():
            if device.platform != "cpu":
                _tell(name, array, f"to {device}, which cannot read a file")
    return data


def _copied(array: np.ndarray) -> np.ndarray:
    dtype = held_as(array.dtype)
    size = array.size * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    copy = memory[start : start + size].view(dtype).reshape(array.shape)
    np.copyto(copy, array, casting="unsafe")
    return copy


def _tell(name: str, array: np.ndarray, how: str) -> None:
    warn(
        f"Field {name} lies in a mapped file, but its {_told_size(array)} are copied {how}. "
        "(To copy it without this warning, pass np.array(x).)"
    )


def _told_size(array: np.ndarray) -> str:
    size = array.size * held_as(array.dtype).itemsize
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.0f} kB" if size < 10**6 else f"{size / 1e6:.0f} MB"
