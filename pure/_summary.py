from collections.abc import Mapping, Sequence
from typing import Any

from ._contract._check import check
from ._flow._stream import Stream
from ._graph._pipeline import Pipeline
from ._graph._stage import type_name
from ._text import fields_text

_NOT_RUN = "not run: it does not lead to the sink"


def describe(pipeline: Pipeline, stream: Stream, specs: Mapping[str, Any] | None = None) -> str:
    """A table of the nodes in the order in which they run: what each reads, is, and puts out.

    `specs` are the shapes of the nodes' outputs; without them, they are found for a full batch
    without reading data. A node from which the sink cannot be reached is listed as not run.
    """
    schedule, batching = pipeline.schedule, stream.batching
    executed = schedule.executed
    found = check(pipeline, stream) if specs is None else specs
    head = ("source", "", type(stream.source).__name__, fields_text(stream.batch_spec))
    rows = [
        (
            name + (" (sink)" if name == schedule.sink else ""),
            ", ".join(schedule.predecessors(name)) or "source",
            type_name(pipeline.stages[name]),
            fields_text(found[name]) if name in executed else _NOT_RUN,
        )
        for name in schedule.order
    ]
    return (
        f"{batching.records} records in batches of {batching.batch_size}, "
        f"{type(stream.order).__name__}, remainder {batching.remainder!r}\n"
        + _table([("node", "reads", "stage", "output"), head, *rows])
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return "\n".join(lines)
