"""The arrays of a pytree by name, as a checkpoint holds them, and a pytree around restored ones.

Keys of `jax.random` are held as their words, numbers of Python as arrays. What an array is for, and
where a checkpoint is written, is not known here.
"""

from collections.abc import Callable, Mapping
from numbers import Number
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from ..._text import of_type, path_text

Saved: TypeAlias = Array | np.ndarray
Kept: TypeAlias = Callable[[object], bool]


def nothing(leaf: object) -> bool:
    """No leaf is kept as it is."""
    return False


def leaves_of(name: str, tree: PyTree, kept: Kept) -> list[tuple[tuple[Any, ...], PyTree]]:
    """The leaves of a pytree with their paths. **Errors:** TypeError for keys without an order."""
    try:
        return jax.tree_util.tree_leaves_with_path(tree, is_leaf=kept)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{name}` has a dict whose keys cannot be sorted, such as 1 and 'a'; make all of them "
            "strings."
        ) from error


def named(name: str, tree: PyTree, kept: Kept = nothing) -> dict[str, Saved]:
    """The arrays of a pytree by their places, `name/place`, in memory that nobody else writes to.

    Functions, arrays without numbers, and what is `kept` are left out. **Errors:** TypeError for
    other leaves; ValueError for two of one name, and for a traced one.
    """
    found: dict[str, Saved] = {}
    for path, leaf in leaves_of(name, tree, kept):
        place = _place(name, path)
        if kept(leaf) or callable(leaf):
            continue
        if place in found:
            raise ValueError(f"Two arrays are called `{place}`; rename one of their fields.")
        array = _saved(place, leaf)
        if array.size:
            found[place] = array
    return found


def key_kinds(name: str, tree: PyTree, kept: Kept = nothing) -> dict[str, str]:
    """Of the keys of `jax.random` in a pytree their kinds, `key<fry>`, by their places."""
    leaves = leaves_of(name, tree, kept)
    return {_place(name, path): str(leaf.dtype) for path, leaf in leaves if _is_key(leaf)}


def refilled(name: str, tree: PyTree, arrays: Mapping[str, Saved], kept: Kept = nothing) -> PyTree:
    """A pytree like this one around the arrays that `named` gave, placed as its own are."""

    def new(path: tuple[Any, ...], leaf: PyTree) -> PyTree:
        place = f"{name}/{path_text(path)}" if path else name
        if kept(leaf) or callable(leaf) or place not in arrays:
            return leaf
        return _placed(arrays[place], leaf)

    return jax.tree_util.tree_map_with_path(new, tree, is_leaf=kept)


def template(array: Saved) -> np.ndarray | jax.ShapeDtypeStruct:
    """In whose likeness an array is read: whole, or as it is spread over processes."""
    if isinstance(array, np.ndarray) or array.is_fully_addressable:
        return np.broadcast_to(np.zeros((), array.dtype), array.shape)
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _place(name: str, path: tuple[Any, ...]) -> str:
    return f"{name}/{path_text(path)}" if path else name


def _is_key(leaf: object) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _saved(place: str, leaf: object) -> Saved:
    if isinstance(leaf, Tracer):
        raise ValueError(
            f"`{place}` is traced; save and restore outside of jit, scan and grad, with arrays."
        )
    if isinstance(leaf, jax.Array):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return _own(leaf)
    if isinstance(leaf, int) and not -(2**63) <= leaf < 2**64:
        raise ValueError(f"`{place}` is an int of more than 64 bits; expected a smaller one.")
    if (
        not isinstance(leaf, np.ndarray | np.generic | Number)
        or np.asarray(leaf).dtype.kind in "OSU"
    ):
        raise TypeError(of_type(f"`{place}`", leaf, "arrays and numbers, in dicts and lists."))
    return np.array(leaf)


def _own(array: Array) -> Saved:
    # On a CPU a NumPy array is a view of JAX's memory, which a later step may be given to write to.
    devices: list[Any] = [*array.sharding.device_set]
    on_cpu = all(device.platform == "cpu" for device in devices)
    if array.is_fully_addressable and (on_cpu or jax.process_count() > 1):
        return np.array(array)
    return array.copy() if on_cpu else array


def _placed(array: Saved, like: PyTree) -> PyTree:
    if isinstance(like, jax.Array):
        if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
            words = _placed(array, jax.random.key_data(like))
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(like))
        if isinstance(array, jax.Array):
            return array
        if like.weak_type and not like.ndim:
            return jnp.asarray(array.item())
        return jax.device_put(array, like.sharding) if like.committed else jnp.array(array)
    return array if isinstance(like, np.ndarray) else type(like)(array.item())
