"""How NumPy's arrays become JAX's: by one copy, or, where a file is mapped, by none.

A mapped file is read where it lies if JAX can. Where it cannot, the copy is told, with its size and
with what would save it: data that were to stay on disk do not fill the memory without a word.
"""

import math
import mmap
import warnings

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Shaped

from ._numbers import held_as

_ALIGNMENT = 64  # bytes; from there on, JAX on a CPU reads the memory of NumPy as it is
_TOLD = 10**6  # bytes; less is copied without a word


def staged(name: str, array: Shaped[np.ndarray, "*shape"]) -> Shaped[Array, "*shape"]:
    """A JAX array of these numbers in memory of its own, copied once.

    An array that lies in a file mapped for reading alone (`np.load(path, mmap_mode="r")`), whole
    or a part, is read where it is on a CPU, if it is of a dtype that JAX keeps, contiguous, and
    starts at a multiple of 64 bytes. Otherwise a copy of a megabyte or more is warned of.
    """
    mapping = _mapping(array)
    obstacle = None if mapping is None else _obstacle(array, mapping)
    if obstacle:
        _tell(name, array, f"into memory, for {obstacle}")
    in_place = mapping is not None and obstacle is None
    data: Array = jax.device_put(array.view(np.ndarray) if in_place else _copied(array))
    if in_place and not isinstance(data, Tracer):
        for device in data.devices():
            if device.platform != "cpu":
                _tell(name, array, f"to {device}, which cannot read a file")
    return data


def _copied(array: np.ndarray) -> np.ndarray:
    dtype = held_as(array.dtype)
    size = array.size * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + size].view(dtype).reshape(array.shape)
    np.copyto(copy, array, casting="unsafe")
    return copy


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    """The mapped file that an array is a view of, if it is one."""
    owner: object = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return owner


def _obstacle(array: np.ndarray, mapping: mmap.mmap) -> str | None:
    """Why JAX cannot read a part of a mapped file where it lies, and what would let it."""
    dtype = held_as(array.dtype)
    with memoryview(mapping) as memory:
        can_change = not memory.readonly
    if can_change:
        return 'the file is mapped for writing; map it for reading: np.load(path, mmap_mode="r")'
    if array.dtype != dtype and array.dtype.newbyteorder("=") == dtype:
        return f"its bytes are in the other order, {array.dtype.str}; save it as {dtype}"
    if array.dtype != dtype:
        return f"{array.dtype} becomes {dtype}; save it as {dtype}, or set `jax_enable_x64`"
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return "it is in Fortran order; save np.ascontiguousarray(x)"
    if not array.flags.c_contiguous:
        return (
            "it is a strided part or a window of the file; pass the whole array and cut it in a "
            "stage, or save the part to a file of its own"
        )
    if past := array.ctypes.data % _ALIGNMENT:
        return _askew(past, array.nbytes // len(array))
    return None


def _askew(past: int, record: int) -> str:
    common = math.gcd(_ALIGNMENT, record)
    steps = f"start it at a multiple of {_ALIGNMENT // common} records of the file"
    mend = (
        f"{steps}, or save the part to a file of its own"
        if past % common == 0
        else "save it by np.save"
    )
    return f"it starts {past} bytes past a multiple of {_ALIGNMENT}; {mend}"


def _tell(name: str, array: np.ndarray, how: str) -> None:
    size = array.size * held_as(array.dtype).itemsize
    if size >= _TOLD:
        warnings.warn(
            f"Field {name} lies in a mapped file, but its {size / 1e6:.0f} MB are copied {how}. "
            "(To copy it without this warning, pass np.array(x).)",
            stacklevel=2,
        )
