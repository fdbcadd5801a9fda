"""A block in which the turns of each are spread evenly, and the places where it may start.

Before any place each has had its share of the turns, but for less than one: R. Tijdeman, "The
chairman assignment problem", Discrete Mathematics 32, 1980. Only numbers are known here.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64


def turns_of(counts: Sequence[int]) -> Int64[np.ndarray, " block"]:
    """Whose turn it is at each place of a block in which each has so many turns."""
    block, whole = sum(counts), np.asarray(counts, np.int64)
    had, turns = np.zeros_like(whole), np.zeros(block, np.int64)
    for place in range(block):
        # Of those that would not be ahead by a whole turn, the one that first would be behind.
        behind = -(-(had + 1) * block // np.maximum(whole, 1))
        early = had * block >= (place + 1) * whole
        turns[place] = whose = np.where(early, np.iinfo(np.int64).max, behind).argmin()
        had[whose] += 1
    return turns


def had_before(turns: Int64[np.ndarray, " block"], many: int) -> Int64[np.ndarray, "block many"]:
    """How many turns each has had before each place."""
    taken = turns[:, None] == np.arange(many)
    before: Int64[np.ndarray, "block many"] = np.cumsum(taken, axis=0) - taken
    return before


def starts_of(
    had: Int64[np.ndarray, "block many"], counts: Sequence[int]
) -> Int64[np.ndarray, " starts"]:
    """Where a block may start, going round, and still keep each to its share so closely."""
    block = len(had)
    ahead = had * block - np.arange(block)[:, None] * np.asarray(counts)
    near = (ahead.max(axis=0) - ahead < block) & (ahead - ahead.min(axis=0) < block)
    return np.flatnonzero(near.all(axis=1))
