"""A summary as what is read: some lines, a table, some lines more. Whoever prints it prints this.

A column stands there only if it says something. Where it is printed is not known here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from ._rows import SummaryRow, SummarySource, SummaryTotals
from ._words import bytes_text, count_text, fields_shortened, seconds_text, share_text

Side: TypeAlias = Literal["left", "right"]
_ON_DEMAND = "on demand"
_DRAWS = (("key", "a batch"), ("record_keys", "a record"), ("rngs", "own rngs"))


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a table; `share` is its part of the time, and what is `idle` runs in no step."""

    cells: tuple[str, ...]
    is_idle: bool = False
    share: float | None = None


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
        table = [self.columns, *(line.cells for line in self.lines)]
        warning = [f"warning: {self.warning}"] if self.warning else []
        return "\n".join([self.headline, *_aligned(table, self.sides), *self.below, *warning])


def page(source: SummarySource, rows: Sequence[SummaryRow], totals: SummaryTotals) -> Page:
    """The facts of a pipeline, written."""
    columns: list[tuple[str, Side, str, list[str]]] = [
        ("node", "left", "source", [f"{x.name} (sink)" if x.is_sink else x.name for x in rows]),
        ("reads", "left", "", [", ".join(x.predecessors) or "source" for x in rows]),
        ("stage", "left", source.name, [x.stage for x in rows]),
        (
            "output",
            "left",
            fields_shortened(source.output),
            [fields_shortened(x.output) for x in rows],
        ),
        ("bytes", "right", bytes_text(source.bytes_out), [bytes_text(x.bytes_out) for x in rows]),
        ("parameters", "right", "", [_parameters(x) for x in rows]),
        ("draws", "left", "", [_draws(x) for x in rows]),
        ("state", "left", "", ["written" if x.stateful else "" for x in rows]),
        ("FLOPs", "right", *_column(count_text, source.flops, [x.flops for x in rows])),
        (
            "touches",
            "right",
            *_column(bytes_text, source.bytes_touched, [x.bytes_touched for x in rows]),
        ),
        ("time", "right", *_column(seconds_text, source.seconds, [x.seconds for x in rows])),
        ("share", "right", *_column(share_text, None, [x.share for x in rows])),
        ("runs", "left", "", [_ON_DEMAND if x.runs == "on demand" else "" for x in rows]),
    ]
    shown = [column for column in columns if any([column[2], *column[3]])]
    cells = zip(*([first, *rest] for _, _, first, rest in shown), strict=True)
    notes: list[tuple[bool, float | None]] = [(False, None)]
    notes += [(x.runs == "on demand", x.share) for x in rows]
    return Page(
        headline=_headline(source, totals),
        columns=tuple(title for title, *_ in shown),
        sides=tuple(side for _, side, *_ in shown),
        lines=tuple(
            Line(tuple(own), idle, share) for own, (idle, share) in zip(cells, notes, strict=True)
        ),
        below=tuple(_below(source, totals)),
        warning=totals.warning,
    )


def _headline(source: SummarySource, totals: SummaryTotals) -> str:
    many = "Records" if totals.records is None else _many(totals.records, "record")
    head = (
        f"{many} in batches of {totals.batch_size}, {source.order}, remainder "
        f"{totals.remainder!r}: "
    )
    if totals.variants:
        head = f"{' x '.join(map(str, totals.variants))} variants of {head}"
    if totals.batches is None or totals.records is None:
        return f"{head}as many batches as there are"
    head += f"{_many(totals.batches, 'batch', 'es')} an epoch"
    last = totals.records % totals.batch_size
    if totals.dropped:
        return f"{head}, {_many(totals.dropped, 'record')} dropped"
    if totals.padded:
        return f"{head}, {_many(totals.padded, 'row')} of the last filled up"
    if last and totals.remainder == "partial" and totals.batches > 1:
        return f"{head}, the last of {last}"
    return head


def _below(source: SummarySource, totals: SummaryTotals) -> list[str]:
    where = " on the host" if source.is_hosted else ""
    memory = [
        f"data {bytes_text(totals.data_bytes)}{where}",
        f"parameters {bytes_text(totals.parameter_bytes)}",
        f"carry {bytes_text(totals.carry_bytes)}",
        f"a batch {bytes_text(totals.batch_bytes)}",
    ]
    if totals.workspace_bytes is not None:
        memory.append(f"workspace {bytes_text(totals.workspace_bytes)}")
    lines = [f"memory: {', '.join(memory)}"]
    step = []
    if totals.flops is not None:
        step.append(f"{count_text(totals.flops)} FLOPs")
    if totals.bytes_touched is not None:
        step.append(f"touches {bytes_text(totals.bytes_touched)}")
    if totals.seconds is not None:
        step.append(f"takes {seconds_text(totals.seconds)}")
    return [*lines, f"a step, as one program: {', '.join(step)}"] if step else lines


def _parameters(row: SummaryRow) -> str:
    own = count_text(row.parameters) if row.parameters else ""
    shared = f"those of {', '.join(row.shared_with)}" if row.shared_with else ""
    return " + ".join(x for x in (own, shared) if x)


def _draws(row: SummaryRow) -> str:
    return ", ".join(word for name, word in _DRAWS if name in row.draws)


def _column(
    text: Callable[[int | float], str], first: float | None, rest: Sequence[float | None]
) -> tuple[str, list[str]]:
    first_text, *others = ["" if x is None else text(x) for x in (first, *rest)]
    return first_text, others


def _many(count: int, what: str, plural: str = "s") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}{plural}"


def _aligned(table: Sequence[tuple[str, ...]], sides: Sequence[Side]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(_justified, row, widths, sides)).rstrip() for row in table]


def _justified(cell: str, width: int, side: Side) -> str:
    return cell.rjust(width) if side == "right" else cell.ljust(width)
