"""How arrays lie over the devices of a mesh, where their types say so.

They do on Explicit axes, the default of `jax.make_mesh`; where an array lies on Auto axes is left
to the compiler. Nothing of records, stages or variants is known here.
"""

import math
from collections.abc import Callable
from typing import TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

_Tree = TypeVar("_Tree")


def laid(array: Array | np.ndarray) -> NamedSharding | None:
    """How an array is spread over Explicit axes, None where it lies whole."""
    sharding = jax.typeof(array).sharding
    return sharding if any(names is not None for names in sharding.spec) else None


def whole(array: Array) -> NamedSharding | None:
    """The mesh that an array is spread over, with all of a result on each device; None for none."""
    sharding = laid(array)
    return None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())


def rows_of(array: Array, ids: Array) -> NamedSharding | None:
    """How the rows of these ids are spread, None where neither the array nor the ids have a mesh.

    As the array itself; but where the devices do not divide the rows, each has all of them.
    """
    if (sharding := laid(array)) is None:
        mesh = jax.typeof(ids).sharding.mesh  # under `jax.vmap`, that of the axis mapped over
        return None if mesh.empty else NamedSharding(mesh, PartitionSpec())
    names, *others = sharding.spec
    axes = (names,) if isinstance(names, str) else names or ()
    divided = ids.shape[0] % math.prod(sharding.mesh.shape[axis] for axis in axes) == 0
    return NamedSharding(sharding.mesh, PartitionSpec(names if divided else None, *others))


def explicit_mesh(tree: PyTree) -> AbstractMesh | None:
    """The mesh with an Explicit axis on which arrays of a tree lie, None for none."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array):
            mesh: AbstractMesh = jax.typeof(leaf).sharding.mesh
            if AxisType.Explicit in mesh.axis_types:
                return mesh
    return None


def stacked(one: jax.ShapeDtypeStruct, many: int) -> Array:
    """Zeros for so many arrays like one, in a trace, spread as it is."""
    shape, spread = (many, *one.shape), getattr(one, "sharding", None)
    if not isinstance(spread, NamedSharding) or spread.mesh.empty:
        return jnp.zeros(shape, one.dtype)
    over = NamedSharding(spread.mesh, PartitionSpec(None, *spread.spec))
    # From jax 0.11 on zeros that are whole on every device are of no mesh.
    zeros: Array = jax.sharding.reshard(jnp.zeros(shape, one.dtype, device=over), over)
    return zeros


def laid_as(array: Array, model: Array) -> Array:
    """An array in a trace, spread as another of its shape on the same mesh."""
    own, its = (jax.typeof(x).sharding for x in (array, model))
    if its.mesh.empty or own == its:
        return array
    spread: Array = jax.sharding.reshard(array, its)
    return spread


def entry(array: Array, index: int | Int[Array, ""]) -> Array:
    """`array[index]`, which JAX refuses of an array whose first axis is spread."""
    if _first(array) is None:
        return array[index]
    one = jnp.asarray(index)[None]
    row: Array = array.at[one].get(out_sharding=rows_of(array, one))
    return row[0]


def alike(tree: _Tree, like: PyTree, *, is_leaf: Callable[[object], bool] | None = None) -> _Tree:
    """A tree whose arrays' first axis is spread as that of the arrays that are `like` it.

    `jax.vmap` asks for that. What has no first axis stays as it is.
    """
    if (model := _spread_one(like, is_leaf)) is None:
        return tree
    along = jax.typeof(model).sharding.spec[0]

    def spread(leaf: object) -> object:
        if not isinstance(leaf, jax.Array | np.ndarray) or not leaf.ndim:
            return leaf
        if jax.typeof(leaf).sharding.spec[0] == along:
            return leaf
        return _along(leaf, model)

    spread_tree: _Tree = jax.tree.map(spread, tree, is_leaf=is_leaf)
    return spread_tree


def _spread_one(like: PyTree, is_leaf: Callable[[object], bool] | None = None) -> Array | None:
    leaves = jax.tree.leaves(like, is_leaf=is_leaf)
    return next((x for x in leaves if isinstance(x, jax.Array) and _first(x) is not None), None)


def _along(array: Array | np.ndarray, model: Array) -> Array:
    names, others = jax.typeof(model).sharding.spec[0], jax.typeof(array).sharding.spec[1:]
    taken = _named(names)
    spec = PartitionSpec(names, *(None if taken & _named(other) else other for other in others))
    if isinstance(model, Tracer):
        spread: Array = jax.sharding.reshard(
            array, NamedSharding(jax.typeof(model).sharding.mesh, spec)
        )
        return spread
    # Outside a trace the devices themselves are asked for. What is spread has a NamedSharding.
    devices = cast(NamedSharding, model.sharding).mesh
    placed: Array = jax.device_put(array, NamedSharding(devices, spec))
    return placed


def is_spread(tree: PyTree) -> bool:
    """Whether the first axis of an array among these is spread over Explicit axes."""
    return _spread_one(tree) is not None


def by_compiler(fn: Callable[..., _Tree], *args: PyTree, like: PyTree) -> _Tree:
    """`fn(*args)`, whose insides the compiler spreads.

    On Explicit axes JAX would ask how, of an array looked up by numbers that were drawn. The first
    axis of each result is spread as that of the arrays that are `like` it. All arrays that `fn`
    reads are among `args`.
    """
    if (model := _spread_one(like)) is None:
        return fn(*args)
    sharding = jax.typeof(model).sharding
    out = NamedSharding(sharding.mesh, PartitionSpec(sharding.spec[0]))
    arrays, others = eqx.partition(args, eqx.is_array)

    def within(own: tuple[PyTree, ...]) -> _Tree:
        return fn(*eqx.combine(own, others))

    spread = cast(Callable[..., _Tree], jax.sharding.auto_axes(within, out_sharding=out))
    return spread(arrays)


def looked_up(table: Array, ids: Array) -> Array:
    """`table[ids]` of a table that lies whole, spread as the ids."""
    if (sharding := _first(ids)) is None:
        return table[ids]
    spec = PartitionSpec(sharding.spec[0], *[None] * (table.ndim - 1))
    found: Array = table.at[ids].get(out_sharding=NamedSharding(sharding.mesh, spec))
    return found


def respread(array: Array, mesh: AbstractMesh, names: str | tuple[str, ...] | None) -> Array:
    """An array in a trace, its first axis spread over these axes of a mesh, the others as before
    where that can be."""
    taken, spec = _named(names), jax.typeof(array).sharding.spec
    others = [None if taken & _named(other) else other for other in spec[1:]]
    spread: Array = jax.sharding.reshard(array, NamedSharding(mesh, PartitionSpec(names, *others)))
    return spread


def _named(axes: str | tuple[str, ...] | None) -> set[str]:
    return {axes} if isinstance(axes, str) else set(axes or ())


def _first(array: Array | np.ndarray) -> NamedSharding | None:
    sharding = jax.typeof(array).sharding
    return sharding if any(names is not None for names in sharding.spec[:1]) else None
