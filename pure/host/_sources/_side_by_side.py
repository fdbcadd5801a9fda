"""Files of records in one range of memory, whole records apart: many of them are read as one array.

A gather over them is then a gather over one file: nothing is sorted by file, no record is copied
twice, and none of them stays open. What a record is for is not known here.
"""

import ctypes
import errno
import math
import mmap
import os
import threading
from collections.abc import Callable, Sequence

import numpy as np

from ..._sources._host_source import Ids
from ._cold import ask_for
from ._in_parts import take
from ._shard import Shard

_MOST = 1024  # files; each takes two of the mappings that a process may have
_ROOM = 2**30  # bytes that may lie between them, beside as much as they have themselves
_FIXED = 0x10  # MAP_FIXED of Linux and macOS: at this very place, in place of what is there


class NoRoom(Exception):
    """The system has no mapping left for a file."""


class SideBySide:
    """The records of several files of one shape and dtype, whose data begin at one place.

    - `shards`: the files.
    - `starts`: how many records lie before each, and in all.

    **Errors:** OSError where the system does not give so much of its address space.
    """

    def __init__(self, shards: Sequence[Shard], starts: Ids):
        self._shards, self._starts = shards, starts
        header = shards[0].header
        self._first, self._size = header.start, _record_of(shards[0])
        self._offsets = _offsets(shards)
        # It is read only, and so costs nothing where nothing is mapped.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        whole = int(self._offsets[-1])
        self._range = mmap.mmap(-1, whole, flags=flags, prot=mmap.PROT_READ)
        many = (whole - self._first) // self._size
        numbers = many * self._size // header.dtype.itemsize
        flat = np.frombuffer(self._range, header.dtype, numbers, self._first)
        self._records = flat.reshape(many, *header.shape[1:])
        self._before = self._offsets[:-1] // self._size - starts[:-1]
        self._is_mapped = np.zeros(len(shards), np.bool_)
        self._lock = threading.Lock()

    def read(self, ids: Ids, out: np.ndarray, threads: int = 1) -> None:
        """The records of these ids, which are all there, into `out`, by so many threads.

        **Errors:** OSError, by the name of the file; NoRoom.
        """
        which = np.searchsorted(self._starts, ids, side="right") - 1
        for number in np.flatnonzero(np.bincount(which)).tolist():
            self._see_to(number)
        places = ids + self._before[which]
        ask_for(self._range, self._first + places * self._size, self._size)
        take(self._records, places, out, threads)

    def _see_to(self, number: int) -> None:
        shard = self._shards[number]
        shard.check(mapped=bool(self._is_mapped[number]))
        if not self._is_mapped[number]:
            with self._lock:
                self._map(shard, int(self._offsets[number]))
            shard.check(mapped=True)  # or another file may have been mapped
            self._is_mapped[number] = True

    def _map(self, shard: Shard, offset: int) -> None:
        if _MMAP is None:
            raise NoRoom
        at = np.frombuffer(self._range, np.uint8).ctypes.data + offset
        with shard.path.open("rb") as file:
            flags = mmap.MAP_SHARED | _FIXED
            found = _MMAP(at, shard.header.end, mmap.PROT_READ, flags, file.fileno(), 0)
        if found != at:
            number = ctypes.get_errno()
            told = OSError(number, os.strerror(number), str(shard.path))
            raise NoRoom if number == errno.ENOMEM else told


def side_by_side(shards: Sequence[Shard], starts: Ids) -> SideBySide | None:
    """The files in one range of memory; None where the system, or what they are, allows of none."""
    if _MMAP is None or not 1 < len(shards) <= _MOST or not _record_of(shards[0]):
        return None
    if len({shard.header.start for shard in shards}) > 1:
        return None
    if _offsets(shards)[-1] > 2 * sum(shard.header.end for shard in shards) + _ROOM:
        return None
    try:
        return SideBySide(shards, starts)
    except OSError:  # its address space is bounded
        return None


def _offsets(shards: Sequence[Shard]) -> Ids:
    """Where each file starts, whole records and pages apart, and where the last of them ends."""
    apart = math.lcm(_record_of(shards[0]), mmap.ALLOCATIONGRANULARITY)
    lengths = [-(-shard.header.end // apart) * apart for shard in shards]
    return np.cumsum([0, *lengths])


def _record_of(shard: Shard) -> int:
    header = shard.header
    return math.prod(header.shape[1:]) * header.dtype.itemsize


def _found() -> Callable[..., int | None] | None:
    try:
        found = ctypes.CDLL(None, use_errno=True).mmap
    except (AttributeError, OSError, TypeError):
        return None
    number, size = ctypes.c_int, ctypes.c_size_t
    found.restype = ctypes.c_void_p
    found.argtypes = ctypes.c_void_p, size, number, number, number, ctypes.c_ssize_t
    return found


_MMAP = _found() if os.name == "posix" else None
