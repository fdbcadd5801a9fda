"""A bar for a loop of blocks, by tqdm: where somebody looks at a terminal or a notebook.

When there is something to show is known to the loop alone.
"""

import sys
import weakref
from collections.abc import Callable
from typing import Protocol

from dagrax.pure import internal


class Bar(Protocol):
    """What is needed of tqdm's."""

    def update(self, n: int, /) -> object: ...
    def close(self) -> object: ...


class Progress:
    """A bar that appears with the first turn of a loop, and goes with the loop, however it ends.

    **Errors:** ImportError where tqdm is not installed, though nobody looks.
    """

    def __init__(self) -> None:
        tqdm = internal.engine("tqdm.auto", "tqdm", "progress", "blocks(…, progress=True)")
        self._make: Callable[..., Bar] = tqdm.tqdm
        self._bar: Bar | None = None
        self._is_over = not _is_looked_at()

    def begin(self, loop: object, total: int | None) -> None:
        """Show the bar of a loop of so many turns, if it is not shown yet."""
        if self._bar is None and not self._is_over:
            self._bar = self._make(total=total, unit="block")
            weakref.finalize(loop, self._bar.close)

    def turn(self) -> None:
        """One more turn is done."""
        if self._bar is not None:
            self._bar.update(1)

    def end(self) -> None:
        """Leave the bar as it is."""
        self._is_over = True
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _is_looked_at() -> bool:
    notebook = sys.modules.get("IPython")
    shell = None if notebook is None else notebook.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell" or sys.stderr.isatty()
