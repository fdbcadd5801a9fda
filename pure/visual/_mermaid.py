"""A graph in the language of Mermaid, which notebooks and forges draw by themselves.

Colours stand out on a light page as on a dark one, whose own they leave for the rest.
"""

import types
from collections.abc import Iterator, Sequence

from .._summary._words import one_line
from ._graph import Box, Graph

_CODES = types.MappingProxyType(
    {
        ord(mark): f"#{code};"
        for mark, code in (
            *(('"', "quot"), ("<", "lt"), (">", "gt"), ("&", "amp")),
            *(("#", "35"), ("`", "96"), ("\\", "92"), ("|", "124")),
        )
    }
)


def mermaid(graph: Graph, direction: str) -> str:
    """The text of a graph, from left to right or from top to bottom."""
    head = f"flowchart {'LR' if direction == 'right' else 'TB'}"
    return "\n".join([head, *(f"    {line}" for line in _lines(graph))]) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    for box in graph.boxes:
        if box.group is None:
            yield _box(box)
    groups = dict.fromkeys(box.group for box in graph.boxes if box.group is not None)
    for place, group in enumerate(groups):
        yield f"subgraph g{place} [{_text([group])}]"
        yield from (f"    {_box(box)}" for box in graph.boxes if box.group == group)
        yield "end"
    for arrow in graph.arrows:
        line = "-.->" if arrow.is_idle else "-->"
        yield f"{arrow.start} {line}|{_text(arrow.lines)}| {arrow.end}"
    yield from _styles(graph)


def _box(box: Box) -> str:
    text = _text([box.title, *box.lines])
    if not box.is_node:
        return f"{box.id}[({text})]" if box.lines else f"{box.id}(({text}))"
    return f"{box.id}([{text}])" if box.draws else f"{box.id}[{text}]"


def _styles(graph: Graph) -> Iterator[str]:
    for box in graph.boxes:
        styles = ["stroke:#0072b2", "stroke-width:3px"] if box.learns else []
        if box.is_idle:
            styles.append("stroke-dasharray:5 4")
        if box.shade:
            styles.append(f"fill:#e69f00{_opacity(box.shade)}")
        if styles:
            yield f"style {box.id} {','.join(styles)}"


def _opacity(shade: float) -> str:
    return f"{round(40 + 160 * shade):02x}"


def _text(lines: Sequence[str]) -> str:
    return f'"{"<br/>".join(one_line(line).translate(_CODES) for line in lines)}"'
