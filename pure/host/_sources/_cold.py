"""Records on a cold disk: all that a batch needs is asked for before the first is waited for.

A mapped file would be read ahead where nothing is wanted, or page by page, each waited for. Where
the system has no such advice to take, or its memory has the file already, nothing is done.
"""

import ctypes
import mmap
from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

_PAGE = mmap.PAGESIZE
_ONE_OF, _LOOKED_AT = 32, 16  # records, so many at most, by which it is judged what is in memory
_TAKES_ADVICE = hasattr(mmap, "MADV_RANDOM") and hasattr(mmap, "MADV_WILLNEED")


def ask_for(mapping: mmap.mmap, starts: Int64[np.ndarray, " n"], size: int) -> None:
    """Have the records of so many bytes from these places on read, if they are on the disk."""
    if not _TAKES_ADVICE or not len(starts):
        return
    if _are_here(mapping, starts, size):
        # Where all is in memory, neighbours come with a page at no cost, and four times sooner.
        mapping.madvise(mmap.MADV_NORMAL)
        return
    mapping.madvise(mmap.MADV_RANDOM)  # or much is read beside what is wanted
    own = np.sort(starts)
    first, last = own // _PAGE, (own + size - 1) // _PAGE
    last = np.maximum.accumulate(last)
    # What touches, or shares a page, is asked for at once.
    new = np.flatnonzero(first[1:] > last[:-1] + 1) + 1
    begins, ends = first[np.r_[0, new]] * _PAGE, (last[np.r_[new - 1, len(last) - 1]] + 1) * _PAGE
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        mapping.madvise(mmap.MADV_WILLNEED, begin, min(end, len(mapping)) - begin)


def _found() -> Callable[..., int] | None:
    # It takes less time than to let other threads run meanwhile, and to wait for them.
    try:
        found = ctypes.PyDLL(None).mincore
    except (AttributeError, OSError):
        return None
    found.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    return found


_MINCORE = _found()


def _are_here(mapping: mmap.mmap, starts: Int64[np.ndarray, " n"], size: int) -> bool:
    if _MINCORE is None:
        return False
    base, end = np.frombuffer(mapping, np.uint8).ctypes.data, len(mapping)
    pages = -(-size // _PAGE)
    found = (ctypes.c_ubyte * (pages + 1))()
    some = starts[:: max(_ONE_OF, len(starts) // _LOOKED_AT)]
    for start in (some // _PAGE * _PAGE).tolist():
        own = min((pages + 1) * _PAGE, end - start)
        if _MINCORE(base + start, own, found) or not all(x & 1 for x in found[:pages]):
            return False
    return True
