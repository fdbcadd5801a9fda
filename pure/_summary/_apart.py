"""A step of the core, taken apart into functions of its arrays: for what is asked of XLA.

Of a source that is read on the host a batch is read as well, or is zeros where that would move the
source on. What is done with the parts is not known here.
"""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from .._flow._batching import Cursor
from .._flow._fed import Fed, at, handed, on_the_host, origins, place_words
from .._flow._stream import Stream
from .._graph._evaluate import call
from .._graph._pipeline import Pipeline
from .._loop import through
from .._random._origin import Origin
from .._sources._hosted import Hosted
from .._static._call import on_device
from ._cost import Apart, Run, check_untraced


def apart(pipeline: Pipeline, stream: Stream, *, measure: bool) -> Apart:
    """The first step of a pipeline over a stream, with a key of its own.

    **Errors:** TypeError inside a trace.
    """
    check_untraced((pipeline, stream))
    whole = (pipeline, stream, jax.random.key(0))
    if stream.spread is not None:
        whole = stream.spread.everywhere(whole)
    values, rest = eqx.partition(whole, _is_array)

    def parts(values: PyTree) -> tuple[Pipeline, Stream, Array]:
        own: tuple[Pipeline, Stream, Array] = eqx.combine(values, rest)
        return own

    def read(values: PyTree, *given: PyTree) -> tuple[PyTree, Origin]:
        _, stream, _ = parts(values)
        if stream.is_hosted:
            return handed(stream, at(*given))
        return stream.read(Cursor(*given), stream.batching.length(0))

    def node(name: str) -> Run:
        def run(values: PyTree, inputs: list[PyTree], origin: Origin) -> tuple[PyTree, None]:
            pipeline, _, key = parts(values)
            return call(name, pipeline.stages[name], inputs, key, origin), None

        return run

    def step(values: PyTree, *given: PyTree) -> PyTree:
        pipeline, stream, key = parts(values)
        batch, origin = read(values, *given)
        return through(pipeline, stream, batch, origin, key)

    if stream.is_hosted:
        return Apart(values, chunk_of_one(stream, real=measure), read, node, step)
    place = on_device((np.uint32(0), np.uint32(0)))
    if stream.spread is not None:
        place = stream.spread.everywhere(place)
    return Apart(values, place, read, node, step)


def chunk_of_one(stream: Stream, *, real: bool) -> tuple[Fed, Array]:
    """The first batch of records that are read on the host, as a chunk, and its number, 0.

    Where it need not be a `real` one, or its source would move on, its records are zeros.
    """
    own, length, wide = on_the_host(stream), stream.batching.length(0), stream.is_wide
    places, counts, origin = origins(own, [(0, 0)], length)
    spec = stream.source.element_spec
    rows = jax.tree.map(lambda x: np.zeros((*places.shape, *x.shape), x.dtype), spec)
    if real and not _has_own_order(stream):
        rows = jax.tree.map(lambda x: x[None], own.source.whole.fetch(places[0]))
    after = place_words(stream.batching.settle(0, length), wide=wide)[None]
    numbers: Any = counts, origin, after  # for a checker, arrays of JAX
    fed = Fed(rows, *numbers)
    many = places.shape[1]
    placed: Fed = jax.tree.map(lambda x: jax.device_put(x, _over(x, stream, many)), fed)
    return placed, jax.device_put(np.int32(0))


def _over(x: np.ndarray, stream: Stream, rows: int) -> NamedSharding | None:
    if stream.spread is None:
        return None
    is_spread = x.shape[1:2] == (rows,) and rows % stream.spread.parts == 0
    names = PartitionSpec(None, stream.spread.axes) if is_spread else PartitionSpec()
    return NamedSharding(stream.spread.mesh, names)


def _has_own_order(stream: Stream) -> bool:
    leaves = jax.tree.leaves(stream.source, is_leaf=lambda x: isinstance(x, Hosted))
    return any(isinstance(x, Hosted) and x.handle.source.has_own_order for x in leaves)


def _is_array(x: object) -> bool:
    return isinstance(x, jax.Array | np.ndarray)
