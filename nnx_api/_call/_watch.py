"""Whether modules have kept their structure, at the cost of one look at what they hold.

Everything that a module is made of is compared by identity in passes that run in C: what its
containers, plain objects and functions hold, and the metadata of its Variables. A value of a
Variable is no structure and may change. The watch may see a change where there is none.
"""

import functools
import operator
import types
from collections import deque
from collections.abc import Callable, Mapping
from operator import is_
from typing import Any

from flax import nnx
from jaxtyping import PyTree

from dagrax.pure import internal

from ._inside import ATOMS, attributes, inside
from ._parts import FLAX_OWN

_metadata: Callable[[object], dict[str, object]] = operator.attrgetter("_var_metadata")
_WORDS = frozenset({bool, str, type(None)})


class Watch:
    """Notices a change in what makes up `modules`."""

    def __init__(self, modules: object):
        self._places = internal.Places()
        self._named: list[dict[Any, object]] = []  # those whose names can change unseen
        self._variables: list[nnx.Variable[PyTree]] = []
        self._told: list[nnx.Variable[PyTree]] = []  # of metadata in plain words
        self._slotted: list[object] = []
        self._add(modules, {})
        self._places.views += self._named
        self._held = internal.Watch(self._places)
        self._take()

    def unchanged(self) -> bool:
        """Whether everything in the modules holds, by identity, what it held."""
        return (
            self._held.is_unchanged()
            and self._words == list(map(_metadata, self._told))
            and (not self._variables or self._same_metadata())
            and (not self._slotted or self._same_slots())
        )

    def settle(self) -> None:
        """Take what is held now for what was held: a trace has set it."""
        self._held.settle()
        self._take()

    def _take(self) -> None:
        self._metadata = list(map(_metadata, self._variables))
        self._words = list(map(dict, map(_metadata, self._told)))
        self._slots = [list(attributes(x).values()) for x in self._slotted]

    def _same_metadata(self) -> bool:
        return all(map(is_, self._metadata, map(_metadata, self._variables)))

    def _same_slots(self) -> bool:
        now = (attributes(x).values() for x in self._slotted)
        return all(
            len(was) == len(own) and all(map(is_, was, own))
            for was, own in zip(self._slots, now, strict=True)
        )

    def _add(self, value: object, known: dict[int, object]) -> None:
        if id(value) in known or isinstance(value, ATOMS):
            return
        known[id(value)] = value  # so that no other takes its identity meanwhile
        if isinstance(value, nnx.Variable):
            # Equal words are the same words, and are compared in one go.
            if set(map(type, _metadata(value).values())) <= _WORDS:
                self._told.append(value)
            else:
                self._variables.append(value)
                self._look_at(_metadata(value))
        elif isinstance(value, dict):
            self._look_at(value)
        elif isinstance(value, list | set | deque):
            self._places.views.append(value)
        elif isinstance(value, types.FunctionType):
            self._places.cells += value.__closure__ or ()
        elif not isinstance(value, Mapping | tuple | frozenset | functools.partial):
            self._look_at_object(value)
        for step in inside(value):
            if not step.is_far:
                self._add(step.value, known)

    def _look_at_object(self, value: object) -> None:
        own = getattr(value, "__dict__", None)
        if type(own) is dict:
            self._look_at(own)
        if len(attributes(value)) > len(own or ()):
            self._slotted.append(value)

    def _look_at(self, held: dict[Any, object]) -> None:
        self._places.views.append(held.values())
        if not _are_listed(held):
            self._named.append(held)


def _are_listed(attributes: Mapping[Any, Any]) -> bool:
    # Flax puts a new list of the names, itself an attribute, when there is a new one.
    listed: Mapping[Any, Any] = attributes.get("_pytree__nodes") or {}
    return attributes.keys() - FLAX_OWN <= listed.keys()
