"""Views: some records of a source as a source, with nothing copied.

A record keeps the id that it has in the whole, so that what is drawn for it does not depend on the
view that it is seen through. Which records they are is told by `_places`; orders are not known.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int64, Integer, PRNGKeyArray, PyTree, UInt32

from .._apart import settled, start_of
from .._namespace import Batch as Batched
from .._namespace import plain
from .._random._keys import check_key
from ._host_source import AbstractHostSource
from ._hosted import given_part
from ._places import AbstractPlaces, chosen, marked, part
from ._shares import Shares, ends_of
from ._source import AbstractSource, Batch

Ids: TypeAlias = (
    Integer[Array, " records"] | Integer[np.ndarray, " records"] | Sequence[int] | range | slice
)
Mask: TypeAlias = Bool[Array, " records"] | Bool[np.ndarray, " records"] | Sequence[bool]


class Subset(AbstractSource[Batch]):
    """The records of a source that have these ids, in their order: a view, nothing is copied.

    Elsewhere: `torch.utils.data.Subset`, `source[ids]` of grain. A record keeps the id, and so the
    draws, that it has in the source. A `range` or a `slice` of ids holds no table of them.

    - `source`: any source; views of views are views.
    - `ids`: integers in one axis, each once.

    **Errors:** TypeError for what is no source, or no integers; ValueError for no ids, for ids that
    the source has not, and for one that comes twice.
    """

    source: AbstractSource[Batch]
    shown: AbstractPlaces

    def __init__(
        self, source: AbstractSource[Batch] | AbstractHostSource[Batch], ids: Ids | AbstractPlaces
    ):
        self.source = given_part("source", source)
        self.shown = ids if isinstance(ids, AbstractPlaces) else chosen(ids, source.size)

    @property
    def size(self) -> int:
        return self.shown.count

    @property
    def whole(self) -> AbstractSource[Batch]:
        """The source that is no view, in which the records are."""
        return self.source.whole

    def places(self, ids: Batched) -> Batched:
        """The ids of these records in the `whole`."""
        return self.source.places(self.shown.ids(ids))

    @property
    def annotation(self) -> object:
        """What a batch of the whole is."""
        return self.source.annotation

    @property
    def ids(self) -> UInt32[Array, " records"]:
        """The ids that the whole gives to these records: `labels[view.ids]` are their labels."""
        return self.record_ids(jnp.arange(self.size, dtype=jnp.uint32))

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record, those of the whole."""
        return self.source.element_spec

    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        # A stream asks the whole instead. The places are found once, or XLA would find that of a
        # record anew for each of its numbers.
        rows: Batch = self.whole.rows(settled(self.places(ids), start_of(ids)))
        return rows

    def fetch(
        self, ids: Int64[np.ndarray, " batch"], out: PyTree[np.ndarray] | None = None
    ) -> PyTree[np.ndarray]:
        return self.whole.fetch(
            np.asarray(self.places(plain(ids.astype(np.uint32))), np.int64), out
        )

    def record_ids(self, ids: Batched) -> Batched:
        """The ids by which these records draw in the whole."""
        return self.whole.record_ids(self.places(ids))


def where(source: AbstractSource[Batch] | AbstractHostSource[Batch], mask: Mask) -> Subset[Batch]:
    """The records at which a mask is True: a view, nothing is copied.

    `mask` is a boolean for each record. **Errors:** TypeError for anything but booleans, ValueError
    for another number of them, and if none is True.
    """
    source = given_part("source", source)
    return Subset(source, marked(mask, source.size))


def split(
    source: AbstractSource[Batch] | AbstractHostSource[Batch],
    parts: Shares,
    *,
    key: PRNGKeyArray | None = None,
) -> tuple[Subset[Batch], ...]:
    """Views that share the records of a source among them: `train, valid = split(source, 0.8)`.

    - `parts`: one fraction or count for two views, it and the rest; or a list with one for each
      view, `[0.8, 0.1, 0.1]` or `[800, 200]`, that adds up to the whole. Fractions are of the
      size, rounded where the views meet.
    - `key`: without one the views are contiguous, in the order of the source. With one they are
      random (elsewhere: `torch.utils.data.random_split`, `train_test_split`), each in a random
      order, and hold no table of their records.

    **Errors:** TypeError for what is neither a fraction nor a count; ValueError for a list that
    does not add up to the whole, and for a view without records.
    """
    source = given_part("source", source)
    if key is not None:
        check_key("key", key)
    size = source.size
    ends = ends_of(parts, size)
    return tuple(
        Subset(source, place)
        for place in (
            chosen(range(start, end), size) if key is None else part(key, size, start, end - start)
            for start, end in zip([0, *ends], ends, strict=False)
        )
    )
