"""What is drawn of a graph: boxes, arrows between them, groups around some of them.

All of it is read from a summary. In which language it is written is not known here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .._summary._rows import SummaryRow
from .._summary._summary import Summary
from .._summary._words import (
    bytes_text,
    count_text,
    field_texts,
    learned_text,
    seconds_text,
    share_text,
)
from .._text import node_text

_FIELDS = 3  # of an arrow, which has little room


@dataclass(frozen=True)
class Box:
    """Something in a graph, by an `id` of letters and digits: its title, and what is said of it.

    `shade` goes from 0 to 1. What is `idle` runs on demand alone; `group` is the chain around it.
    """

    id: str
    title: str
    lines: tuple[str, ...]
    is_node: bool = True
    learns: bool = False
    draws: bool = False
    is_idle: bool = False
    shade: float = 0.0
    group: str | None = None


@dataclass(frozen=True)
class Arrow:
    """What flows from one box to another, field by field."""

    start: str
    end: str
    lines: tuple[str, ...]
    is_idle: bool = False


@dataclass(frozen=True)
class Graph:
    """Boxes in the order in which they run, and arrows."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def graph_of(summary: Summary, *, cost: bool) -> Graph:
    """The graph that a summary is of. **Errors:** ValueError for costs that it does not have."""
    if cost and not any(x.seconds is not None or x.flops is not None for x in summary.rows):
        raise ValueError(
            "cost is True, but the summary has no costs; make it with them: "
            "draw(dp.summary(pipeline, stream, cost=True), cost=True)."
        )
    ids = {row.name: f"n{place}" for place, row in enumerate(summary.rows)}
    shades = _shades(summary) if cost else {}
    variants = summary.totals.variants
    boxes = [
        _box(row, ids[row.name], shades.get(row.name, 0.0), variants, cost=cost)
        for row in summary.rows
    ]
    return Graph(
        (_source(summary), *boxes, Box("output", "output", (), is_node=False)),
        tuple(_arrows(summary, ids)),
    )


def longest_row(graph: Graph) -> int:
    """How many nodes stand in a row, where most of them do."""
    before: dict[str, list[str]] = {box.id: [] for box in graph.boxes}
    for arrow in graph.arrows:
        before[arrow.end].append(arrow.start)
    lengths: dict[str, int] = {}
    for box in graph.boxes:  # in the order in which they run
        lengths[box.id] = box.is_node + max((lengths[x] for x in before[box.id]), default=0)
    return max(lengths.values())


def _source(summary: Summary) -> Box:
    totals = summary.totals
    records = "" if totals.records is None else f"{totals.records} records"
    variants = f"{' x '.join(map(str, totals.variants))} variants" if totals.variants else ""
    own = f"each its own {' and '.join(totals.varies)}" if totals.varies else ""
    size = f"batches of {totals.batch_size}"
    lines = (summary.source.name, records, summary.source.order, size, variants, own)
    return Box("source", "source", tuple(x for x in lines if x), is_node=False)


def _box(row: SummaryRow, own: str, shade: float, variants: tuple[int, ...], *, cost: bool) -> Box:
    title = node_text(row.name)
    if row.chain is not None:
        title = row.name.removeprefix(f"{row.chain}/")
    return Box(
        id=own,
        title=title,
        lines=tuple(_lines(row, title, variants, cost=cost)),
        learns=bool(row.parameters or row.shared_with),
        draws=bool(row.draws),
        is_idle=row.runs == "on demand",
        shade=shade,
        group=row.chain,
    )


def _lines(row: SummaryRow, title: str, variants: tuple[int, ...], *, cost: bool) -> Iterator[str]:
    if row.stage.lower() != title.lower():
        yield row.stage
    if row.parameters:
        yield f"learns {learned_text(row.parameters, variants)}{' variant' * bool(variants)}"
    if row.shared_with:
        yield f"learns with {', '.join(row.shared_with)}"
    each = {"record_keys": "random for each record", "key": "random for each batch"}
    yield from (each.get(name, "random") for name in row.draws)
    yield from (f"varies in {x}" for x in row.varies)
    if row.stateful:
        yield "writes state"
    if cost and row.flops is not None and row.bytes_touched is not None:
        yield f"{count_text(row.flops)} FLOPs, {bytes_text(row.bytes_touched)}"
    if cost and row.seconds is not None and row.share is not None:
        yield f"{seconds_text(row.seconds)}, {share_text(row.share)}"


def _arrows(summary: Summary, ids: Mapping[str, str]) -> Iterator[Arrow]:
    read = _few(field_texts(summary.source.output))
    outputs = {row.name: _few(field_texts(row.output)) for row in summary.rows}
    for row in summary.rows:
        idle = row.runs == "on demand"
        if not row.predecessors:
            yield Arrow("source", ids[row.name], read, idle)
        for before in row.predecessors:
            yield Arrow(ids[before], ids[row.name], outputs[before], idle)
        if row.is_sink:
            yield Arrow(ids[row.name], "output", outputs[row.name])


def _few(fields: tuple[str, ...]) -> tuple[str, ...]:
    if len(fields) <= _FIELDS + 1:
        return fields
    return (*fields[:_FIELDS], f"… {len(fields) - _FIELDS} more")


def _shades(summary: Summary) -> dict[str, float]:
    """The part of each node in the time; where it was not measured, the larger of its parts in
    FLOPs and in bytes touched."""
    rows = summary.rows
    if any(row.seconds is not None for row in rows):
        return {row.name: row.share or 0.0 for row in rows}
    run = [row for row in rows if row.runs == "sink"]
    flops = sum(row.flops or 0.0 for row in run) or 1.0
    touched = sum(row.bytes_touched or 0.0 for row in run) or 1.0
    return {
        row.name: max((row.flops or 0.0) / flops, (row.bytes_touched or 0.0) / touched)
        for row in run
    }
