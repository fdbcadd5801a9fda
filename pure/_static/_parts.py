"""A pytree taken apart for a compiled call: the arrays, the rest, and the key of the rest.

What was read of a frozen pytree is remembered by its owner, as long as it and all that it reaches
stay as they are. Nothing here knows what the pytrees are of, or compiles anything.
"""

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree, PyTreeDef

from ._key import StaticKey, static_key, watched
from ._kinds import content
from ._places import Watch
from ._reader import Reader

Leaf: TypeAlias = Any  # whatever a user keeps in a pytree

Arrays: TypeAlias = tuple[Leaf, ...]
_Made = TypeVar("_Made")

_MOST = 64
_ARRAY = object()  # where an array stood


@dataclasses.dataclass(frozen=True)
class Parts:
    """A pytree as its arrays and the rest. `key` is None where one of its arrays is traced."""

    arrays: Arrays
    rest: tuple[Leaf, ...]
    structure: PyTreeDef  # pyright: ignore[reportInvalidTypeForm]
    key: StaticKey | None
    on_device: bool
    shareable: bool

    def together(self, arrays: Arrays) -> PyTree:
        """The pytree with other arrays in the places of its own."""
        left = iter(arrays)
        leaves = [next(left) if leaf is _ARRAY else leaf for leaf in self.rest]
        return jax.tree.unflatten(self.structure, leaves)


def parts_of(tree: PyTree, *, numbers: bool = False) -> Parts:
    """A pytree taken apart; with `numbers`, Python's numbers are among the arrays."""
    leaves, structure = jax.tree.flatten(tree)
    kinds = (bool, int, float, complex) if numbers else ()
    marks = [_is_array(leaf) or isinstance(leaf, kinds) for leaf in leaves]
    arrays = tuple(leaf for leaf, mark in zip(leaves, marks, strict=True) if mark)
    rest = tuple(_ARRAY if mark else leaf for leaf, mark in zip(leaves, marks, strict=True))
    on_device = all(isinstance(leaf, jax.Array) for leaf in arrays)
    if any(isinstance(leaf, Tracer) for leaf in arrays):
        return Parts(arrays, rest, structure, None, on_device, False)
    key = static_key((structure, rest))
    known = None if key.is_traced else key
    return Parts(arrays, rest, structure, known, on_device, key.shareable)


def _is_array(leaf: Leaf) -> bool:
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype == np.bool_ or jnp.issubdtype(leaf.dtype, np.number)
    return isinstance(leaf, jax.Array)


class Memo:
    """What an owner remembers of the frozen pytrees that it was called with; no part of it."""

    __slots__ = ("_programs", "_read", "places")

    def __init__(self) -> None:
        self._read: dict[int, tuple[Callable[[], object], Watch, Parts]] = {}
        self._programs: dict[object, tuple[object, Any]] = {}
        self.places: dict[object, Any] = {}

    def apart(self, tree: PyTree) -> tuple[PyTree, Parts]:
        """A pytree with its parts, as before if nothing that it reaches has changed since."""
        before = self._read.get(id(tree))
        if before is not None and before[0]() is tree and before[1].is_unchanged():
            return tree, before[2]
        parts = parts_of(tree)
        if parts.key is not None:
            self._read = {key: x for key, x in self._read.items() if x[0]() is not None}
            self._read[id(tree)] = weakref.ref(tree), watched(tree), parts
        return tree, parts

    def settle(self, trees: Sequence[tuple[PyTree, Parts]]) -> None:
        """Take what these now reach for what they were read from: what a trace of them has changed
        is no change of the user's."""
        for tree, parts in trees:
            before = self._read.get(id(tree))
            if before is not None and before[0]() is tree:
                self._read[id(tree)] = before[0], watched(tree), parts

    def own(self, name: object, keys: object, make: Callable[[], _Made]) -> _Made:
        """What is made for these keys, until it is asked for by that name with others."""
        before = self._programs.get(name)
        if before is None or before[0] != keys:
            while len(self._programs) >= _MOST:
                self._programs.pop(next(iter(self._programs)), None)
            before = self._programs[name] = keys, make()
        made: _Made = before[1]
        return made

    # A memo may be found inside the static part of a pytree, where it must not count.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Memo)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "Memo()"

    def __reduce__(self) -> tuple[type["Memo"], tuple[()]]:
        return Memo, ()


@content.register
def _(value: Memo, reader: Reader) -> None:
    reader.parts.append(("memo",))
