"""Rows of words as a table: for a terminal, in columns, and for a notebook, in HTML.

The HTML takes the colours of the page that it stands in, light or dark. What the words say is not
known here.
"""

import html
from collections.abc import Sequence

Row = Sequence[str]
_CELL = "text-align:left;padding:0.1em 0.8em 0.1em 0;white-space:nowrap"


def text_table(rows: Sequence[Row]) -> str:
    """Rows in columns, the first being the head; no line ends in blanks."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return "\n".join(lines)


def html_table(head: str, rows: Sequence[Row], foot: str = "") -> str:
    """Rows as HTML, the first being their head, between two texts; a wide one is scrolled."""
    first, *others = rows
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in others)
    table = (
        "<table style='border-collapse:collapse;background:none;color:inherit'>"
        f"<thead><tr style='border-bottom:1px solid'>{_cells(first, 'th')}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
    return f"<div style='overflow-x:auto'>{_said(head)}{table}{_said(foot)}</div>"


def _cells(row: Row, tag: str) -> str:
    return "".join(f"<{tag} style='{_CELL}'>{html.escape(cell)}</{tag}>" for cell in row)


def _said(text: str) -> str:
    return f"<p style='white-space:pre-line'>{html.escape(text)}</p>" if text else ""
