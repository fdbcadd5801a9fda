"""Whole numbers that are static: radii, lengths, counts.

What they are for is said by the names that they are given under; sizes stand in `_sizes`.
"""

import operator

import numpy as np

from .._text import valued


def whole(name: str, value: object, *, least: int) -> int:
    """A static whole number. **Errors:** TypeError for none, ValueError for one below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(valued(name, value, "a whole number, which is static."))
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} is {number}; expected at least {least}.")
    return number
