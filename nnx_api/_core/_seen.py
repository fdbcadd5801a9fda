"""What is seen of a pipeline from outside of its programs; nothing of it moves, nothing is set.

A copy is run, so that what a stage sets is gone with it. What is told stands in `dagrax.pure`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._variants import unstacked
from ._calls import owned, planned
from ._fed import check_open, feed_of
from ._kept import Kept
from ._module import PipelineCore

_Seen = TypeVar("_Seen")
_Pipeline = PipelineCore[Any, Any]


def debug(pipeline: _Pipeline, record: int | None, batch: PyTree) -> dp.Debugged:
    """The report of `dagrax.pure.debug`; of variants, those of all as one."""
    if pipeline._variants:
        reports = [debug(one, record, batch) for one in alone(pipeline)]
        return internal.debugged_together(reports)

    def see(copy: _Pipeline, feed: internal.Feed | None) -> dp.Debugged:
        given = copy._graph(), copy._stream(), pipeline.cursor, copy._key()
        return internal.debugged(*given, record, batch, feed)

    return _seen(pipeline, see, asks=batch is None)


def alone(pipeline: _Pipeline) -> list[_Pipeline]:
    """The variants of a pipeline, one by one."""
    own_order, *others = pipeline._variants
    found = unstacked(pipeline, own_order=own_order)
    for one in found:
        one._variants = tuple(others)
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
        if (ready := planned(pipeline, kept)) is None:
            raise TypeError(
                "The pipeline is looked into inside a trace (jit, scan, vmap), where there are no "
                "values; do it outside."
            )
        plan, _, values = ready
        feed = feed_of(pipeline, kept, plan.parts) if asks else None
        try:
            with owned(kept):
                return see(plan.parts.together(values), feed)
        except internal.Ended:  # the length of its source is known from now on
            kept.forget()
    return _seen(pipeline, see, asks=asks)
