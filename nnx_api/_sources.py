"""Records in memory, as modules: Variables that hold the data.

What may be data, and how it is held, is decided in `dagrax.pure`; nothing here knows of pipelines.
"""

import dataclasses

import jax
import numpy as np
from flax import nnx
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from ._misuse import SOURCE
from ._orders import Ordered, draw_seed, held_order
from ._records import Seed, held, values
from ._source import Batch


@dataclasses.dataclass(frozen=True)
class MemorySourceConfig:
    """`shuffle`: whether each epoch visits the records in a new random order."""

    shuffle: bool | np.bool_ = False

    def __post_init__(self) -> None:
        _check_shuffle(self.shuffle)


class MemorySource(Ordered[Batch]):
    """Records in memory; `MemorySource[Images]` tells a type checker what their batches are.

    - `config`: a `MemorySourceConfig`; `shuffle=True` says the same without one.
    - `data`: a pytree of arrays whose leading axes are the records, or a list of records of equal
      structure, shapes and dtypes. What may be an array, and when a mapped file stays on disk, is
      told by `dagrax.pure.ArraySource`.
    - `order`: an order of `dagrax.pure` in place of a shuffle, such as `dp.Weighted(key, weights)`.
      Its arrays are Variables, which nothing trains and no checkpoint holds: see `reorder`.
    - `rngs`: seeds the shuffle (stream `shuffle`); it may be left out where nothing is shuffled.

    **Errors:** those of `dagrax.pure.ArraySource`; ValueError for records that differ in structure
    or shape, for a shuffle without `rngs`, where `config` and `shuffle` disagree, for an `order`
    beside a shuffle or for another number of records; TypeError for records that differ in dtype,
    and for arguments of another kind.
    """

    @internal.guided("MemorySource", SOURCE)
    def __init__(
        self,
        config: MemorySourceConfig | None = None,
        data: PyTree = None,
        *,
        shuffle: bool | np.bool_ | None = None,
        order: dp.AbstractOrder | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        self.config = settled_config(config, shuffle)
        if self.config.shuffle and rngs is None:
            raise ValueError("A shuffle needs a seed; pass rngs=nnx.Rngs(0) to MemorySource.")
        arrays = internal.stacked_records(data) if isinstance(data, list) else data
        source: dp.ArraySource[Batch] = dp.ArraySource(arrays)
        self.data = nnx.data(held(_without_modules(source.data)))
        self._order = nnx.data(held_order(order, self.config.shuffle, source.size))
        self._order_key = None if rngs is None else Seed(draw_seed(rngs, "shuffle"))

    def pure(self) -> tuple[dp.AbstractSource[Batch], dp.AbstractOrder]:
        source = dp.ArraySource(values(self.data, "source.data"))
        return source, self._own_order(self.config.shuffle)


def settled_config(
    config: MemorySourceConfig | None, shuffle: bool | np.bool_ | None
) -> MemorySourceConfig:
    """What is said once, or twice alike. **Errors:** TypeError, ValueError."""
    if config is None:
        return MemorySourceConfig(shuffle=False if shuffle is None else shuffle)
    if not isinstance(config, MemorySourceConfig):
        expected = (
            "a MemorySourceConfig, or none: write MemorySource(data=…, shuffle=True, rngs=…)."
        )
        raise TypeError(internal.of_type("config", config, expected))
    if shuffle is not None:
        _check_shuffle(shuffle)
        if shuffle != config.shuffle:
            raise ValueError(
                f"shuffle is {shuffle}, but the config says {config.shuffle}; leave one out."
            )
    return config


def _check_shuffle(shuffle: object) -> None:
    if not isinstance(shuffle, bool | np.bool_):
        raise TypeError(internal.valued("shuffle", shuffle, "True or False."))


def _without_modules(data: PyTree) -> PyTree:
    def is_module(node: object) -> bool:
        return isinstance(node, nnx.Pytree | nnx.Variable)

    for path, leaf in jax.tree_util.tree_leaves_with_path(data, is_leaf=is_module):
        if is_module(leaf):
            where = f"Field `{internal.path_text(path)}`" if path else "data"
            mend = "write x[...]" if isinstance(leaf, nnx.Variable) else "take its arrays out of it"
            raise TypeError(internal.of_type(where, leaf, f"arrays alone: {mend}."))
    return data
