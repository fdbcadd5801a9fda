"""Which part of each batch one of several processes or devices takes.

The batches are those of all of them together; what is in a batch is not known here.
"""

from typing import TypeAlias

import numpy as np

from .._text import valued

Shard: TypeAlias = tuple[int, int]


def checked_shard(shard: object, batch_size: int) -> Shard | None:
    """Index and count as ints, or None.

    **Errors:** TypeError for anything but two ints; ValueError for an index that is none of the
    shards, and for a batch size that their number does not divide.
    """
    if shard is None:
        return None
    if (
        not isinstance(shard, tuple | list)
        or len(shard) != 2
        or not all(isinstance(x, int | np.integer) and not isinstance(x, bool) for x in shard)
    ):
        expected = "two ints, (index, count): write shard=(0, 4)."
        raise TypeError(valued("shard", shard, expected))
    index, count = int(shard[0]), int(shard[1])
    if count < 1 or not 0 <= index < count:
        raise ValueError(
            f"shard is {(index, count)}; expected (index, count) with an index from 0 to count - 1."
        )
    if batch_size % count:
        raise ValueError(
            f"batch_size is {batch_size}, which the {count} shards of shard={(index, count)} do "
            "not divide; batch_size counts the records of all shards together: choose a multiple "
            f"of {count}."
        )
    return index, count


def part_of(length: int, shard: Shard | None) -> range:
    """Which of so many rows are the shard's: as `np.array_split` splits them."""
    index, count = shard or (0, 1)
    each, more = divmod(length, count)
    start = index * each + min(index, more)
    return range(start, start + each + (index < more))
