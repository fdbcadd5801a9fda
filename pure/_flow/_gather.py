from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped, UInt32

# XLA:CPU takes a gather for a reading of all the data and shares it out among threads, which costs
# more than the rows themselves where they are few and small. A loop of slices stays on one thread;
# but data that are spread over devices would be brought together for it.
_FEW, _SMALL = 128, 2**17  # rows, bytes


def gathered(
    data: Shaped[Array, "records *record"], ids: UInt32[Array, " batch"]
) -> Shaped[Array, "batch *record"]:
    """The records of these ids, all of which are below the number of records."""
    size = data.nbytes // data.shape[0] * ids.shape[0]
    if ids.shape[0] > _FEW or size > _SMALL or jax.device_count() > 1:
        return _at_once(data, ids)
    rows: Array = _differentiable(data, ids)
    return rows


def _at_once(data: Array, ids: Array) -> Array:
    return data.at[ids].get(mode="promise_in_bounds")


# A derivative by the data would add each row to a new copy of all of them; and a loop over many
# batches side by side would gather in each turn.


@jax.custom_jvp
def _differentiable(data: Array, ids: Array) -> Array:
    rows: Array = _one_by_one(data, ids)
    return rows


@_differentiable.defjvp
def _derivative(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
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
