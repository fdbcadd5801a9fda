"""The mean and the variance of all records of a source, in one pass, chunk by chunk.

Chunks are merged by Chan's formula, which `ops` has; how records are read is the source's affair.
"""

import functools
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree, UInt32

from .._text import listed, near, spec_text, valued
from ..ops._moments import Moments, merged, moments, no_moments
from ._host_source import AbstractHostSource
from ._hosted import given_part, is_hosted
from ._source import AbstractSource

Fields = dict[str, Moments]
_Rows = dict[str, Array]


def fit(
    source: AbstractSource[PyTree] | AbstractHostSource[PyTree],
    fields: str | Collection[str],
    axes: Collection[int] = (-1,),
    *,
    chunk: int = 1024,
) -> dict[str, Moments]:
    """The moments of each of these fields over all records of a source, or of a view.

    Each record is read once, in order, `chunk` at a time, and counts as much as any other; the mean
    of a first record is taken off before and put back at the end, so that a large mean costs no
    digits of a small deviation.

    - `fields`: the names of numeric fields; integers count as numbers.
    - `axes`: those of a record that keep moments of their own: by default the last, a channel or a
      feature; `()` for one of all.

    **Errors:** TypeError for what is no source or no names, and for fields that are no numbers;
    ValueError for an unknown field, axes that a record has not, and a chunk below 1.
    """
    own = given_part("source", source)
    names = (fields,) if isinstance(fields, str) else tuple(fields)
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer):
        raise TypeError(valued("chunk", chunk, "an int."))
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; expected at least 1.")
    _check_fields(own.element_spec, names)
    fitted = _fitted_on_the_host if is_hosted(own) else _fitted
    found: Fields = fitted(own, names, tuple(axes), min(int(chunk), own.size))
    return found


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _fitted(
    source: AbstractSource[PyTree], names: Collection[str], axes: Collection[int], chunk: int
) -> Fields:
    size = source.size
    start = _start(_read(source, names, [0]), axes)

    def body(seen: Fields, first: UInt32[Array, ""]) -> tuple[Fields, None]:
        ids = first + jnp.arange(chunk, dtype=jnp.uint32)
        rows = _read(source, names, jnp.minimum(ids, size - 1))
        return _counted(seen, rows, start, ids < size, axes), None

    firsts = jnp.arange(0, size, chunk, dtype=jnp.uint32)
    seen, _ = jax.lax.scan(body, _none(source, names, axes), firsts)
    return _from(start, seen)


def _fitted_on_the_host(
    source: AbstractSource[PyTree], names: Collection[str], axes: Collection[int], chunk: int
) -> Fields:
    def read(ids: np.ndarray) -> _Rows:
        rows = source.fetch(ids)
        return {name: jnp.asarray(rows[name]) for name in names}

    start, seen = _start(read(np.zeros(1, np.int64)), axes), _none(source, names, axes)
    for first in range(0, source.size, chunk):
        ids = np.arange(first, first + chunk)  # of one length, for one program
        rows = read(np.minimum(ids, source.size - 1))
        seen = _counted_by_itself(seen, rows, start, jnp.asarray(ids < source.size), axes)
    return _from(start, seen)


def _counted(
    seen: Fields,
    rows: _Rows,
    start: _Rows,
    counts: Bool[Array, " n"],
    axes: Collection[int],
) -> Fields:
    own = {name: moments(_less(row, start[name]), axes, valid=counts) for name, row in rows.items()}
    return {name: merged(seen[name], own[name]) for name in rows}


_counted_by_itself = jax.jit(_counted, static_argnums=4)


def _start(first: _Rows, axes: Collection[int]) -> _Rows:
    return {name: moments(row, axes).mean for name, row in first.items()}


def _none(source: AbstractSource[PyTree], names: Collection[str], axes: Collection[int]) -> Fields:
    spec = source.element_spec
    return {name: no_moments(spec[name], axes) for name in names}


def _from(start: _Rows, seen: Fields) -> Fields:
    return {
        name: Moments(own.count, own.mean + start[name], own.variance) for name, own in seen.items()
    }


def _read(
    source: AbstractSource[PyTree], names: Collection[str], ids: UInt32[Array, " n"] | list[int]
) -> dict[str, Array]:
    rows = source.rows(jnp.asarray(ids, jnp.uint32))
    return {name: jnp.asarray(rows[name]) for name in names}


def _less(rows: Array, mean: Array) -> Array:
    value = rows.astype(jnp.float32)
    return value - jnp.broadcast_to(mean, value.shape)


def _check_fields(spec: PyTree, names: Collection[str]) -> None:
    if not isinstance(spec, dict):
        raise TypeError(
            f"The records of the source are {spec_text(spec)}; expected dicts of fields."
        )
    for name in names:
        if not isinstance(name, str):
            raise TypeError(valued("fields", names, 'names of fields: write ("image",).'))
        if name not in spec:
            raise ValueError(
                f"The source has no field `{name}`; its fields are {listed(spec)}."
                f"{near(name, spec)}"
            )
        if not hasattr(spec[name], "dtype") or not jnp.issubdtype(spec[name].dtype, jnp.number):
            raise TypeError(
                f"The field `{name}` is {spec_text(spec[name])}; expected an array of numbers."
            )
    if not names:
        raise ValueError('fields is empty; expected names of fields: write ("image",).')
