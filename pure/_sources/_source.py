"""Records by id: what a source is, and the one that holds arrays in memory or in mapped files.

What may enter is judged in `_fields`, how it is held in `_staging`, how it is read in `_gather`.
Nothing here knows in which order records are asked for.
"""

import abc
from typing import Any, Generic

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import typing_extensions as te
from jaxtyping import Array, Int64, PyTree, Shaped, UInt32

from .._namespace import Batch as Batched
from .._orders._order import AbstractOrder
from .._text import of_type
from ._fields import fields
from ._foreign import is_of_the_face, mend_to_source
from ._gather import gathered
from ._staging import staged

Batch = te.TypeVar("Batch", default=PyTree)
Ids = Int64[np.ndarray, " batch"]


class AbstractSource(eqx.Module, Generic[Batch]):
    """Rows by record id. The arrays are leaves, so a source is passed to a compiled function.

    What `rows` is annotated to return is the source's contract, which `check` holds it to.
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of records."""

    @abc.abstractmethod
    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        """The records of these ids, stacked along a leading axis. All ids are below `size`."""

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> PyTree[np.ndarray]:
        """The records of these ids in arrays of NumPy, read on the host: into `out`, if given.

        Asked of a source that is joined with one whose records are read on the host.
        """
        rows = self.rows(jnp.asarray(ids.astype(np.uint32)))
        return filled(out, jax.tree.map(np.asarray, rows))

    def record_ids(self, ids: Batched) -> Batched:
        """The ids by which these records draw: their own, or for a view those of the whole."""
        return ids

    @property
    def whole(self) -> "AbstractSource[Batch]":
        """The source that holds the records: itself, or for a view what it is a view of."""
        return self

    def places(self, ids: Batched) -> Batched:
        """The ids of these records in the `whole`."""
        return ids

    @property
    def order(self) -> AbstractOrder | None:
        """The order that it decides itself, as a mixture does. None where any order will do."""
        return None

    @property
    def annotation(self) -> object:
        """What a batch of it is, for contracts: what `rows` is annotated to return."""
        return te.get_type_hints(type(self).rows).get("return", Any)

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record; no data are read."""
        rows = eqx.filter_eval_shape(self.rows, jax.ShapeDtypeStruct((1,), jnp.uint32))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)


def check_source(name: str, source: object) -> None:
    """Refuse what is no source. **Errors:** TypeError."""
    if not isinstance(source, AbstractSource):
        raise TypeError(of_type(name, source, mend_to_source(source)))


def check_part(name: str, source: object) -> None:
    """Refuse what cannot be part of another source. **Errors:** TypeError."""
    check_source(name, source)
    if isinstance(source, AbstractSource) and source.order is not None:
        raise TypeError(
            f"{name} is a {type(source).__name__}, which decides its own order; make views of its "
            "sources, or join them, and mix those."
        )


class ArraySource(AbstractSource[Batch]):
    """A pytree of arrays in memory whose leading axes are the records.

    What has a shape, a dtype and numbers is welcome: arrays of NumPy and JAX, tensors of other
    libraries; in dicts, tuples, NamedTuples, registered dataclasses. They become JAX arrays,
    NumPy's by one copy: without `jax_enable_x64`, 64-bit numbers become 32-bit ones.

    A file mapped for reading, such as `np.load(path, mmap_mode="r")`, is read where it lies as the
    batches ask for it, on a CPU, if it is contiguous, of a dtype that JAX keeps, and starts at a
    multiple of 64 bytes, as what `np.save` writes does. If it has to be copied, a warning names it
    and what saves the copy: for a part of a file, a view of the whole.

    **Errors:** ValueError for no leaves, zero records, leading axes of different length, numbers
    too large, fields on different devices; TypeError for anything else than arrays of numbers.
    Each names the field.
    """

    data: PyTree[Shaped[Array, "records ..."]]

    def __init__(self, data: PyTree):
        if isinstance(data, AbstractSource) or is_of_the_face(data):
            raise TypeError(
                f"data is of type {type(data).__name__}, a source already; pass it as it is."
            )
        found, structure = fields(data)
        held = [
            x if isinstance(x := field.array, jax.Array) else staged(field.name, x)
            for field in found
        ]
        self.data = jax.tree.unflatten(structure, held)

    @property
    def size(self) -> int:
        return int(jax.tree.leaves(self.data)[0].shape[0])

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record, read off the arrays: nothing is traced."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.data)

    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        rows: Batch = gathered(self.data, ids)
        return rows

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> PyTree[np.ndarray]:
        return filled(out, jax.tree.map(lambda x: np.asarray(x)[ids], self.data))


def filled(out: PyTree[np.ndarray] | None, rows: PyTree[np.ndarray]) -> PyTree[np.ndarray]:
    """The rows, copied into the arrays of `out` if there are some."""
    if out is None:
        return rows
    for there, row in zip(jax.tree.leaves(out), jax.tree.leaves(rows), strict=True):
        np.copyto(there, row)
    return out
