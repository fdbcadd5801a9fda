"""A summary as what is read: a headline, a table, some sentences. Whoever prints it prints this.

A column stands there only if it says something. Where it is printed is not known here.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from .._text import node_text
from ._lines import Column, Side, sentence, table
from ._rows import SummaryRow, SummarySource, SummaryTotals
from ._words import (
    bytes_text,
    count_text,
    field_texts,
    learned_text,
    one_line,
    seconds_text,
    share_text,
    shortened,
)

OUTPUT = "output"  # the column whose cells may be long: all of their fields stand in the line
NOTES = "notes"
_DRAWS = (
    ("key", "draws for each batch"),
    ("record_keys", "draws for each record"),
    ("rngs", "draws from its own rngs"),
)


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a table. `fields` are all that its output has; `share` is its part of the time."""

    cells: tuple[str, ...]
    fields: tuple[str, ...]
    share: float | None = None
    is_idle: bool = False


@dataclasses.dataclass(frozen=True)
class Page:
    """A headline, a table with the sides of its columns, sentences below it, a warning."""

    headline: str
    columns: tuple[str, ...]
    sides: tuple[Side, ...]
    lines: tuple[Line, ...]
    below: tuple[str, ...]
    warning: str | None

    def __str__(self) -> str:
        warning = [f"warning: {self.warning}"] if self.warning else []
        below = map(sentence, (*self.below, *warning))
        return "\n".join([sentence(self.headline), *table(self._table()), *below])

    def _table(self) -> list[Column]:
        rows = [self.columns, *(line.cells for line in self.lines)]
        folds = [", " if title in ("reads", OUTPUT) else " " for title in self.columns]
        return list(map(Column, zip(*rows, strict=True), self.sides, folds))


@dataclasses.dataclass(frozen=True)
class _Column:
    title: str
    side: Side
    cells: tuple[str, ...]


def page(source: SummarySource, rows: Sequence[SummaryRow], totals: SummaryTotals) -> Page:
    """The facts of a pipeline, written."""
    shown = [column for column in _columns(source, rows, totals.variants) if any(column.cells)]
    first = Line(tuple(x.cells[0] for x in shown), field_texts(source.output))
    lines = [
        Line(
            tuple(one_line(x.cells[place]) for x in shown),
            field_texts(row.output),
            row.share,
            row.runs == "on demand",
        )
        for place, row in enumerate(rows, start=1)
    ]
    return Page(
        headline=_headline(source, totals),
        columns=tuple(x.title for x in shown),
        sides=tuple(x.side for x in shown),
        lines=(first, *lines),
        below=tuple(_below(source, totals)),
        warning=totals.warning,
    )


def _name(row: SummaryRow) -> str:
    return node_text(row.name) + " (sink)" * row.is_sink


def _columns(
    source: SummarySource, rows: Sequence[SummaryRow], variants: tuple[int, ...]
) -> Iterator[_Column]:
    yield _left("node", "source", [_name(x) for x in rows])
    yield _left("reads", "", [", ".join(map(node_text, x.predecessors)) or "source" for x in rows])
    yield _left("stage", source.name, [x.stage for x in rows])
    yield _left(
        OUTPUT,
        shortened(field_texts(source.output)),
        [shortened(field_texts(x.output)) for x in rows],
    )
    yield _right("bytes", bytes_text, source.bytes_out, [x.bytes_out for x in rows])
    learned = [learned_text(x.parameters, variants) if x.parameters else "" for x in rows]
    yield _Column("parameters", "right", ("", *learned))
    yield _right("FLOPs", count_text, source.flops, [x.flops for x in rows])
    yield _right("touches", bytes_text, source.bytes_touched, [x.bytes_touched for x in rows])
    yield _right("time", seconds_text, source.seconds, [x.seconds for x in rows])
    yield _right("share", share_text, None, [x.share for x in rows])
    yield _left(NOTES, "", [", ".join(_notes(x)) for x in rows])


def _notes(row: SummaryRow) -> Iterator[str]:
    yield from (words for name, words in _DRAWS if name in row.draws)
    yield from (f"varies in {x}" for x in row.varies)
    if row.stateful:
        yield "writes state"
    if row.shared_with:
        yield f"shares parameters of {', '.join(row.shared_with)}"
    if row.runs == "on demand":
        yield "runs on demand"


def _headline(source: SummarySource, totals: SummaryTotals) -> str:
    many = "records" if totals.records is None else _many(totals.records, "record")
    head = (
        f"{many} in batches of {totals.batch_size}, {source.order}, remainder "
        f"{totals.remainder!r}: "
    )
    if totals.variants:
        head = f"{' x '.join(map(str, totals.variants))} variants of {head}"
    if totals.batches is None or totals.records is None:
        return f"{head}how many is known at the end of an epoch"
    head += f"{_many(totals.batches, 'batch', 'es')} an epoch"
    last = totals.records % totals.batch_size
    if totals.dropped:
        return f"{head}, {_many(totals.dropped, 'record')} dropped"
    if totals.padded:
        return f"{head}, {_many(totals.padded, 'row')} of the last filled up"
    if last and totals.remainder == "partial" and totals.batches > 1:
        return f"{head}, the last of {last}"
    return head


def _below(source: SummarySource, totals: SummaryTotals) -> Iterator[str]:
    data = f"data {bytes_text(totals.data_bytes)}{' on the host' * source.is_hosted}"
    memory = [
        "data on the host" if totals.records is None else data,
        f"parameters {bytes_text(totals.parameter_bytes)}",
        f"carry {bytes_text(totals.carry_bytes)}",
        f"a batch {bytes_text(totals.batch_bytes)}",
    ]
    if totals.workspace_bytes is not None:
        memory.append(f"workspace {bytes_text(totals.workspace_bytes)}")
    if totals.varies:
        yield f"each variant has its own {' and '.join(totals.varies)}"
    yield f"memory: {', '.join(memory)}"
    step = []
    if totals.flops is not None:
        step.append(f"{count_text(totals.flops)} FLOPs")
    if totals.bytes_touched is not None:
        step.append(f"touches {bytes_text(totals.bytes_touched)}")
    if totals.seconds is not None:
        step.append(f"takes {seconds_text(totals.seconds)}")
    if step:
        yield f"a step, as one program: {', '.join(step)}"
    if totals.seconds is not None and source.is_hosted:
        yield "the time of `fetch`, on the host, is in none of these: pipeline.waited tells of it"


def _left(title: str, first: str, rest: Sequence[str]) -> _Column:
    return _Column(title, "left", (first, *rest))


def _right(
    title: str,
    text: Callable[[int | float], str],
    first: int | float | None,
    rest: Sequence[int | float | None],
) -> _Column:
    return _Column(title, "right", tuple("" if x is None else text(x) for x in (first, *rest)))


def _many(count: int, what: str, plural: str = "s") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}{plural}"
