"""The bounds that dagrax sets itself beside what the other benchmarks have seen.

Reads the tables in the folder of `--save`, measures nothing, and puts what it reads into the
`--page`, docs/benchmarks.md. A figure above its bound is shown in bold.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from rounds import headline, markdown, shown

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def summary(folder: Path) -> dict[str, Any]:
    """All bounds that stand in the tables of a folder, as a table."""
    files = sorted(folder.glob("*.json"))
    bounds = [
        bound for file in files for table in _read(file)["tables"] for bound in table["bounds"]
    ]
    rows = [[x["measure"], shown(x["at_most"]), _judged(x["seen"], x["at_most"])] for x in bounds]
    return {"title": "All bounds", "heads": ["measure", "at most", "seen"], "rows": rows}


def section(folder: Path, script: str) -> str:
    """What the page shows of a script: where it ran, and its tables."""
    if script == "summary":
        return "\n".join(markdown(summary(folder)))
    content = _read(folder / f"{script}.json")
    tables = ["\n".join(markdown(table)) for table in content["tables"]]
    return "\n\n".join([headline(content), *tables])


def quote(folder: Path, page: Path) -> None:
    """Put the tables of each script between `<!-- script -->` and `<!-- end -->` of a page."""

    def quoted(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n\n{section(folder, match[1])}\n\n<!-- end -->"

    marked = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->", re.DOTALL)
    page.write_text(marked.sub(quoted, page.read_text()))


def _read(file: Path) -> Any:
    return json.loads(file.read_text())


def _judged(seen: float, at_most: float) -> str:
    return shown(seen) if seen <= at_most else f"**{shown(seen)}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=RESULTS, help="the folder of the tables")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that quotes them")
    options = parser.parse_args()
    print(section(options.save, "summary"))
    quote(options.save, options.page)


if __name__ == "__main__":
    main()
