"""README, pages, notebook: their links lead somewhere, every name is told, the site is built.

What the snippets of the pages do is tested in `test_examples`.
"""

import ast
import contextlib
import importlib
import inspect
import io
import json
import re
import runpy
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NOTEBOOK = DOCS / "tour.ipynb"
MODULES = [
    *("pure", "pure.ops", "pure.host", "pure.testing", "pure.visual"),
    *("nnx_api", "nnx_api.operators"),
]


def prose(page: Path) -> str:
    """A page, or the text cells of the notebook, without code."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The files that a page leads to, each with the anchor in it, or ''."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith(("http:", "https:")):
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub and the site make anchors of them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", [*PAGES, NOTEBOOK], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    found = list(links(page))
    assert [str(path) for path, _ in found if not path.exists()] == []
    headed = [(path, anchor) for path, anchor in found if anchor and path.suffix == ".md"]
    assert [f"{path}#{name}" for path, name in headed if name not in anchors(path)] == []


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_stands_in_the_reference(module: str) -> None:
    told = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    names = {
        name
        for name, value in inspect.getmembers(importlib.import_module(f"dagrax.{module}"))
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    listed = set(re.findall(rf"^::: dagrax\.{module}\.(\w+)$", told, re.M))
    assert listed <= names
    elsewhere = set(re.findall(r"^::: dagrax\.nnx_api\.operators\.(\w+)$", told, re.M))
    assert names - listed - (elsewhere if module == "nnx_api" else set()) == set()


def test_the_notebook_puts_out_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert put_out("".join(cell["source"]), names) == stored(cell["outputs"])


def put_out(code: str, names: dict[str, object]) -> str:
    """What a cell prints, then what its last expression is; of what shows itself, nothing."""
    *before, last = ast.parse(code).body
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(before, []), "cell", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            shows_itself = any(name.startswith("_repr_") for name in dir(value))
            if value is not None and not shows_itself:
                print(repr(value))
        else:
            exec(compile(code, "cell", "exec"), names)
    return printed.getvalue()


def stored(outputs: list[dict[str, Any]]) -> str:
    """The text that a notebook holds of a cell, pictures and tables aside."""
    texts = [
        output["text"] if output["output_type"] == "stream" else [*data["text/plain"], "\n"]
        for output in outputs
        if (data := output.get("data", {"text/plain": ""})) and set(data) == {"text/plain"}
    ]
    return "".join("".join(text) for text in texts)


def test_the_site_is_built_without_warnings_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reference" / "pure.html").exists()


def test_every_picture_of_the_pages_is_drawn_by_the_tool() -> None:
    tool = runpy.run_path(str(DOCS.parent / "tools" / "pictures.py"))
    shown = tool["shown"]()
    assert shown.keys() == tool["CALLS"].keys()
    assert all("pipeline = Pipeline" in snippets for snippets in shown.values())
    files = {file.name: file for file in (DOCS / tool["FOLDER"]).iterdir()}
    assert files.keys() == shown.keys()
    assert all(file.stat().st_size < 100_000 for file in files.values())
