"""Names and counts that operators are given, judged when they are given.

What stands in the fields of these names is not known here.
"""

from collections.abc import Sequence

import numpy as np

from dagrax.pure import internal


def name(argument: str, value: object) -> str:
    """The name of one field. **Errors:** TypeError."""
    if not isinstance(value, str):
        raise TypeError(internal.valued(argument, value, 'a name: write "image".'))
    return value


def names(argument: str, values: Sequence[str]) -> tuple[str, ...]:
    """Names of fields. **Errors:** TypeError for anything else, ValueError for none, and for one
    that comes twice."""
    told = 'names of fields: write ("image", "mask").'
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(internal.valued(argument, values, told))
    for value in values:
        name(argument, value)
    if not values:
        raise ValueError(f"{argument} is empty; expected {told}")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"{argument} names {internal.listed(twice)} twice; leave one out.")
    return tuple(values)


def count(argument: str, value: object, *, least: int = 1) -> int:
    """A number of things. **Errors:** TypeError for anything else, ValueError for too few."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(internal.valued(argument, value, "an int."))
    if value < least:
        raise ValueError(f"{argument} is {value}; expected at least {least}.")
    return int(value)
