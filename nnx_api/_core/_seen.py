"""What is seen of a pipeline from outside of its programs; nothing of it moves, nothing is set.

A copy is run, so that what a stage sets is gone with it. What is told stands in `dagrax.pure`.
"""

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._variants import unstacked
from ._calls import Owned, planned
from ._fed import check_open, feed_of
from ._kept import Kept
from ._module import PipelineCore

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure: TypeAlias = object

_Seen = TypeVar("_Seen")
_Pipeline = PipelineCore[Any, Any]
_MOST_COLUMNS = 12  # of variants, beside a source that they share


def debug(pipeline: _Pipeline, record: int | None, batch: PyTree) -> dp.Debugged:
    """The report of `dagrax.pure.debug`; of variants, those of all as one."""
    if pipeline._variants:
        debugged = _each(pipeline, lambda one: debug(one, record, batch))
        return internal.debugged_together(debugged)

    def see(copy: _Pipeline, feed: internal.Feed | None) -> dp.Debugged:
        given = copy._graph(), copy._stream(), pipeline.cursor, copy._key()
        return internal.debugged(*given, record, batch, feed)

    return _seen(pipeline, see, asks=batch is None)


class Records(NamedTuple):
    """Some records as they go through a pipeline: batches by node, ids, epochs, and the place, and
    how many variants they are of."""

    nodes: dict[str, PyTree]
    ids: list[int]
    epochs: list[int]
    start: tuple[int, int]
    variants: int = 1


def records(pipeline: _Pipeline, n: int, nodes: Sequence[str] | None) -> Records:
    """The next `n` records, or as many as there are in the batches that hold them, at the source
    and behind each of the nodes, in the order in which they run; all that run, if none are named.
    Of variants, the first that there is room for."""
    if pipeline._variants:
        own_order, columns = pipeline._variants[0], _columns(pipeline, nodes)
        each = math.prod(_levels(pipeline)[1:]) * columns
        most = max(1, _MOST_COLUMNS // max(1, each))
        parts = _each(pipeline, lambda one: records(one, n, nodes), most)
        named = {
            name if name == "source" and not own_order else f"{name} [{index}]": batch
            for index, part in enumerate(parts)
            for name, batch in part.nodes.items()
        }
        return parts[0]._replace(nodes=named, variants=sum(part.variants for part in parts))

    def see(copy: _Pipeline, feed: internal.Feed | None) -> Records:
        graph, stream, key = copy._graph(), copy._stream(), copy._key()
        names = graph.schedule.executed if nodes is None else nodes
        start = place = stream.batching.settle(*pipeline.cursor.as_ints()).as_ints()
        parts: list[dict[str, PyTree]] = []
        ids: list[int] = []
        epochs: list[int] = []
        while len(ids) < n:
            batch, origin = internal.read_at(stream, place, feed)
            taps = dp.outputs(graph, batch, names, key=key, origin=origin)
            in_order = sorted(
                taps, key=lambda x: graph.schedule.order.index(graph.schedule.node(x))
            )
            named = {internal.node_text(name): taps[name] for name in in_order}
            parts.append({"source": batch, **named})
            ids += internal.ids_of(origin)
            epochs += np.asarray(origin.epochs)[np.asarray(origin.lap)].tolist()
            place = stream.batching.after(*place, 1).as_ints()
        return Records(internal.joined_rows(parts), ids, epochs, start)

    return _seen(pipeline, see, asks=True)


def sheet(
    pipeline: _Pipeline,
    n: int,
    nodes: Sequence[str] | None,
    path: str | os.PathLike[str] | None,
) -> Figure:
    """`dagrax.pure.visual.show` of the next records; where the nodes of all variants have no room,
    of the sink of each. The title says what is left out."""
    internal.check_sheet(n, path)
    if nodes is not None and not isinstance(nodes, str | list | tuple):
        expected = f'a list of names: ["{next(iter(pipeline.nodes))}"].'
        raise TypeError(internal.valued("nodes", nodes, expected))
    variants = math.prod(_levels(pipeline))
    is_full = variants > 1 and variants * _columns(pipeline, nodes) > _MOST_COLUMNS
    sink_alone = nodes is None and is_full and len(pipeline._schedule.executed) > 1
    found = records(pipeline, n, [pipeline._schedule.sink] if sink_alone else nodes)
    epoch, offset = found.start
    shown = found.epochs[:n]
    many = "1 record" if len(shown) == 1 else f"{len(shown)} records"
    title = f"{many} of epoch {epoch}, from offset {offset} on"
    if shown[-1:] > [epoch]:
        parts = [f"{shown.count(x)} of epoch {x}" for x in dict.fromkeys(shown)]
        title = f"{many}, {', '.join(parts)}, from offset {offset} of epoch {epoch} on"
    if sink_alone:
        sink = internal.node_text(pipeline._schedule.sink)
        title += f"; the sink `{sink}` alone: nodes=[…] shows others"
    if found.variants < variants:
        title += f"; the first {found.variants} of {variants} variants: unstack() has the others"
    return dp.visual.show(found.nodes, n, records=found.ids, title=title, path=path)


def _levels(pipeline: _Pipeline) -> tuple[int, ...]:
    return jnp.shape(pipeline._seed.get_raw_value())


def _columns(pipeline: _Pipeline, nodes: Sequence[str] | None) -> int:
    """How many columns a variant has: its nodes and, where it has a source of its own, that."""
    executed = pipeline._schedule.executed
    return len(executed if nodes is None else nodes) + any(pipeline._variants)


def alone(pipeline: _Pipeline) -> list[_Pipeline]:
    """The variants of a pipeline, one by one."""
    own_order, *others = pipeline._variants
    found = unstacked(pipeline, own_order=own_order)
    for one in found:
        one._variants = tuple(others)
    return found


def _each(
    pipeline: _Pipeline, see: Callable[[_Pipeline], _Seen], most: int | None = None
) -> list[_Seen]:
    """What is seen of each variant, or of so many, in an error of which it is named."""
    found = []
    for index, one in enumerate(alone(pipeline)[:most]):
        try:
            found.append(see(one))
        except Exception as error:
            error.add_note(f"This happened in variant {index}.")
            raise
    return found


def _seen(
    pipeline: _Pipeline,
    see: Callable[[_Pipeline, internal.Feed | None], _Seen],
    *,
    asks: bool,
) -> _Seen:
    """What is seen of a copy of a pipeline; `asks` says that it reads from the source."""
    kept = Kept.beside(pipeline)
    with kept.lock:
        if asks:
            check_open(kept)
        if (ready := planned(pipeline, kept)) is None or (asks and internal.in_a_trace()):
            raise TypeError(
                "The pipeline is looked into inside a trace (jit, scan, vmap), where there are no "
                "values; do it outside."
            )
        plan, _, values = ready
        feed = feed_of(pipeline, kept, plan.parts) if asks else None
        try:
            with Owned(kept):
                return see(plan.parts.together(values), feed)
        except internal.Ended:  # the length of its source is known from now on
            kept.forget()
    return _seen(pipeline, see, asks=asks)
