from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Shaped

_ALIGNMENT = 64  # bytes; from there on, JAX on a CPU reads the memory of NumPy as it is


def staged(array: Shaped[np.ndarray, "*shape"]) -> Shaped[Array, "*shape"]:
    """A JAX array of these numbers in memory of its own, copied once.

    A file that is mapped for reading alone (`np.load(path, mmap_mode="r")`) is read where it is,
    as long as dtype and alignment allow.
    """
    dtype = jax.dtypes.canonicalize_dtype(array.dtype.newbyteorder("="))
    if _is_mapped(array) and array.dtype == dtype and array.flags.c_contiguous:
        memory = array.view(np.ndarray)
    else:
        memory = _copied(array, dtype)
    data: Array = jax.device_put(memory)
    return data


def _copied(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    size = array.size * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + size].view(dtype).reshape(array.shape)
    np.copyto(copy, array, casting="unsafe")
    return copy


def _is_mapped(array: np.ndarray) -> bool:
    return isinstance(array, np.memmap) and not array.flags.writeable
