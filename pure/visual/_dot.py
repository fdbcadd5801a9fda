"""A graph in the language of Graphviz.

What learns has a thick border, what draws is round, what runs on demand is dashed; a shade is a
cost. Words in the boxes say the same to who sees no colours.
"""

from collections.abc import Iterator, Sequence
from html import escape

from .._summary._words import one_line
from ._graph import Arrow, Box, Graph

_FONT = "Helvetica,Arial,sans-serif"
_ROOM, _LETTER = 40, 7  # points
_SHADE = "#e69f00"  # of the colours of Okabe and Ito, as are the others
_LEARNS = "#0072b2"


def dot(graph: Graph, direction: str, *, ground: str = "transparent") -> str:
    """The text of a graph, from left to right or from top to bottom, on a ground of that colour."""
    return "\n".join(["digraph pipeline {", *_lines(graph, direction, ground), "}"]) + "\n"


def _lines(graph: Graph, direction: str, ground: str) -> Iterator[str]:
    yield f"    graph [rankdir={'LR' if direction == 'right' else 'TB'}, bgcolor={ground},"
    yield f'        fontname="{_FONT}", fontsize=12, nodesep=0.35, ranksep=0.4, pad=0.2]'
    yield f'    node [shape=box, fontname="{_FONT}", fontsize=12, margin="0.14,0.08"]'
    yield f'    edge [fontname="{_FONT}", fontsize=10, arrowsize=0.7]'
    yield from (f"    {_box(box)}" for box in graph.boxes if box.group is None)
    groups = dict.fromkeys(box.group for box in graph.boxes if box.group is not None)
    # The name stands to the right, where arrows leave room: one comes in over the boxes.
    margin = ", margin=16, labeljust=r" * (direction == "down")
    for place, group in enumerate(groups):
        yield f"    subgraph cluster_{place} {{"
        yield f"        graph [label=<{_escaped(group)}>, style=rounded, class=chain{margin}]"
        yield from (f"        {_box(box)}" for box in graph.boxes if box.group == group)
        yield "    }"
    of = {box.id: box.group for box in graph.boxes}
    for arrow in graph.arrows:
        frame, room = of[arrow.start], 0
        if frame is not None and frame == of[arrow.end] and direction == "down":
            room = _ROOM + _LETTER * len(frame)
        yield f"    {_arrow(arrow, room)}"


def _box(box: Box) -> str:
    title = f"<B>{_escaped(box.title)}</B>"
    about = [f'<FONT POINT-SIZE="10">{_escaped(line)}</FONT>' for line in box.lines]
    said = [f"label=<{'<BR/>'.join([title, *about])}>"]
    if not box.is_node:
        said.append('shape=cylinder, margin="0.14,0.16"' if box.lines else "shape=ellipse")
    styles = [*["rounded"] * box.draws, *["dashed"] * box.is_idle, *["filled"] * (box.shade > 0)]
    if styles:
        said.append(f'style="{",".join(styles)}"')
    if box.learns:
        said.append(f'color="{_LEARNS}", penwidth=2.5, class=learns')
    if box.shade:
        said.append(f'fillcolor="{_SHADE}{round(40 + 160 * box.shade):02x}"')
    return f"{box.id} [{', '.join(said)}]"


def _arrow(arrow: Arrow, room: int) -> str:
    dashed = ", style=dashed" if arrow.is_idle else ""
    # A margin, or the words would lie on the line.
    cells = f"<TD>{_row(arrow.lines)}</TD>"
    if room:  # to the right, where Graphviz lets words stand out of the frame, which has its name
        cells += f'<TD WIDTH="{room}"></TD>'
    cell = f'<TABLE BORDER="0" CELLPADDING="3"><TR>{cells}</TR></TABLE>'
    return f"{arrow.start} -> {arrow.end} [label=<{cell}>{dashed}]"


def _row(lines: Sequence[str]) -> str:
    return "<BR/>".join(map(_escaped, lines)) or " "


def _escaped(text: str) -> str:
    return escape(one_line(text)) or " "
