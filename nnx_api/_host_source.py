"""A source that is read on the host as a module: no data of it are in the program, nor are saved.

Which sources there are, and how they are read, stands in `dagrax.pure.host`.
"""

import numpy as np
from flax import nnx

import dagrax.pure as dp
from dagrax.pure import host, internal

from ._misuse import HOSTED
from ._orders import Ordered, draw_seed, held_order
from ._records import Seed, held, values
from ._source import Batch, Source
from ._sources import MemorySourceConfig, settled_config


class HostSource(Ordered[Batch]):
    """A source that is read on the host, as a module: `HostSource(source=host.DiskSource(path))`.

    - `config`: a `MemorySourceConfig`, or True for a shuffle; `shuffle=True` says the same.
    - `source`: a source of `dagrax.pure.host`, or one of `dagrax.pure` that is made of some, such
      as `dp.Zip` or a view.
    - `order`: an order of `dagrax.pure` in place of a shuffle: see `MemorySource`.
    - `rngs`: seeds the shuffle (stream `shuffle`).

    A pipeline over it runs as one over arrays: `step`, `for`, `scan`, `blocks`, `seek`, `outputs`.
    A thread of its own reads ahead; `pipeline.close()`, or the end of the pipeline, ends it.

    **Errors:** those of `MemorySource` for a shuffle and an order; TypeError for what is no such
    source.
    """

    @internal.guided("HostSource", HOSTED)
    def __init__(
        self,
        config: MemorySourceConfig | bool | np.bool_ | None = None,
        *,
        source: host.AbstractHostSource[Batch] | dp.AbstractSource[Batch],
        shuffle: bool | np.bool_ | None = None,
        order: dp.AbstractOrder | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        if isinstance(config, bool | np.bool_):
            config = MemorySourceConfig(shuffle=config)
        if not isinstance(config, MemorySourceConfig | None):
            expected = "True for a shuffle, or a MemorySourceConfig: HostSource(True, source=…)."
            raise TypeError(internal.valued("config", config, expected))
        self.config = settled_config(config, shuffle)
        if isinstance(source, Source):
            raise TypeError(
                f"source is a {type(source).__name__}, a source of the face already; pass it as "
                "it is."
            )
        expected = internal.mend_to_host_source(source)
        if not isinstance(source, host.AbstractHostSource | dp.AbstractSource):
            raise TypeError(internal.of_type("source", source, expected))
        whole = internal.given_source("source", source)
        if not internal.is_hosted(whole):
            raise TypeError(internal.of_type("source", source, expected))
        if self.config.shuffle and whole.order is not None:
            raise ValueError(
                f"source, of type {type(source).__name__}, decides its own order; leave out the "
                "shuffle."
            )
        if self.config.shuffle and rngs is None:
            raise ValueError("A shuffle needs a seed; pass rngs=nnx.Rngs(0) to HostSource.")
        self.records = nnx.data(held(whole))
        self._order = nnx.data(held_order(order, self.config.shuffle, whole.size))
        self._order_key = None if rngs is None else Seed(draw_seed(rngs, "shuffle"))

    def _named(self) -> str:
        return (
            f"{type(self).__name__}({internal.source_name(values(self.records, 'source.records'))})"
        )

    def pure(self) -> tuple[dp.AbstractSource[Batch], dp.AbstractOrder]:
        source = values(self.records, "source.records")
        if self._order is None and not self.config.shuffle:
            return source, source.order or dp.Sequential()
        return source, self._own_order(self.config.shuffle)
