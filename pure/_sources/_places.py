"""Which records of a whole a view shows: those of a table, a run of them, or a part of a shuffle.

Each maps the positions of the view to ids of the whole, in the graph. No source is known here.
"""

import abc
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray, UInt32

from .._namespace import Batch, looked_up, words
from .._orders._order import Shuffled
from .._text import of_type, spec_text

_COUNTED, _SHUFFLED = 2**32 - 1, 2**31 - 1  # as many as 32 bits count; as a shuffle does
_SPLIT = np.uint32(0x53504C54)  # in place of an epoch: no stream comes to it before its last day


class AbstractPlaces(eqx.Module):
    """The ids, in a whole, of the records of a view."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """The number of records in the view."""

    @abc.abstractmethod
    def ids(self, places: Batch) -> Batch:
        """The ids in the whole of the records at these places of the view."""


class Table(AbstractPlaces):
    """The records of these ids, one by one."""

    table: UInt32[Array, " records"]

    @property
    def count(self) -> int:
        return int(self.table.shape[0])

    def ids(self, places: Batch) -> Batch:
        ids: Batch = looked_up(self.table, places)
        return ids


class Run(AbstractPlaces):
    """Every so-manieth record from one on, forwards or backwards."""

    start: int = eqx.field(static=True)
    step: int = eqx.field(static=True)
    many: int = eqx.field(static=True)

    @property
    def count(self) -> int:
        return self.many

    def ids(self, places: Batch) -> Batch:
        ids = places * np.uint32(self.step % 2**32) + np.uint32(self.start)
        return ids if ids.dtype == np.uint32 else ids.astype(np.uint32)  # modulo 2**32


def _check_counted(size: int, most: int = _COUNTED) -> None:
    if size > most:
        raise ValueError(
            f"The source has {size} records; a view shows some of at most {most}. Make views of "
            "its parts."
        )


class Part(AbstractPlaces):
    """A part of a random order of the whole, without a table of it."""

    order: Shuffled
    size: int = eqx.field(static=True)
    start: int = eqx.field(static=True)
    many: int = eqx.field(static=True)

    @property
    def count(self) -> int:
        return self.many

    def ids(self, places: Batch) -> Batch:
        return self.order.ids(places + np.uint32(self.start), words(_SPLIT, places), self.size)


def part(key: PRNGKeyArray, size: int, start: int, many: int) -> Part:
    """`many` records of a random order of all `size`, from the place `start` of it on."""
    _check_counted(size, _SHUFFLED)
    return Part(Shuffled(key), size, start, many)


def chosen(ids: object, size: int) -> AbstractPlaces:
    """The places of ids that a user names: an array, a list, a range or a slice of them.

    **Errors:** TypeError for anything else than integers in one axis; ValueError for none, for ids
    outside the whole, and for one that comes twice.
    """
    _check_counted(size)
    if isinstance(ids, slice):
        ids = range(size)[ids]
    if isinstance(ids, range):
        return _run(ids, size)
    if isinstance(ids, Tracer):
        _check_kind(ids)
        return Table(jnp.asarray(ids).astype(jnp.uint32))
    table = _array("ids", ids, f"integers in one axis: {_mend(ids)}.")
    if table.size == 0:
        raise ValueError(_EMPTY.format("ids", "are none"))
    _check_kind(table)
    outside = (table < 0) | (table >= size)
    if outside.any():
        place = int(outside.argmax())
        raise ValueError(
            f"ids[{place}] is {table[place]}, but the source has {size} records; expected ids from "
            f"0 to {size - 1}."
        )
    table = table.astype(np.uint32)
    _check_once(table)
    return Table(jnp.asarray(table))


def marked(mask: object, size: int) -> AbstractPlaces:
    """The places where a mask is True.

    **Errors:** TypeError for anything else than booleans in one axis; ValueError for another length
    than that of the whole, and where none is True.
    """
    _check_counted(size)
    if isinstance(mask, Tracer):
        raise TypeError(
            "mask is traced, so that the number of its records is not known; make the view outside "
            "of jit, or give each record a weight."
        )
    flags = _array("mask", mask, "a boolean for each record: write np.asarray(mask).")
    if flags.dtype != np.bool_:
        raise TypeError(
            f"mask is {_told(flags)}; expected booleans: write mask > 0, say, or "
            "dp.Subset(source, ids) where it holds ids."
        )
    if flags.shape != (size,):
        raise ValueError(
            f"mask has shape {flags.shape}, but the source has {size} records; expected one "
            f"boolean for each: ({size},)."
        )
    if not flags.any():
        raise ValueError(_EMPTY.format("mask", "is False everywhere"))
    return Table(jnp.asarray(np.flatnonzero(flags).astype(np.uint32)))


_EMPTY = "{} {}, so that the view would be empty; expected at least one record."


def _run(ids: range, size: int) -> Run:
    if not ids:
        raise ValueError(_EMPTY.format("ids", f"are {ids!r} of {size} records"))
    for end in (ids[0], ids[-1]):
        if not 0 <= end < size:
            raise ValueError(
                f"ids are {ids!r}, which come to {end}, but the source has {size} records; "
                f"expected ids from 0 to {size - 1}."
            )
    return Run(ids[0], ids.step, len(ids))


def _array(name: str, value: object, expected: str) -> np.ndarray:
    if isinstance(value, list | tuple | np.ndarray | jax.Array):
        try:
            return np.asarray(value)
        except ValueError:  # lists of different length
            pass
    raise TypeError(of_type(name, value, expected))


def _told(array: np.ndarray | Array) -> str:
    known = jnp.issubdtype(array.dtype, np.number) or array.dtype == np.bool_
    return spec_text(array) if known else f"an array of {array.dtype}"


def _check_kind(table: np.ndarray | Array) -> None:
    if table.ndim != 1 or not jnp.issubdtype(table.dtype, np.integer):
        mend = "dp.where(source, mask)" if table.dtype == np.bool_ else "ids.astype(int).ravel()"
        raise TypeError(f"ids are {_told(table)}; expected integers in one axis: write {mend}.")


def _check_once(table: np.ndarray) -> None:
    own, counts = np.unique(table, return_counts=True)
    if len(own) < len(table):
        twice = own[counts > 1][0]
        raise ValueError(
            f"ids name record {twice} {counts[counts > 1][0]} times; a view shows a record once, "
            "or its draws would be alike. Write np.unique(ids), or choose an order that repeats: "
            "Weighted, WithReplacement."
        )


def _mend(ids: object) -> str:
    if isinstance(ids, int | np.integer) and not isinstance(ids, bool):
        return f"write [{operator.index(ids)}] for a view of one record"
    return "write np.asarray(ids)"
