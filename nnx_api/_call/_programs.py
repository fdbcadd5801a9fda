"""The compiled functions of modules, shared by all modules of one structure.

A `Program` is `fn(modules, *args, *static)` for modules like some that were taken apart. Programs
of one key, of two pipelines made alike say, are compiled once: JAX finds what is compiled by the
key, which holds neither data nor parameters nor functions alive. What they compute is not known.
A checked program also computes whether what its functions check at run time holds.
"""

import time
import weakref
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import jax
from flax import nnx
from jax.experimental import checkify
from jax.extend.core import ClosedJaxpr
from jaxtyping import PyTree

from dagrax.pure import internal

from ._inside import attributes
from ._parts import FLAX_OWN, Changed, Held, Parts, Values, raw_value
from ._watch import in_words, metadata_of

_MOST = 32
Fn: TypeAlias = Callable[..., Any]  # of modules, arguments and static arguments
Args: TypeAlias = tuple[PyTree, ...]
Views: TypeAlias = tuple[Collection[object], ...]
Refuse: TypeAlias = Callable[[checkify.Error, Values], None]
# The result and what has changed; then, of a checked program, what was found.
Compiled: TypeAlias = Callable[["_Handle", Values, Args], tuple[Any, ...]]


class Program:
    """`fn(modules, *args, *static)`, compiled, for modules like those taken apart.

    `key` says all that the program depends on but for the values of Variables and arguments;
    `refuse` is given what a checked program has found, and the values.
    """

    def __init__(
        self,
        parts: Parts,
        key: Hashable,
        compiled: Compiled,
        fn: Fn,
        static: tuple[object, ...],
        refuse: Refuse | None = None,
    ):
        self.parts, self.key, self.fn, self.static = parts, key, fn, static
        self._refuse = refuse
        self.has_run = False  # and so was looked through
        self.traced_at: float | None = None  # until what was compiled is noted
        self._compiled = compiled
        self._handle = _Handle(key, weakref.ref(self))

    def __call__(self, values: Values, *args: PyTree) -> tuple[Any, Changed]:
        """What `fn` returns, and which values it has set.

        **Errors:** ValueError for what a checked program has found not to hold.
        """
        if self._refuse is None:
            result, changed = self._compiled(self._handle, values, args)
            return result, changed
        with _to_its_end():
            result, changed, found = self._compiled(self._handle, values, args)
        self._refuse(found, values)
        return result, changed

    def traced(self, values: Values, *args: PyTree) -> ClosedJaxpr:
        """The program as it was traced; the call that follows does not trace it again."""
        jitted: Any = self._compiled
        with nullcontext() if self._refuse is None else _to_its_end():
            program: ClosedJaxpr = jitted.trace(self._handle, values, args).jaxpr
        return program


@contextmanager
def _to_its_end() -> Iterator[None]:
    """No NaN ends a checked program, which tells more of it than JAX does."""
    with jax.debug_nans(False), jax.debug_infs(False):
        yield


class _Handle:
    """What JAX's cache holds of a program: its key, and a way to it only while it lives."""

    __slots__ = ("_hash", "_key", "program")

    def __init__(self, key: Hashable, program: "weakref.ref[Program]"):
        self._key, self._hash, self.program = key, hash(key), program

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Handle) and self._key == other._key)


def _run(handle: _Handle, values: Values, args: Args) -> tuple[Any, Changed]:
    program = handle.program()
    if program is None:
        raise RuntimeError("A program was traced after its end.")
    program.traced_at = time.perf_counter()
    modules = program.parts.together(values)
    output = program.fn(modules, *args, *program.static)
    return output, program.parts.changes(modules, values, "The pipeline")


def _run_checked(handle: _Handle, values: Values, args: Args) -> tuple[Any, Changed, PyTree]:
    run = checkify.checkify(lambda *given: _run(handle, *given))
    with internal.checking():
        error, (result, changed) = run(values, args)
    return result, changed, error


_shared: Compiled = jax.jit(_run, static_argnums=0)
_shared_checked: Compiled = jax.jit(_run_checked, static_argnums=0)


def _compiled_alone(checked: bool) -> Compiled:
    # What JAX compiles belongs to a function, not to a call of jit: here to a new one.
    def run(handle: _Handle, values: Values, args: Args) -> tuple[Any, ...]:
        return (_run_checked if checked else _run)(handle, values, args)

    return jax.jit(run, static_argnums=0)


class Private:
    """Compiled functions whose programs hold arrays as constants: they go when their owner goes.

    The oldest make room for the newest.
    """

    def __init__(self) -> None:
        self._compiled: dict[Hashable, Compiled] = {}

    def find(self, key: Hashable, *, shareable: bool, checked: bool) -> Compiled:
        """The compiled function for programs of a key: everybody's, or the owner's alone."""
        if shareable:
            return _shared_checked if checked else _shared
        if key not in self._compiled:
            while len(self._compiled) >= _MOST:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[key] = _compiled_alone(checked)
        return self._compiled[key]


def structure_key(parts: Parts, modules: PyTree) -> internal.StaticKey:
    """What programs of these modules depend on, but for the values of their Variables."""
    return internal.static_key(modules, opaque=_is_variable, instead=_leaves_of(parts))


def function_key(fn: object, parts: Parts) -> internal.StaticKey:
    """What programs depend on in a function, which may hold some of the modules' Variables."""
    return internal.static_key(fn, opaque=_is_variable, instead=_leaves_of(parts))


def watched(said: object) -> internal.Watch:
    """Whether what a function's key was read from is unchanged; Variables may change."""
    return internal.watched(said, opaque=_is_variable)


def held_watched(parts: Parts, modules: PyTree) -> internal.Watch:
    """Whether what the modules' key was read from is unchanged; values of Variables may change."""
    return internal.watched(modules, opaque=_is_variable, instead=_leaves_of(parts))


def _leaves_of(parts: Parts) -> internal.Instead:
    """In place of a Variable that is an argument, what the program depends on of it; in place of a
    module, what flax sees of it, and where it holds that."""
    noted: dict[int, tuple[object, Views]] = {
        id(raw_value(x) if isinstance(x, Held) else x): (_noted(index, x), ())
        for index, x in enumerate(parts.leaves)
    }

    def instead(value: object) -> tuple[object, Views]:
        if isinstance(value, nnx.Pytree) and id(value) not in noted:
            own = vars(value)
            named = (own.keys(),) if not _are_listed(own) else ()
            told = ("module", type(value), *attributes(value).items())
            noted[id(value)] = told, (own.values(), *named)
        return noted.get(id(value), (value, ()))

    return instead


def _noted(index: int, leaf: nnx.Variable[PyTree]) -> tuple[object, ...]:
    if isinstance(leaf, Held):
        return "leaf", index, None
    metadata = metadata_of(leaf)
    # Plain words are looked at on their own, all at once.
    told = tuple(metadata.items()) if in_words(metadata) else metadata
    return "leaf", index, type(leaf), told


def _are_listed(attributes: Mapping[Any, Any]) -> bool:
    # Flax puts a new list of the names, itself an attribute, when there is a new one.
    listed: Mapping[Any, Any] = attributes.get("_pytree__nodes") or {}
    return attributes.keys() - FLAX_OWN <= listed.keys()


def _is_variable(value: object) -> bool:
    return isinstance(value, nnx.Variable)
