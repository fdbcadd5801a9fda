"""How numbers and long specs read: `1.5 KiB`, `2.1 ms`, the first fields of two hundred.

Pipelines are not known here.
"""

from collections.abc import Sequence

import jax

from .._text import Specs, fields_text, path_text

_FIELDS = 4


def bytes_text(count: int | float) -> str:
    """`640 B`, `1.5 KiB`, `2.0 GiB`."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def count_text(count: int | float) -> str:
    """`640`, `1.5 k`, `2.0 M`."""
    return _scaled(count, 1000, ("", "k", "M", "G", "T")).rstrip()


def _scaled(count: int | float, step: int, units: Sequence[str]) -> str:
    first, *rest = units
    if count < step:
        return f"{count:.0f} {first}"
    while rest and count >= 999.5:
        count, first = count / step, rest.pop(0)
    return f"{count:.1f} {first}" if count < 99.95 else f"{count:.0f} {first}"


def seconds_text(seconds: int | float) -> str:
    """`12 us`, `2.1 ms`, `1.3 s`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            break
    count = seconds / size
    return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"


def share_text(share: int | float) -> str:
    """`37%`."""
    return f"{100 * share:.0f}%"


def fields_shortened(output: Specs, most: int = _FIELDS) -> str:
    """The fields of a batch; of many the first few, and how many there are more."""
    leaves = jax.tree_util.tree_leaves_with_path(output)
    if len(leaves) <= most + 1:  # nothing is shorter than the one field left out
        return fields_text(output)
    first = {path_text(path): leaf for path, leaf in leaves[:most]}
    return f"{fields_text(first)}, … {len(leaves) - most} more"
