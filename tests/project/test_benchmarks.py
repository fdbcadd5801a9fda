"""The figures that README and docs show are those that a benchmark has written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
MAKEFILE = (ROOT / "Makefile").read_text()
SCRIPTS = re.findall(r"^BENCHMARKS := (.*)$", MAKEFILE, re.MULTILINE)[0].split()
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()


def rows(text: str) -> list[str]:
    """The lines of the tables in a page."""
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_starts_and_says_what_it_measures(script: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--save" in run.stdout


def test_make_bench_runs_every_benchmark() -> None:
    scripts = {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
    assert scripts - set(SCRIPTS) == {"rounds", "workloads"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_page_of_benchmarks_shows_the_tables_that_were_saved(script: str) -> None:
    quoted = re.findall(rf"<!-- {script} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert len(quoted) == 1
    assert rows(quoted[0]) == rows((RESULTS / f"{script}.md").read_text())
    assert rows(quoted[0])


@pytest.mark.parametrize(
    ("page", "heading"), [("README.md", "## Speed"), ("docs/variants.md", "## What it costs")]
)
def test_other_pages_show_rows_of_the_tables_that_were_saved(page: str, heading: str) -> None:
    section = (ROOT / page).read_text().split(heading)[1].split("\n## ")[0]
    shown = rows(section)
    assert len(shown) > 5
    assert set(shown) <= {row for file in RESULTS.glob("*.md") for row in rows(file.read_text())}
