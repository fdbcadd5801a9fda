"""What a graph and its stream are, as facts, and those facts as a table.

`summary` finds them, once, and computes nothing but shapes; whatever shows a pipeline reads them.
Loops, variants and draws are not known here.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from ._contract._check import check
from ._flow._batching import Remainder
from ._flow._stream import Stream
from ._graph._pipeline import Pipeline
from ._graph._stage import type_name
from ._text import Specs, fields_text

_NOT_RUN = "not run: it does not lead to the sink"


@dataclasses.dataclass(frozen=True)
class Row:
    """A node: what it reads, of which type its stage is, and what it puts out, if it is run."""

    node: str
    reads: tuple[str, ...]
    stage: str
    output: Specs | None
    is_sink: bool


@dataclasses.dataclass(frozen=True)
class Summary:
    """A stream, and the nodes that read it, in the order in which they run; `str` is a table."""

    records: int
    batch_size: int
    order: str
    remainder: Remainder
    source: str
    batch: Specs
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        head = (
            f"{self.records} records in batches of {self.batch_size}, {self.order}, "
            f"remainder {self.remainder!r}\n"
        )
        source = ("source", "", self.source, fields_text(self.batch))
        cells = [("node", "reads", "stage", "output"), source, *map(_cells, self.rows)]
        return head + _table(cells)


def describe(pipeline: Pipeline, stream: Stream, specs: Mapping[str, Specs] | None = None) -> str:
    """A table of the nodes in the order in which they run: what each reads, is, and puts out.

    `specs` are the shapes of the nodes' outputs; without them, they are found for a full batch
    without reading data. A node from which the sink cannot be reached is listed as not run.
    """
    return str(summary(pipeline, stream, specs))


def summary(
    pipeline: Pipeline, stream: Stream, specs: Mapping[str, Specs] | None = None
) -> Summary:
    """The facts behind `describe`."""
    schedule, batching = pipeline.schedule, stream.batching
    found = check(pipeline, stream) if specs is None else specs
    return Summary(
        records=batching.records,
        batch_size=batching.batch_size,
        order=type(stream.order).__name__,
        remainder=batching.remainder,
        source=type(stream.source).__name__,
        batch=stream.batch_spec,
        rows=tuple(
            Row(
                node=name,
                reads=tuple(schedule.predecessors(name)) or ("source",),
                stage=type_name(pipeline.stages[name]),
                output=found[name] if name in schedule.executed else None,
                is_sink=name == schedule.sink,
            )
            for name in schedule.order
        ),
    )


def _cells(row: Row) -> tuple[str, ...]:
    name = f"{row.node} (sink)" if row.is_sink else row.node
    output = _NOT_RUN if row.output is None else fields_text(row.output)
    return name, ", ".join(row.reads), row.stage, output


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return "\n".join(lines)
