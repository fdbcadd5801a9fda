"""The picture of a graph as SVG that follows the theme, light or dark, on a ground of its own.

A picture in a page does not know the page's colours; with a ground it is read on any. What is in
the picture is not known here.
"""

import base64
import re

_STYLE = """<style>
.pipeline{background:#fff}
.pipeline text{fill:#1b1f24}
@media (prefers-color-scheme:dark){
.pipeline{background:#161b22}
.pipeline text{fill:#e6edf3}
.pipeline [stroke="black"]{stroke:#9da7b3}
.pipeline [fill="black"]{fill:#9da7b3}
.pipeline .learns [stroke]{stroke:#56b4e9}
}
</style>
"""


def themed(svg: str) -> str:
    """What Graphviz has drawn, with colours for a light and a dark theme."""
    start = svg.index("<svg")
    body = re.sub(r"<svg ", '<svg class="pipeline" ', svg[start:], count=1)
    inside = body.index(">") + 1
    return body[:inside] + "\n" + _STYLE + body[inside:].lstrip("\n")


def scrolled(svg: str) -> str:
    """A picture in its own size, for a notebook, which would shrink a wide one to its column."""
    data = base64.b64encode(svg.encode()).decode()
    picture = f'<img alt="pipeline" style="max-width:none" src="data:image/svg+xml;base64,{data}">'
    return f'<div style="overflow-x:auto">{picture}</div>'
