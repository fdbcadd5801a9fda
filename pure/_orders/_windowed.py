"""An order that reads records in stretches, a few of them at a time: a shuffle for cold disks.

Positions and records are counted here and nothing is held. What lies on the disk is not known.
"""

from typing import ClassVar, NamedTuple, cast

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray

from .._namespace import Batch, Epoch, Words, namespace, words
from .._random._keys import check_key
from ._order import AbstractOrder, check_natural, check_size
from ._permutation import Grid, hashed, keys_of_each, permuted, restored, round_keys, rounds

_WITHIN = np.uint32(0x9E3779B9)  # keeps the keys of windows apart from those of the blocks


class _Layout(NamedTuple):
    """So many blocks of a length, some to a window; the last one lacks some records."""

    blocks: int
    block: int
    window: int  # in blocks
    lacking: int

    @property
    def last(self) -> int:
        """The number of blocks in the last window."""
        return self.blocks - (self.blocks - 1) // self.window * self.window


class Windowed(AbstractOrder):
    """Blocks of consecutive records, shuffled; and the records of each `window` of them, shuffled.

    Every epoch visits every record exactly once. A batch reads from `window` blocks (twice that at
    the border of two windows), so that a disk reads `block` records in a row: tf.data's `shuffle`
    of a buffer behind shuffled shards, but exact and without a buffer. The last block may be short.

    - `key`: one JAX key, typed or raw.
    - `block`: the number of consecutive records that are read together.
    - `window`: the number of blocks among whose records an epoch mixes.

    **Errors:** TypeError for a `block` or `window` that is no int, ValueError for one below 1.
    """

    reads_numpy: ClassVar[bool] = True
    key: PRNGKeyArray
    block: int = eqx.field(static=True)
    window: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, block: int | np.integer, window: int | np.integer):
        check_key("key", key)
        check_natural("block", block)
        check_natural("window", window)
        self.key, self.block, self.window = key, int(block), int(window)

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """Ids at `positions`, same shape; `ValueError` for a `size` outside 1 to 2**31 - 1."""
        check_size(self, size)
        layout = self._layout(size)
        blocks, block, window, lacking = layout
        grid, keys = Grid.of(blocks), round_keys(self.key, epoch, rounds(blocks))
        # Where the short block stands: positions behind its window lack what it lacks.
        short = restored(words(blocks - 1, positions), grid, keys)
        which, start = _windows(positions, short // window, layout)
        has_short = which == short // window
        within = self._mixed(positions - start, which, has_short, epoch, layout)
        behind = has_short & (within >= short % window * block + (block - lacking))
        within = cast(Batch, namespace(within).where(behind, within + lacking, within))
        return permuted(which * window + within // block, grid, keys) * block + within % block

    def _layout(self, size: int) -> _Layout:
        block = min(int(self.block), size)
        blocks = -(-size // block)
        return _Layout(blocks, block, min(int(self.window), blocks), blocks * block - size)

    def _mixed(
        self,
        places: Batch,
        which: Batch,
        has_short: Bool[Array, " batch"] | Bool[np.ndarray, " batch"],
        epoch: Epoch,
        layout: _Layout,
    ) -> Batch:
        # Where a place of a window goes, in a window of one of four sizes.
        is_last = which == (layout.blocks - 1) // layout.window
        whole, last = layout.window * layout.block, layout.last * layout.block
        sizes = [[whole, whole - layout.lacking], [last, last - layout.lacking]]
        (a, b), (c, d) = [[Grid.of(max(1, size)) for size in row] for row in sizes]
        xp = namespace(which)
        grid = Grid(
            *(
                xp.where(is_last, xp.where(has_short, z, y), xp.where(has_short, x, w))
                for w, x, y, z in zip(*(map(np.uint32, grid) for grid in (a, b, c, d)), strict=True)
            )
        )
        keys = round_keys(self.key, epoch, rounds(min(map(min, sizes))))
        return permuted(
            places, grid, keys_of_each(hashed(cast(Words, keys) ^ _WITHIN), hashed(which))
        )


def _windows(positions: Batch, short: Words, layout: _Layout) -> tuple[Batch, Batch]:
    """In which window each position lies, and at which position that starts."""
    length = np.uint32(layout.window * layout.block)
    ahead = positions < short * length
    inside = ~ahead & (positions - short * length < length - np.uint32(layout.lacking))
    moved = namespace(positions).where(ahead | inside, np.uint32(0), np.uint32(layout.lacking))
    which = (positions + moved) // length
    return which, which * length - moved
