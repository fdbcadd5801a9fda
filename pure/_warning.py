"""Warnings, at the line of the user's own that has called.

Between it and what warns there may be frames of the libraries beneath. What is told is not known
here.
"""

import sys
import types
import warnings

_LIBRARIES = ("dagrax", "flax", "jax", "equinox", "jaxtyping", "beartype", "contextlib")


def warn(text: str, kind: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line that is in none of the libraries."""
    frame: types.FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and _is_of_a_library(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, kind, stacklevel=level)


def _is_of_a_library(frame: types.FrameType) -> bool:
    own = str(frame.f_globals.get("__name__")).partition(".")[0]
    return own in _LIBRARIES or frame.f_code.co_filename.startswith("<@beartype")
