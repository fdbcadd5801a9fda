"""Several threads for a copy that one would take too long for, where others have no use for them.

On a CPU the same cores train, so that one thread copies. What is copied is not known.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

_MOST = 4  # beyond, the memory is no faster
_WORTH = 2**20  # bytes; less is copied before a thread has begun


def shared_out(copy: Callable[[int, slice], None], many: int, size: int) -> None:
    """Have all of so many records of some bytes copied, by `copy(hand, which)`, at once.

    **Errors:** those of a copy, after the others have ended.
    """
    hands = min(_hands(), many * size // _WORTH)
    if hands <= 1:
        return copy(0, slice(0, many))
    ends = np.linspace(0, many, hands + 1).astype(int).tolist()
    parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
    with ThreadPoolExecutor(hands, "dagrax-copy") as pool:
        list(pool.map(copy, range(hands), parts))


def _hands() -> int:
    return 1 if jax.default_backend() == "cpu" else min(_MOST, os.cpu_count() or 1)
