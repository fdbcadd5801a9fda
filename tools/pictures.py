"""Draw the pictures of the pages: each of what the snippets before it on its page have built.

`make pictures` runs it, which needs Graphviz and matplotlib. The gallery is drawn by `gallery.py`.
"""

import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = "pictures"
# The call that draws a picture, of the names that its page has by then.
CALLS = {
    "graph.png": "pipeline.draw(path)",
    "cost.png": "pipeline.draw(path, cost=True)",
    "records.png": "pipeline.show(3, path=path)",
}


def shown() -> dict[str, str]:
    """For each picture of the pages the snippets of Python before it."""
    found: dict[str, str] = {}
    for page in sorted(DOCS.glob("*.md")):
        before, *after = re.split(rf"!\[[^]]*\]\({FOLDER}/(\S+)\)", page.read_text())
        for picture, text in zip(after[::2], after[1::2], strict=True):
            found[picture] = "\n".join(re.findall(r"^```python\n(.*?)^```$", before, re.M | re.S))
            before += text
    return found


def main() -> None:
    (DOCS / FOLDER).mkdir(exist_ok=True)
    for picture, snippets in shown().items():
        names: dict[str, Any] = {"path": DOCS / FOLDER / picture}
        exec(snippets, names)
        eval(CALLS[picture], names)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    main()
