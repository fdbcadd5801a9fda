"""A figure that nobody keeps but who has it, and that shows itself in a notebook.

It is matplotlib's own, without pyplot, in which figures stay open. What is drawn is not known here.
"""

import io
import warnings
from typing import cast

from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Sheet(Figure):
    """A matplotlib Figure."""

    def __init__(self, width: float, height: float, dpi: float):
        super().__init__(figsize=(width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(self)

    def draw(self, renderer: object) -> None:
        with warnings.catch_warnings():
            # Of each letter, with each drawing: it is told once for all of them.
            warnings.filterwarnings("ignore", r"Glyph .* missing from")
            super().draw(cast(RendererBase, renderer))

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()
