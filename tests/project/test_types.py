"""The programs in `types/`, which `make check` holds the type checkers to."""

import importlib
from pathlib import Path

import pytest

TYPES = Path(__file__).parents[1] / "types"


def programs(folder: str) -> list[str]:
    """The importable names of the programs in a folder."""
    return [f"tests.types.{folder}.{path.stem}" for path in sorted((TYPES / folder).glob("*.py"))]


@pytest.mark.parametrize("program", programs("accept"))
def test_what_type_checkers_accept_runs(program: str) -> None:
    importlib.import_module(program)


@pytest.mark.parametrize("program", programs("reject"))
def test_what_type_checkers_reject_is_marked_for_both(program: str) -> None:
    """Of its wrong lines, none of which runs on import."""
    file = importlib.import_module(program).__file__
    lines = Path(str(file)).read_text().splitlines()
    mypy, pyright = (
        [line for line in lines if f"# {checker}: ignore[" in line]
        for checker in ("type", "pyright")
    )
    assert mypy == pyright != []
