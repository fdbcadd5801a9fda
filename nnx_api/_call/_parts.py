"""A module, or several, taken apart into what it is and what it holds, and put together again.

Compiled calls, loops over batches and maps over variants all do the same four things: take the
values of the Variables, put a module of their own together around them, see which of them it has
set, and write those back. Nothing here compiles.
"""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
from flax import nnx
from jax.core import Tracer
from jaxtyping import PyTree

FLAX_OWN = frozenset({"_pytree__state", "_pytree__nodes"})
Path: TypeAlias = tuple[Any, ...]  # of keys as flax has them
Values: TypeAlias = list[PyTree]
Changed: TypeAlias = dict[int, PyTree]
# What `get_raw_value` returns, which is final, without a call of Python's for each.
raw_value: Callable[[nnx.Variable[PyTree]], PyTree] = operator.attrgetter("_raw_value")


class Held(nnx.Variable[PyTree]):
    """An array that a module holds without a Variable, to be read like one."""


class Parts(NamedTuple):
    """What modules are (`structure`), and the Variables that they hold, in a fixed order."""

    structure: nnx.GraphDef[PyTree]
    paths: tuple[Path, ...]
    leaves: tuple[nnx.Variable[PyTree], ...]

    @classmethod
    def of(cls, modules: PyTree) -> "Parts":
        """Take modules apart; their own Variables are the leaves.

        **Errors:** TypeError for a Variable that is a reference or of hijax, naming its place.
        """
        structure, state = nnx.split(modules)
        flat = nnx.to_flat_state(state)
        for path, leaf in flat:
            _check_kind(path, leaf)
        return cls(
            structure,
            tuple(path for path, _ in flat),
            tuple(x if isinstance(x, nnx.Variable) else Held(x) for _, x in flat),
        )

    def values(self) -> Values:
        """What the Variables hold now."""
        return list(map(raw_value, self.leaves))

    def together(self, values: Sequence[PyTree]) -> PyTree:
        """Modules like these around other values, with Variables of their own."""
        leaves = map(with_value, self.leaves, values)
        state = nnx.from_flat_state(list(zip(self.paths, leaves, strict=True)))
        return nnx.merge(self.structure, state)

    def changes(self, modules: PyTree, values: Sequence[PyTree], who: str) -> Changed:
        """Which values the `modules`, put together around `values`, hold others in place of.

        **Errors:** ValueError, saying `who` did it, if more has changed than values.
        """
        after = Parts.of(modules)
        refuse_new_structure(self, after, who)
        return {
            index: now
            for index, (was, now) in enumerate(zip(values, after.values(), strict=True))
            if not is_same(was, now)
        }

    def write(self, modules: PyTree, changed: Mapping[int, PyTree]) -> None:
        """Write values back into the modules that were taken apart: all of them, or none."""
        if len(changed) == 1:
            [(index, value)] = changed.items()
            if type(leaf := self.leaves[index]) is not Held:
                leaf._raw_value = value  # at once; flax looks whether it may be set
                return
        before = {index: raw_value(self.leaves[index]) for index in changed}
        try:
            self._set(modules, changed)
        except BaseException:
            self._set(modules, before)
            raise

    def _set(self, modules: PyTree, values: Mapping[int, PyTree]) -> None:
        for index, value in values.items():
            leaf = self.leaves[index]
            leaf.set_raw_value(value)
            if type(leaf) is Held:  # replaced, not written to
                nnx.update(modules, nnx.from_flat_state([(self.paths[index], value)]))


def with_value(leaf: nnx.Variable[PyTree], value: PyTree) -> PyTree:
    """A Variable of the same kind with another value, or the bare value where there was none."""
    if isinstance(leaf, Held):
        return value
    return type(leaf).from_metadata(value, leaf.get_metadata())


def raw(leaf: object) -> PyTree:
    """The value of a Variable, and anything else as it is."""
    return leaf.get_raw_value() if isinstance(leaf, nnx.Variable) else leaf


def is_same(before: PyTree, after: PyTree) -> bool:
    """Whether two values hold the same arrays, by identity."""
    if before is after:
        return True
    was, now = jax.tree.leaves(before), jax.tree.leaves(after)
    return len(was) == len(now) and all(map(operator.is_, was, now))


def any_traced(values: Iterable[PyTree]) -> bool:
    """Whether any array among the values belongs to a trace."""
    return any(isinstance(x, Tracer) for x in jax.tree.leaves(list(values)))


def refuse_new_structure(before: Parts, after: Parts, who: str) -> None:
    """Refuse a function that changed more of a module than the values of its Variables."""
    was, now = (_metadata(x) for x in (before, after))
    if changed := [path for path, x in now.items() if was.get(path, x) != x]:
        what = " and ".join(f"the metadata of `{_text(path)}`" for path in changed[:3])
    elif new := _new_variables(before, after):
        raise ValueError(
            f"{who} gave a module a new Variable, `self.{new[0][-1]}`, as `sow` does. A compiled "
            "call keeps only the values of Variables that there are before it: make it in "
            "`__init__`, or return its value."
        )
    elif before.structure != after.structure:
        what = _attributes_set(before, after)
    else:
        return
    raise ValueError(
        f"{who} changed the structure of a module: it set {what}. A compiled call keeps only the "
        "values of Variables; hold what changes in an nnx.Variable made in `__init__`."
    )


def _new_variables(before: Parts, after: Parts) -> list[Path]:
    pairs, known = zip(after.paths, after.leaves, strict=True), set(before.paths)
    return [path for path, leaf in pairs if path not in known and not isinstance(leaf, Held)]


def _attributes_set(before: Parts, after: Parts) -> str:
    was, now = _attributes(before), _attributes(after)
    new = Counter(name for name, _ in now) - Counter(name for name, _ in was)
    changed = [*new] or [name for (name, x), (_, y) in zip(was, now, strict=False) if x != y]
    what = " and ".join(f"`self.{name}`" for name in changed[:3]) or "an attribute"
    return f"{what}, which is not an nnx.Variable"


def _attributes(parts: Parts) -> list[tuple[object, object]]:
    return [(name, value) for name, value in parts.structure.attributes if name not in FLAX_OWN]


def _metadata(parts: Parts) -> dict[Path, dict[str, object]]:
    pairs = zip(parts.paths, parts.leaves, strict=True)
    return {path: x.get_metadata() for path, x in pairs if not isinstance(x, Held)}


def _check_kind(path: Path, leaf: object) -> None:
    kind = "hijax" * (type(leaf).__name__ == "HijaxVariable")
    if isinstance(leaf, nnx.Variable) and not kind:
        kind = "ref" * bool(leaf.get_metadata().get("ref"))
    if kind:
        raise TypeError(
            f"`{_text(path)}` is a Variable made with {kind}=True, which a compiled call cannot "
            f"read and write by its value; leave out {kind}=True."
        )


def _text(path: Path) -> str:
    return ".".join(map(str, path))
