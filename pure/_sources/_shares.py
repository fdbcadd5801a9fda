"""How the records of a source are shared out: fractions or counts, as the places where parts end.

Only numbers are known here, neither records nor views.
"""

import itertools
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeAlias

import jax
import numpy as np

from .._text import valued

Shares: TypeAlias = float | int | Sequence[float | int] | np.ndarray | jax.Array
_CLOSE = 1e-6  # fractions that were typed add up to 1 but for rounding, of 32 bits too


def ends_of(parts: Shares, size: int) -> list[int]:
    """Where the parts end among `size` records; of one bare number, it and the rest.

    **Errors:** TypeError for what is neither a fraction nor a count, and for both at once;
    ValueError for parts that do not add up to the whole, for none, and for one without records.
    """
    given = parts.tolist() if isinstance(parts, np.ndarray | jax.Array) else parts
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
        ends = _of_counts([int(x) for x in own], size, several)
    else:
        ends = _of_fractions([float(x) for x in own], size, several)
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


def _of_counts(counts: list[int], size: int, several: bool) -> list[int]:
    *ends, total = itertools.accumulate(counts)
    if several and total != size:
        rest = size - sum(counts[:-1]) if total > size else size - total
        whole = [*counts[:-1], rest] if total > size else [*counts, rest]
        raise ValueError(
            f"parts are {counts}, {total} records together, but the source has {size}; expected "
            f"counts that add up to it{_such_as(whole)}."
        )
    if total > size:
        raise ValueError(
            f"parts are {total}, but the source has {size} records; expected fewer: a count for "
            "one view, whose rest is the other."
        )
    return [*ends, size] if several else [total, size]


def _of_fractions(fractions: list[float], size: int, several: bool) -> list[int]:
    *totals, total = itertools.accumulate(fractions)
    ends = [min(size, int(end * size + 0.5)) for end in totals]
    if several and abs(total - 1) > _CLOSE:
        rest = 1 - sum(fractions[:-1]) if total > 1 else 1 - total
        whole = [*fractions[:-1], rest] if total > 1 else [*fractions, rest]
        told = [float(f"{x:.6g}") for x in whole]
        raise ValueError(
            f"parts are {fractions}, which add up to {total:g}; expected fractions that add up to "
            f"1{_such_as(told)}. (Counts of records are ints.)"
        )
    if total > 1 + _CLOSE:
        raise ValueError(
            f"parts are {total:g}; expected a fraction below 1: a share for one view, whose rest "
            "is the other. (Counts of records are ints.)"
        )
    return [*ends, size] if several else [int(total * size + 0.5), size]


def _such_as(whole: list[int] | list[float]) -> str:
    if whole[-1] <= 0:
        return ""
    single = f", or {whole[0]} alone for a view and the rest" if len(whole) == 2 else ""
    return f": dp.split(source, {whole}){single}"
