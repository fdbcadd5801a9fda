"""What a user reads, as pages: a sentence, the code that was written, and what came of it.

A page is text. Prose stands at the margin, code behind four spaces, what was read behind a bar;
the first code is the preamble of all entries, an entry runs from its sentence to the next one.
`python -m tests.golden --write` writes what is said today, so that a changed message is a diff.
"""

from pathlib import Path

from tests import plainly

HERE = Path(__file__).parent
PAGES = sorted(HERE.glob("*.txt"))
_WIDTH = 98


def today(page: str) -> str:
    """The page with what is read today, from an interpreter of its own."""
    parts = _parts(page)
    answers = iter(plainly.read(_entries(parts)))
    first = next((part for part in parts if _is_code(part)), "")
    lines: list[str] = []
    for part in parts:
        if not part.startswith("|"):
            lines.append(part)
        if _is_code(part) and part is not first:
            lines.append(_barred(next(answers)))
    return "\n\n".join(lines) + "\n"


def _parts(page: str) -> list[str]:
    # Code keeps its blank lines; everything else is one part for a paragraph.
    parts: list[str] = []
    for paragraph in page.strip("\n").split("\n\n"):
        if parts and _is_code(parts[-1]) and _is_code(paragraph):
            parts[-1] += "\n\n" + paragraph
        else:
            parts.append(paragraph.strip("\n"))
    return parts


def _is_code(part: str) -> bool:
    return part.startswith("    ")


def _entries(parts: list[str]) -> list[list[str]]:
    # The preamble and the entries, each the code that is executed with names of its own.
    entries: list[list[str]] = [[]]
    for part in parts:
        if _is_code(part):
            entries[-1].append(part)
            if len(entries) == 1:
                entries.append([])
        elif not part.startswith("|"):
            entries += [[]] * (entries[-1] != [])
    return entries


def _barred(text: str) -> str:
    return "\n".join(f"| {line}".rstrip() for said in text.split("\n") for line in _wrapped(said))


def _wrapped(line: str) -> list[str]:
    # No character is lost but the blank at which a line is broken; what goes on is indented.
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    lines, (first, *words) = [], line.split(" ")
    lines.append(first)
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _WIDTH and lines[-1].strip():
            lines.append(indent + word)
        else:
            lines[-1] += " " + word
    return lines
