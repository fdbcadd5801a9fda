"""Letters that no font has, told once by name.

Who draws them, and which fonts there are to it, is not known here.
"""

from collections.abc import Set

from .._text import listed
from .._warning import warn


def tell(absent: Set[str]) -> None:
    """Warn of letters that are drawn as boxes, if there are any."""
    if absent:
        some = sorted(absent)
        told = listed(some[:8]) + (f" and {len(some) - 8} more" if len(some) > 8 else "")
        warn(
            f"No installed font has the letters {told}, which are drawn as boxes; install "
            "one that has them, such as Noto Sans (apt-get install fonts-noto-cjk for Chinese, "
            "Japanese and Korean)."
        )
