"""A step of a pipeline, taken apart into functions of what its Variables hold.

Each puts a pipeline of its own together around the values, as every compiled call does, and returns
what its stages have written too; nothing is set. What is done with the parts stands in
`dagrax.pure`.
"""

from typing import Any, TypeAlias

from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Changed, Parts, Values
from .._variants import each_variant
from . import _traced
from ._fed import check_open, needed_feed
from ._kept import Kept
from ._module import Modules, PipelineCore

_Own: TypeAlias = PipelineCore[Any, Any]


def apart(pipeline: _Own, *, measure: bool) -> internal.Apart:
    """The next step, of a full batch. **Errors:** TypeError inside a trace."""
    parts, levels = Parts.of(pipeline), pipeline._variants
    internal.check_untraced(parts.values())
    values = internal.on_device(parts.values())
    stream = pipeline._stream()
    length = stream.batching.length(0)

    def read(values: Values, *given: PyTree) -> tuple[PyTree, dp.Origin]:
        def one(own: _Own, modules: Modules, carry: None) -> tuple[None, PyTree]:
            stream = own._stream()
            if stream.is_hosted:
                return None, internal.handed(stream, internal.at(*given))
            return None, stream.read(own.cursor, length)

        found: tuple[PyTree, dp.Origin] = each_variant(one, parts.together(values), levels)[1]
        return found

    def node(name: str) -> internal.Run:
        def one(
            own: _Own, modules: Modules, carry: tuple[list[PyTree], dp.Origin]
        ) -> tuple[None, PyTree]:
            stage = own._graph().stages[name]
            return None, internal.call(name, stage, carry[0], own._key(), carry[1])

        def run(values: Values, inputs: list[PyTree], origin: dp.Origin) -> tuple[PyTree, Changed]:
            own = parts.together(values)
            output = each_variant(one, own, levels, (), (inputs, origin))[1]
            return output, parts.changes(own, values, f"Node `{name}`")

        return run

    def step(values: Values, *given: PyTree) -> tuple[PyTree, Changed]:
        own = parts.together(values)
        fed = stream.is_hosted
        output = _traced.read_fed(own, *given) if fed else _traced.read(own, length)
        return output, parts.changes(own, values, "A stage")

    if stream.is_hosted:
        return internal.Apart(values, _handed(pipeline, parts, stream, measure), read, node, step)
    start = pipeline._placed(stream.batching.settle(pipeline.cursor.epoch, 0))
    values[parts.paths.index(("_position",))] = start
    return internal.Apart(values, (), read, node, step)


def _handed(
    pipeline: _Own, parts: Parts, stream: dp.Stream[Any], measure: bool
) -> tuple[PyTree, PyTree]:
    """A chunk, and which of its batches is meant: the pipeline's next, where it is to be run."""
    if not measure:
        return internal.chunk_of_one(stream, real=False)
    kept = Kept.beside(pipeline)
    with kept.lock:
        check_open(kept)
        feed = needed_feed(pipeline, kept, parts)
        at = stream.batching.settle(*pipeline.cursor.as_ints()).as_ints()
        try:
            chunk, index = feed.take(at)
        except internal.Ended:  # its length is known from now on
            kept.forget()
            return _handed(pipeline, Parts.of(pipeline), pipeline._stream(), measure)
        return chunk.fed, feed.index(index)
