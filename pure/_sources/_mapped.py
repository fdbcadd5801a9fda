"""Why JAX cannot read a part of a mapped file where it lies, and the edit that saves the copy.

The part is held against the whole array that lies in the file: a run of its records, or every so
many, is a view of a source of the whole; what slides over it is `Windows`. Nothing is copied here.
"""

import math
import mmap
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from ._numbers import held_as

ALIGNMENT = 64  # bytes; from there on, JAX on a CPU reads the memory of NumPy as it is
View: TypeAlias = Callable[[range], str | None]  # what gives these of the whole, called `x`


def view_of(records: range) -> str:
    """What gives these records of a whole that is called `x`."""
    return _shown("dp.ArraySource(x)", records)


def view_of_windows(numbers: range, width: int, stride: int) -> str | None:
    """What gives the windows of these numbers of a whole that is called `x`, where that is one."""
    if numbers.step != 1 or numbers.start % stride:
        return None
    by = f", stride={stride}" if stride > 1 else ""
    first, many = numbers.start // stride, (len(numbers) - width) // stride + 1
    return _shown(f"dp.Windows(x, {width}{by})", range(first, first + many))


class Whole(NamedTuple):
    """A mapped file, and the array of all that lies in it."""

    mapping: mmap.mmap
    array: np.ndarray


def whole_of(array: np.ndarray) -> Whole | None:
    """The mapped file that an array is a view of, if it is one."""
    owner: object = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        array = owner if isinstance(owner, np.ndarray) else array
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return None if owner is None else Whole(owner, array)


def obstacle_of(array: np.ndarray, file: Whole, view: View) -> str | None:
    """What keeps a part of this file from being read where it lies, and the mend; or None."""
    dtype = held_as(array.dtype)
    with memoryview(file.mapping) as memory:
        can_change = not memory.readonly
    if can_change:
        return 'the file is mapped for writing; map it for reading: np.load(path, mmap_mode="r")'
    if array.dtype != dtype and array.dtype.newbyteorder("=") == dtype:
        return f"its bytes are in the other order, {array.dtype.str}; save it as {dtype}"
    if array.dtype != dtype:
        return f"{array.dtype} becomes {dtype}; save it as {dtype}, or set `jax_enable_x64`"
    whole = file.array
    if not array.flags.c_contiguous and not whole.flags.c_contiguous:
        return "the file is in Fortran order; save np.ascontiguousarray(x)"
    if not array.flags.c_contiguous:
        return _strided(array, whole, view)
    if past := array.ctypes.data % ALIGNMENT:
        return _askew(past, array, whole, view)
    return None


def _run(array: np.ndarray, whole: np.ndarray) -> range | None:
    """The records of the whole that an array is, where it is every so many of them."""
    record = whole.strides[0] if whole.ndim else 0
    like = (array.dtype, array.shape[1:], array.strides[1:])
    if like != (whole.dtype, whole.shape[1:], whole.strides[1:]) or record == 0:
        return None
    start, past = divmod(array.ctypes.data - whole.ctypes.data, record)
    step, apart = divmod(array.strides[0], record)
    if past or apart or not step:
        return None
    return range(start, start + step * len(array), step)


def _shown(source: str, records: range) -> str:
    step = "" if records.step == 1 else f", {records.step}"
    told = f"range({records.start}, {records.stop}{step})"
    return f"dp.Subset({source}, {told}), or source[{told}] of a module"


def _seen(array: np.ndarray, whole: np.ndarray, view: View) -> str | None:
    records = _run(array, whole)
    shown = view(records) if records else None
    return f"pass the whole file and make a view of it, {shown}" if shown else None


def _strided(array: np.ndarray, whole: np.ndarray, view: View) -> str:
    if _run(array, whole):
        mend = _seen(array, whole, view) or "save np.ascontiguousarray(x)"
        return f"it is a strided part of the file; {mend}"
    stride, past = divmod(array.strides[0], whole.strides[0])
    if array.ndim == whole.ndim + 1 and array.strides[-1] == whole.strides[0] and not past:
        by = f", stride={stride}" if stride > 1 else ""
        return f"it is windows of the file; write dp.Windows(x, {array.shape[-1]}{by})"
    return (
        "its records are strided parts of those of the file; pass them whole and cut or transpose "
        "the batch in a stage, or save np.ascontiguousarray(x)"
    )


def _askew(past: int, array: np.ndarray, whole: np.ndarray, view: View) -> str:
    lies = f"it starts {past} bytes past a multiple of {ALIGNMENT}"
    common = math.gcd(ALIGNMENT, array.nbytes // len(array))
    if past % common or whole.ctypes.data % ALIGNMENT:
        return f"{lies}; save it by np.save"
    other = _seen(array, whole, view) or "save the part to a file of its own"
    return f"{lies}; start it at a multiple of {ALIGNMENT // common} records, or {other}"
