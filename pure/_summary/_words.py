"""How numbers, names and long specs read: `1.5 KiB`, `2.1 ms`, the first fields of two hundred.

Pipelines are not known here.
"""

import math
import unicodedata
from collections.abc import Sequence

import jax
from jaxtyping import PyTree

from .._text import Specs, path_text, spec_text

_FIELDS = 4


def bytes_text(count: int | float) -> str:
    """`640 B`, `1.5 KiB`, `2.0 GiB`."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def count_text(count: int | float) -> str:
    """`640`, `1.5 k`, `2.0 M`."""
    return _scaled(count, 1000, ("", "k", "M", "G", "T")).rstrip()


def learned_text(count: int, variants: Sequence[int]) -> str:
    """`640`, or of variants what each of them has: `12 in each`."""
    if not variants:
        return count_text(count)
    return f"{count_text(count // math.prod(variants))} in each"


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


def field_texts(output: Specs) -> tuple[str, ...]:
    """The fields of a batch, one by one: `image: f32[4,3]`, `label: i32[4]`."""
    leaves: list[tuple[tuple[object, ...], PyTree]]
    leaves = jax.tree_util.tree_leaves_with_path(output)
    return tuple(
        f"{path_text(path)}: {spec_text(x)}" if path else spec_text(x) for path, x in leaves
    )


def shortened(fields: Sequence[str], most: int = _FIELDS) -> str:
    """The fields in a row; of many the first few, and how many there are more."""
    if len(fields) <= most + 1:  # nothing is shorter than the one field left out
        return ", ".join(fields)
    return f"{', '.join(fields[:most])}, … {len(fields) - most} more"


def one_line(text: str) -> str:
    """The text with blanks for what would break a line, or cannot be printed."""
    return "".join(x if x.isprintable() else " " for x in text)


def width(text: str) -> int:
    """How many places a text takes in a terminal."""
    return sum(
        (not unicodedata.combining(x)) * (1 + (unicodedata.east_asian_width(x) in "WF"))
        for x in text
    )
