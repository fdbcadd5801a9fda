"""The facts about a pipeline together, showing themselves wherever they are.

What they are stands in `_rows`, how they read in `_page`. Nothing here knows a pipeline.
"""

import dataclasses

from ._page import Page, page
from ._rows import SummaryRow, SummarySource, SummaryTotals, as_json


@dataclasses.dataclass(frozen=True)
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

    @property
    def _page(self) -> Page:
        return page(self.source, self.rows, self.totals)
