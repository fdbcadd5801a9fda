"""The gallery shows every operator that works on images, as `tools/gallery.py` draws it."""

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from dagrax.nnx_api import operators as op

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text()
# What the others do shows in no picture.
OF_ANY_FIELD = {
    *("Select", "Drop", "Rename", "Cast", "OneHot", "Standardize", "RunningNormalize"),
}


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "gallery.py"))


def test_every_operator_of_images_stands_on_the_page_and_no_other() -> None:
    every = {n for n, kind in vars(op).items() if isinstance(kind, type)}
    shown = set(re.findall(r"^\| `(\w+)\(", PAGE, re.M))
    assert all(issubclass(getattr(op, name), nnx.Module) for name in every)
    assert shown == every - OF_ANY_FIELD


def test_the_page_is_what_the_tool_writes_today(tool: dict[str, Any]) -> None:
    assert tool["page"]() == PAGE, "make gallery, and look at it"


def test_every_sheet_is_there_and_small(tool: dict[str, Any]) -> None:
    named = re.findall(r"!\[.*\]\((gallery/\w+\.png)\)", PAGE)
    assert named == [f"gallery/{name}.png" for name in tool["SHEETS"]]
    assert {f"gallery/{file.name}" for file in (ROOT / "docs" / "gallery").iterdir()} == set(named)
    for name in named:
        assert (ROOT / "docs" / name).stat().st_size < 300_000, name


def test_a_sheet_shows_the_photograph_and_what_became_of_it(tool: dict[str, Any]) -> None:
    blocks = dict(tool["blocks"]("levels", ["Invert()"]))
    before, after = (np.asarray(blocks[name][0], int) for name in ("the photograph", "Invert()"))
    assert np.abs(before + after - 255).max() <= 1  # both are rounded to levels
    drawn = tool["sheet"](iter(blocks.items()))
    with Image.open(ROOT / "docs" / "gallery" / "levels.png") as kept:
        assert kept.width == drawn.width
