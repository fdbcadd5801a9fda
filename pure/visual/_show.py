"""A sheet of records: a row for each, a column for the source and for each node.

Everything has a place of its own in inches, so that nothing overlaps. What a field is to the eye is
decided in `_panels`; where the arrays come from is not known here.
"""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from unicodedata import east_asian_width

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from .._text import of_type, path_text, valued
from ..host._engines import engine
from ._file import check_file, written
from ._panels import Panel, compared, lying, panels

if TYPE_CHECKING:  # which is imported when it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    Axes: TypeAlias = object
    Figure: TypeAlias = object
Style: TypeAlias = Any  # of a text, as matplotlib has it

_SUFFIXES = (".png", ".svg", ".pdf")
_WIDE, _WIDER = 1.9, 2.6  # inches of a column with pictures, and of one of words
_LEFT, _GAP, _MARGIN = 0.75, 0.18, 0.12
_LINE, _NAME, _WORD = 0.125, 0.17, 0.059  # heights of lines of text, and the width of a letter
_SPACE, _BETWEEN = 0.06, 0.08  # below a panel, and beside one
_TALL, _LEAST = 20.0, 0.4  # inches of a sheet, beyond which cells are smaller, and of a small panel
_LINES = 0.75  # the height of a panel of lines
_COLOURS = 10
_MOST_ACROSS = 3
_MOST_RECORDS = 128
_MOST_PIXELS = 2**16 - 1  # of a side of a picture, which matplotlib draws
_MOST_WORDS, _LEAST_WORDS = 24, 6  # lines of one cell, among few records and among many


class _Column(NamedTuple):
    name: str
    panels: list[Panel]
    width: float
    words: list[list[str]]  # lines of each record, as they are broken
    head: list[str]
    notes: list[str]
    across: int = 1  # panels beside each other
    tallest: float = math.inf  # inches of a panel

    def drawn(self) -> int:
        """How many panels are drawn rather than written."""
        return sum(panel.kind != "words" for panel in self.panels)

    def rows(self) -> list[list[Panel]]:
        """The panels, those that stand beside each other together."""
        found: list[list[Panel]] = []
        for is_words, group in groupby(self.panels, lambda panel: panel.kind == "words"):
            own, many = list(group), 1 if is_words else self.across
            found += [own[place : place + many] for place in range(0, len(own), many)]
        return found

    def across_of(self, panel: Panel) -> float:
        """How wide a panel is."""
        parts = 1 if panel.kind == "words" else self.across
        return (self.width - _BETWEEN * (parts - 1)) / parts

    def label(self, panel: Panel) -> float:
        """The height of the name over a panel, where there are several."""
        return _LINE if self.drawn() > 1 and panel.kind != "words" and panel.field else 0.0

    def height(self, panel: Panel) -> float:
        if panel.kind == "words":
            return _LINE * max(map(len, self.words)) + _SPACE
        drawn, width = _LINES, self.across_of(panel)
        if panel.kind == "image":
            drawn = float(np.clip(width * panel.ratio, 0.3, 1.5 * width))
        return min(drawn, self.tallest) + self.label(panel) + _SPACE

    def tall(self) -> float:
        """The height of a cell."""
        return sum(max(map(self.height, row)) for row in self.rows())


