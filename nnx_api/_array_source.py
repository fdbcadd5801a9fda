"""A source of the pure core as a module, whose arrays are Variables: the data are never saved.

Which sources there are, and what they read, stands in `dagrax.pure`.
"""

import numpy as np
from flax import nnx

import dagrax.pure as dp
from dagrax.pure import host, internal

from ._misuse import HOSTED
from ._orders import Ordered, draw_seed, held_order
from ._records import Seed, held, values
from ._source import Batch, Source


class ArraySource(Ordered[Batch]):
    """A source of the pure core, as a module: `ArraySource(source=dp.Windows(tokens, 128))`.

    - `source`: any source of `dagrax.pure`; its arrays are held in `Records`, which no checkpoint
      saves.
    - `shuffle`: whether each epoch visits the records in a new random order; `rngs` then seeds it
      (stream `shuffle`).
    - `order`: an order of `dagrax.pure` in place of a shuffle: see `MemorySource`.

    **Errors:** TypeError for what is no source of the core, or no order; ValueError for a shuffle
    without `rngs`, and for an order beside a shuffle or for another number of records.
    """

    @internal.guided("ArraySource", HOSTED)
    def __init__(
        self,
        source: dp.AbstractSource[Batch],
        *,
        shuffle: bool | np.bool_ = False,
        order: dp.AbstractOrder | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        if isinstance(source, Source):
            raise TypeError(
                f"source is a {type(source).__name__}, a source of the face already; pass it as "
                "it is."
            )
        if isinstance(source, host.AbstractHostSource):
            expected = "one in memory; for one that is read on the host write HostSource(source=…)."
            raise TypeError(internal.of_type("source", source, expected))
        if not isinstance(source, dp.AbstractSource):
            expected = "a source of dagrax.pure: write MemorySource(data=…) for data."
            raise TypeError(internal.of_type("source", source, expected))
        if not isinstance(shuffle, bool | np.bool_):
            raise TypeError(internal.valued("shuffle", shuffle, "True or False."))
        if shuffle and source.order is not None:
            raise ValueError(
                f"A {type(source).__name__} decides its own order; leave out shuffle=True."
            )
        if shuffle and rngs is None:
            raise ValueError("A shuffle needs a seed; pass rngs=nnx.Rngs(0) to ArraySource.")
        self.records = nnx.data(held(source))
        self._order = nnx.data(held_order(order, shuffle, source.size))
        seed = Seed(draw_seed(rngs, "shuffle")) if shuffle and rngs is not None else None
        self._order_key = seed

    def _named(self) -> str:
        return (
            f"{type(self).__name__}({internal.source_name(values(self.records, 'source.records'))})"
        )

    def pure(self) -> tuple[dp.AbstractSource[Batch], dp.AbstractOrder]:
        source = values(self.records, "source.records")
        if self._order is None and self._order_key is None:
            return source, source.order or dp.Sequential()
        return source, self._own_order(self._order_key is not None)
