"""What the site has beside the files of docs/: examples, changelog and notebook as pages.

A hook of mkdocs. Files outside of docs/ are no part of a site: links to examples, to the README and
to the changelog lead to their pages, a link to another such file keeps its text alone.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FROM_ROOT = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
# Files that are pages of the site, from its root.
PAGES = {
    "README.md": "index.md",
    **FROM_ROOT,
    "docs/tour.ipynb": "tour.md",
    "examples": "examples.md",
    **{f"examples/{file.name}": f"examples/{file.stem}.md" for file in EXAMPLES},
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of files outside of docs/."""
    made = {
        **{page: (ROOT / name).read_text() for name, page in FROM_ROOT.items()},
        "tour.md": of_notebook(ROOT / "docs" / "tour.ipynb"),
        "examples.md": list_of_examples(),
        **{f"examples/{file.stem}.md": of_example(file) for file in EXAMPLES},
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to pages of the site."""
    own = page.file.src_uri
    here = ROOT if own in FROM_ROOT.values() else (ROOT / "docs" / own).parent

    def led(match: re.Match[str]) -> str:
        text, path = match["text"], (here / match["target"]).resolve()
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        inside = name.removeprefix("docs/") if name.startswith("docs/") else None
        goal = PAGES.get(name, inside)
        if text.endswith(".md") and path.is_file():
            text = title(path)
        return f"[{text}]({'../' * own.count('/')}{goal}{match['anchor'] or ''})" if goal else text

    link = r"(?<!!)\[(?P<text>[^\]\[]*)\]\((?P<target>[\w./-]+)(?P<anchor>#[\w-]+)?\)"
    return re.sub(link, led, markdown)


def title(page: Path) -> str:
    """The first heading of a page, for links that show its file's name."""
    return page.read_text().partition("# ")[2].partition("\n")[0]


def list_of_examples() -> str:
    """A table of the programs in examples/, each with its first line."""
    rows = [f"| [{file.stem}](examples/{file.stem}.md) | {first_line(file)} |" for file in EXAMPLES]
    head = "# Examples\n\nPrograms of the folder `examples/`, each run by a test.\n\n"
    return head + "| program | what it does |\n|---|---|\n" + "\n".join(rows) + "\n"


def first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0]


def of_example(file: Path) -> str:
    """A program as a page: its docstring as text, the rest as code."""
    tree = ast.parse(file.read_text())
    told, (docstring, *_) = ast.get_docstring(tree) or "", tree.body
    code = "\n".join(file.read_text().splitlines()[docstring.end_lineno :]).strip()
    return f"# {file.stem}\n\n{told}\n\n    python examples/{file.name}\n\n```python\n{code}\n```\n"


def of_notebook(file: Path) -> str:
    """A notebook as a page: text as it is, code, and what it put out when it was stored."""
    cells = json.loads(file.read_text())["cells"]
    return "\n\n".join(part for cell in cells for part in of_cell(cell)) + "\n"


def of_cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *map(of_output, cell["outputs"])]


def of_output(output: dict[str, Any]) -> str:
    """A stored output in the richest form that a page can show."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![What the cell above draws](data:image/png;base64,{data['image/png'].strip()})"
    for rich in ("image/svg+xml", "text/html"):
        if rich in data:
            shown = "".join(data[rich])
            return f'<div class="output">{shown[max(shown.find("<svg"), 0) :]}</div>'
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```"
