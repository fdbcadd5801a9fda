"""Where a compiled program may not fuse: what stands before is finished before what follows.

XLA:CPU fuses the order into the gather, the gather into the stages and these into a reduction, and
then computes what stands before anew for each number, without vectors. Nothing of records or
orders is known here.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree, UInt32

from ._namespace import Batch, Epoch, Words

_NEVER = np.uint32(2**32 - 1)  # above every offset
_LARGE = 2**16  # bytes; below, what is computed anew costs less than a place to keep it


def settled(ids: Words, offset: Epoch) -> Words:
    """The ids, computed once on every platform; `offset` is what the compiler cannot know."""
    if not isinstance(ids, jax.Array):
        return ids
    kept: Array = _settled(ids, offset)
    return kept


def start_of(positions: Batch) -> Epoch:
    """The first of some positions, 0 if there are none: an `offset` for `settled`."""
    return positions[:1].sum(dtype=np.uint32)


def apart(batch: PyTree, offset: UInt32[Array, ""], *, axes: int = 0) -> PyTree:
    """A batch whose large fields of so many axes a CPU finishes before it goes on.

    An accelerator fuses across it, as it should. Derivatives pass as they are.
    """
    leaves, structure = jax.tree.flatten(batch)
    large = [i for i, leaf in enumerate(leaves) if _is_large(leaf) and leaf.ndim >= axes]
    if large:
        kept = _finished([leaves[i] for i in large], offset)
        for index, leaf in zip(large, kept, strict=True):
            leaves[index] = leaf
    return jax.tree.unflatten(structure, leaves)


def finished(leaves: Sequence[Array], mark: UInt32[Array, ""]) -> list[Array]:
    """Arrays of which a CPU has finished all before it goes on; `mark` is as for `settled`."""
    kept: list[Array] = _finished(leaves, mark)
    return kept


def _is_large(leaf: object) -> bool:
    if not isinstance(leaf, Tracer) or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return False
    return bool(leaf.size * leaf.dtype.itemsize > _LARGE)


@jax.jit  # or each eager step would compile the branches anew
def _settled(ids: Array, offset: Array) -> Array:
    kept: Array = jax.lax.platform_dependent(
        ids,
        offset,
        cpu=lambda ids, offset: _unturned([ids], offset)[0],
        default=lambda ids, _: jax.lax.optimization_barrier(ids),
    )
    return kept


@jax.custom_jvp
def _finished(leaves: Sequence[Array], offset: Array) -> list[Array]:
    kept: list[Array] = jax.lax.platform_dependent(
        list(leaves), offset, cpu=_unturned, default=lambda leaves, _: leaves
    )
    return kept


@_finished.defjvp
def _derivative(
    primals: tuple[Sequence[Array], Array], tangents: tuple[Sequence[Array], object]
) -> tuple[list[Array], list[Array]]:
    return _finished(*primals), list(tangents[0])


@custom_vmap
def _unturned(leaves: list[Array], offset: Array) -> list[Array]:
    # `optimization_barrier` is gone before XLA:CPU fuses. No fusion crosses a loop, and a loop that
    # never turns, which the compiler cannot know, hands on the memory that it was given.
    def turn(state: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
        offset, leaves = state
        return offset + 1, [-x if jnp.issubdtype(x.dtype, np.inexact) else ~x for x in leaves]

    state: tuple[Array, list[Array]] = jax.lax.while_loop(
        lambda state: state[0] == _NEVER, turn, (offset, leaves)
    )
    return state[1]


@_unturned.def_vmap
def _batched(
    size: int, is_batched: Sequence[PyTree[bool]], leaves: list[Array], offset: Array
) -> tuple[list[Array], PyTree[bool]]:
    # One look for all: a loop with a look for each would copy, and checkify takes none.
    leaves_are, offset_is = is_batched
    some = start_of(offset) if offset_is else offset
    return _unturned(leaves, some), leaves_are
