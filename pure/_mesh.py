"""How arrays lie over the devices of a mesh, where their types say so.

They do on Explicit axes, the default of `jax.make_mesh`; where an array lies on Auto axes is left
to the compiler. Nothing of records, stages or variants is known here.
"""

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

_Tree = TypeVar("_Tree")
_Names = str | tuple[str, ...]


def laid(array: jax.Array) -> NamedSharding | None:
    """How an array is spread over Explicit axes, None where it lies whole."""
    sharding = jax.typeof(array).sharding
    return sharding if any(names is not None for names in sharding.spec) else None


def rows_of(array: jax.Array, count: int) -> NamedSharding | None:
    """How so many rows of an array are spread, None where it lies whole.

    As the array itself; but where the devices do not divide the rows, each has all of them.
    """
    if (sharding := laid(array)) is None:
        return None
    names, *others = sharding.spec
    divided = count % _devices(sharding, names) == 0
    return NamedSharding(sharding.mesh, PartitionSpec(names if divided else None, *others))


def alike(tree: _Tree, like: PyTree) -> _Tree:
    """A tree whose arrays' first axis is spread as that of the arrays that are `like` it.

    `jax.vmap` asks for that. What is spread already, and what has no first axis, stays as it is.
    """
    found = [sharding for x in jax.tree.leaves(like) if _is_array(x) and (sharding := _first(x))]
    if not found:
        return tree
    mesh, names = found[0].mesh, found[0].spec[0]

    def spread(leaf: object) -> object:
        if not isinstance(leaf, jax.Array | np.ndarray) or not leaf.ndim or _first(leaf):
            return leaf
        others = tuple(jax.typeof(leaf).sharding.spec)[1:]
        return jax.sharding.reshard(leaf, NamedSharding(mesh, PartitionSpec(names, *others)))

    spread_tree: _Tree = jax.tree.map(spread, tree)
    return spread_tree


def _first(array: jax.Array | np.ndarray) -> NamedSharding | None:
    sharding = jax.typeof(array).sharding
    return sharding if any(names is not None for names in sharding.spec[:1]) else None


def _is_array(leaf: object) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _devices(sharding: NamedSharding, names: _Names | None) -> int:
    axes = (names,) if isinstance(names, str) else names or ()
    return int(np.prod([sharding.mesh.shape[axis] for axis in axes], dtype=int))
