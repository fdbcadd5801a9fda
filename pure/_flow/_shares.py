"""How the records of a source are shared out: fractions or counts, as the places where parts end.

Only numbers are known here, neither records nor views.
"""

import itertools
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeAlias

import numpy as np

from .._text import valued

Shares: TypeAlias = float | int | Sequence[float | int] | np.ndarray
_CLOSE = 1e-9  # fractions that were typed add up to 1 but for rounding


def ends_of(parts: Shares, size: int) -> list[int]:
    """Where the parts end among `size` records; of one bare number, it and the rest.

    **Errors:** TypeError for what is neither a fraction nor a count, and for both at once;
    ValueError for more than the whole, for none, and for a part without records.
    """
    given = parts.tolist() if isinstance(parts, np.ndarray) else parts
    several = isinstance(given, list | tuple)
    own: list[float | int] = [*np.atleast_1d(np.asarray(given, object))]
    if not own:
        raise ValueError("parts are empty; expected a fraction or a count for each view.")
    counted = [_is_count(f"parts[{i}]" if several else "parts", x) for i, x in enumerate(own)]
    if any(counted) and not all(counted):
        raise TypeError(
            f"parts are {parts!r}, counts and fractions at once; expected either the ones, all "
            "ints, or the others, all floats."
        )
    _check_signs(parts, own)
    if all(counted):
        ends = _of_counts([int(x) for x in own], size)
    else:
        ends = _of_fractions([float(x) for x in own], size)
    ends = ends if several else [*ends, size]
    for index, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if end <= start:
            raise ValueError(
                f"parts are {parts!r} of {size} records, so that view {index} would be empty; "
                "expected at least one record in each."
            )
    return ends


def _is_count(name: str, share: object) -> bool:
    if isinstance(share, bool | np.bool_) or not isinstance(share, Real):
        raise TypeError(valued(name, share, "a fraction, such as 0.8, or a count of records."))
    return isinstance(share, Integral)


def _check_signs(parts: Shares, own: Sequence[float | int]) -> None:
    for share in own:
        if not share > 0:  # nor NaN
            raise ValueError(
                f"parts are {parts!r}, of which {share} is not above 0; expected fractions or "
                "counts of at least one record."
            )


def _of_counts(counts: Sequence[int], size: int) -> list[int]:
    ends = list(itertools.accumulate(counts))
    if ends[-1] > size:
        raise ValueError(
            f"parts are {ends[-1]} records together, but the source has {size}; expected at most "
            "as many."
        )
    return ends


def _of_fractions(fractions: Sequence[float], size: int) -> list[int]:
    totals = list(itertools.accumulate(fractions))
    if totals[-1] > 1 + _CLOSE:
        raise ValueError(
            f"parts add up to {totals[-1]:g}; expected fractions that add up to at most 1. (Counts "
            "of records are ints.)"
        )
    return [min(size, int(total * size + 0.5)) for total in totals]
