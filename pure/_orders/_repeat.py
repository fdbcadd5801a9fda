"""An order each of whose records stands some times in a row: repeated augmentation.

Which order it repeats is not known here.
"""

import equinox as eqx
import numpy as np

from .._namespace import Batch, Epoch
from .._text import of_type
from ._order import AbstractOrder, check_natural


class Repeat(AbstractOrder):
    """Each record of an order `times` times in a row, each time with draws of its own.

    For several augmentations of a record in one batch, as in Hoffer et al., "Augment Your Batch",
    CVPR 2020; `np.repeat`, and not tf.data's `repeat`. An epoch is `times` times as long.

    **Errors:** TypeError for what is no order or no int; ValueError for `times` below 1, and, where
    a stream is made, for an epoch of more than 2**31 - 1 positions.
    """

    order: AbstractOrder
    times: int = eqx.field(static=True)

    def __init__(self, order: AbstractOrder, times: int | np.integer):
        if not isinstance(order, AbstractOrder):
            expected = "an order: write Repeat(Shuffled(key), 3)."
            raise TypeError(of_type("order", order, expected))
        check_natural("times", times)
        self.order, self.times = order, int(times)

    @property
    def reads_numpy(self) -> bool:  # type: ignore[override]
        """Where the order that it repeats does."""
        return self.order.reads_numpy

    @property
    def most(self) -> int:  # type: ignore[override]
        """As many as the order that it repeats."""
        return self.order.most

    def length(self, size: int) -> int:
        """`times` times that of the order."""
        return self.times * self.order.length(size)

    def check(self, size: int) -> None:
        self.order.check(size)

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """Ids of the order at `positions // times`."""
        return self.order.ids(positions // self.times, epoch, size)

    def turns(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        """The repetition, and the turn of the order if it has turns of its own."""
        again = positions % self.times
        turns = self.order.turns(positions // self.times, epoch, size)
        return again if turns is None else turns * np.uint32(self.times) + again

    def own_epochs(self, positions: Batch, epoch: Epoch, size: int) -> Batch | None:
        """Those of the order."""
        return self.order.own_epochs(positions // self.times, epoch, size)
