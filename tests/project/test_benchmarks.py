"""The figures that README and docs show are those that a benchmark has saved."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
MAKEFILE = (ROOT / "Makefile").read_text()
SCRIPTS = re.findall(r"^BENCHMARKS := (.*)$", MAKEFILE, re.MULTILINE)[0].split()
PAGE = ROOT / "docs" / "benchmarks.md"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rows(text: str) -> list[str]:
    """The lines of the tables in a page."""
    return [line for line in text.splitlines() if line.startswith("|")]


HELPED = """
import contextlib, io, json, runpy, sys
sys.path.insert(0, sys.argv[1])
said = {}
for script in sys.argv[2:]:
    sys.argv, heard = [script, "--help"], io.StringIO()
    with contextlib.redirect_stdout(heard), contextlib.suppress(SystemExit):
        runpy.run_path(f"{sys.path[0]}/{script}.py", run_name="__main__")
    said[script] = heard.getvalue()
print(json.dumps(said))
"""


def test_every_benchmark_starts_and_says_what_it_measures() -> None:
    command = [sys.executable, "-c", HELPED, str(ROOT / "benchmarks"), *SCRIPTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert [script for script in SCRIPTS if "--save" not in said[script]] == []


def test_make_bench_runs_every_benchmark() -> None:
    scripts = {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
    assert scripts - set(SCRIPTS) == {"rounds", "workloads"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_page_of_benchmarks_has_a_section_of_each(script: str) -> None:
    (quoted,) = re.findall(rf"<!-- {script} -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert rows(quoted)


def test_the_page_of_benchmarks_shows_the_tables_that_were_saved(tmp_path: Path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path))
    run("summary", "--save", str(RESULTS), "--page", str(page))
    assert page.read_text() == PAGE.read_text()


@pytest.mark.parametrize(
    ("page", "heading"), [("README.md", "## Speed"), ("docs/variants.md", "## What it costs")]
)
def test_other_pages_show_rows_of_the_tables_that_were_saved(page: str, heading: str) -> None:
    section = (ROOT / page).read_text().split(heading)[1].split("\n## ")[0]
    shown = rows(section)
    assert len(shown) > 5
    assert set(shown) <= set(rows(PAGE.read_text()))
