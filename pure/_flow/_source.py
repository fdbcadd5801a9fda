import abc
from typing import Any, Generic

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import typing_extensions as te
from jax.tree_util import SequenceKey
from jaxtyping import Array, PyTree, Shaped, UInt32

from .._text import path_text
from ._gather import gathered
from ._staging import staged

Batch = te.TypeVar("Batch", default=Any)


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

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record; no data are read."""
        rows = eqx.filter_eval_shape(self.rows, jax.ShapeDtypeStruct((1,), jnp.uint32))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)


class ArraySource(AbstractSource[Batch]):
    """A pytree of arrays in memory whose leading axes are the records.

    Arrays become JAX arrays, NumPy's by one copy: without `jax_enable_x64`, 64-bit numbers become
    32-bit ones, and numbers that would not fit are refused. A mapped file, such as
    `np.load(path, mmap_mode="r")`, is read where it lies, as the batches ask for it.

    **Errors:** ValueError for no leaves, zero records, leading axes of different length, numbers
    too large; TypeError for arrays of strings or objects. Each names the field.
    """

    data: PyTree[Shaped[Array, "records ..."]]

    def __init__(self, data: PyTree[Any]):
        leaves = jax.tree_util.tree_leaves_with_path(data)
        if not leaves:
            raise ValueError(
                f"The data {data!r} hold no arrays; pass a pytree of arrays, such as "
                '{"image": images, "label": labels}.'
            )
        for path, leaf in leaves:
            if np.ndim(leaf) == 0 and isinstance(path[-1] if path else None, SequenceKey):
                name = field_name(path[:-1])
                raise ValueError(
                    f"Field {name} is a list or tuple of numbers; expected an array: write "
                    "np.asarray(...) around it."
                )
        # Pairs, for `{"a": {"b": x}, "a/b": y}` has two fields of one name.
        shapes = [(field_name(path), _checked(field_name(path), x).shape) for path, x in leaves]
        if len({shape[0] for _, shape in shapes}) > 1:
            counts = ", ".join(f"{name} has {shape[0]}" for name, shape in shapes)
            raise ValueError(
                f"The fields differ in their number of records: {counts}. Give all of them the "
                "same leading axis."
            )
        if shapes[0][1][0] == 0:
            name, shape = shapes[0]
            raise ValueError(
                f"The data hold zero records (field {name} has shape {shape}); pass at least one."
            )
        self.data = jax.tree.map(
            lambda x: x if isinstance(x, jax.Array) else staged(np.asanyarray(x)), data
        )

    @property
    def size(self) -> int:
        return int(jax.tree.leaves(self.data)[0].shape[0])

    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        rows: Batch = gathered(self.data, ids)
        return rows


def field_name(path: tuple[Any, ...]) -> str:
    """A leaf's place in the data, in back-ticks: `image`, `meta/camera`, `0`."""
    return f"`{path_text(path) or 'data'}`"


def _checked(name: str, leaf: Any) -> Any:
    if isinstance(leaf, np.ma.MaskedArray):
        raise TypeError(
            f"Field {name} is a masked array, whose mask a source would lose; pass "
            "array.filled(value), and the mask as a field of its own."
        )
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    if isinstance(array, np.ndarray) and not _is_numeric(array.dtype):
        raise TypeError(
            f"Field {name} is an array of dtype {array.dtype}; expected numbers or booleans. "
            "Encode the field as integers, or drop it."
        )
    if array.ndim == 0:
        raise ValueError(
            f"Field {name} is a scalar; expected an array whose leading axis is the records. "
            "Repeat it for each record, or drop it."
        )
    if isinstance(array, np.ndarray) and array.size and array.dtype.kind in "iuf":
        _check_range(name, array)
    return array


def _check_range(name: str, array: np.ndarray) -> None:
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if dtype == array.dtype:
        return
    limits = np.finfo(dtype) if array.dtype.kind == "f" else np.iinfo(dtype)
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    low, high = finite.min(initial=0), finite.max(initial=0)
    if low < limits.min or high > limits.max:
        floats = array.dtype.kind == "f"
        kind, mend = ("numbers", "re-scale") if floats else ("integers", "re-number")
        raise ValueError(
            f"Field {name} holds {kind} from {low} to {high}, which {dtype} cannot hold; "
            f"{mend} them, or set `jax_enable_x64`."
        )


def _is_numeric(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" or jnp.issubdtype(dtype, np.number)