def show(
    nodes: Mapping[str, PyTree],
    n: int = 8,
    *,
    records: Sequence[int] | None = None,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """A sheet of the first `n` records of batches: one column a node, as a matplotlib Figure.

    - `nodes`: the batches by the names of the columns, `{"source": batch, "flip": output}`, whose
      leading axes are the same records.
    - `records`: the ids that the rows are told by.
    - `title`: a line above the sheet.
    - `path`: where to save it, as .png, .svg or .pdf.

    A field of 1 or 3 channels is an image. Integers of its height and width, or what is named a
    mask, lie over the field `image`, or over all images of their size where none is named so, and
    so do `boxes` (x0, y0, x1, y1), but for those of area 0, and `keypoints` (x, y). Waves and
    series are lines, one a channel, all else is written out. What lies over what, and what is drawn
    otherwise than it is, is told in the title of its column. Floats of a field are on one scale in
    all columns: 0 … 1 if all lie within it, or else from the least to the most, which the first
    column tells.

    **Errors:** ImportError without matplotlib; ValueError for no records or more than 128, and for
    another suffix; OSError for a path that cannot be written.
    """
    check_sheet(n, path)
    _check_columns(nodes)
    engine("matplotlib", "matplotlib", "show", "show")
    columns, many = _columns(nodes, n)
    names = [str(x) for x in (range(many) if records is None else records[:many])]
    sheet = _drawn(columns, names, title)
    if path is not None:
        with written(Path(path)):
            sheet.savefig(path, dpi=_dpi(150.0, *sheet.get_size_inches()))
    return sheet


def _columns(nodes: Mapping[str, PyTree], n: int) -> tuple[list[_Column], int]:
    arrays = {name: _fields(tree) for name, tree in nodes.items()}
    rows = max((len(x) for x in next(iter(arrays.values())).values() if x.ndim), default=0)
    many = min(n, rows)
    if not many:
        raise ValueError("There is no record to show: the first batch has none.")
    found = compared([_panels(fields, many, rows) for fields in arrays.values()])
    columns = [_column(name, own, many) for name, own in zip(arrays, found, strict=True)]
    return _fitted(columns, many), many


def _drawn(columns: Sequence[_Column], names: Sequence[str], title: str) -> Figure:
    from ._letters import lettered
    from ._sheet import Sheet

    row = max(column.tall() for column in columns) + _GAP
    head = max(_NAME * len(column.head) + _LINE * len(column.notes) for column in columns) + 0.06
    top = _MARGIN + (0.22 if title else 0)
    left = max(_LEFT, 0.09 * max(map(len, names)) + _GAP)
    width = left + sum(column.width + _GAP for column in columns)
    height = top + head + len(names) * row + _MARGIN
    sheet = Sheet(width, height, dpi=_dpi(100.0, width, height))
    if title:
        _text(sheet, _MARGIN, _MARGIN, title, size=9, color="0.3")
    for column in columns:
        _heading(sheet, column, left, top)
        for index in range(len(names)):
            _cell(sheet, column, index, left, top + head + index * row)
        left += column.width + _GAP
    for index, name in enumerate(names):
        y = top + head + index * row
        _text(sheet, _MARGIN, y, "record", size=6.5, color="0.4")
        _text(sheet, _MARGIN, y + _LINE, name, size=8)
    lettered(sheet.texts)
    return sheet


def _dpi(wished: float, width: float, height: float) -> float:
    return min(wished, _MOST_PIXELS / max(width, height))


def check_sheet(n: object, path: object) -> None:
    """Refuse what is no number of records, and no path. **Errors:** those of `show` for them."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(valued("n", n, "an int, the number of records."))
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1, the number of records.")
    if n > _MOST_RECORDS:
        raise ValueError(
            f"n is {n}; expected at most {_MOST_RECORDS}, the records that a sheet has room for."
        )
    if path is not None:
        check_file(path, _SUFFIXES, "records.png")


def _check_columns(nodes: Mapping[str, PyTree]) -> None:
    if not isinstance(nodes, Mapping) or not nodes:
        expected = 'a dict of batches by node: write {"source": batch, "flip": output}.'
        if isinstance(nodes, Mapping):
            raise ValueError(f"nodes is empty; expected {expected}")
        raise TypeError(of_type("nodes", nodes, expected))
    for name, batch in nodes.items():
        _check_column(name, batch)


def _check_column(name: object, batch: PyTree) -> None:
    if not isinstance(name, str):
        raise TypeError(
            f"nodes names a column {name!r} of type {type(name).__name__}; expected a string: "
            f'write {{"{name}": batch}}.'
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if isinstance(leaf, Tracer):
            field = f"Field `{path_text(path)}`" if path else "The output"
            raise TypeError(
                f"{field} of `{name}` is traced (jit, scan, vmap), where there are no values; "
                "show it outside."
            )
        if isinstance(leaf, str | bytes) or getattr(leaf, "dtype", np.dtype(int)).kind in "OSUMm":
            field = f"Field `{path_text(path)}`" if path else "The output"
            dtype = np.asarray(leaf).dtype
            raise TypeError(
                f"{field} of `{name}` is of dtype {dtype}; expected numbers or booleans. Encode "
                "it as integers, or drop it."
            )


def _fields(tree: PyTree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_text(path): _plain(x) for path, x in leaves}


def _plain(x: object) -> np.ndarray:
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.extended):
        x = jax.random.key_data(x)
    array = np.asarray(x)
    return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16 and its kin


def _panels(fields: Mapping[str, np.ndarray], many: int, rows: int) -> list[Panel]:
    return panels({field: x if x.ndim else x[None] for field, x in fields.items()}, many, rows)


def _column(name: str, found: list[Panel], many: int) -> _Column:
    only_words = all(panel.kind == "words" for panel in found)
    width = _WIDER if only_words else _WIDE
    letters = int(width / _WORD)
    most = max(_LEAST_WORDS, min(_MOST_WORDS, 8 * _MOST_WORDS // many))
    words: list[list[str]] = [[] for _ in range(many)]
    for panel in found:
        words = _broken(panel.words, letters, most) if panel.words else words
    told = [f"{panel.field or 'value'} {panel.told}" for panel in found if panel.told]
    notes = [line for text in [*told, *lying(found)] for line in _wrapped(text, letters)]
    parts = name.replace("_", "_ ").replace("/", "/ ")  # where a name may be broken
    head = _wrapped(parts, int(width / 0.09)) or [""]
    head = [line.replace("_ ", "_").replace("/ ", "/") for line in head]
    return _Column(name, found, width, words, head, notes)


def _fitted(columns: list[_Column], many: int) -> list[_Column]:
    """The columns with smaller panels, beside each other, where the sheet would be too tall."""

    def tall() -> float:
        return many * (max(column.tall() for column in columns) + _GAP)

    for across in range(2, _MOST_ACROSS + 1):
        if tall() > _TALL:
            columns = [x._replace(across=min(across, x.drawn() or 1)) for x in columns]
    tallest = _WIDE
    while tall() > _TALL and tallest > _LEAST:
        tallest = max(0.9 * tallest, _LEAST)
        columns = [column._replace(tallest=tallest) for column in columns]
    return columns


def _broken(said: Sequence[Sequence[str]], letters: int, most: int) -> list[list[str]]:
    """What is said of each record, a text a field, in `most` lines: short ones in columns."""
    widths = [max(map(_across, texts)) for texts in zip(*said, strict=True)]
    short = [place for place, width in enumerate(widths) if 2 * width + 3 <= letters]
    across = 1
    if len(short) > 3:
        across = (letters + 3) // (max(widths[place] for place in short) + 3)
    down = -(-len(short) // across)
    found = []
    for texts in said:
        width = max((widths[place] for place in short), default=0)
        cells = [texts[place].ljust(width) for place in short]
        lines = ["   ".join(cells[row::down]).rstrip() for row in range(down)]
        for place, text in enumerate(texts):
            if place not in short:
                lines += _wrapped(text, letters, indent="  ")
        if len(lines) > most:
            lines = [*lines[: most - 1], f"… {len(lines) - most + 1} more lines"]
        found.append(lines)
    return found


def _wrapped(text: str, letters: int, indent: str = "") -> list[str]:
    if _across(text) > len(text):
        letters //= 2
    return textwrap.wrap(text, letters, subsequent_indent=indent)


def _across(text: str) -> int:
    # Letters of Chinese, Japanese and Korean are as wide as two.
    return sum(2 if east_asian_width(x) in "WF" else 1 for x in text)


def _text(sheet: Figure, x: float, y: float, text: str, **style: Style) -> None:
    width, height = sheet.get_size_inches()
    # No letter of a name is an order to typeset mathematics.
    sheet.text(x / width, 1 - y / height, text, va="top", ha="left", parse_math=False, **style)


def _heading(sheet: Figure, column: _Column, x: float, y: float) -> None:
    for line in column.head:
        _text(sheet, x, y, line, size=9, weight="bold")
        y += _NAME
    for line in column.notes:
        _text(sheet, x, y, line, size=7, family="monospace", color="0.4")
        y += _LINE


def _cell(sheet: Figure, column: _Column, row: int, x: float, y: float) -> None:
    for beside in column.rows():
        left = x
        for panel in beside:
            _panel(sheet, column, panel, row, left, y)
            left += column.across_of(panel) + _BETWEEN
        y += max(map(column.height, beside))


def _panel(sheet: Figure, column: _Column, panel: Panel, row: int, x: float, y: float) -> None:
    if panel.kind == "words":
        for place, line in enumerate(column.words[row]):
            _text(sheet, x, y + _LINE * place, line, size=7, family="monospace")
        return
    width, height, label = column.across_of(panel), column.height(panel), column.label(panel)
    if label:
        _text(sheet, x, y, _short(panel.field, int(width / _WORD)), size=6.5, color="0.4")
    _draw(_axes(sheet, x, y + label, width, height - label - _SPACE), panel, row)


def _short(name: str, letters: int) -> str:
    if _across(name) <= letters:
        return name
    fits = [place for place in range(len(name)) if _across(name[:place]) < letters]
    return f"{name[: fits[-1]]}…"


def _axes(sheet: Figure, x: float, y: float, width: float, height: float) -> Axes:
    across, down = sheet.get_size_inches()
    place = (x / across, 1 - (y + height) / down, width / across, height / down)
    axes = sheet.add_axes(place)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(linewidth=0.5, color="0.7")
    return axes


def _draw(axes: Axes, panel: Panel, row: int) -> None:
    if panel.kind == "lines":
        axes.plot(panel.arrays[row], linewidth=0.7)
        least, most = panel.scale or (0.0, 1.0)
        room = 0.05 * ((most - least) or 1)
        axes.set(xlim=(0, len(panel.arrays[row]) - 1), ylim=(least - room, most + room))
        return
    image = panel.arrays[row]
    height, width = image.shape[:2]
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for over in panel.over:
        _over(axes, over.kind, over.arrays[row])
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), anchor="NW")


def _over(axes: Axes, kind: str, array: np.ndarray) -> None:
    if kind == "mask":
        axes.imshow(_coloured(array), interpolation="nearest")
        return
    for index, numbers in enumerate(array.astype(np.float64)):
        colour = f"C{index % _COLOURS}"
        if not np.isfinite(numbers).all():
            continue
        if kind == "points":
            axes.plot(*numbers, "o", color=colour, markersize=3.5, markeredgecolor="white", mew=0.5)
        elif (numbers[2:] > numbers[:2]).all():
            # Pixel centres lie at whole numbers, and the far edges do not belong to the box.
            x, y = numbers[:2] - 0.5
            xs, ys = (x, *[numbers[2] - 0.5] * 2, x, x), (y, y, *[numbers[3] - 0.5] * 2, y)
            axes.plot(xs, ys, color=colour, linewidth=1.3, clip_on=True)


def _coloured(mask: np.ndarray) -> np.ndarray:
    """Labels above 0 in colours through which the image is seen."""
    import matplotlib

    if mask.ndim == 3:
        ranks = np.arange(1, mask.shape[2] + 1) if mask.shape[2] > 1 else np.ones(1, int)
        mask = mask[..., 0] if mask.shape[2] == 1 else (mask.astype(bool) * ranks).max(axis=2)
    labels = mask.astype(np.int64)
    table = matplotlib.colormaps["tab10"](np.arange(_COLOURS))[:, :3]
    pixels = np.zeros((*labels.shape, 4))
    pixels[..., :3] = table[(labels - 1) % _COLOURS]
    pixels[..., 3] = np.where(labels > 0, 0.55, 0)
    return pixels
