"""What decides the batches to come, as short digests that a saved cursor is held against.

Each costs the same whatever the data: some numbers of some records are read, by one compiled call.
How a digest is kept from call to call is no concern of this file.
"""

import hashlib
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int64, PRNGKeyArray, PyTree

from ._flow._fed import on_the_host_alone
from ._flow._stream import Stream
from ._graph._pipeline import Pipeline
from ._graph._stage import type_name
from ._graph._told import graph_text
from ._mesh import whole
from ._sources._hosted import Hosted, is_hosted
from ._sources._source import AbstractSource
from ._text import spec_text

_RECORDS, _NUMBERS = 64, 256  # of a source, and of each field of a record
_IDS = 2**16  # of a view


def fingerprint(
    pipeline: Pipeline,
    stream: Stream,
    key: PRNGKeyArray,
    *,
    source: str | None = None,
    graph: str | None = None,
) -> dict[str, str]:
    """Short digests of what decides the batches to come, for a saved cursor to be held against.

    `source` is that of `source_digest`; `graph` that of `graph_digest`; `order` covers the way of
    shuffling and its key; `seed` the key of the draws. What is known already may be given.
    """
    order, structure = jax.tree.flatten(stream.order)
    return {
        "source": source_digest(stream.source) if source is None else source,
        "order": _digest(structure, *map(_content, order)),
        "seed": _digest(_content(key)),
        "graph": graph_digest(pipeline) if graph is None else graph,
    }


def source_digest(source: AbstractSource) -> str:
    """A digest of fields, shapes, dtypes, the number of records and some of what they hold.

    Up to 64 records are looked into, evenly spaced, and in each of their fields up to 256 numbers:
    the same whether the data are in memory, in a mapped file or spread over devices. Of a view, the
    ids that some 65,536 records have in the whole count too. Of what can only be iterated over,
    fields, shapes and dtypes alone.
    """
    if isinstance(source, Hosted) and source.handle.source.has_own_order:
        return _digest("as they come", spec_text(source.element_spec))
    places = _spread(source.size, _RECORDS)
    if is_hosted(source):  # or the whole has more records than a program counts
        rows = _some(on_the_host_alone(source).fetch(places))
    else:
        rows = _sampled(source, places.astype(np.uint32))
    sampled = jax.tree_util.tree_leaves_with_path(rows)
    fields = ((jax.tree_util.keystr(path), *_content(x)) for path, x in sampled)
    return _digest(source.size, *fields, *_other_ids(source))


def _other_ids(source: AbstractSource) -> tuple[object, ...]:
    # Nothing where records draw by their own ids.
    if type(source).record_ids is AbstractSource.record_ids:
        return ()
    places = _spread(source.size, _IDS).astype(np.uint32)
    ids = np.asarray(_record_ids(source, places))
    return () if (ids == places).all() else _content(ids)


@eqx.filter_jit
def _record_ids(source: AbstractSource, places: Array | np.ndarray) -> Array:
    return source.record_ids(jnp.asarray(places))


def _spread(size: int, most: int) -> Int64[np.ndarray, " places"]:
    return np.linspace(0, size - 1, min(most, size)).astype(np.int64)


def graph_digest(pipeline: Pipeline) -> str:
    """A digest of the edges, the sink and the names of the stages' types, not their parameters."""
    types = sorted((name, type_name(stage)) for name, stage in pipeline.stages.items())
    return _digest(sorted(pipeline.schedule.edges), pipeline.schedule.sink, types)


def graph_told(pipeline: Pipeline) -> str:
    """What `graph_digest` is of, as a short text, for what differs to be told."""
    types = {name: type_name(stage) for name, stage in pipeline.stages.items()}
    return graph_text(pipeline.schedule, types)


def combined(fingerprints: Sequence[dict[str, str]]) -> dict[str, str]:
    """The fingerprints of several pipelines as one: an entry that is the same in all stays."""
    first = fingerprints[0]
    every = {name: [each[name] for each in fingerprints] for name in first}
    return {name: first[name] if len({*x}) == 1 else _digest(*x) for name, x in every.items()}


@eqx.filter_jit
def _sampled(source: AbstractSource, ids: Array | np.ndarray) -> PyTree:
    return _some(source.rows(jnp.asarray(ids)))


@eqx.filter_jit
def _some(rows: PyTree) -> PyTree:
    """For each field of these records its shape, and up to `_NUMBERS` numbers of each, evenly."""

    def some(rows: Array) -> tuple[Array, Array]:
        shape = rows.shape[1:] or (1,)
        size = math.prod(shape)
        spots = np.linspace(0, size - 1, min(_NUMBERS, size)).astype(np.int64)
        places = (slice(None), *np.unravel_index(spots, shape))
        numbers = rows.reshape(rows.shape[0], *shape).at[places].get(out_sharding=whole(rows))
        return jnp.asarray(rows.shape[1:], jnp.uint32), numbers

    return jax.tree.map(lambda x: some(jnp.asarray(x)), rows)


def _content(leaf: Array | np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return str(leaf.dtype), array.shape, array.tobytes()


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
