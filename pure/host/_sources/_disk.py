"""Records in `.npy` files: one array a field, in one file or in a folder of shards.

How a file is read is told in `_shard`; orders and batches are not known here.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import PyTree

from ..._sources._host_source import AbstractHostSource, Ids, checked_ids
from ..._sources._numbers import check_numeric, check_range, held_as
from ..._text import listed, of_type
from ._columns import size_of
from ._in_parts import checked_threads, threads_beside
from ._remade import Remade
from ._shard import Shard
from ._side_by_side import NoRoom, side_by_side

Files: TypeAlias = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]]
_MOST = 128  # files of a field that are mapped at a time


class DiskSource(Remade, AbstractHostSource[PyTree[np.ndarray]]):
    """Records in files that `np.save` wrote, which may be larger than memory.

    `DiskSource("images.npy")` has single arrays as records; `DiskSource({"image": "images.npy",
    "label": "labels"})` dicts of fields. A folder stands for its `.npy` files, one behind the
    other, in the order of the numbers in their names: `part-9.npy` comes before `part-10.npy`;
    names that start with a dot are no shards. They may have different lengths, and another field
    may be cut at other places, as long as all fields have as many records.

    - `files`: a path, or a dict of them.
    - `threads`: how many copy records at a time; by default one where JAX computes on the CPU, and
      up to four beside an accelerator.

    Nothing is read when it is made but the headers. Files are mapped, and only what is asked for is
    read; 64-bit numbers become 32-bit ones, as in memory. Do not write to files that are in use:
    one that has changed is an error.

    **Errors:** TypeError for what is no path; FileNotFoundError; ValueError for a folder without
    such files, or with others beside them, a file that is none or is cut short, shards that differ
    in shape or dtype, and fields that differ in their number of records. Each names the file.
    """

    def __init__(self, files: Files, threads: int | None = None):
        self._made_of = (files, threads)
        self._threads = None if threads is None else checked_threads(threads)
        fields = {"": files} if isinstance(files, str | os.PathLike) else files
        if not isinstance(fields, Mapping):
            expected = 'a path, or a dict of them: DiskSource({"image": "images.npy"}).'
            raise TypeError(of_type("files", files, expected))
        if not fields:
            raise ValueError("files are an empty dict; expected a path for each field.")
        self._columns = {name: _Column(name, path) for name, path in fields.items()}
        self._is_bare = fields is not files
        self.size = size_of({name: column.size for name, column in self._columns.items()})
        self.element_spec = self._of({name: x.spec for name, x in self._columns.items()})

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> PyTree[np.ndarray]:
        """The records of these ids. **Errors:** IndexError for one outside; OSError for a file that
        was written since or cannot be read; ValueError for numbers that 32 bits do not hold."""
        ids = checked_ids(ids, self.size)
        given: dict[str, np.ndarray] = {}
        if out is not None:
            given = {"": out} if self._is_bare else out
        threads = threads_beside() if self._threads is None else self._threads
        columns = self._columns.items()
        return self._of({name: x.read(ids, given.get(name), threads) for name, x in columns})

    def _of(self, fields: Mapping[str, PyTree]) -> PyTree:
        return fields[""] if self._is_bare else dict(fields)


class _Column:
    """A field: its shards, and how many records lie before each."""

    def __init__(self, name: object, path: object):
        self.told = f"Field `{name}`" if name else "The data"
        paths = _shards(self.told, path)
        self._shards = [Shard(each) for each in paths]
        first = self._shards[0].header
        for shard in self._shards:
            if (shard.header.shape[1:], shard.header.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(
                    f"{self.told} has records of shape {first.shape[1:]} and dtype {first.dtype} "
                    f"in {paths[0]}, but of shape {shard.header.shape[1:]} and dtype "
                    f"{shard.header.dtype} in {shard.path}; all of its files must be alike."
                )
        check_numeric(f"{self.told} in {paths[0]}", first.dtype)
        self._starts = np.cumsum([0, *(shard.records for shard in self._shards)])
        self.size = int(self._starts[-1])
        if not self.size:
            raise ValueError(f"{self.told} has no records in {paths[0]}; expected at least one.")
        self.spec = jax.ShapeDtypeStruct(first.shape[1:], held_as(first.dtype))
        self._dtype = first.dtype
        self._together = side_by_side(self._shards, self._starts)
        self._mapped: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, ids: Ids, out: np.ndarray | None, threads: int) -> np.ndarray:
        """The records of these ids, into `out` if it is given."""
        if out is None:
            out = np.empty((len(ids), *self.spec.shape), self.spec.dtype)
        exact = self._dtype == out.dtype
        rows = out if exact else np.empty(out.shape, self._dtype)
        self._read(ids, rows, threads)
        if not exact:
            check_range(self.told, rows)
            np.copyto(out, rows, casting="unsafe")
        return out

    def _read(self, ids: Ids, rows: np.ndarray, threads: int) -> None:
        if len(self._shards) == 1:
            self._shards[0].read(ids, rows, threads)
            return
        if self._together is not None:
            try:
                self._together.read(ids, rows, threads)
                return
            except NoRoom:
                self._together = None
        if len(ids):
            self._read_each(ids, rows)

    def _read_each(self, ids: Ids, rows: np.ndarray) -> None:
        which = np.searchsorted(self._starts, ids, side="right") - 1
        order = np.argsort(which, kind="stable")
        ends = np.flatnonzero(np.diff(which[order], append=-1)) + 1
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            here = order[start:end]
            number = int(which[here[0]])
            self._use(number)
            own = np.empty((len(here), *rows.shape[1:]), rows.dtype)
            self._shards[number].read(ids[here] - self._starts[number], own)
            rows[here] = own

    def _use(self, number: int) -> None:
        # A process may open so many files only.
        with self._lock:
            self._mapped[number] = None
            self._mapped.move_to_end(number)
            while len(self._mapped) > _MOST:
                oldest, _ = self._mapped.popitem(last=False)
                self._shards[oldest].forget()


def _shards(told: str, given: object) -> Sequence[Path]:
    if not isinstance(given, str | os.PathLike):
        expected = "the path of a .npy file, or of a folder of them."
        raise TypeError(of_type(told, given, expected))
    if not os.fspath(given):
        raise ValueError(f"{told}: the path is empty; expected a .npy file or a folder.")
    path = Path(given)
    if not path.exists():
        raise FileNotFoundError(f"{told}: there is no {path}; expected a .npy file or a folder.")
    if not path.is_dir():
        return [_regular(told, path)]
    there = [x for x in path.iterdir() if not x.name.startswith(".")]
    found = [x for x in there if x.suffix == ".npy" and not x.is_dir()]
    if found:
        _check_all(told, path, [x for x in there if x not in {*found}])
        return [_regular(told, x) for x in sorted(found, key=lambda x: _by_numbers(x.name))]
    others = sorted(x.name for x in there)[:3]
    raise ValueError(
        f"{told}: the folder {path} has no .npy files, but {listed(others)}; expected shards "
        "that np.save wrote."
    )


def _regular(told: str, path: Path) -> Path:
    # To open a pipe is to wait for who writes to it.
    if not path.is_file():
        raise ValueError(f"{told}: {path} is no regular file; expected a .npy file or a folder.")
    return path


def _check_all(told: str, folder: Path, others: Sequence[Path]) -> None:
    # What a folder holds beside its shards may be shards that were meant.
    inner = [x for x in others if x.is_dir() and any(x.glob("[!.]*.np[yz]"))]
    files = [x for x in others if not x.is_dir() and x.suffix.lower() in (".npy", ".npz")]
    if inner or files:
        names = sorted(f"{x.name}/" for x in inner) + sorted(x.name for x in files)
        raise ValueError(
            f"{told}: the folder {folder} has .npy files, and beside them {listed(names[:3])}, "
            "which would be left out; keep only the shards in it, all as .npy files."
        )


def _by_numbers(name: str) -> tuple[tuple[str, int], ...]:
    """Names in the order of the numbers in them, and of the text between."""
    return tuple((text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", name))
