import difflib
from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    """The names in back-ticks, separated by commas."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def near(name: object, known: Iterable[str]) -> str:
    """` Did you mean …?` with the known name that is nearest to an unknown one, or nothing."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean `{found[0]}`?" if found else ""


def suggestion(name: object, known: Iterable[str]) -> str:
    """A closing sentence for an unknown name: the nearest known one, or all of them."""
    known = list(known)
    return near(name, known).strip() or f"The nodes are {listed(known)}."
