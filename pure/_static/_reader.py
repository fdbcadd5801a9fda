"""Goes through a static value and notes what it holds: atoms in a flat list, the rest by identity.

What is noted of a kind of value it is told; it must not know the kinds.
"""

import functools
import itertools
import operator
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import jax
import numpy as np
from jax.core import Tracer

from ._installed import is_installed

Place: TypeAlias = Callable[[], Iterable[object]]

_PLAIN = frozenset({type(None), bool, float, complex, str, bytes, type(...), type(NotImplemented)})


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
    """What was read of a value: a flat list of atoms, and what counts by identity."""

    def __init__(
        self,
        opaque: Callable[[object], bool],
        content: "Callable[[object, Reader], None]",
        instead: Callable[[object], object] = lambda value: value,
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
        self.places: list[Place] = []
        self._used: set[tuple[int, str]] = set()
        self._alone: list[Reader] = []
        self._members: dict[type, tuple[str, ...]] = {}

    def read(self, value: object) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self.parts.append(value)
        elif isinstance(value, int) and kind is int:
            # Python refuses to write out all digits of a long one.
            self.parts.append(value if value.bit_length() < 64 else ("int", hex(value)))
        elif isinstance(value, tuple) and kind is tuple:
            self.each(value)
        elif (other := self._instead(value)) is not value:
            self.read(other)
        elif (seen := self._seen.get(id(value))) is not None:
            self.parts.append(("again", seen[0]))
        else:
            self._seen[id(value)] = len(self._seen), value
            if isinstance(value, jax.Array | np.ndarray) or self.opaque(value):
                self.shareable = False
                self.is_traced |= isinstance(value, Tracer)
                self.identity(value)
            else:
                self._content(value, self)

    def each(self, values: Iterable[object]) -> None:
        values = tuple(values)
        self.parts.append(("each", len(values)))
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
            reader._seen = dict(self._seen)
            reader.read(value)
            self.shareable &= reader.shareable
            self.is_traced |= reader.is_traced
            self.places += reader.places
            self._alone.append(reader)
            ids = [id(x.held() if isinstance(x, Identity) else x) for x in reader.identities]
            alone.append((repr(reader.parts), ids, reader.identities))
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
                self.places += [own.__iter__, own.values]
            if members:
                self.places.append(functools.partial(_of_members, value, tuple(members)))

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

    def used(self, value: object, attributes: tuple[str, ...]) -> None:
        """A value that code reads which names these attributes: of a module of the user's, what it
        has of them."""
        self.read(value)
        if isinstance(value, types.ModuleType) and not is_installed(vars(value)):
            self.places.append(functools.partial(_found, vars(value), attributes))
            for name in attributes:
                if name in vars(value) and (id(value), name) not in self._used:
                    self._used.add((id(value), name))
                    self.parts.append(("attribute", name))
                    self.used(vars(value)[name], attributes)


class Watch:
    """Places, and what they held: as long as they hold the same, nothing need be read anew."""

    __slots__ = ("_before", "_places")

    def __init__(self, places: Iterable[Place]):
        self._places = tuple(places)
        self._before = self._now()

    def is_unchanged(self) -> bool:
        now, before = self._now(), self._before
        return len(now) == len(before) and all(map(operator.is_, now, before))

    def _now(self) -> list[object]:
        return list(itertools.chain.from_iterable([place() for place in self._places]))


def _found(names: Mapping[str, object], wanted: Iterable[str]) -> list[object]:
    """What there is under these names, `...` where nothing is."""
    return [names.get(name, ...) for name in wanted]


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
