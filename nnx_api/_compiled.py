import operator
import types
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import jax
from flax import nnx
from jax.core import Tracer

from ._records import Records

_MOST_PROGRAMS = 32
FLAX_OWN = frozenset({"_pytree__state", "_pytree__nodes"})
_NODES = (nnx.Pytree, nnx.Variable)
_ATOMS = frozenset({type(None), bool, int, float, str, type, types.FunctionType})


class Programs:
    """The compiled functions of one pipeline; they go when it goes.

    Keyed by the static structure of the module they run on, so that a structure seen before
    (`eval()`, `train()`) compiles nothing new. The oldest make room for the newest.
    """

    def __init__(self) -> None:
        self._programs: dict[Hashable, Callable[..., Any]] = {}

    def find(self, bound: "Bound", fn: Callable[..., Any], static: tuple[Hashable, ...]) -> Any:
        """The compiled `fn(module, *args, *static)` for the structure of the bound module."""
        key = (_frozen(bound.graphdef), fn, static)
        try:
            hash(key)
        except TypeError as error:
            raise TypeError(
                f"A module of the pipeline has an attribute without a hash ({error}), so that a "
                "change of it could not be noticed; make its class a frozen dataclass, or hold "
                "what changes in an nnx.Variable."
            ) from None
        if key not in self._programs:
            while len(self._programs) >= _MOST_PROGRAMS:
                del self._programs[next(iter(self._programs))]
            self._programs[key] = _compile(bound, fn, static)
        return self._programs[key]


raw_value = nnx.Variable.get_raw_value  # which is final, so that it may be called as a function


class _Array(nnx.Variable[Any]):
    """An array that a module holds without a Variable, to be read like one."""


class Bound:
    """A module seen as its Variables, in a fixed order, and the structure they hang in."""

    def __init__(self, module: Any, seen: list[Any]):
        self.graphdef, state = nnx.split(module)
        flat = nnx.to_flat_state(state)
        self.paths = [path for path, _ in flat]
        self.leaves = [x if isinstance(x, nnx.Variable) else _Array(x) for _, x in flat]
        self._seen = seen
        self._found: dict[Hashable, Any] = {}
        self._kinds: set[type] = set()  # of values that belong to no trace

    def same(self, seen: list[Any]) -> bool:
        """Whether the module has kept the structure that it was bound with."""
        return len(seen) == len(self._seen) and all(map(operator.is_, seen, self._seen))

    def values(self) -> list[Any]:
        """The values of the leaves, which a compiled call takes."""
        return list(map(raw_value, self.leaves))

    def are_traced(self, values: list[Any]) -> bool:
        """Whether any of the `values` of the leaves belongs to a trace."""
        if self._kinds.issuperset(map(type, values)):
            return False
        leaves = jax.tree.leaves(values)
        if any(isinstance(x, Tracer) for x in leaves):
            return True
        if len(leaves) == len(values):  # no container, in which a trace may hide
            self._kinds.update(map(type, values))
        return False

    def run(
        self,
        module: Any,
        programs: Programs,
        fn: Callable[..., Any],
        static: tuple[Hashable, ...],
        *args: Any,
        values: list[Any] | None = None,
        update: bool = True,
    ) -> Any:
        """Call the compiled `fn` on the values of the leaves, or on `values`, if they are at hand;
        with `update`, write back what it set in the `module` bound."""
        program = self._program(programs, fn, static)
        output, changed = program(self.values() if values is None else values, *args)
        if changed and update:
            self._write(module, changed)
        return output

    def spec(
        self,
        programs: Programs,
        fn: Callable[..., Any],
        static: tuple[Hashable, ...],
        *args: Any,
    ) -> Any:
        """The shapes and dtypes of what `run` would return, without running it."""
        program = self._program(programs, fn, static)
        return program.eval_shape(self.values(), *args)[0]

    def _write(self, module: Any, changed: dict[int, Any]) -> None:
        for index, value in changed.items():
            leaf = self.leaves[index]
            leaf.set_raw_value(value)
            if isinstance(leaf, _Array):  # held without a Variable: replaced, not written to
                nnx.update(module, nnx.from_flat_state([(self.paths[index], value)]))

    def _program(
        self, programs: Programs, fn: Callable[..., Any], static: tuple[Hashable, ...]
    ) -> Any:
        program = self._found.get((fn, static))
        if program is None:
            program = self._found[fn, static] = programs.find(self, fn, static)
        return program


