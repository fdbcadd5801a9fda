"""A page in a terminal, by rich, which asks for it: nobody else imports that.

Where the columns do not fit beside each other, they stand below each other, the first one repeated.
What stands on the page is not known here.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._lines import beside
from ._page import NOTES, OUTPUT, Line, Page
from ._words import width

if TYPE_CHECKING:
    from rich.console import RenderableType

_FOLDED = ("reads", OUTPUT, NOTES)


def renderables(page: Page, most: int) -> "Iterator[RenderableType]":
    """What rich prints of a page, so many characters wide."""
    from rich.text import Text

    yield Text(page.headline, style="bold")
    leasts = [_least(page, index) for index in range(len(page.columns))]
    for columns in beside(leasts, most):
        yield _table(page, columns)
    yield from map(Text, page.below)
    if page.warning:
        yield Text(f"warning: {page.warning}", style="bold yellow")


def _table(page: Page, columns: list[int]) -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for index in columns:
        title, least = page.columns[index], _least(page, index)
        folds = title in _FOLDED
        table.add_column(title, justify=page.sides[index], no_wrap=not folds, min_width=least)
    for line in page.lines:
        style = "dim" if line.is_idle else None
        cells = [_cell(page, line, index) for index in columns]
        table.add_row(*map(Text, cells), style=style)
    return table


def _cell(page: Page, line: Line, index: int) -> str:
    cell = line.cells[index]
    return cell.replace(", ", ",\n") if page.columns[index] == OUTPUT else cell


def _least(page: Page, index: int) -> int:
    """How wide a column is at least: its longest cell, or where it folds, its longest word."""
    cells = [page.columns[index], *(line.cells[index] for line in page.lines)]
    if page.columns[index] == OUTPUT:
        cells = [part for cell in cells for part in cell.split(", ")]
    elif page.columns[index] in _FOLDED:
        cells = [part for cell in cells for part in cell.split(" ")]
    return max(map(width, cells))
