"""Whether a source is one: ids to records, in any order and with repeats, of the spec that it says.

Records are asked for alone first, so that what fails is told of one record where it can be. Orders
and streams are not known here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int64, PyTree

from .._sources._fetched import asked, reraise
from .._sources._host_source import AbstractHostSource, Ended, check_host_source
from .._sources._hosted import Hosted, is_hosted
from .._sources._numbers import held_as
from .._sources._source import AbstractSource
from .._sources._source import check_source as check_kind
from .._sources._unknown import UNKNOWN
from .._text import path_text, spec_text
from ._compared import difference, numbers
from ._report import Report, Seen, counted, fail

_Ids = Int64[np.ndarray, "_"]
_Ask = Callable[[_Ids], PyTree]
_ROWS = 4  # of a batch


def check_source(
    source: AbstractSource[Any] | AbstractHostSource[Any], *, records: int = 8
) -> Report:
    """Whether `source` gives, for any ids, the records of these ids, of the spec that it says.

    Records are asked for alone, in and against their order, and one of them twice; `fetch` also
    into arrays that are given. Of a source in memory `rows` is run in a program, `fetch` without
    one, and the places of a view are looked up in its whole.

    - `records`: how many records are asked for, evenly spaced.

    **Errors:** AssertionError that names the ids, the record and the field that fail; those of the
    source.
    """
    hosted = source.handle.source if isinstance(source, Hosted) else source
    if isinstance(hosted, AbstractHostSource):
        check_host_source("source", hosted)
        return _check_hosted(hosted, records)
    check_kind("source", source)
    return _check_of_the_core(hosted, records)


def _check_of_the_core(source: AbstractSource[Any], records: int) -> Report:
    name, ids, spec = type(source).__name__, _sample(source.size, records), source.element_spec
    lists, fetched = _lists(ids), not any(map(_is_extended, jax.tree.leaves(spec)))
    program = eqx.filter_jit(lambda source, ids: source.rows(ids))

    def read(source: AbstractSource[Any], ids: _Ids) -> PyTree:
        return source.fetch(ids) if hosted else program(source, ids.astype(np.uint32))

    hosted = is_hosted(source)
    told = f"`{name}.{'fetch' if hosted else 'rows'}`"
    alone = _each(told, lambda ids: read(source, ids), ids, spec)
    _judge_lists(told, lambda ids: read(source, ids), lists, alone, spec)
    seen = [
        Seen(f"{counted(len(ids), 'record')} alone", spec_text(spec)),
        Seen("forwards, backwards, one twice", "the same records"),
    ]
    if fetched:
        told = f"`{name}.fetch`"
        _judge_lists(told, source.fetch, lists, alone, spec)
        for wanted in lists:
            _judge_filled(told, source.fetch, wanted, alone, spec, must=True)
        seen.append(Seen("fetch, without a program and into `out`", "the same records"))
    if type(source).places is not AbstractSource.places:
        told = f"`{name}.places`, read in `whole`"
        _judge_lists(
            told, lambda ids: read(source.whole, _array(source.places, ids)), lists, alone, spec
        )
        seen.append(Seen("its places in the whole", "the same records"))
    if type(source).record_ids is not AbstractSource.record_ids:
        own = _judged_record_ids(name, source, ids)
        seen.append(Seen("the ids by which records draw", own))
    return Report("check_source", f"{name} of {counted(source.size, 'record')}", tuple(seen))


def _check_hosted(source: AbstractHostSource[Any], records: int) -> Report:
    name = type(source).__name__
    told, spec = f"`{name}.fetch`", source.element_spec
    # One that is iterated over gives its records one after the other, in passes of its own.
    ids = np.arange(min(_ROWS, source.size)) if source.has_own_order else None
    ids = _sample(source.size, records) if ids is None else ids

    def fetch(ids: _Ids, out: PyTree = None) -> PyTree:
        try:
            return asked(source, ids) if out is None else asked(source, ids, out)
        except Ended:
            raise
        except Exception as error:
            if len(ids) == 1:
                reraise(error, ids[0])
            raise

    try:
        alone = _each(told, fetch, ids, spec)
    except Ended as ended:
        ids = ids[: ended.records]
        alone = _each(told, fetch, ids, spec)
    lists = [ids] if source.has_own_order else _lists(ids)
    if not source.has_own_order:
        _judge_lists(told, fetch, lists, alone, spec)
    given = [
        _judge_filled(told, fetch, wanted, alone, spec, repeats=not source.has_own_order)
        for wanted in lists
    ]
    out = "filled" if all(given) else "arrays of its own, which are copied"
    order = [] if source.has_own_order else ["forwards, backwards, one twice"]
    seen = (
        Seen(f"{counted(len(ids), 'record')} alone", spec_text(spec)),
        *(Seen(x, "the same records") for x in order),
        Seen("into `out`", out),
    )
    many = "records" if source.size == UNKNOWN else counted(int(source.size), "record")
    return Report("check_source", f"{name} of {many}", seen)


def _sample(size: int, records: int) -> _Ids:
    return np.unique(np.linspace(0, size - 1, min(records, size)).astype(np.int64))


def _lists(ids: _Ids) -> list[_Ids]:
    first, last = ids[0], ids[-1]
    repeated = np.array([first, first, last, first])
    return [np.resize(ids, _ROWS), np.resize(ids[::-1], _ROWS), repeated]


def _array(of: Callable[..., Array], ids: _Ids) -> _Ids:
    return np.asarray(of(jnp.asarray(ids.astype(np.uint32)))).astype(np.int64)


def _each(told: str, ask: _Ask, ids: _Ids, spec: PyTree) -> dict[int, PyTree]:
    found: dict[int, PyTree] = {}
    for record in ids:
        rows = ask(np.array([record]))
        _judge_spec(told, rows, np.array([record]), spec)
        found[int(record)] = jax.tree.map(lambda x: np.array(numbers(x)), rows)
    return found


def _judge_spec(told: str, rows: PyTree, ids: _Ids, spec: PyTree) -> None:
    where = f"{told} of {_ids(ids)}"
    leaves, structure = jax.tree_util.tree_flatten_with_path(rows)
    expected: object = jax.tree.structure(spec)
    if expected != structure:
        fail(where, f"it returned {spec_text(rows)}; element_spec says {spec_text(spec)} a record.")
    for (path, leaf), own in zip(leaves, jax.tree.leaves(spec), strict=True):
        field = f" in field `{path_text(path)}`" if path else ""
        if not isinstance(leaf, np.ndarray | jax.Array):
            fail(where, f"it returned a {type(leaf).__name__}{field}; expected an array.")
        shape = (len(ids), *own.shape)
        wanted = spec_text(jax.ShapeDtypeStruct(shape, own.dtype))
        if leaf.shape != shape or leaf.dtype not in (own.dtype, _held(own.dtype)):
            fail(
                where,
                f"it returned {_spec_text(leaf)}{field}; expected {wanted}, a row for each id of "
                "what element_spec says.",
            )


def _spec_text(leaf: np.ndarray | Array) -> str:
    # NumPy's own dtype, which JAX would tell as the one that it holds.
    if isinstance(leaf, np.ndarray) and leaf.dtype != _held(leaf.dtype):
        return f"numbers of {leaf.dtype} in shape {leaf.shape}"
    return spec_text(leaf)


def _is_extended(leaf: jax.ShapeDtypeStruct) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.extended))


def _held(dtype: Any) -> Any:  # keys have one of their own
    extended = jnp.issubdtype(dtype, jax.dtypes.extended)
    return dtype if extended else held_as(np.dtype(dtype))


def _judge_lists(
    told: str, ask: _Ask, lists: Sequence[_Ids], alone: dict[int, PyTree], spec: PyTree
) -> None:
    for ids in lists:
        rows = ask(ids)
        _judge_spec(told, rows, ids, spec)
        _judge_rows(told, rows, ids, alone)


_ALONE = "a record depends on its id alone"
_FILL = "fill `out`, or return arrays of its own"


def _judge_rows(
    told: str, rows: PyTree, ids: _Ids, alone: dict[int, PyTree], mend: str = _ALONE
) -> None:
    for row, record in enumerate(ids):
        given = jax.tree.map(lambda x, row=row: numbers(x)[row : row + 1], rows)
        if found := difference(_as(alone[int(record)], given), given):
            fail(
                f"{told} of {_ids(ids)}",
                f"record {record} has {found.other}{found.where}, but {found.one} where it was "
                f"asked for alone; {mend}.",
            )


def _as(rows: PyTree, like: PyTree) -> PyTree:
    # Of the dtype that was promised, or of the one that is held.
    return jax.tree.map(lambda x, y: x.astype(y.dtype), rows, like)


def _judge_filled(
    told: str,
    fetch: Callable[[_Ids, PyTree], PyTree],
    ids: _Ids,
    alone: dict[int, PyTree],
    spec: PyTree,
    *,
    must: bool = False,
    repeats: bool = True,
) -> bool:
    """Whether a fetch filled the arrays that it was given, as each that returns them `must`."""
    filled = True
    for byte in (0, 255):
        out = jax.tree.map(lambda x, byte=byte: _buffer(x, len(ids), byte), spec)
        rows = fetch(ids, out)
        _judge_spec(f"{told} into `out`", rows, ids, spec)
        own = [x is y for x, y in zip(jax.tree.leaves(rows), jax.tree.leaves(out), strict=True)]
        if repeats:
            what = " into `out`, which it returned," if all(own) else " into `out`"
            _judge_rows(told + what, rows, ids, alone, _FILL)
        if must:
            _judge_rows(f"{told} into `out`, as it left that,", out, ids, alone, "fill `out`")
        filled = filled and all(own)
    return filled


def _buffer(spec: jax.ShapeDtypeStruct, rows: int, byte: int) -> np.ndarray:
    # So that what was not written shows.
    dtype = np.dtype(_held(spec.dtype))
    made = np.full((rows, *spec.shape, dtype.itemsize), byte, np.uint8)
    if dtype == np.bool_:
        flags: np.ndarray = made[..., 0] > 0
        return flags
    numbers: np.ndarray = made.view(dtype)[..., 0]
    return numbers


def _judged_record_ids(name: str, source: AbstractSource[Any], ids: _Ids) -> str:
    places = source.places(jnp.asarray(ids.astype(np.uint32)))
    own = np.asarray(source.whole.record_ids(places))
    _, first, inverse = np.unique(own, return_index=True, return_inverse=True)
    before = first[inverse]
    again = before != np.arange(len(own))
    if not again.any():
        return "another for each record"
    if source.order is not None:  # of a mixture, whose records draw as they do in their own source
        return "those of their own sources"
    at = int(again.argmax())
    fail(
        f"`{name}.record_ids`",
        f"the records {ids[before[at]]} and {ids[at]} have one id, {own[at]}, and would draw "
        "alike; give each another.",
    )


def _ids(ids: _Ids) -> str:
    return f"record {ids[0]}" if len(ids) == 1 else f"records {[int(x) for x in ids]}"
