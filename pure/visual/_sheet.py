"""A figure that nobody keeps but who has it, and that shows itself in a notebook.

It is matplotlib's own, without pyplot, in which figures stay open. What is drawn is not known here.
"""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Sheet(Figure):
    """A matplotlib Figure."""

    def __init__(self, width: float, height: float, dpi: float):
        super().__init__(figsize=(width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()
