"""What the next call of some modules needs, for as long as they keep their structure.

They are taken apart, keyed and watched once. Each call then looks whether the plan still holds,
takes the values, runs a program on them, and writes back what it has set. A program is looked
through for what it must not keep as a constant before it runs for the first time.
"""

import types
from collections.abc import Hashable, Mapping
from operator import is_
from typing import Any

import jax
from jaxtyping import PyTree

from dagrax.pure import internal

from ._foreign import refuse_foreign
from ._parts import Changed, Parts, Values, any_traced
from ._programs import (
    Fn,
    Private,
    Program,
    Refuse,
    function_key,
    held_watched,
    structure_key,
    watched,
)
from ._watch import Metadata


class Plan:
    """How some modules are called, until their structure changes; where something can `refuse` it,
    with what is checked at run time."""

    def __init__(
        self, modules: PyTree, parts: Parts, private: Private, *, refuse: Refuse | None = None
    ):
        self.parts = parts
        self.refuse = refuse
        self._private = private
        self._key = structure_key(parts, modules)
        self._look_at(modules)
        self._programs: dict[tuple[Fn, tuple[Hashable, ...]], Program] = {}
        self._looked_through: set[Hashable] = set()
        self._untraced: set[type] = set()

    def holds(self) -> bool:
        """Whether the modules have kept the structure that they were planned with."""
        return self._held.is_unchanged() and self._metadata.is_unchanged()

    def are_traced(self, values: Values) -> bool:
        """Whether any of the values of the Variables belongs to a trace."""
        if self._untraced.issuperset(map(type, values)):
            return False
        if any_traced(values):
            return True
        kinds = set(map(type, values))
        if not any(issubclass(kind, dict | list | tuple) for kind in kinds):
            self._untraced |= kinds  # of no container, in which a trace may hide
        return False

    def program(self, fn: Fn, *static: Hashable) -> Program:
        """The program of `fn(modules, *args, *static)`, kept with the plan."""
        program = self._programs.get((fn, static))
        if program is None:
            program = self._made(fn, static, static, shareable=True)
            self._programs[fn, static] = program
        return program

    def program_with(
        self, said: tuple[object, ...], fn: Fn, own: tuple[object, ...], *static: Hashable
    ) -> Program:
        """The program of `fn(modules, *args, *own, *static)` for a user's function, and the like.

        It depends on `own` by what is `said`, and is not kept: the function may be one made anew,
        or close over another value by now.
        """
        key = function_key(said, self.parts)
        return self._made(fn, (key, *static), (*own, *static), shareable=key.shareable)

    def first_run(
        self,
        modules: PyTree,
        program: Program,
        values: Values,
        *args: PyTree,
        places: Mapping[str, tuple[object, str]],
    ) -> tuple[Any, Changed]:
        """What a program returns, and which values it has set.

        **Errors:** ValueError for one that has read Variables which are no part of the modules.
        `places` are what they may be reached from, each with what mends it.
        """
        refuse_foreign(program.traced(values, *args), self.parts, places)
        result = program(values, *args)
        self._looked_through.add(program.key)
        program.has_run = True
        self._look_at(modules)  # what a trace sets is no change to come
        return result

    def _look_at(self, modules: PyTree) -> None:
        self._held, self._metadata = held_watched(self.parts, modules), Metadata(self.parts.leaves)

    def settle(self) -> None:
        """Take what is held now for what the plan was made from: a trace has set it."""
        self._held.settle()
        self._metadata.settle()

    def _made(
        self, fn: Fn, said: tuple[Hashable, ...], static: tuple[object, ...], *, shareable: bool
    ) -> Program:
        key = (self._key, fn, said)
        shareable = shareable and self._key.shareable
        compiled = self._private.find(key, shareable=shareable, checked=self.refuse is not None)
        program = Program(self.parts, key, compiled, fn, static, self.refuse)
        program.has_run = key in self._looked_through
        return program


class Reading:
    """A user's function, and what static is given with it, as it was read for its programs: as
    long as nothing that it reaches has changed, it need not be read again."""

    def __init__(self, fn: object, rest: PyTree, *, again: bool):
        self._said = fn, rest
        self._is_watched = again or self.holds_nothing()
        self._plan: Plan | None = None
        self._watch: internal.Watch | None = None
        self._programs: dict[tuple[Hashable, ...], Program] = {}

    def is_of(self, fn: object, rest: PyTree) -> bool:
        """Whether it is one of these very objects."""
        leaves, structure = jax.tree.flatten((fn, rest))
        mine, mine_structure = jax.tree.flatten(self._said)
        return len({structure, mine_structure}) == 1 and all(map(is_, leaves, mine))

    def holds_nothing(self) -> bool:
        """Whether the function holds nothing but code, so that it may be kept."""
        fn = self._said[0]
        return isinstance(fn, types.FunctionType) and not (
            fn.__closure__ or fn.__defaults__ or fn.__kwdefaults__ or vars(fn)
        )

    def program(self, plan: Plan, fn: Fn, own: tuple[object, ...], *static: Hashable) -> Program:
        """`plan.program_with` of what is read, found again where nothing has changed."""
        if self._plan is not plan or self._watch is None or not self._watch.is_unchanged():
            self._plan, self._programs = plan, {}
            self.settle()
        program = self._programs.get(static)
        if program is None:
            program = plan.program_with(self._said, fn, own, *static)
            self._programs[static] = program
        return program

    def settle(self) -> None:
        """Take what is reached now for what was read: what a trace has changed is no change."""
        self._watch = watched(self._said) if self._is_watched else None
