"""Goes through a static value and notes what it holds: atoms in a flat list, the rest by identity.

What is noted of a kind of value it is told; it must not know the kinds.
"""

import functools
import types
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping

import jax
import numpy as np
from jax.core import Tracer

from ._installed import is_installed
from ._places import MOST_BYTES, Buffer, Contents, Places, contents, size_of

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
    """What was read of a value: a flat list of atoms, and what counts by identity.

    With `only_far`, the places that are noted are but those that others hold too: globals, classes,
    functions, and what is reached through them.
    """

    def __init__(
        self,
        opaque: Callable[[object], bool],
        content: "Callable[[object, Reader], None]",
        instead: Callable[[object], object] = lambda value: value,
        *,
        only_far: bool = False,
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
        self._only_far = only_far
        self._far = 0  # how often a step led to what others hold too
        self._used: set[tuple[int, str]] = set()
        self._alone: list[Reader] = []
        self._members: dict[type, tuple[str, ...]] = {}

    def read(self, value: object) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self.parts.append(value)
        elif isinstance(value, tuple) and kind is tuple:
            self.each(value)
        elif (other := self._instead(value)) is not value:
            if self._far and isinstance(own := getattr(value, "__dict__", None), dict):
                self.holds(own.values())
            self.read(other)
        elif (seen := self._seen.get(id(value))) is not None:
            self.parts.append(("again", seen[0]))
        else:
            self._seen[id(value)] = len(self._seen), value
            if isinstance(value, jax.Array | np.ndarray) or self.opaque(value):
                self.shareable = False
                self.is_traced |= isinstance(value, Tracer)
                self.identity(value)
                if isinstance(value, np.ndarray) and not value.dtype.hasobject:
                    self.buffer(value)
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
            reader = Reader(self.opaque, self._content, self._instead, only_far=self._only_far)
            reader._seen, reader._far = dict(self._seen), self._far
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
            if isinstance(own, dict):
                self.holds(own.keys(), own.values())
            if members and self.is_noted:
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

    @property
    def is_noted(self) -> bool:
        """Whether the places are noted where what is read just now is held."""
        return self._far > 0 or not self._only_far

    def holds(self, *views: Collection[object]) -> None:
        """What is read is held there: by containers, or as live views of dicts show it."""
        if self.is_noted:
            self.places.views += views

    def buffer(self, value: Buffer) -> None:
        """An array, or a buffer, whose contents may change; of a large one they do not count."""
        if size_of(value) <= MOST_BYTES:
            self.parts.append(("contents", contents(value)))
            self.places.looks.append(Contents(value))

    def far(self, read: Callable[[], None]) -> None:
        """Read what others hold too."""
        self._far += 1
        try:
            read()
        finally:
            self._far -= 1

    def used(self, value: object, attributes: tuple[str, ...]) -> None:
        """A value that code reads which names these attributes: of a module of the user's, what it
        has of them."""
        self.read(value)
        if isinstance(value, types.ModuleType) and not is_installed(vars(value)):
            self.places.name(vars(value), attributes)
            for name in attributes:
                if name in vars(value) and (id(value), name) not in self._used:
                    self._used.add((id(value), name))
                    self.parts.append(("attribute", name))
                    self.far(functools.partial(self.used, vars(value)[name], attributes))


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
