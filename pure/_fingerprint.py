"""Short digests of what decides the batches to come, so that a saved place finds its pipeline.

Digests are compared by whoever restores; here they are only made.
"""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ._flow._stream import Stream
from ._graph._pipeline import Pipeline
from ._graph._stage import type_name

_SAMPLES = 64


def fingerprint(pipeline: Pipeline, stream: Stream, key: PRNGKeyArray) -> dict[str, str]:
    """Short digests of what decides the batches to come, for a saved cursor to be held against.

    `source` covers fields, shapes, dtypes, the number of records and up to 64 of them, evenly
    spaced; `order` the way of shuffling and its key; `seed` the key of the draws; `graph` the
    edges, the sink and the names of the stages' types, not their parameters.
    """
    size = stream.source.size
    spots = np.linspace(0, size - 1, min(_SAMPLES, size)).astype(np.uint32)
    rows = jax.tree_util.tree_leaves_with_path(stream.source.rows(jnp.asarray(spots)))
    order, structure = jax.tree.flatten(stream.order)
    types = sorted((name, type_name(stage)) for name, stage in pipeline.stages.items())
    return {
        "source": _digest(size, *((jax.tree_util.keystr(path), _content(x)) for path, x in rows)),
        "order": _digest(structure, *map(_content, order)),
        "seed": _digest(_content(key)),
        "graph": _digest(sorted(pipeline.schedule.edges), pipeline.schedule.sink, types),
    }


def combined(fingerprints: Sequence[dict[str, str]]) -> dict[str, str]:
    """The fingerprints of several pipelines as one: an entry that is the same in all stays."""
    first = fingerprints[0]
    every = {name: [each[name] for each in fingerprints] for name in first}
    return {name: first[name] if len({*x}) == 1 else _digest(*x) for name, x in every.items()}


def _content(leaf: Array | np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return str(leaf.dtype), array.shape, array.tobytes()


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
