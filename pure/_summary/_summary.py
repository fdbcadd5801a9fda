"""The facts about a pipeline together, showing themselves wherever they are.

What they are stands in `_rows`, how they read in `_page`. Nothing here knows a pipeline.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._html import html
from ._page import Page, page
from ._rich import renderables
from ._rows import SummaryRow, SummarySource, SummaryTotals, as_json

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """What a pipeline is: its source, a row for each node as they run, and all of it together.

    `str` is a table, which notebooks and `rich` show as their own; `to_dict` is data for JSON.
    """

    source: SummarySource
    rows: tuple[SummaryRow, ...]
    totals: SummaryTotals

    def to_dict(self) -> dict[str, object]:
        """All facts in dicts, lists, strings and numbers: `json.dumps(summary.to_dict())`."""
        return {
            "source": as_json(self.source),
            "rows": [as_json(row) for row in self.rows],
            "totals": as_json(self.totals),
        }

    def __str__(self) -> str:
        return str(self._page)

    __repr__ = __str__

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[RenderableType]":
        yield from renderables(self._page, options.max_width)

    def _repr_html_(self) -> str:
        return html(self._page)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": html(self._page)}

    @property
    def _page(self) -> Page:
        return page(self.source, self.rows, self.totals)
