"""Records by id: how the rows of a batch are read from the arrays that hold the data.

By a loop of slices, or by one gather, whichever costs less; where the data are spread over devices,
each gives what it has. Nothing of orders, epochs or stages is known here.
"""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, UInt32

from .._apart import finished
from .._mesh import rows_of

# XLA:CPU takes a gather for a reading of all the data and shares it out among threads, which costs
# more than the rows themselves where they are few and small. A loop of slices stays on one thread.
# But each loop takes long to compile, so that many fields are gathered; and data that are spread
# over devices would be brought together for it.
_FEW, _SMALL, _FIELDS = 128, 2**17, 4  # rows, bytes, arrays


def gathered(data: PyTree, ids: UInt32[Array, " batch"]) -> PyTree:
    """The records of these ids, all of which are below the number of records.

    Records that are spread over the Explicit axes of a mesh make batches that are: see `rows_of`.
    """
    many = len(jax.tree.leaves(data)) > _FIELDS
    return jax.tree.map(lambda x: _rows(x, ids, many=many), data)


def as_gathered(rows: PyTree, mark: UInt32[Array, ""]) -> PyTree:
    """Rows that were handed in, as far apart from what comes after as those that are `gathered`: or
    a compiler would fuse otherwise, and round otherwise. `mark` is as for `settled`."""
    leaves, structure = jax.tree.flatten(rows)
    many = len(leaves) > _FIELDS
    near = [i for i, x in enumerate(leaves) if not _is_at_once(x.shape[0], x.nbytes, many=many)]
    if near:
        for i, leaf in zip(near, finished([leaves[i] for i in near], mark), strict=True):
            leaves[i] = leaf
    own: PyTree = jax.tree.unflatten(structure, leaves)
    return own


def sliced(data: PyTree, starts: UInt32[Array, " batch"], width: int) -> PyTree:
    """The `width` rows from each of these starts on, all of which lie in the data."""
    return jax.tree.map(lambda x: _slices(x, starts, width), data)


def _slices(data: Array, starts: Array, width: int) -> Array:
    if (spread := rows_of(data, starts)) is not None:
        first, *others = spread.spec
        laid = NamedSharding(spread.mesh, PartitionSpec(first, None, *others))
        places = starts[:, None] + jnp.arange(width, dtype=starts.dtype)[None]
        return _at_once(data, places, laid)
    # As one gather of slices, whose starts count up to 2**32; `data.at[starts]` ends at 2**31.
    numbers = jax.lax.GatherDimensionNumbers(
        offset_dims=tuple(range(1, data.ndim + 1)), collapsed_slice_dims=(), start_index_map=(0,)
    )
    sizes = (width, *data.shape[1:])
    return jax.lax.gather(data, starts[:, None], numbers, sizes, mode="promise_in_bounds")


def _rows(data: Array, ids: Array, *, many: bool) -> Array:
    if (spread := rows_of(data, ids)) is not None:
        return _at_once(data, ids, spread)
    size = data.nbytes // data.shape[0] * ids.shape[0]
    if _is_at_once(ids.shape[0], size, many=many):
        return _at_once(data, ids)
    rows: Array = _differentiable(data, ids)
    return rows


def _is_at_once(rows: int, size: int, *, many: bool) -> bool:
    return many or rows > _FEW or size > _SMALL or jax.device_count() > 1


def _at_once(data: Array, ids: Array, spread: NamedSharding | None = None) -> Array:
    return data.at[ids].get(mode="promise_in_bounds", out_sharding=spread)


# A derivative by the data would add each row to a new copy of all of them; and a loop over many
# batches side by side would gather in each turn.


@jax.custom_jvp
def _differentiable(data: Array, ids: Array) -> Array:
    rows: Array = _one_by_one(data, ids)
    return rows


@_differentiable.defjvp
def _derivative(
    primals: tuple[Array, Array], tangents: tuple[Array, object]
) -> tuple[Array, Array]:
    ids, change = primals[1], jnp.asarray(tangents[0])
    return _differentiable(*primals), _at_once(change, ids)


@jax.custom_batching.custom_vmap
def _one_by_one(data: Array, ids: Array) -> Array:
    rows: Array = jax.lax.platform_dependent(data, ids, cpu=_in_a_loop, default=_at_once)
    return rows


@_one_by_one.def_vmap
def _side_by_side(size: int, batched: list[bool], data: Array, ids: Array) -> tuple[Array, bool]:
    data_axis, ids_axis = (0 if is_batched else None for is_batched in batched)
    return jax.vmap(_at_once, in_axes=(data_axis, ids_axis), axis_size=size)(data, ids), True


def _in_a_loop(data: Array, ids: Array) -> Array:
    rows: Array = jax.lax.map(lambda i: jax.lax.dynamic_index_in_dim(data, i, keepdims=False), ids)
    return rows
