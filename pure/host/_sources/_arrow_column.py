"""A column of an Arrow table as NumPy views of its chunks: nothing is copied that need not be.

Numbers, and lists of them of one length, in any depth, are views of Arrow's own memory, which may
be a mapped file. Booleans, which Arrow packs by eights, are unpacked chunk by chunk. Which table it
is, and which records are asked for, is not known here.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int64

from ..._sources._fetched import at_record
from ..._sources._host_source import Ids
from ..._sources._numbers import check_numeric

_KEPT = 2**16  # views that are kept, of a table of very many chunks


class Column:
    """The records of a column, by their places in the table.

    **Errors:** TypeError for what are no numbers.
    """

    def __init__(self, told: str, chunks: Sequence[Any], kind: Any):
        self.told = told
        self._chunks = [chunk for chunk in chunks if len(chunk)]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks)])
        _check_kind(told, kind)
        self._views: dict[int, np.ndarray] = {}
        self._shape: tuple[int, ...] | None = None
        first = self._view(0)
        self._shape, self.dtype = first.shape[1:], first.dtype
        check_numeric(told, first.dtype)
        self._turned = _turned(kind)
        shape = tuple(self._shape[axis] for axis in self._turned) if self._turned else self._shape
        self.spec = jax.ShapeDtypeStruct(shape, self.dtype)

    def rows(self, places: Ids) -> np.ndarray:
        """The records at these places, in any order and with repeats."""
        rows = self._rows(places)
        return rows.transpose(0, *(1 + x for x in self._turned)) if self._turned else rows

    def _rows(self, places: Ids) -> np.ndarray:
        if len(self._chunks) == 1:
            return np.take(self._view(0), places, axis=0, mode="clip")
        rows = np.empty((len(places), *(self._shape or ())), self.dtype)
        which = np.searchsorted(self._starts, places, side="right") - 1
        order = np.argsort(which, kind="stable")
        ends = np.flatnonzero(np.diff(which[order], append=-1)) + 1
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            here = order[start:end]
            number = int(which[here[0]])
            rows[here] = self._view(number)[places[here] - self._starts[number]]
        return rows

    def _view(self, number: int) -> np.ndarray:
        view = self._views.get(number)
        if view is None:
            if len(self._views) >= _KEPT:
                self._views.clear()
            view = self._viewed(number)
            self._views[number] = view
        return view

    def _viewed(self, number: int) -> np.ndarray:
        start = int(self._starts[number])
        view = _numbers(self.told, self._chunks[number], np.arange(start, self._starts[number + 1]))
        if self._shape is not None and view.shape[1:] != self._shape:
            raise at_record(
                ValueError(
                    f"{self.told} has records of shape {view.shape[1:]}, the first one is of shape "
                    f"{self._shape}; pad or crop them to one."
                ),
                start,
            )
        return view


def is_struct(kind: Any) -> bool:
    """Whether a type of Arrow is one of several fields."""
    return _base(kind) == "struct"


def _base(kind: Any) -> str:
    # By its name: the library is not imported here.
    return str(kind).partition("<")[0].partition("[")[0]


def _extension(kind: Any) -> str | None:
    # Of those whose numbers are known to be what is stored; None for a type of Arrow's own.
    if not hasattr(kind, "storage_type"):
        return None
    is_array = type(kind).__module__.partition(".")[0] == "datasets"
    return "array" if is_array else str(kind.extension_name)


def _turned(kind: Any) -> tuple[int, ...]:
    # A tensor may be stored with its axes in another order.
    axes = kind.permutation if _extension(kind) == _TENSOR else None
    return () if axes is None or [*axes] == sorted(axes) else tuple(axes)


def _check_kind(told: str, kind: Any) -> None:
    inner = kind
    while True:
        extension = _extension(inner)
        if extension is not None and extension not in _EXTENSIONS:
            raise TypeError(
                f"{told} is of the extension type {extension} over {inner.storage_type}, which is "
                "not known here. Cast it to what its numbers mean, or leave it out: "
                "table.drop_columns([…]), dataset.remove_columns([…])."
            )
        if inner is not kind and _turned(inner):
            raise TypeError(
                f"{told} has tensors in lists, stored with the permutation "
                f"{[*inner.permutation]} of their axes; store them without one."
            )
        if extension is not None:
            inner = inner.storage_type
        elif _base(inner) in _LISTS:
            inner = inner.value_type
        else:
            break
    if _base(inner) not in _NUMBERS:
        raise TypeError(
            f"{told} is of Arrow type {kind}; expected numbers, booleans, or lists of them of one "
            "length. Leave it out: table.drop_columns([…]), dataset.remove_columns([…]). To decode "
            "it, write host.RandomAccessSource(dataset, decode=…)."
        )


_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_NUMBERS = frozenset(("bool", "halffloat", "float", "double", *_INTEGERS))
_LISTS = frozenset(("list", "large_list", "fixed_size_list"))
_TENSOR, _FLAGS = "arrow.fixed_shape_tensor", "arrow.bool8"
_EXTENSIONS = frozenset((_TENSOR, _FLAGS, "array"))


def _numbers(told: str, chunk: Any, owners: Int64[np.ndarray, " n"]) -> np.ndarray:
    """A chunk as an array of one row for each value; `owners` are the records that they are of."""
    if (extension := _extension(chunk.type)) is not None:
        stored = _numbers(told, chunk.storage, owners)
        if extension == _FLAGS:
            flags: np.ndarray = stored != 0
            return flags
        shape = chunk.type.shape if extension == _TENSOR else stored.shape[1:]
        return stored.reshape(len(stored), *shape)
    if chunk.null_count:
        first = np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False))[0]
        error = ValueError(f"{told} has a null; fill it: pyarrow.compute.fill_null(column, 0).")
        raise at_record(error, int(owners[first]))
    kind = _base(chunk.type)
    if kind == "fixed_size_list":
        length = int(chunk.type.list_size)
    elif kind in ("list", "large_list"):
        length = _length(told, np.diff(chunk.offsets.to_numpy()), owners)
    else:
        packed = kind == "bool"
        flat: np.ndarray = chunk.to_numpy(zero_copy_only=not packed)
        return flat
    inner = _numbers(told, chunk.flatten(), np.repeat(owners, length))
    return inner.reshape(len(chunk), length, *inner.shape[1:])


def _length(told: str, lengths: np.ndarray, owners: Int64[np.ndarray, " n"]) -> int:
    if (other := np.flatnonzero(lengths != lengths[0])).size:
        raise at_record(
            ValueError(
                f"{told} has {lengths[other[0]]} numbers in a list, and {lengths[0]} in another; "
                "pad or crop them to one length."
            ),
            int(owners[other[0]]),
        )
    return int(lengths[0])
