"""Records by id, read on the host: what a source is that no program holds.

What it gives is judged in `_fetched`. Nothing here knows of orders, of batches or of threads.
"""

import abc
import os
from collections.abc import Iterable, Sized
from typing import Any, Generic, Protocol, runtime_checkable

import jax
import numpy as np
import typing_extensions as te
from jaxtyping import Int64, PyTree

from .._orders._order import check_natural
from .._text import of_type, path_text, spec_text
from ._files import mend_of_file
from ._numbers import check_numeric, held_as

Batch = te.TypeVar("Batch", default=PyTree)
Ids = Int64[np.ndarray, " batch"]


class Ended(EOFError):
    """A pass of a source that does not say how long it is, is of another length than was thought.

    From now on `records` are expected, as many as it had; `UNKNOWN` where it goes on.
    """

    def __init__(self, records: int, told: str | None = None):
        super().__init__(told or f"The data set has ended after {records} records.")
        self.records = records


class AbstractHostSource(abc.ABC, Generic[Batch]):
    """Rows by record id, from files, data sets or the network: no pytree, and never traced.

    A source of your own sets `size`, the number of records, and `element_spec`, the shapes and
    dtypes of one record, and defines `fetch`. Its records are asked for by one thread at a time,
    which is not the one that trains.
    """

    size: int
    element_spec: PyTree[jax.ShapeDtypeStruct]
    has_own_order = False  # whether its records can be had one after the other only

    @abc.abstractmethod
    def fetch(self, ids: Ids, out: Batch | None = None) -> Batch:
        """The records of these ids, stacked along a leading axis: a pytree of NumPy arrays.

        `ids` are int64, of shape `(n,)`, in any order and with repeats, all below `size`, and not
        to be written to. `out` is
        a batch of such arrays to fill, if there is one; a source may as well return arrays of its
        own, which are copied. What it raises reaches the caller, and the record is named.
        """

    def expect(
        self, epoch: int, offset: int, until: int, *, is_end: bool, padding: int = 0
    ) -> None:
        """What the next `fetch` of a loop is for; of interest where records have an own order.

        The batches start at `offset` of an epoch and need the records before `until`, which is the
        number of records of the epoch if they come to its end. With `padding`, the last of them is
        filled up with the first records of the epoch, so many at most.
        """

    def __repr__(self) -> str:
        size, spec = getattr(self, "size", None), getattr(self, "element_spec", None)
        return f"{type(self).__name__} of {size} records of {spec_text(spec)}"


def check_host_source(name: str, source: object) -> None:
    """Refuse what is no host source, or says no proper size or spec of itself.

    **Errors:** TypeError, and ValueError for a size below 1.
    """
    if not isinstance(source, AbstractHostSource):
        raise TypeError(of_type(name, source, mend_to_host_source(source)))
    own = type(source).__name__
    for field, what in (("size", "the number of records"), ("element_spec", _SPEC)):
        if getattr(source, field, None) is None:
            raise TypeError(
                f"{name} is a {own} without `{field}`; expected {what}: set self.{field}."
            )
    check_natural(f"{name}.size of {own}", source.size)
    spec_of(source, name)


def mend_to_host_source(value: object) -> str:
    """What was expected in place of something that is no host source, and what makes one of it."""
    expected = "a source that is read on the host: write"
    libraries = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    inner = value.values() if isinstance(value, dict) else [value]
    paths = [x for x in inner if isinstance(x, str | os.PathLike)]
    if paths:
        return f"{expected} {mend_of_file(paths[0]) or 'host.DiskSource(path)'}."
    if all(isinstance(x, np.ndarray | jax.Array) for x in inner) or "dagrax" in libraries:
        memory = "Data in memory belong into MemorySource(data=…)."
        return f"{expected} host.DiskSource(path). {memory}"
    if libraries & {"pyarrow", "datasets"} and isinstance(value, Sized):
        return f"{expected} host.ArrowSource(dataset)."
    if isinstance(value, _ByNumber) and not isinstance(value, type):
        return f"{expected} host.RandomAccessSource(dataset)."
    if isinstance(value, Iterable) and not isinstance(value, type):
        return f"{expected} host.IterableSource(dataset)."
    return f"{expected} host.DiskSource(path)."


@runtime_checkable
class _ByNumber(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


def checked_ids(ids: object, size: int | None = None) -> Ids:
    """Ids that may be fetched, as int64; below `size`, if that is known.

    **Errors:** TypeError for anything else than an array of whole numbers; ValueError for one that
    has not one axis; IndexError for a record that is not there.
    """
    expected = "an array of whole numbers: source.fetch(np.array([0, 1]))."
    if not isinstance(ids, np.ndarray):
        raise TypeError(of_type("ids", ids, expected))
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids is an array of dtype {ids.dtype}; expected {expected}")
    if ids.ndim != 1:
        raise ValueError(f"ids has shape {ids.shape}; expected one axis, {expected}")
    outside = (ids < 0) if size is None else (ids < 0) | (ids >= size)
    if outside.any():
        told = "" if size is None else f", of {size} from 0 to {size - 1}"
        raise IndexError(f"A record {ids[outside][0]} was asked for{told}.")
    return ids.astype(np.int64, copy=False)


def spec_of(source: AbstractHostSource[Any], name: str = "source") -> PyTree[jax.ShapeDtypeStruct]:
    """The shapes and dtypes of one record as a program holds them.

    **Errors:** TypeError for a spec that is none, by field.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(source.element_spec)
    where = f"{name}.element_spec of {type(source).__name__}"
    if not leaves:
        raise TypeError(f"{where} has no fields; expected {_SPEC}.")
    held = []
    for path, leaf in leaves:
        field = f"{where}, field `{path_text(path)}`," if path else where
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            raise TypeError(of_type(field, leaf, _SPEC + "."))
        check_numeric(field, np.dtype(leaf.dtype))
        held.append(jax.ShapeDtypeStruct(leaf.shape, held_as(np.dtype(leaf.dtype))))
    spec: PyTree[jax.ShapeDtypeStruct] = jax.tree.unflatten(structure, held)
    return spec


_SPEC = "the shape and dtype of one record: jax.ShapeDtypeStruct((32, 32, 3), np.uint8)"
