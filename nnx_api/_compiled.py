import operator
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from flax import nnx

from ._records import Records

_MOST_PROGRAMS = 32


class Programs:
    """The compiled functions of one pipeline; they go when it goes.

    Keyed by the static structure of the module they run on, so that a structure seen before
    (`eval()`, `train()`) compiles nothing new. The oldest make room for the newest.
    """

    def __init__(self) -> None:
        self._programs: dict[Hashable, Callable[..., Any]] = {}

    def find(self, bound: "Bound", fn: Callable[..., Any], static: tuple[Hashable, ...]) -> Any:
        """The compiled `fn(module, *args, *static)` for the structure of the bound module."""
        key = (bound.graphdef, fn, static)
        if key not in self._programs:
            while len(self._programs) >= _MOST_PROGRAMS:
                del self._programs[next(iter(self._programs))]
            self._programs[key] = _compile(bound, fn, static)
        return self._programs[key]


class Bound:
    """A module seen as its Variables, in a fixed order, and the structure they hang in."""

    def __init__(self, module: Any, seen: list[Any]):
        self.graphdef, state = nnx.split(module)
        flat = nnx.to_flat_state(state)
        self.paths = [path for path, _ in flat]
        self.leaves = [leaf for _, leaf in flat]
        self._seen = seen
        self._found: dict[Hashable, Callable[..., Any]] = {}

    def same(self, seen: list[Any]) -> bool:
        """Whether the module has kept the structure that it was bound with."""
        return len(seen) == len(self._seen) and all(map(operator.is_, seen, self._seen))

    def run(
        self,
        programs: Programs,
        fn: Callable[..., Any],
        static: tuple[Hashable, ...],
        *args: Any,
        update: bool = True,
    ) -> Any:
        """Call the compiled `fn`; with `update`, write the Variables that it set back."""
        program = self._found.get((fn, static))
        if program is None:
            program = self._found[fn, static] = programs.find(self, fn, static)
        values = [x.get_raw_value() if isinstance(x, nnx.Variable) else x for x in self.leaves]
        output, changed = program(values, *args)
        for index, value in changed.items() if update else ():
            self.leaves[index].set_raw_value(value)
        return output


def seen_in(module: Any) -> list[Any]:
    """The objects that make up a module's structure; the same list, by identity, is the same
    structure. Variables stand for themselves, whatever their values; data by their arrays."""
    seen: list[Any] = []
    _see(module, seen, frozenset())
    return seen


def is_traced(seen: list[Any]) -> bool:
    """Whether any Variable or array among the objects seen belongs to a trace."""
    values = [x.get_raw_value() if isinstance(x, nnx.Variable) else x for x in seen]
    return any(isinstance(x, jax.core.Tracer) for x in values)


def same_structure(before: Any, after: Any, did: str) -> None:
    """Refuse a compiled function that changed more of a module than the values of its Variables."""
    if before == after:
        return
    raise ValueError(
        f"{did} changed the structure of a module: it set an attribute that is not an nnx.Variable, "
        "or made a new one. A compiled call keeps only the values of Variables; hold what changes "
        "in an nnx.Variable made in `__init__`."
    )


def _see(node: Any, seen: list[Any], above: frozenset[int]) -> None:
    if isinstance(node, nnx.Variable):
        seen.append(node)
        if isinstance(node, Records):
            seen.extend(jax.tree.leaves(node.get_raw_value()))
    elif isinstance(node, nnx.Pytree | dict | list | tuple):
        # The type, not the node: a node of equal type and content behaves alike, and the list must
        # not keep the module itself alive.
        seen.append(type(node))
        if id(node) in above:
            return
        if isinstance(node, list | tuple):
            children: Any = node
        else:
            named = node if isinstance(node, dict) else vars(node)
            seen.extend(named)
            children = named.values()
        for child in children:
            _see(child, seen, above | {id(node)})
    else:
        seen.append(node)
        seen.extend(leaf for leaf in jax.tree.leaves(node) if leaf is not node)


def _compile(bound: Bound, fn: Callable[..., Any], static: tuple[Hashable, ...]) -> Any:
    graphdef, paths = bound.graphdef, bound.paths
    kinds = [
        (type(leaf), leaf.get_metadata()) if isinstance(leaf, nnx.Variable) else None
        for leaf in bound.leaves
    ]

    @jax.jit
    def program(values: list[Any], *args: Any) -> tuple[Any, dict[int, Any]]:
        leaves = [
            value if kind is None else kind[0].from_metadata(value, kind[1])
            for kind, value in zip(kinds, values, strict=True)
        ]
        module = nnx.merge(graphdef, nnx.from_flat_state(list(zip(paths, leaves, strict=True))))
        output = fn(module, *args, *static)
        after, state = nnx.split(module)
        same_structure(graphdef, after, "The pipeline")
        new = [
            leaf.get_raw_value() if isinstance(leaf, nnx.Variable) else leaf
            for _, leaf in nnx.to_flat_state(state)
        ]
        changed = {
            index: now
            for index, (was, now) in enumerate(zip(values, new, strict=True))
            if not all(map(operator.is_, jax.tree.leaves(was), jax.tree.leaves(now)))
        }
        return output, changed

    return program


def as_scalar(value: int | np.uint32) -> np.ndarray:
    """An unsigned integer as the NumPy scalar that a Position holds."""
    return np.asarray(value, np.uint32)
