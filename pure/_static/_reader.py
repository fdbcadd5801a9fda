"""Goes through a static value and notes what it holds: atoms in a flat list, the rest by identity.

What is noted of a kind of value it is told; it must not know the kinds.
"""

import functools
import types
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

import jax
import numpy as np
from jax.core import Tracer

from ._installed import is_installed
from ._places import MOST_BYTES, Buffer, Contents, Places, contents, size_of

# What is read in place of a value, and where that is held.
Instead: TypeAlias = Callable[[object], tuple[object, tuple[Collection[object], ...]]]
_PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)}
)


class Identity:
    """A value by identity, held weakly where it can be."""

    __slots__ = ("held",)

    def __init__(self, held: Callable[[], object]):
        self.held = held

    def __eq__(self, other: object) -> bool:
        mine = self.held()
        return mine is not None and isinstance(other, Identity) and mine is other.held()

    __hash__ = object.__hash__


class Reader:
    """What was read of a value: a flat list of atoms, what counts by identity, where all is held.

    `instead` gives what is read in place of a value, and the views of the value that hold it.
    """

    def __init__(
        self,
        opaque: Callable[[object], bool],
        content: "Callable[[object, Reader], None]",
        instead: Instead = lambda value: (value, ()),
    ):
        self._content = content
        self._instead = instead
        self.opaque = opaque
        self.parts: list[object] = []
        self.identities: list[object] = []
        self.shareable = True
        self.is_traced = False
        # By `id`, with the value itself, so that no `id` is given out twice meanwhile.
        self._seen: dict[int, tuple[int, object]] = {}
        # Where a user may change what was read.
        self.places = Places()
        self._used: set[tuple[int, str]] = set()
        # Modules that are held, and all names that code reads: what of a module that may be.
        self._modules: dict[int, types.ModuleType] = {}
        self._names: dict[str, None] = {}
        self._alone: list[Reader] = []
        self._members: dict[type, tuple[str, ...]] = {}

    def read(self, value: object) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self.parts.append(value)
        elif isinstance(value, tuple) and kind is tuple:
            self.each(value)
        else:
            other, views = self._instead(value)
            if other is not value:
                self.holds(*views)
                self.read(other)
            else:
                self._read(value)

    def _read(self, value: object) -> None:
        if (seen := self._seen.get(id(value))) is not None:
            self.parts.append(("again", seen[0]))
            return
        self._seen[id(value)] = len(self._seen), value
        if isinstance(value, jax.Array | np.ndarray) or self.opaque(value):
            self.shareable = False
            self.is_traced |= isinstance(value, Tracer)
            self.identity(value)
            if isinstance(value, np.ndarray):
                self._array(value)
        else:
            self._content(value, self)

    def each(self, values: Iterable[object]) -> None:
        values = tuple(values)
        self.parts.append(("each", len(values)))
        if _PLAIN.issuperset(map(type, values)):
            self.parts += values  # at once: there may be many
        else:
            for value in values:
                self.read(value)

    def named(self, values: Mapping[str, object]) -> None:
        self.parts.append(("named", *values))
        for value in values.values():
            self.read(value)

    def unordered(self, values: Iterable[object]) -> None:
        # Each is read on its own, and takes its place by what was read.
        alone: list[tuple[str, list[int], list[object]]] = []
        for value in values:
            reader = Reader(self.opaque, self._content, self._instead)
            reader._seen, reader._modules = dict(self._seen), self._modules
            reader._names = self._names
            reader.read(value)
            self.shareable &= reader.shareable
            self.is_traced |= reader.is_traced
            self.places.add(reader.places)
            self._alone.append(reader)
            ids = [id(x.held() if isinstance(x, Identity) else x) for x in reader.identities]
            alone.append((written(reader.parts), ids, reader.identities))
        self.parts.append(("unordered", len(alone)))
        for text, _, identities in sorted(alone, key=lambda x: x[:2]):
            self.parts.append((text, len(identities)))
            self.identities += identities

    def attributes(self, value: object) -> None:
        """What an object shows of itself, in its `__dict__`, its slots and members."""
        kind, own = type(value), getattr(value, "__dict__", None)
        if kind not in self._members:
            self._members[kind] = _members(kind)
        members = {name: getattr(value, name, NotImplemented) for name in self._members[kind]}
        self.read(kind)
        self.named({**members, **(own if isinstance(own, dict) else {})})
        if not _is_frozen(kind):
            self.places.objects.append(value)
            if isinstance(own, dict):
                self.holds(own.keys(), own.values())
            if members:
                self.places.looks.append(functools.partial(_of_members, value, tuple(members)))

    def identity(self, value: object) -> None:
        held: Callable[[], object]
        try:
            held = weakref.ref(value)
        except TypeError:
            self.shareable = False
            held = functools.partial(_itself, value)
        self.equal(Identity(held))

    def equal(self, value: object) -> None:
        self.parts.append(("equal", len(self.identities)))
        self.identities.append(value)

    def holds(self, *views: Collection[object]) -> None:
        """What is read is held there: by containers, or as live views of dicts show it."""
        self.places.views += views

    def _array(self, value: np.ndarray) -> None:
        if not value.dtype.hasobject:
            self.buffer(value)
        elif value.size <= MOST_BYTES // 8:
            self.each(value.ravel().tolist())
            self.places.looks.append(lambda: value.ravel().tolist())

    def buffer(self, value: Buffer) -> None:
        """An array, or a buffer, whose contents may change; of a large one they do not count."""
        if size_of(value) <= MOST_BYTES:
            self.parts.append(("contents", contents(value)))
            self.places.looks.append(Contents(value))

    def used(self, value: object, attributes: tuple[str, ...]) -> None:
        """A value that code reads which names these attributes: of a module of the user's, what it
        has of them."""
        if not isinstance(value, types.ModuleType):
            self.read(value)
        else:
            self.identity(value)
            if not is_installed(vars(value)):
                self._of_module(value, attributes)

    def module(self, value: types.ModuleType) -> None:
        """A module that is held like any other value."""
        self.identity(value)
        if not is_installed(vars(value)):
            self._modules[id(value)] = value

    def names(self, read: Iterable[str]) -> None:
        """Code reads these names."""
        self._names.update(dict.fromkeys(read))

    def finish(self) -> None:
        """Read, of modules that are held, what any of the code may read of them."""
        before = -1
        while before != len(self._used):
            before = len(self._used)
            for value in tuple(self._modules.values()):
                self._of_module(value, tuple(self._names))

    def _of_module(self, value: types.ModuleType, attributes: tuple[str, ...]) -> None:
        self.places.name(vars(value), attributes)
        for name in attributes:
            if name in vars(value) and (id(value), name) not in self._used:
                self._used.add((id(value), name))
                self.parts.append(("attribute", name))
                self.used(vars(value)[name], attributes)


def _of_members(value: object, names: Iterable[str]) -> list[object]:
    return [getattr(value, name, NotImplemented) for name in names]


def _is_frozen(kind: type) -> bool:
    made = getattr(kind, "__dataclass_params__", None)
    return issubclass(kind, functools.partial) or bool(getattr(made, "frozen", False))


def _itself(value: object) -> object:
    return value


def _members(kind: type) -> tuple[str, ...]:
    return tuple(
        name
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and not name.endswith("__")
    )


def written(parts: list[object]) -> str:
    """What was read, as a text."""
    try:
        return repr(parts)
    except ValueError:  # Python refuses to write out all digits of a long number
        return repr([("int", hex(x)) if type(x) is int else x for x in parts])
