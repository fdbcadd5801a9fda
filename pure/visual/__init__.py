"""Pictures of a pipeline, from its summary and from arrays that it is given: nothing is computed.

    visual.draw(dp.summary(pipeline, stream), "graph.svg")
    visual.show({"source": batch, "flip": flipped}, path="records.png")

Libraries are imported when they are used; one that is absent is told by name.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

# isort: off
from .._late import late as _late
from ._draw import Drawing as Drawing
from ._draw import draw as draw
from ._show import show as show

if not _TYPE_CHECKING:  # or a type checker would take any name
    __getattr__, __dir__, __all__ = _late(__name__)
