"""Weights as whole numbers of records in a block, which hold the proportions exactly.

Only numbers are known here, neither sources nor orders.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from .._text import of_type, valued

Weight: TypeAlias = float | int | np.floating | np.integer
_LARGEST = 1000  # records of a block; weights that need more are rounded to that many parts
_SIMPLE = 1000  # the denominator of what is meant by 0.3333333333333333


def counts_of(where: str, weights: Mapping[str, Weight]) -> tuple[int, ...]:
    """How many records of each are in a block, the smallest that holds these proportions.

    A float is the number that it is written as: 0.1 is one tenth. If the smallest block is longer
    than 1,000, proportions are rounded to thousandths; what has a weight has a record.

    **Errors:** TypeError for weights that are no numbers; ValueError for negative ones, NaN and
    infinity, and if all are zero.
    """
    for name, weight in weights.items():
        _check(f"{where}[{name!r}]", weight)
    if not any(weights.values()):
        raise ValueError(f"All weights of {where} are zero; expected at least one above zero.")
    exact = [Fraction(str(weight)) for weight in weights.values()]
    shares = [_meant(weight / sum(exact)) for weight in exact]
    block = math.lcm(*(share.denominator for share in shares))
    if sum(shares) == 1 and block <= _LARGEST:
        return tuple(int(share * block) for share in shares)
    return _rounded([weight / sum(exact) for weight in exact])


def _check(name: str, weight: object) -> None:
    if isinstance(weight, bool | np.bool_) or not isinstance(weight, Real):
        raise TypeError(valued(name, weight, "a number."))
    if not 0 <= float(weight) < math.inf:
        raise ValueError(f"{name} is {weight}; expected a finite weight of at least 0.")


def _meant(share: Fraction) -> Fraction:
    simple = share.limit_denominator(_SIMPLE)
    return simple if abs(simple - share) < Fraction(1, 10**12) else share


def _rounded(shares: list[Fraction]) -> tuple[int, ...]:
    # By largest remainders; what has a weight has a record, which others do without.
    counts = [max(int(share * _LARGEST), int(share > 0)) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i] * _LARGEST)
    for index in order[: max(0, _LARGEST - sum(counts))]:
        counts[index] += 1
    while sum(counts) > _LARGEST and max(counts) > 1:
        ahead = [count - share * _LARGEST for count, share in zip(counts, shares, strict=True)]
        counts[max((i for i in order if counts[i] > 1), key=ahead.__getitem__)] -= 1
    shortest = math.gcd(*counts)
    return tuple(count // shortest for count in counts)


def by_name(where: str, value: object) -> Mapping[str, Any]:
    """What is given for each name. **Errors:** TypeError for anything but a dict of names."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError(
            of_type(where, value, 'a dict by name, such as {"web": 0.9, "books": 0.1}.')
        )
    return value
