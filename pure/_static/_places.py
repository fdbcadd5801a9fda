"""Where a user may change what was read, and whether that has happened since.

A look at it runs in C: containers are gone through as they are, functions and the names that code
reads of a module are looked up in one go each. It may see a change where there is none.
"""

import array
import itertools
import operator
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import is_
from typing import TypeAlias

import numpy as np

_each = itertools.chain.from_iterable
_bases = operator.attrgetter("__bases__")
_code, _defaults, _kwdefaults = map(
    operator.attrgetter, ("__code__", "__defaults__", "__kwdefaults__")
)
Buffer: TypeAlias = np.ndarray | bytearray | array.array | memoryview  # type: ignore[type-arg]
MOST_BYTES = 2**16  # of an array whose contents are looked at


class Places:
    """Where what was read is held: containers, names of modules, functions, and anything else."""

    def __init__(self) -> None:
        self.views: list[Collection[object]] = []  # lists and the like, and live views of dicts
        self.functions: list[types.FunctionType] = []
        self.objects: list[object] = []  # whose class may be set
        self.classes: list[type] = []  # whose bases may be
        self.cells: list[types.CellType] = []
        self.names: dict[int, tuple[Mapping[str, object], dict[str, None]]] = {}
        self.looks: list[Callable[[], Iterable[object]]] = []

    def name(self, names: Mapping[str, object], read: Iterable[str]) -> None:
        """Some names of a module are read."""
        _, wanted = self.names.setdefault(id(names), (names, {}))
        wanted.update(dict.fromkeys(read))

    def add(self, other: "Places") -> None:
        """All places of another."""
        self.views += other.views
        self.functions += other.functions
        self.objects += other.objects
        self.classes += other.classes
        self.cells += other.cells
        self.looks += other.looks
        for names, wanted in other.names.values():
            self.name(names, wanted)


class Watch:
    """As long as places hold what they held, by identity, nothing need be read anew."""

    __slots__ = ("_looks", "_lookups", "_seen", "_shown", "_sizes", "_views")

    def __init__(self, places: Places):
        self._views, self._looks = places.views, places.looks
        names = [(held, name) for held, wanted in places.names.values() for name in wanted]
        functions = places.functions
        lookups: list[tuple[Callable[..., object], tuple[Sequence[object], ...]]] = [
            (dict.get, tuple(zip(*names, strict=True))),
            # Each look at a function is told to the hooks of an audit, of which there is one in
            # every process with JAX. What has no defaults does not come to depend on any.
            (_code, (functions,)),
            (_defaults, ([x for x in functions if x.__defaults__],)),
            (_kwdefaults, ([x for x in functions if x.__kwdefaults__],)),
            (type, (places.objects,)),
            (_bases, (places.classes,)),
            (held, (places.cells,)),
        ]
        self._lookups = [(look, *at) for look, at in lookups if at and at[0]]
        self.settle()

    def is_unchanged(self) -> bool:
        """Whether everything is, by identity, what it was."""
        return (
            self._sizes == list(map(len, self._views))
            and all(map(is_, self._seen, self._all()))
            and (not self._looks or self._is_shown())
        )

    def settle(self) -> None:
        """Take what is there now for what was there: a trace has set it, and no user."""
        self._sizes = list(map(len, self._views))
        self._seen = list(self._all())
        self._shown = list(self._looked_at())

    def _all(self) -> Iterable[object]:
        return _each([*self._views, *itertools.starmap(map, self._lookups)])

    def _looked_at(self) -> Iterable[object]:
        return _each([look() for look in self._looks])

    def _is_shown(self) -> bool:
        return _are_same(self._shown, list(self._looked_at()))


def _are_same(before: Sequence[object], now: Sequence[object]) -> bool:
    return len(before) == len(now) and all(map(is_, before, now))


class Contents:
    """Gives itself for as long as an array, or a buffer, has its contents."""

    __slots__ = ("_before", "_value")

    def __init__(self, value: Buffer):
        self._value, self._before = value, contents(value)

    def __call__(self) -> tuple[object]:
        return (self if contents(self._value) == self._before else object(),)


def contents(value: Buffer) -> tuple[object, ...]:
    """What an array, or a buffer, holds, and as what."""
    if isinstance(value, bytearray):
        return (bytes(value),)
    kind = (value.shape, str(value.dtype)) if isinstance(value, np.ndarray) else ()
    return value.tobytes(), *kind


def size_of(value: Buffer) -> int:
    """The bytes that an array, or a buffer, takes."""
    return value.nbytes if isinstance(value, np.ndarray) else memoryview(value).nbytes


def held(cell: types.CellType) -> object:
    """What a function closes over."""
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return NotImplemented
