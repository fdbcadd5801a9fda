"""Sizes and margins as they are written: `32`, `(32, 48)`, `((1, 2), (3, 4))`; judged once.

They are static: plain whole numbers of pixels, height before width. No array is known here.
"""

from typing import TypeAlias, TypeGuard

import numpy as np

from .._text import valued

Size: TypeAlias = tuple[int, int]
Margins: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
Padding: TypeAlias = int | tuple[int, int] | Margins


def size_of(size: int | Size) -> Size:
    """(height, width); one number stands for a square.

    **Errors:** TypeError for anything but whole numbers, ValueError for one below 1.
    """
    pair = _pair(size)
    if pair is None:
        raise TypeError(valued("size", size, "whole numbers of pixels: (height, width), or one."))
    if min(pair) < 1:
        raise ValueError(f"size is {size!r}; expected at least one pixel each way.")
    return pair


def margins(padding: Padding) -> Margins:
    """((top, bottom), (left, right)) of what is written.

    **Errors:** TypeError for anything but whole numbers, ValueError for one below 0.
    """
    sides = (padding, padding) if _is_whole(padding) else padding
    two = isinstance(sides, tuple | list) and len(sides) == 2
    pairs = [_pair(side) for side in sides] if isinstance(sides, tuple | list) and two else []
    found = [pair for pair in pairs if pair is not None]
    if len(found) < 2:
        expected = "one, (vertical, horizontal) or ((top, bottom), (left, right))"
        raise TypeError(valued("padding", padding, f"whole numbers of pixels: {expected}."))
    vertical, horizontal = found
    if min(vertical + horizontal) < 0:
        raise ValueError(f"padding is {padding!r}; expected none below 0.")
    return vertical, horizontal


def by(size: tuple[int, ...]) -> str:
    """A size in words: `37x52`."""
    return f"{size[0]}x{size[1]}"


def _pair(value: object) -> Size | None:
    pair = (value, value) if _is_whole(value) else value
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return None
    first, second = pair
    return (int(first), int(second)) if _is_whole(first) and _is_whole(second) else None


def _is_whole(value: object) -> TypeGuard[int | np.integer]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
