"""What anything holds, one step down: where a change, a Variable or an array may hide.

Modules, containers, plain objects, functions with what they close over and name, partials, bound
methods: each step has the text by which a user would reach it. The watch and the search for what
is no part of a module both go by it.
"""

import enum
import functools
import inspect
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from dagrax.pure import internal

from ._parts import FLAX_OWN

BY_A_MODULE = "held by a module"
_LIBRARIES = ("builtins", "abc", "typing", "numpy", "jax", "jaxlib", "flax", "equinox", "dagrax")
_CONTAINERS = (list, tuple, set, frozenset, deque)
_NUMBERS = (type(None), bool, int, float, complex, str, bytes)
_KINDS_OF_NUMBERS = frozenset(_NUMBERS)
_MANY = 1000  # numbers in a row, each of which is no place worth telling
# What is read on the host is no part of a program.
ATOMS = (
    *(*_NUMBERS, enum.Enum, jax.Array, np.ndarray, types.ModuleType, type),
    internal.Handle,
)


class Step(NamedTuple):
    """One thing that another holds: how it is reached from there, and how it is held."""

    text: str  # behind the text of what holds it: `.m`, `[0]`, `['x']`
    how: str
    value: object
    is_far: bool = False  # shared with others: a global, an attribute of a class


def inside(value: object) -> Iterator[Step]:
    """What a value holds, one step down; nothing for arrays, numbers, Variables and classes."""
    if isinstance(value, (*ATOMS, nnx.Variable)):
        return
    if isinstance(value, Mapping):
        yield from (Step(f"[{name!r}]", "held by a dict", x) for name, x in value.items())
    elif isinstance(value, _CONTAINERS):
        if len(value) > _MANY and _KINDS_OF_NUMBERS.issuperset(map(type, value)):
            return
        kind = type(value).__name__
        yield from (Step(f"[{i}]", f"held by a {kind}", x) for i, x in enumerate(value))
    elif isinstance(value, functools.partial):  # jax.tree_util.Partial is one
        yield Step(".func", "the function of a partial", value.func)
        yield from (Step(f".args[{i}]", "held by a partial", x) for i, x in enumerate(value.args))
        for name, x in value.keywords.items():
            yield Step(f".keywords[{name!r}]", "held by a partial", x)
    elif inspect.ismethod(value):
        yield Step(".__self__", "the object of a bound method", value.__self__)
        yield Step(".__func__", "the function of a bound method", value.__func__)
    elif inspect.isfunction(value):
        yield from _of_function(value)
    else:
        yield from _of_object(value)


def _of_function(function: types.FunctionType) -> Iterator[Step]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield Step(f" {name}", "closed over by a function", cell.cell_contents)
        except ValueError:  # not set yet
            continue
    for name, x in (function.__kwdefaults__ or {}).items():
        yield Step(f" {name}", "the default of an argument", x)
    defaults = function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    for name, x in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield Step(f" {name}", "the default of an argument", x)
    own = is_of_a_user(str(function.__module__))
    for name in sorted(_names(code) & function.__globals__.keys()) if own else ():
        yield Step(f" {name}", "a global of its module", function.__globals__[name], True)
    yield from (Step(f".{n}", "held by a function", x, True) for n, x in vars(function).items())


def _names(code: types.CodeType) -> set[str]:
    inner = (x for x in code.co_consts if isinstance(x, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _of_object(value: object) -> Iterator[Step]:
    how = BY_A_MODULE if isinstance(value, nnx.Pytree) else "held by a plain object"
    own = attributes(value)
    for name, x in own.items():
        yield Step(f".{name}", how, x)
    for kind in type(value).__mro__:
        if is_of_a_user(kind.__module__):
            for name, x in vars(kind).items():
                if name not in own and not name.startswith("__"):
                    yield Step(f".{name}", "an attribute of its class", x, True)
    if _is_jitted(value):
        yield Step("", "inside of jax.jit", inspect.unwrap(value), True)  # type: ignore[arg-type]


def attributes(value: object) -> dict[str, object]:
    """What an object holds by name, in its `__dict__` or in slots; of a module what flax sees."""
    own = getattr(value, "__dict__", {})
    if isinstance(value, nnx.Pytree):
        return {name: x for name, x in own.items() if name not in FLAX_OWN}
    return {**dict(_slots(value)), **own}


def _slots(value: object) -> Iterator[tuple[str, object]]:
    for kind in type(value).__mro__:
        for name, member in vars(kind).items():
            # Python's own are made anew at each look.
            if isinstance(member, types.MemberDescriptorType) and not name.endswith("__"):
                try:
                    yield name, member.__get__(value)
                except AttributeError:  # not set yet
                    continue


def is_of_a_user(module: str) -> bool:
    """Whether a module of this name is a user's own, and of no library."""
    return module.partition(".")[0] not in _LIBRARIES


def _is_jitted(value: object) -> bool:
    return callable(value) and inspect.isfunction(getattr(value, "__wrapped__", None))
