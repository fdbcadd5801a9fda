"""What a source gave, held against what it said: once, for every source.

A source that raises is told by record, one that gives other shapes or dtypes by field. Nothing here
knows why records are asked for.
"""

from typing import Any, NoReturn

import jax
import numpy as np
from jaxtyping import PyTree

from .._text import path_text, spec_text
from ._host_source import AbstractHostSource, Ids, spec_of
from ._numbers import check_range, check_unmasked, native

_NAMED = "This happened while record "


def at_record(error: BaseException, record: int | np.integer) -> BaseException:
    """The error of a source, which names the record that was being read.

    A source that reads its records one by one raises by it: `raise at_record(error, i)`. For one
    that does not, `fetched` looks for the record. A StopIteration becomes a RuntimeError, as in a
    generator.
    """
    told = _no_end(error)
    if not is_named(told):
        told.add_note(f"{_NAMED}{record} of the source was read.")
    return told


def reraise(error: BaseException, record: int | np.integer) -> NoReturn:
    """Raise an error that names its record; what it was raised from stays."""
    raise at_record(error, record)


def _no_end(error: BaseException) -> BaseException:
    # A StopIteration would end the loop of whoever asks as if all records had been given.
    if not isinstance(error, StopIteration):
        return error
    told = RuntimeError("The source raised StopIteration, by which no record can be told.")
    told.__cause__ = error
    return told


def record_of(error: BaseException) -> int | None:
    """The record that an error names, None for none."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith(_NAMED):
            return int(note.removeprefix(_NAMED).partition(" ")[0])
    return None


def is_named(error: BaseException) -> bool:
    """Whether an error names its record already."""
    return record_of(error) is not None


def buffers(source: AbstractHostSource[Any], records: int) -> PyTree[np.ndarray]:
    """A batch of so many records for `fetched` to fill."""
    return jax.tree.map(lambda leaf: np.empty((records, *leaf.shape), leaf.dtype), spec_of(source))


def fetched(
    source: AbstractHostSource[Any], ids: Ids, out: PyTree[np.ndarray] | None = None
) -> PyTree[np.ndarray]:
    """The records of these ids in arrays of the dtypes that a program holds: `out`, if given.

    **Errors:** the source's own, with a note that names the record; ValueError for another
    structure or other shapes than its `element_spec`, and numbers that are too large; TypeError for
    other dtypes. Each names the field.
    """
    filled = buffers(source, len(ids)) if out is None else out
    try:
        given = asked(source, ids, filled)
    except Exception as error:
        _reraise_located(_no_end(error), source, ids)
    _copy(source, given, filled, ids)
    return filled


def asked(source: AbstractHostSource[Any], ids: Ids, *out: PyTree[np.ndarray]) -> PyTree:
    """What `fetch` gives for ids, which it may not write to.

    **Errors:** those of the source; ValueError where it writes to the ids.
    """
    lent = ids.view()
    lent.flags.writeable = False
    try:
        return source.fetch(lent, *out)
    except ValueError as error:
        if "read-only" not in str(error) or not _is_written_to(source, ids, out):
            raise
        raise ValueError(
            f"`{type(source).__name__}.fetch` writes to its `ids`, by which its records are told "
            "apart; write to a copy: ids = ids.copy()."
        ) from error


def _is_written_to(
    source: AbstractHostSource[Any], ids: Ids, out: tuple[PyTree[np.ndarray], ...]
) -> bool:
    # Then it does not fail with ids of its own, or fails otherwise.
    try:
        source.fetch(ids.copy(), *out)
    except Exception as error:
        return "read-only" not in str(error)
    return True


def _reraise_located(error: BaseException, source: AbstractHostSource[Any], ids: Ids) -> NoReturn:
    # The record is found by halves, if the source did not say which it was.
    if is_named(error) or "writes to its `ids`" in str(error):
        raise error
    where = ids
    while len(where) > 1:
        half = where[: len(where) // 2]
        where = half if _fails(source, half) else where[len(where) // 2 :]
    if len(where) and _fails(source, where):
        raise at_record(error, where[0])
    error.add_note(
        f"This happened in `{type(source).__name__}.fetch`, asked for {len(ids)} records from "
        f"record {ids[0] if len(ids) else 'none'} on; none of them fails by itself."
    )
    raise error


def _fails(source: AbstractHostSource[Any], ids: Ids) -> bool:
    try:
        asked(source, ids, buffers(source, len(ids)))
    except Exception:
        return True
    return False


def _copy(
    source: AbstractHostSource[Any], given: PyTree, filled: PyTree[np.ndarray], ids: Ids
) -> None:
    own = type(source).__name__
    found, structure = jax.tree_util.tree_flatten_with_path(given)
    expected: object = jax.tree.structure(filled)
    if expected != structure:
        raise ValueError(
            f"`{own}.fetch` returned {spec_text(given)} for {len(ids)} records, but its "
            f"element_spec promises {spec_text(filled)}; return the same fields."
        )
    specs = jax.tree.leaves(source.element_spec)
    for (path, leaf), there, spec in zip(found, jax.tree.leaves(filled), specs, strict=True):
        if leaf is not there:
            field = f" in field `{path_text(path)}`" if path else ""
            _copy_field(f"`{own}.fetch` returned", field, leaf, there, spec.dtype)


def _copy_field(told: str, field: str, leaf: object, there: np.ndarray, promised: np.dtype) -> None:
    if not isinstance(leaf, np.ndarray | jax.Array | np.generic):
        raise TypeError(
            f"{told} {type(leaf).__name__}{field}; expected a NumPy array, {spec_text(there)}."
        )
    check_unmasked(f"What {told}{field}", leaf)
    array = np.asarray(leaf)
    if array.shape[1:] == there.shape[1:] and array.shape and len(array) != len(there):
        raise ValueError(
            f"{told} {spec_text(array)}{field} for {len(there)} ids; return a row for each, in "
            "their order, and as often as it is asked for."
        )
    if array.shape != there.shape:
        raise ValueError(
            f"{told} {spec_text(array)}{field}, but its element_spec promises {spec_text(there)}; "
            "crop or pad the records to one shape."
        )
    if native(array.dtype) not in (native(promised), there.dtype):
        raise TypeError(
            f"{told} numbers of dtype {array.dtype}{field}, but its element_spec promises "
            f"{promised}; nothing is promoted: return that dtype, or say the other in element_spec."
        )
    check_range(f"What {told}{field}", array)
    np.copyto(there, array, casting="unsafe")
