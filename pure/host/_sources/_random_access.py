"""Data sets of other libraries that give records by number, as sources.

What they give is stacked as it comes, each record held against the first. Orders and batches are
not known here, nor which library it is, but for arrays, which `_columns` reads whole.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
from jaxtyping import PyTree

from ..._sources._fetched import buffers, reraise
from ..._sources._host_source import AbstractHostSource, Ids, checked_ids
from ..._sources._numbers import check_range, held_as
from ..._text import of_type, path_text
from ..._warning import warn
from ._columns import AbstractColumn, columns_of
from ._in_parts import checked_threads, in_parts
from ._mends import is_records, mend_of_records
from ._records import Likeness
from ._remade import Remade

Decode: TypeAlias = Callable[[Any], PyTree]
_Read: TypeAlias = Callable[[Ids], Iterable[object]]


@runtime_checkable
class _Reader(Protocol):
    def num_records(self) -> int: ...
    def read(self, indices: Sequence[int], /) -> Sequence[object]: ...


@runtime_checkable
class _InBatches(Protocol):
    def __len__(self) -> int: ...
    def __getitems__(self, indices: Sequence[int], /) -> Sequence[object]: ...


@runtime_checkable
class _OneByOne(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


class RandomAccessSource(Remade, AbstractHostSource[PyTree[np.ndarray]]):
    """Any data set that gives records by number: Grain's, ArrayRecord, torch map-style, HDF5, zarr.

    - `dataset`: has `__len__`, and `__getitems__` or `__getitem__`; or `num_records` and `read`, as
      a bare `ArrayRecordReader`; or is an array of HDF5, zarr, tensorstore or NumPy whose first
      axis is the records, or a dict of them, whose records are dicts of fields.
    - `decode`: what makes a record of what the data set gives: `lambda x: np.frombuffer(x,
      np.uint8)`. Without it that must be a pytree of arrays and numbers.
    - `threads`: how many read and decode at a time, for what waits or leaves Python's lock alone;
      the data set must then bear it.

    The first record is read when it is made: all others are like it. HDF5 that lies in one piece is
    mapped; zarr in local files is read by tensorstore, where that is installed.

    **Errors:** TypeError for another kind of data set, and for records that hold no numbers;
    ValueError for no records, for a record of another shape, dtype or structure, by record and
    field; those of the data set and of `decode`, with a note that names the record.
    """

    def __init__(self, dataset: object, decode: Decode | None = None, threads: int = 1):
        if decode is not None and not callable(decode):
            raise TypeError(of_type("decode", decode, "a function of one record, or none."))
        self._made_of = (dataset, decode, threads)
        self._columns = columns_of(dataset)
        self._decode, self._threads = decode, checked_threads(threads)
        self.size, self._read = _opened(dataset, self._columns)
        if not self.size:
            raise ValueError("dataset holds no records; expected at least one.")
        (first,) = self._read(np.zeros(1, np.int64))
        try:
            self._likeness = Likeness(self._decoded(first))
        except Exception as error:
            reraise(error, 0)
        self.element_spec = self._likeness.spec

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> PyTree[np.ndarray]:
        """The records of these ids. **Errors:** IndexError for one outside; those of the class."""
        ids = checked_ids(ids, self.size)
        if self._columns is not None and self._decode is None:
            rows = {name: column.rows(ids) for name, column in self._columns.items()}
            return _narrowed(rows.get("", rows))
        filled: PyTree[np.ndarray] = buffers(self, len(ids)) if out is None else out
        leaves = jax.tree.leaves(filled)
        in_parts(self._fill, self._threads, ids, leaves)
        return filled

    def _fill(self, ids: Ids, out: Sequence[np.ndarray]) -> None:
        for place, (record, given) in enumerate(zip(ids.tolist(), self._read(ids), strict=True)):
            try:
                arrays = self._likeness.arrays(self._decoded(given))
            except Exception as error:
                reraise(error, record)
            for there, array in zip(out, arrays, strict=True):
                there[place] = array

    def _decoded(self, given: object) -> PyTree:
        return given if self._decode is None else self._decode(given)


def _opened(dataset: Any, columns: dict[str, AbstractColumn] | None) -> tuple[int, _Read]:
    """How many records there are, and how some of them are read."""
    if columns is not None:
        return next(iter(columns.values())).size, lambda ids: _rows(columns, ids)
    if isinstance(dataset, _Reader):
        _warn_of_groups(dataset)
        return int(dataset.num_records()), lambda ids: _each(
            dataset, "read", dataset.read(ids.tolist()), ids
        )
    if isinstance(dataset, _InBatches):
        return _size_of(dataset), lambda ids: _each(
            dataset, "__getitems__", dataset.__getitems__(ids.tolist()), ids
        )
    if isinstance(dataset, _OneByOne) and is_records(dataset):
        # One after the other, for it may give all of them in the same memory.
        return _size_of(dataset), lambda ids: (_one(dataset, i) for i in ids.tolist())
    raise TypeError(of_type("dataset", dataset, mend_of_records(dataset)))


def _size_of(dataset: Sized) -> int:
    try:
        return len(dataset)
    except (TypeError, ValueError, OverflowError) as error:
        own = type(dataset).__name__
        raise type(error)(
            f"dataset, of type {own}, does not say how many records it has: `{own}.__len__` ended "
            f"in {type(error).__name__}: {error}."
        ) from error


def _each(dataset: object, method: str, given: object, ids: Ids) -> Sequence[object]:
    # A batch of fields instead of a list of records would be taken apart by its names.
    told = f"`{type(dataset).__name__}.{method}` returned"
    if not isinstance(given, Iterable) or isinstance(given, Mapping | str | bytes):
        kind = "None" if given is None else f"a {type(given).__name__}"
        raise TypeError(f"{told} {kind}; expected a list of records, one for each id.")
    records = given if isinstance(given, Sequence) else [*given]
    if len(records) != len(ids):
        records_of = f"{_many(len(records), 'record')} for {_many(len(ids), 'id')}"
        raise ValueError(f"{told} {records_of}; expected one for each id.")
    return records


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count != 1)


def _warn_of_groups(reader: object) -> None:
    # A reader of ArrayRecord says how its file was written.
    options = getattr(reader, "writer_options_string", str)()
    size = re.search(r"\bgroup_size:(\d+)", str(options))
    if size and int(size[1]) > 1:
        warn(
            f"The file of dataset was written with group_size:{size[1]}, so that each record that "
            'is read costs as many; write it with "group_size:1".'
        )


def _one(dataset: _OneByOne, index: int) -> object:
    try:
        return dataset[index]
    except Exception as error:
        reraise(error, index)


def _rows(columns: dict[str, AbstractColumn], ids: Ids) -> Sequence[object]:
    rows = {name: column.rows(ids) for name, column in columns.items()}
    if "" in rows:
        return [*rows[""]]
    return [{name: x[i] for name, x in rows.items()} for i in range(len(ids))]


def _narrowed(rows: PyTree[np.ndarray]) -> PyTree[np.ndarray]:
    """The rows in the dtypes that a program holds. **Errors:** ValueError for too large numbers."""

    def narrowed(path: tuple[Any, ...], array: np.ndarray) -> np.ndarray:
        check_range(f"Field `{path_text(path)}`" if path else "The record", array)
        return array.astype(held_as(array.dtype), copy=False)

    return jax.tree_util.tree_map_with_path(narrowed, rows)
