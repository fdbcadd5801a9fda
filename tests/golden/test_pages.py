"""Every page says what a user reads today, to the letter."""

import re
from pathlib import Path

import pytest

from . import PAGES, today

PAGE = """\
A page of two entries, and how it is kept.

    import warnings

    seen: list[int] = []

    def note(error):
        error.add_note("Look twice.")
        raise error

Something is raised, with a note and a warning before it.

    warnings.warn("Mind the gap.")
    note(ValueError("It is\\nbroken."))

Names belong to their entry.

    own = 1
    print(own)

| an old answer

    print(own + 1)

Nothing of the other entry is known here, and a long answer is broken at blanks.

    print("own" in globals(), *["again"] * 20)

Nothing is said.

    pass
"""
ANSWERS = [
    "| UserWarning: Mind the gap.\n| ValueError: It is\n| broken.\n| Look twice.",
    "| 1",
    "| 2",
    f"| False {'again ' * 14}again\n|     again again again again again",
    "| nothing",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda file: file.stem)
def test_a_page_is_what_is_read_today(page: Path) -> None:
    written = page.read_text()
    said = today(written)
    # As lists: pytest shows the lines that differ.
    assert written.split("\n") == said.split("\n"), "python -m tests.golden --write, and read"


def test_item_47_no_page_spells_a_shape_otherwise() -> None:
    other = re.compile(
        r"(?<!with shape )\b(?:float|bfloat|int|uint|complex)\d+\["
    )  # JAX says it so
    for page in PAGES:
        read = re.sub(r"\n\| +", " ", page.read_text())
        assert [x for x in read.split("\n") if x.startswith("|") and other.search(x)] == [], page


def test_answers_are_written_behind_the_code_that_they_answer() -> None:
    said = today(PAGE)
    answers = [part for part in said.strip().split("\n\n") if part.startswith("|")]
    assert answers == ANSWERS
    assert "an old answer" not in said
    assert today(said) == said
