"""Records that are copied or decoded in parts, by several threads at a time.

What a part is for is not known here.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import jax
import numpy as np
from jaxtyping import Int64, PyTree

from ..._flow._fed import asks_the_host
from ..._text import valued

Places: TypeAlias = Int64[np.ndarray, " n"]
_Arrays = TypeVar("_Arrays", bound=PyTree)
_MOST = 4  # threads; with more of them memory gives no more


def checked_threads(threads: object) -> int:
    """How many threads were asked for. **Errors:** TypeError for no int, ValueError below 1."""
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise TypeError(valued("threads", threads, "an int."))
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected at least 1.")
    return int(threads)


def threads_beside() -> int:
    """How many copy best: one beside a CPU, whose cores the step needs, and several beside an
    accelerator, whose step may outrun one."""
    return max(1, min(_MOST, (os.cpu_count() or 1) - 1)) if asks_the_host() else 1


def take(rows: np.ndarray, places: Places, out: np.ndarray, threads: int) -> None:
    """The rows at these places, which are all there, into `out`."""

    def part(places: Places, out: np.ndarray) -> None:
        np.take(rows, places, axis=0, out=out, mode="clip")  # the other modes take twice as long

    in_parts(part, threads, places, out)


def in_parts(
    fill: Callable[[Places, _Arrays], object], threads: int, places: Places, out: _Arrays
) -> None:
    """`fill(places, out)` by so many calls, one beside the other, each for its rows.

    **Errors:** those of the first part that fails, when all have ended.
    """
    parts = min(threads, len(places))
    if parts < 2:
        fill(places, out)
        return
    ends = np.linspace(0, len(places), parts + 1).astype(int).tolist()
    own = [(places[a:b], _rows(out, a, b)) for a, b in itertools.pairwise(ends)]
    with ThreadPoolExecutor(parts, "dagrax-part") as pool:
        asked = [pool.submit(fill, *each) for each in own]
    for each in asked:
        each.result()


def _rows(arrays: _Arrays, start: int, end: int) -> _Arrays:
    rows: _Arrays = jax.tree.map(lambda x: x[start:end], arrays)
    return rows
