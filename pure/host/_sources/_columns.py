"""Arrays of other libraries whose first axis is the records: HDF5, zarr, tensorstore, NumPy.

Each is read the way that is fast for it, and by the same question. Which records are asked for, and
what becomes of them, is not known here.
"""

import abc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..._sources._host_source import Ids
from ..._sources._numbers import check_numeric, check_unmasked
from ..._text import of_type
from .._engines import engine
from ._shard import Header, Shard
from ._unchanged import seen

_CACHE = 2**26  # bytes of chunks that were unpacked


class AbstractColumn(abc.ABC):
    """Rows of an array by their places."""

    def __init__(self, array: Any):
        self.array = array
        self.size = int(array.shape[0])
        self.shape: tuple[int, ...] = tuple(int(x) for x in array.shape[1:])
        self.dtype = np.dtype(array.dtype)

    @abc.abstractmethod
    def rows(self, places: Ids) -> np.ndarray:
        """The rows at these places, in any order and with repeats."""


class Numpy(AbstractColumn):
    """An array of NumPy, in memory or mapped."""

    def rows(self, places: Ids) -> np.ndarray:
        return np.take(self.array, places, axis=0, mode="clip")  # other modes take twice as long


class Mapped(AbstractColumn):
    """An HDF5 data set that lies in its file in one piece: mapped, which is 20 to 400 times as fast
    as to ask the library for rows here and there."""

    def __init__(self, array: Any):
        super().__init__(array)
        shape = (self.size, *self.shape)
        path, start = Path(array.file.filename), int(array.id.get_offset())
        if array.file.mode != "r":
            array.file.flush()  # or what the library still holds would not be read
        self._shard = Shard(path, Header(shape, self.dtype, start, seen(path)))

    def rows(self, places: Ids) -> np.ndarray:
        rows = np.empty((len(places), *self.shape), self.dtype)
        self._shard.read(places, rows)
        return rows


class Sorted(AbstractColumn):
    """An array that gives rows in growing order only: HDF5 in pieces, zarr."""

    def rows(self, places: Ids) -> np.ndarray:
        order, back = np.unique(places, return_inverse=True)
        return np.asarray(self._ordered(order.tolist()))[back]

    def _ordered(self, places: list[int]) -> object:
        _check_open(self.array)
        return self.array[places]


class Zarr(Sorted):
    """An array of zarr in a store that tensorstore does not know."""

    def _ordered(self, places: list[int]) -> object:
        return self.array.oindex[np.asarray(places, np.int64)]


class Tensorstore(AbstractColumn):
    """An array of tensorstore, which keeps the chunks that it has unpacked."""

    def __init__(self, array: Any):
        self.array = array
        self.size, *shape = (int(x) for x in array.shape)
        self.shape, self.dtype = tuple(shape), np.dtype(array.dtype.numpy_dtype)
        self._start = int(array.domain[0].inclusive_min)

    def rows(self, places: Ids) -> np.ndarray:
        return np.asarray(self.array[places + self._start].read().result())


def columns_of(dataset: object) -> dict[str, AbstractColumn] | None:
    """The columns of an array, under the name "", or of a dict of arrays. None for anything else.

    **Errors:** TypeError for a dict that holds something else, and for what are no numbers;
    ValueError for no columns, for one without records, and for columns of different length.
    """
    if not isinstance(dataset, Mapping):
        column = _column("dataset", dataset)
        return None if column is None else {"": column}
    columns: dict[str, AbstractColumn] = {}
    for name, array in dataset.items():
        if (column := _column(f"dataset[{name!r}]", array)) is None:
            expected = (
                "an array of HDF5, zarr, tensorstore or NumPy, whose first axis is the records."
            )
            raise TypeError(of_type(f"dataset[{name!r}]", array, expected))
        columns[str(name)] = column
    if not columns:
        raise ValueError("dataset is an empty dict; expected an array for each field.")
    size_of({name: column.size for name, column in columns.items()})
    return columns


def size_of(sizes: Mapping[str, int]) -> int:
    """How many records all of some fields have. **Errors:** ValueError where they differ."""
    if len({*sizes.values()}) > 1:
        told = ", ".join(f"`{name}` has {size}" for name, size in sizes.items())
        raise ValueError(
            f"The fields differ in their number of records: {told}. Give all of them the same "
            "records."
        )
    return next(iter(sizes.values()))


def _column(told: str, array: object) -> AbstractColumn | None:
    found = _of_library(array)
    if found is None:
        return None
    check_unmasked(told, array)
    check_numeric(told, found.dtype)
    return found


def _of_library(array: Any) -> AbstractColumn | None:
    # By library and class: they are imported where they are used, by whoever has made the array.
    names = {(x.__module__.partition(".")[0], x.__name__) for x in type(array).__mro__}
    known = {("h5py", "Dataset"), ("zarr", "Array"), ("tensorstore", "TensorStore")}
    if not names & known and not isinstance(array, np.ndarray | jax.Array):
        return None
    if ("h5py", "Dataset") in names:
        _check_open(array)
    if not array.shape:
        raise ValueError(
            "dataset is a single number; expected an array whose first axis is the records."
        )
    if ("h5py", "Dataset") in names:
        return Mapped(array) if _is_in_one_piece(array) else Sorted(array)
    if ("zarr", "Array") in names:
        return _of_zarr(array)
    if ("tensorstore", "TensorStore") in names:
        return Tensorstore(array)
    return Numpy(np.asarray(array))


def _check_open(array: Any) -> None:
    if not array:
        raise ValueError(
            "The HDF5 file of the data set was closed; keep it open as long as records are read."
        )


def _is_in_one_piece(array: Any) -> bool:
    own = array.chunks is None and not array.external and not array.is_virtual
    return own and array.id.get_offset() is not None and array.size > 0


def _of_zarr(array: Any) -> AbstractColumn:
    # What lies in local files is read by tensorstore, if that is installed.
    root = getattr(array.store, "root", getattr(array.store, "path", None))
    if not isinstance(root, str | os.PathLike) or not Path(root).is_dir():
        return Zarr(array)
    try:
        tensorstore = engine("tensorstore", "tensorstore", "zarr", "A fast read of zarr")
    except ImportError:
        return Zarr(array)
    form = getattr(getattr(array, "metadata", None), "zarr_format", 2)
    spec = {
        "driver": "zarr3" if form == 3 else "zarr",
        "kvstore": {"driver": "file", "path": str(Path(root, array.path))},
        "context": {"cache_pool": {"total_bytes_limit": _CACHE}},
        "open": True,
    }
    return Tensorstore(tensorstore.open(spec).result())
