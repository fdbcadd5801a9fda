"""What a source is, as a module: records and their order; and views of one, which copy nothing.

Which records a view shows is decided in `dagrax.pure`. Where records are held is not known here.
"""

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeGuard

import jax
import numpy as np
import typing_extensions as te
from flax import nnx
from jaxtyping import Array, PRNGKeyArray, PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from ._misuse import SPLIT, VERBS
from ._records import held, values

Batch = te.TypeVar("Batch", default=PyTree)
Mask: TypeAlias = np.ndarray | Array | Sequence[bool]


class Source(nnx.Module, Generic[Batch]):
    """Where a pipeline's records come from, and in which order."""

    @abc.abstractmethod
    def pure(self) -> tuple[dp.AbstractSource[Batch], dp.AbstractOrder]:
        """The same source and order for the pure core, over this module's arrays."""

    def _named(self) -> str:
        """How a user wrote it, for tables and pictures."""
        return type(self).__name__

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record; no data are read."""
        return self.pure()[0].element_spec

    def __len__(self) -> int:
        """The records. **Errors:** TypeError for a data set that says it at its end alone."""
        size = self.pure()[0].size
        internal.check_known(size, "records")
        return size

    def __bool__(self) -> bool:
        return True

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "Source[Batch]":
        # Flax's own copies what is static too, which is compared by identity in parts of the core.
        copied: Source[Batch] = nnx.clone(self)
        if memo is not None:
            memo[id(self)] = copied
        return copied

    if not TYPE_CHECKING:  # or a type checker would take any name

        def __getattr__(self, name: str) -> object:
            if name in VERBS:
                kind = type(self).__name__
                raise AttributeError(f"{kind} has no attribute `{name}`; {VERBS[name]}.")
            return super().__getattribute__(name)  # in the words of Python

    @internal.guided("split", SPLIT)
    def split(
        self,
        parts: float | int | Sequence[float | int] | np.ndarray,
        *,
        key: PRNGKeyArray | None = None,
    ) -> "tuple[View[Batch], ...]":
        """Views that share these records: `train, valid = source.split(0.8, key=key)`.

        `parts` and `key` are those of `dagrax.pure.split`; so are the errors.
        """
        views = dp.split(self.pure()[0], parts, key=key)
        return tuple(View(self, view.shown) for view in views)

    def __getitem__(self, ids: slice | range | Sequence[int] | np.ndarray | Array) -> "View[Batch]":
        """The records of these ids, in their order; of booleans, those where one is True.

        A view, as `dagrax.pure.Subset` and `where` give it, with their errors. A slice means what
        it means for a list: `source[:-100]`.
        """
        source = self.pure()[0]
        view = dp.where(source, ids) if _is_mask(ids) else dp.Subset(source, ids)
        return View(self, view.shown)


class View(Source[Batch]):
    """Some records of a source, as a source: made by `source.split(…)` and `source[…]`.

    It holds the whole, `of`, whose arrays it shares. A view of a shuffled source is shuffled, and a
    record draws what it would draw in the whole.
    """

    def __init__(self, of: Source[Batch], places: internal.AbstractPlaces):
        self.of = of
        self.places = nnx.data(held(places))

    @property
    def ids(self) -> np.ndarray:
        """The ids that the whole gives to these records: `labels[view.ids]` are their labels."""
        return np.asarray(self._shown().ids)

    def pure(self) -> tuple[dp.AbstractSource[Batch], dp.AbstractOrder]:
        return self._shown(), self.of.pure()[1]

    def _named(self) -> str:
        return f"View of {self.of._named()}"

    def _shown(self) -> dp.Subset[Batch]:
        return dp.Subset(self.of.pure()[0], values(self.places, "source.places"))


def _is_mask(ids: object) -> TypeGuard[Mask]:
    if isinstance(ids, np.ndarray | jax.Array):
        return bool(ids.dtype == np.bool_)
    return isinstance(ids, list | tuple) and bool(ids) and isinstance(ids[0], bool | np.bool_)
