"""Tables and sentences as lines of text that fit a terminal.

A cell folds where it may, the widest first; columns that still do not fit beside each other stand
below each other, the first one repeated. What stands in them is not known here.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from ._words import width

Side: TypeAlias = Literal["left", "right"]
WIDE = 80  # places of a terminal
_GAP = 2
_WORD = 24  # places that no word is denied; a longer one is cut where there is no room


class Column(NamedTuple):
    """The cells of a column, its title the first. One of words folds behind each `fold`."""

    cells: tuple[str, ...]
    side: Side = "left"
    fold: str = " "


def sentence(text: str, most: int = WIDE) -> str:
    """A sentence in lines, all but the first set in."""
    return text if width(text) <= most else "\n  ".join(_folded(text, most - 2, " "))


def table(columns: Sequence[Column], most: int = WIDE) -> Iterator[str]:
    """The lines of a table."""
    leasts = [_least(x) for x in columns]
    for place, group in enumerate(beside(leasts, most)):
        yield from [""] * (place > 0)
        widths = _shrunk([columns[x] for x in group], [leasts[x] for x in group], most)
        yield from _aligned([columns[x] for x in group], widths)


def beside(leasts: Sequence[int], most: int) -> list[list[int]]:
    """Columns that are at least so wide, in as many rows of columns as they need."""
    rows: list[list[int]] = [[0]]
    left = most - leasts[0]
    for index in range(1, len(leasts)):
        needed = leasts[index] + _GAP
        if needed > left and len(rows[-1]) > 1:
            rows.append([0])
            left = most - leasts[0]
        rows[-1].append(index)
        left -= needed
    return rows


def _least(column: Column) -> int:
    if column.side == "right":
        return max(map(width, column.cells))
    # Of a list each entry is left whole, of words as many as there is room for.
    lists = column.fold != " "
    parts = [x for cell in column.cells for x in (_words(cell, column.fold) if lists else [cell])]
    return min(_WORD, max(width(part.rstrip()) for part in parts))


def _shrunk(columns: Sequence[Column], leasts: Sequence[int], most: int) -> list[int]:
    widths = [max(map(width, column.cells)) for column in columns]
    for _ in range(sum(widths) + _GAP * (len(widths) - 1) - most):
        spare = [x for x in range(len(widths)) if widths[x] > leasts[x]]
        if spare:
            widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def _aligned(columns: Sequence[Column], widths: Sequence[int]) -> Iterator[str]:
    folded = [
        [_folded(cell, most, column.fold) for cell in column.cells]
        for column, most in zip(columns, widths, strict=True)
    ]
    widths = [max(width(line) for cell in cells for line in cell) for cells in folded]
    sides: list[Side] = [column.side for column in columns]
    for row in zip(*folded, strict=True):
        for place in range(max(map(len, row))):
            parts = [cell[place] if place < len(cell) else "" for cell in row]
            yield "  ".join(map(_justified, parts, widths, sides)).rstrip()


def _folded(text: str, most: int, fold: str) -> list[str]:
    lines = [""]
    for word in _words(text, fold):
        if lines[-1] and width(lines[-1]) + width(word.rstrip()) > most:
            lines.append("")
        lines[-1] += word
        while width(lines[-1].rstrip()) > most:
            fits = next(x for x in range(most, 0, -1) if width(lines[-1][:x]) <= max(most, 2))
            lines[-1:] = lines[-1][:fits], lines[-1][fits:]
    return [line.rstrip() for line in lines]


def _words(text: str, fold: str) -> list[str]:
    return re.split(f"(?<={re.escape(fold)})", text)


def _justified(cell: str, most: int, side: Side) -> str:
    blank = " " * (most - width(cell))
    return blank + cell if side == "right" else cell + blank
