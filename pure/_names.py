import difflib
from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    """The names in back-ticks, separated by commas."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def suggestion(name: object, known: Iterable[str]) -> str:
    """A closing sentence for an unknown name: the nearest known one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"Did you mean `{near[0]}`?" if near else f"The nodes are {listed(known)}."
