"""One `.npy` file, mapped: its records by their places, read where they lie.

It is looked at before it is read, and refused if it was written meanwhile. Which records of a whole
it holds is not known here.
"""

import errno
import mmap
import tokenize
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy.lib import format as npy

from ..._sources._files import ARROW, HDF5, NPZ
from ._cold import ask_for
from ._in_parts import take
from ._unchanged import Seen, check_unchanged, seen

_SIGNATURES = types.MappingProxyType(
    {
        b"PK\x03\x04": ("an .npz archive", NPZ),
        b"\x89HDF": ("an HDF5 file", HDF5),
        b"PAR1": ("Parquet", ARROW),
        b"ARRO": ("Arrow", ARROW),
        b"\xff\xff\xff\xff": ("Arrow", ARROW),  # as a stream
    }
)


class Header(NamedTuple):
    """What a file says of itself: its array, where that starts in the file, and what the file was
    when it was asked."""

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    seen: Seen

    @property
    def end(self) -> int:
        """How long the file must be."""
        return self.start + int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


class Shard:
    """The records of a `.npy` file, or of any file whose `header` is known.

    **Errors:** ValueError for a file that is none, is cut short, or is in Fortran order; OSError
    where it cannot be read.
    """

    def __init__(self, path: Path, header: Header | None = None):
        self.path = path
        self.header = header_of(path) if header is None else header
        self._mapped: tuple[mmap.mmap, np.ndarray] | None = None

    @property
    def records(self) -> int:
        """The number of records."""
        return self.header.shape[0]

    def read(self, places: Int64[np.ndarray, " n"], out: np.ndarray, threads: int = 1) -> None:
        """The records at these places, which are all there, into `out`, by so many threads."""
        self.check(mapped=self._mapped is not None)
        mapping, records = self._map()
        size = (self.header.end - self.header.start) // max(self.records, 1)
        ask_for(mapping, self.header.start + places * size, size)
        take(records, places, out, threads)

    def forget(self) -> None:
        """Let go of the file until it is read again."""
        self._mapped = None

    def check(self, *, mapped: bool) -> None:
        """Refuse a file that was written since. **Errors:** those of `check_unchanged`."""
        check_unchanged(self.path, self.header.seen, mapped=mapped)

    def _map(self) -> tuple[mmap.mmap, np.ndarray]:
        mapped = self._mapped
        if mapped is None:
            mapping = _mapping(self.path)
            self.check(mapped=False)  # or another file may have been mapped
            header = self.header
            flat = np.frombuffer(
                mapping,
                header.dtype,
                (header.end - header.start) // header.dtype.itemsize,
                header.start,
            )
            mapped = self._mapped = mapping, flat.reshape(header.shape)
        return mapped


def _mapping(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        told = "Too many open files. A field keeps 128 of its own open: raise the limit, ulimit -n"
        raise OSError(errno.EMFILE, told, str(path)) from error


def header_of(path: Path) -> Header:
    """What a `.npy` file says of itself, held against its size.

    **Errors:** ValueError, by the name of the file.
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start != b"\x93NUM":
            kind, mend = _SIGNATURES.get(start, ("not a .npy file", ""))
            write = f" Write {mend}." if mend else ""
            raise ValueError(f"{path} is {kind}; expected one that np.save wrote.{write}")
        try:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
            raise ValueError(f"The header of {path} is damaged: {error}") from error
        header = Header(shape, dtype, file.tell(), seen(file.fileno()))
    if fortran and len(shape) > 1:
        raise ValueError(
            f"{path} is in Fortran order, so that a record lies all over the file; save "
            "np.ascontiguousarray(x)."
        )
    if dtype.hasobject:
        raise ValueError(f"{path} holds Python objects; expected numbers: np.save(path, numbers).")
    if not shape:
        raise ValueError(f"{path} holds a single number; expected an array of records.")
    if (size := header.seen.size) < header.end:
        raise ValueError(
            f"{path} is cut short: it has {size} bytes, of {header.end} that its header promises; "
            "write it again."
        )
    return header
