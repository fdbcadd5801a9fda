"""A summary as a graph: written to a file, or shown where it is.

The text of Mermaid and of DOT needs no library; a picture is made by Graphviz.
"""

import os
from typing import Literal, TypeAlias

from .._summary._summary import Summary
from .._text import of_type
from ..host._engines import engine
from ._absent import tell
from ._dot import dot
from ._file import check_file, written
from ._fontconfig import absent
from ._graph import Graph, graph_of, longest_row
from ._mermaid import mermaid
from ._svg import scrolled, themed

Direction: TypeAlias = Literal["right", "down"]
_SUMMARY = "a summary: write draw(dp.summary(pipeline, stream))."
_SUFFIXES = (".svg", ".png", ".dot", ".mmd")
_MOST_IN_A_ROW = 6  # nodes that a page has room for from left to right


class Drawing:
    """A graph that shows itself in a notebook; its `str` is Mermaid, and `dot` is Graphviz's."""

    def __init__(self, graph: Graph, direction: Direction):
        self._graph, self._direction = graph, direction

    def __str__(self) -> str:
        return mermaid(self._graph, self._direction)

    @property
    def dot(self) -> str:
        """The text for Graphviz."""
        return dot(self._graph, self._direction)

    def svg(self) -> str:
        """The picture. **Errors:** ImportError and RuntimeError where Graphviz is not installed."""
        return themed(_rendered(self.dot, "svg").decode())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it: `.svg`, `.png`, `.dot` or, of Mermaid, `.mmd`. **Errors:** those of `draw`."""
        file = check_file(path, _SUFFIXES, "graph.svg")
        texts = {".svg": self.svg, ".dot": lambda: self.dot, ".mmd": self.__str__}
        suffix = file.suffix.lower()
        picture = self._png() if suffix == ".png" else texts[suffix]().encode()
        with written(file):
            file.write_bytes(picture)

    def _png(self) -> bytes:
        text = dot(self._graph, self._direction, ground="white")
        picture = _rendered(text, "png")
        tell(absent(text))
        return picture

    def _repr_svg_(self) -> str | None:
        try:
            return self.svg()
        except (ImportError, RuntimeError):
            return None

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        text = str(self)
        shown = {"text/plain": text}
        if (svg := self._repr_svg_()) is not None:
            return {**shown, "text/html": scrolled(svg), "image/svg+xml": svg}
        return {
            **shown,
            "text/vnd.mermaid": text,
            "text/markdown": f"```mermaid\n{text}```",
        }


def draw(
    summary: Summary,
    path: str | os.PathLike[str] | None = None,
    *,
    direction: Direction | None = None,
    cost: bool = False,
) -> Drawing:
    """The graph of a pipeline, from its summary: shapes on the arrows, what learns, what draws.

    - `path`: where to write it, as its suffix says: `.svg`, `.png`, `.dot`, `.mmd` (Mermaid). By
      default nowhere: a notebook shows what is returned, and its `str` is Mermaid.
    - `direction`: `"right"` or `"down"`; by default to the right, and down where more than 6 nodes
      stand in a row.
    - `cost`: with the costs that the summary has, as numbers and as shades.

    **Errors:** ValueError for another suffix or direction, and for costs that the summary has not;
    TypeError for what is no summary and no path; OSError for a path that cannot be written; where a
    picture is asked for, ImportError without the library graphviz, and RuntimeError without the
    program `dot`.
    """
    if not isinstance(summary, Summary):
        raise TypeError(of_type("summary", summary, _SUMMARY))
    check_drawing(path, direction)
    graph = graph_of(summary, cost=cost)
    fitting: Direction = "right" if longest_row(graph) <= _MOST_IN_A_ROW else "down"
    drawing = Drawing(graph, direction or fitting)
    if path is not None:
        drawing.save(path)
    return drawing


def check_drawing(path: object, direction: object) -> None:
    """Refuse what a graph cannot be written to. **Errors:** those of `draw` for its arguments."""
    if direction not in ("right", "down", None):
        raise ValueError(f'direction is {direction!r}; expected "right" or "down".')
    if path is not None:
        check_file(path, _SUFFIXES, "graph.svg")


def _rendered(text: str, form: str) -> bytes:
    graphviz = engine("graphviz", "graphviz", "draw", "A picture of a graph")
    try:
        picture: bytes = graphviz.Source(text).pipe(format=form)
    except graphviz.ExecutableNotFound:
        raise RuntimeError(
            "A picture of a graph needs the program `dot` of Graphviz, which is not on the PATH; "
            "install it (apt-get install graphviz, brew install graphviz, conda install "
            'graphviz), or draw text: "graph.mmd" or "graph.dot" need no program.'
        ) from None
    return picture