def seen_in(module: Any) -> list[Any]:
    """The objects that make up a module's structure; the same list, by identity, is the same
    structure. Variables stand for themselves, whatever their values; data by their arrays."""
    seen: list[Any] = []
    _see(module, seen, ())
    return seen


def is_traced(seen: list[Any]) -> bool:
    """Whether any Variable or array among the objects seen belongs to a trace."""
    values = [raw(x) for x in seen if type(x) not in _ATOMS]
    return any(isinstance(x, Tracer) for x in jax.tree.leaves(values))


def raw(leaf: Any) -> Any:
    """The value of a Variable, and anything else as it is."""
    return leaf.get_raw_value() if nnx.Variable in type(leaf).__mro__ else leaf


def is_same(before: Any, after: Any) -> bool:
    """Whether two values hold the same arrays, by identity."""
    was, now = jax.tree.leaves(before), jax.tree.leaves(after)
    return len(was) == len(now) and all(map(operator.is_, was, now))


def same_structure(before: Any, after: Any, did: str) -> None:
    """Refuse a compiled function that changed more of a module than the values of its Variables."""
    if before == after:
        return
    was, now = _attributes(before), _attributes(after)
    new = Counter(name for name, _ in now) - Counter(name for name, _ in was)
    changed = [*new] or [name for (name, x), (_, y) in zip(was, now, strict=False) if x != y]
    what = " and ".join(f"`self.{name}`" for name in changed[:3]) or "an attribute"
    raise ValueError(
        f"{did} changed the structure of a module: it set {what}, which is not an nnx.Variable, or "
        "is a new one. A compiled call keeps only the values of Variables; hold what changes in an "
        "nnx.Variable made in `__init__`."
    )


def _attributes(graphdef: Any) -> list[tuple[Any, Any]]:
    return [(name, value) for name, value in graphdef.attributes if name not in FLAX_OWN]


def _frozen(graphdef: Any) -> Hashable:
    # Static attributes may be lists and dicts, which have no hash and may change in place.
    attributes = [(name, getattr(x, "value", x)) for name, x in graphdef.attributes]
    return tuple(graphdef.nodes), _content(attributes)


def _content(value: Any) -> Hashable:
    if isinstance(value, dict):
        return dict, tuple((name, _content(x)) for name, x in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_content, value))
    return frozenset(value) if isinstance(value, set) else (type(value), value)


def _see(node: Any, seen: list[Any], above: tuple[int, ...]) -> None:
    kind = type(node)
    if kind in _ATOMS:
        seen.append(node)
    elif nnx.Variable in kind.__mro__:  # isinstance takes ten times as long
        seen.append(node)
        if Records in kind.__mro__:
            seen.extend(jax.tree.leaves(node.get_raw_value()))
    elif nnx.Pytree in kind.__mro__ or issubclass(kind, dict | list | tuple | set):
        # The type, not the node: a node of equal type and content behaves alike, and the list must
        # not keep the module itself alive.
        seen.append(kind)
        if id(node) in above:
            return
        above = (*above, id(node))
        if issubclass(kind, list | tuple | set):
            for child in node:
                _see(child, seen, above)
            return
        for name, child in (node if issubclass(kind, dict) else vars(node)).items():
            if name not in FLAX_OWN:
                seen.append(name)
                _see(child, seen, above)
    else:
        seen.append(node)
        for leaf in jax.tree.leaves(node, is_leaf=lambda x: isinstance(x, _NODES)):
            if leaf is not node:
                _see(leaf, seen, above)


def _compile(bound: Bound, fn: Callable[..., Any], static: tuple[Hashable, ...]) -> Any:
    graphdef, paths = bound.graphdef, bound.paths
    kinds = [
        None if isinstance(leaf, _Array) else (type(leaf), leaf.get_metadata())
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
            if not is_same(was, now)
        }
        return output, changed

    return program
