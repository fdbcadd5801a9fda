import abc
import dataclasses
from typing import Any, Generic

import jax
import numpy as np
import typing_extensions as te
from flax import nnx
from jaxtyping import PyTree, Shaped

import dagrax.pure as dp

from ._records import Records, Seed

Batch = te.TypeVar("Batch", default=Any)


class Source(nnx.Module, Generic[Batch]):
    """Where a pipeline's records come from, and in which order."""

    @abc.abstractmethod
    def pure(self) -> tuple[dp.AbstractSource[Batch], dp.AbstractOrder]:
        """The same source and order for the pure core, over this module's arrays."""

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record; no data are read."""
        return self.pure()[0].element_spec

    def __len__(self) -> int:
        return self.pure()[0].size


@dataclasses.dataclass(frozen=True)
class MemorySourceConfig:
    """`shuffle`: whether each epoch visits the records in a new random order."""

    shuffle: bool = False


class MemorySource(Source[Batch]):
    """Records in memory; `MemorySource[Images]` tells a type checker what their batches are.

    `data` is a pytree of arrays whose leading axes are the records, or a list of records of equal
    structure and shapes. `rngs` seeds the order (stream `shuffle`); it may be left out where
    nothing is shuffled. **Errors:** those of `dagrax.pure.ArraySource`; ValueError for records
    that differ in structure or shape, and for a shuffle without `rngs`.
    """

    def __init__(
        self,
        config: MemorySourceConfig = MemorySourceConfig(),
        *,
        data: PyTree[Any],
        rngs: nnx.Rngs | None = None,
    ):
        if not isinstance(config, MemorySourceConfig):
            raise TypeError(
                f"config is {config!r} of type {type(config).__name__}; expected a "
                "MemorySourceConfig: "
                "MemorySource(MemorySourceConfig(shuffle=True), data=…, rngs=nnx.Rngs(0))."
            )
        if config.shuffle and rngs is None:
            raise ValueError(
                "MemorySourceConfig(shuffle=True) needs a seed; pass rngs=nnx.Rngs(0) to "
                "MemorySource."
            )
        self.config = config
        self.data = Records(dp.ArraySource(_stacked(data) if isinstance(data, list) else data).data)
        self._order_key = None if rngs is None else Seed(draw_seed(rngs, "shuffle"))

    def pure(self) -> tuple[dp.AbstractSource[Batch], dp.AbstractOrder]:
        if not isinstance(self.data, Records):
            raise TypeError(
                f"source.data is of type {type(self.data).__name__}; expected Records: to replace "
                "the data, write source.data = Records(data)."
            )
        source = dp.ArraySource(self.data.get_value())
        if not self.config.shuffle:
            return source, dp.Sequential()
        if self._order_key is None:
            raise ValueError(
                "The source's config asks for a shuffle, but it was made without a seed; pass "
                "rngs=nnx.Rngs(0) to MemorySource."
            )
        return source, dp.Shuffled(self._order_key.get_value())


def draw_seed(rngs: nnx.Rngs, stream: str) -> Any:
    """A key from the named stream of `rngs`, or from its default stream."""
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(
            f"rngs is of type {type(rngs).__name__}; expected nnx.Rngs: write rngs=nnx.Rngs(0)."
        )
    try:
        return rngs[stream]()
    except (AttributeError, KeyError):
        raise ValueError(
            f"rngs has neither a stream `{stream}` nor a default one; pass nnx.Rngs(0) or "
            f"nnx.Rngs({stream}=0)."
        ) from None


def _stacked(records: list[Any]) -> PyTree[Shaped[np.ndarray, "records ..."]]:
    if not records:
        raise ValueError("The data are an empty list; pass at least one record.")
    first = jax.tree.map(np.asarray, records[0])
    for index, record in enumerate(records):
        if str(jax.tree.structure(record)) != str(jax.tree.structure(first)):
            raise ValueError(
                f"Record {index} has the structure {jax.tree.structure(record)}, record 0 has "
                f"{jax.tree.structure(first)}; give all records of the list the same fields."
            )
        pairs = zip(
            jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(record), strict=True
        )
        for (path, a), b in pairs:
            if a.shape != np.shape(b):
                raise ValueError(
                    f"Record {index} has shape {np.shape(b)} in field "
                    f"`{jax.tree_util.keystr(path, simple=True, separator='/') or 'data'}`, record "
                    f"0 has {a.shape}; a list is read as one record an item. Crop or pad the "
                    "records to one shape; for a pytree of whole arrays pass a dict or a tuple."
                )
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *records)
