"""A batch of a stream and where its records come from, however the source is read.

What is done with a batch is not known here.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from .._flow._batching import Cursor
from .._flow._fed import at, handed
from .._flow._stream import Stream
from .._random._origin import Flags, Numbers, Origin
from ..host._ahead._feed import Feed
from ._compared import is_key


def read(stream: Stream[Any], cursor: Cursor) -> tuple[PyTree, Origin]:
    """The batch at a cursor, with the fields that the stream adds, and its origin."""
    place = stream.batching.settle(*cursor.as_ints()).as_ints()
    if not stream.is_hosted:
        where = jnp.asarray(place, jnp.uint32)
        found: tuple[PyTree, Origin] = _read(stream, where, stream.batching.length(place[1]))
        return found
    feed = Feed(stream, limit=1)
    try:
        chunk, index = feed.take(place)
        given: tuple[PyTree, Origin] = _handed(stream, chunk.fed, feed.index(index))
        return given
    finally:
        feed.close()


def on_one_device(stream: Stream[Any], tree: PyTree) -> PyTree:
    """What lies on the mesh of a stream brought to one device; anything else as it is."""
    return tree if stream.spread is None else jax.tree.map(_here, tree)


def _here(leaf: PyTree) -> PyTree:
    if is_key(leaf):
        words = jnp.asarray(np.asarray(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    return jnp.asarray(np.asarray(leaf)) if eqx.is_array(leaf) else leaf


def some(rows: Int[np.ndarray, "_"], batch: PyTree, origin: Origin) -> tuple[PyTree, Origin]:
    """These rows of a batch, as a batch. By NumPy, which compiles nothing for it."""

    def of(x: Numbers | Flags) -> Array:
        return jnp.asarray(np.asarray(x)[rows])

    turn, own, counts = origin.turn, origin.own, origin.counts
    origin = dataclasses.replace(
        origin,
        ids=of(origin.ids),
        lap=of(origin.lap),
        turn=None if turn is None else of(turn),
        own=None if own is None else of(own),
        counts=None if counts is None else of(counts),
    )
    chosen = jax.tree.map(
        lambda x: x[rows] if is_key(x) else jnp.asarray(np.asarray(x)[rows]), batch
    )
    return chosen, origin


def records(words: Numbers) -> list[int]:
    """The ids of records, of one word or two, as ints."""
    ids = np.asarray(words).astype(np.uint64)
    if ids.ndim > 1:
        ids = (ids[:, 0] << np.uint64(32)) + ids[:, 1]
    return [int(x) for x in ids]


@eqx.filter_jit
def _read(stream: Stream[Any], where: Array, length: int) -> tuple[PyTree, Origin]:
    return stream.read(Cursor(where[0], where[1]), length)


@eqx.filter_jit
def _handed(stream: Stream[Any], fed: PyTree, index: Array) -> tuple[PyTree, Origin]:
    return handed(stream, at(fed, index))
