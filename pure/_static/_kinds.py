"""What is noted of each kind of value: one short function for each, found by the kind.

Kinds made in C are listed, for they may hold what they do not show; one that is not listed counts
by identity.
"""

import array
import collections
import contextvars
import datetime
import decimal
import enum
import functools
import importlib.util
import logging
import pathlib
import re
import sys
import types
import uuid
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import jax
import numpy as np
from jaxtyping import PyTreeDef

from ._code import Code, Named, code_of, may_set, set_by
from ._installed import is_installed
from ._places import Buffer, held
from ._reader import Reader

# Flags of a class: those made in Python have the first and never the second.
_HEAP, _IMMUTABLE = 1 << 9, 1 << 8
# Whatever a subclass makes of it.
_WRITTEN: tuple[tuple[type, Callable[..., str]], ...] = (
    (int, int.__repr__),
    (float, float.__repr__),
    (complex, complex.__repr__),
    (str, str.__repr__),
    (bytes, bytes.__repr__),
)
_GROW = (list, set, collections.deque)
_OF_DATACLASSES = re.compile("__(new|init|repr|eq|lt|le|gt|ge|hash|setattr|delattr)__")
_FIELD = type(vars(collections.namedtuple("_FIELD", "name"))["name"])


@functools.singledispatch
def content(value: object, reader: Reader) -> None:
    own = getattr(value, "__dict__", None)
    wraps = isinstance(own, dict) and "__wrapped__" in own  # made by jax.jit, functools.cache
    if wraps or _is_made_in_python(type(value)):
        reader.attributes(value)
    else:
        reader.identity(value)


@content.register(slice)
@content.register(functools.partial)
@content.register(re.Pattern)
@content.register(property)
@content.register(types.SimpleNamespace)
def _(value: object, reader: Reader) -> None:
    reader.attributes(value)


@content.register(int)
@content.register(float)
@content.register(complex)
@content.register(str)
@content.register(bytes)
def _(value: object, reader: Reader) -> None:
    write = next(write for kind, write in _WRITTEN if isinstance(value, kind))
    reader.parts.append(("atom", write(value)))
    reader.attributes(value)


@content.register(bytearray)
@content.register(array.array)
@content.register(memoryview)
def _(value: Buffer, reader: Reader) -> None:
    reader.read(type(value))
    reader.attributes(value)
    reader.buffer(value)


@content.register
def _(value: contextvars.ContextVar, reader: Reader) -> None:  # type: ignore[type-arg]
    reader.identity(value)
    reader.read(value.get(NotImplemented))
    reader.places.looks.append(lambda: (value.get(NotImplemented),))


@content.register(range)
@content.register(datetime.date)
@content.register(datetime.time)
@content.register(datetime.timedelta)
@content.register(decimal.Decimal)
@content.register(pathlib.PurePath)
@content.register(uuid.UUID)
@content.register(np.dtype)
def _(value: object, reader: Reader) -> None:
    reader.read(type(value))
    reader.parts.append(("text", repr(value)))


@content.register
def _(value: np.generic, reader: Reader) -> None:
    reader.read(value.dtype)
    if value.dtype.hasobject:
        reader.identity(value)
    else:
        reader.parts.append(("bytes", value.tobytes()))


@content.register
def _(value: np.ufunc, reader: Reader) -> None:
    if getattr(np, value.__name__, None) is value:
        reader.parts.append(("numpy", value.__name__))
    else:
        reader.identity(value)


@content.register
def _(value: enum.Enum, reader: Reader) -> None:
    reader.read(type(value))
    reader.parts.append(("member", value.name))
    reader.read(value.value)
    reader.named({name: x for name, x in vars(value).items() if not name.startswith("_")})
    reader.holds(vars(value).values())


@content.register(jax.Device)
@content.register(jax.sharding.Mesh)
@content.register(jax.sharding.AbstractMesh)
@content.register(jax.sharding.PartitionSpec)
@content.register(jax.sharding.Sharding)
def _(value: object, reader: Reader) -> None:
    reader.equal(value)


@content.register(tuple)
@content.register(list)
@content.register(collections.deque)
def _(value: Collection[object], reader: Reader) -> None:
    reader.attributes(value)
    reader.each(value)
    reader.holds(value)


@content.register(dict)
@content.register(types.MappingProxyType)
def _(value: Mapping[object, object], reader: Reader) -> None:
    reader.attributes(value)
    for part in (value.keys(), value.values()):
        reader.each(part)
        reader.holds(part)


@content.register(set)
@content.register(frozenset)
def _(value: Collection[object], reader: Reader) -> None:
    reader.attributes(value)
    reader.unordered(value)
    reader.holds(value)


@content.register
def _(value: types.FunctionType, reader: Reader) -> None:
    code, names = code_of(value.__code__), value.__globals__
    reader.parts.append(("function", code.content, names.get("__name__")))
    reader.read(value.__defaults__)
    reader.read(value.__kwdefaults__)
    closed_over = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True))
    outside = {} if is_installed(names) else {name: names.get(name) for name in code.globals}
    for name, is_global in _own(value, outside, closed_over):
        reader.parts.append(("own", name))
        del (outside if is_global else closed_over)[name]
    for cell in closed_over.values():
        reader.used(held(cell), code.names)
    reader.names(code.names)
    _outside(value, code, tuple(outside), reader)
    if not _is_made(value):  # all that a user may set anew of it
        reader.places.functions.append(value)
        reader.places.cells += closed_over.values()
        own = vars(value)
        reader.holds(own.values(), *([own.keys()] if own else []))


def _is_made(value: types.FunctionType) -> bool:
    """Whether a library wrote it, or Python for a dataclass, and so nobody sets anything of it."""
    installed = is_installed(value.__globals__)
    if value.__defaults__ or value.__kwdefaults__ or not _OF_DATACLASSES.fullmatch(value.__name__):
        return installed and not value.__closure__
    return installed or value.__code__.co_filename == "<string>"


def _own(
    value: types.FunctionType, outside: Mapping[str, object], cells: Mapping[str, types.CellType]
) -> list[Named]:
    """What a function sets, or only adds to, of all that it reaches by name: its own counts."""
    reached: dict[Named, object] = {Named(name, True): x for name, x in outside.items()}
    reached |= {Named(name, False): held(x) for name, x in cells.items()}
    grow = {name for name, x in reached.items() if type(x) in _GROW}
    if not grow and not may_set(value.__code__):
        return []
    is_set, added = set_by(value.__code__)
    return [name for name in reached if name in is_set | (added & grow)]


def _outside(
    value: types.FunctionType, code: Code, outside: tuple[str, ...], reader: Reader
) -> None:
    names = value.__globals__
    reader.named(vars(value))
    builtins: dict[str, object] = getattr(value, "__builtins__", {})
    for name in outside:
        reader.parts.append(("global", name, name in names))
        reader.used(names.get(name, builtins.get(name)), code.names)
    imported = () if is_installed(names) else tuple(_imported(names, code.imports))
    for name in imported:
        reader.parts.append(("import", name))
        reader.used(sys.modules.get(name), code.names)
    reader.places.name(names, outside)
    reader.places.name(sys.modules, imported)
    reader.places.name(builtins, [name for name in outside if name not in names])


def _imported(names: Mapping[str, object], told: Iterable[str]) -> Iterator[str]:
    """The modules that code imports, by their whole names: of `a.b`, first `a`, which it names."""
    package = names.get("__package__") or str(names.get("__name__", "")).rpartition(".")[0]
    for name in told:
        whole = name
        if name.startswith("."):
            try:
                whole = importlib.util.resolve_name(name, str(package))
            except ImportError:
                continue
        yield from dict.fromkeys((whole.partition(".")[0], whole))


@content.register
def _(value: types.CodeType, reader: Reader) -> None:
    reader.parts.append(("code", code_of(value).content))


@content.register
def _(value: types.MethodType, reader: Reader) -> None:
    reader.parts.append(("method",))
    reader.read(value.__func__)
    reader.read(value.__self__)


@content.register(types.BuiltinMethodType)
@content.register(types.MethodWrapperType)
def _(value: types.BuiltinMethodType | types.MethodWrapperType, reader: Reader) -> None:
    if value.__self__ is None or isinstance(value.__self__, types.ModuleType):
        reader.identity(value)
    else:
        reader.parts.append(("method", value.__name__))
        reader.read(value.__self__)


@content.register(types.WrapperDescriptorType)
@content.register(types.MethodDescriptorType)
@content.register(types.ClassMethodDescriptorType)
def _(value: object, reader: Reader) -> None:
    reader.parts.append(("descriptor", getattr(value, "__name__", None)))
    reader.read(getattr(value, "__objclass__", None))


@content.register(staticmethod)
@content.register(classmethod)
def _(value: object, reader: Reader) -> None:
    reader.read(type(value))
    reader.read(getattr(value, "__func__", None))


@content.register
def _(value: type, reader: Reader) -> None:
    reader.identity(value)
    module = sys.modules.get(value.__module__)
    if module is not None and is_installed(vars(module)):
        return
    own = {name: x for name, x in vars(value).items() if _is_own(name, x)}
    reader.each(value.__bases__)
    reader.read(type(value))
    reader.named(own)
    reader.places.classes.append(value)
    reader.holds(vars(value).values())


def _is_own(name: str, attribute: object) -> bool:
    """Whether the author of a class wrote it, and not Python."""
    functions = (types.FunctionType, staticmethod, classmethod, property)
    slots = (types.MemberDescriptorType, types.GetSetDescriptorType, _FIELD)
    made = name == "_abc_impl" or isinstance(attribute, slots)
    if made or isinstance(attribute, functions):
        return not made
    return not name.startswith("__") or callable(attribute) or _is_bound(attribute)


def _is_bound(attribute: object) -> bool:
    """Whether a class gives something else than this very object, as of a partialmethod."""
    return any("__get__" in vars(kind) for kind in type(attribute).__mro__)


@content.register(types.GenericAlias)
@content.register(type(int | str))
def _(value: object, reader: Reader) -> None:
    reader.parts.append(("alias",))
    reader.read(getattr(value, "__origin__", None))
    reader.read(getattr(value, "__args__", None))


@content.register(jax.tree_util.PyTreeDef)
def _(value: PyTreeDef, reader: Reader) -> None:  # pyright: ignore[reportInvalidTypeForm]
    reader.parts.append(("structure",))
    reader.read(value.node_data())
    reader.each(value.children())


@content.register(weakref.ReferenceType)
def _(value: weakref.ReferenceType[object], reader: Reader) -> None:
    # No more than whose it is: what is looked at is kept alive, and this must not be.
    reader.parts.append(("reference",))
    reader.identity(value if value() is None else value())
    reader.places.looks.append(lambda: (value() is None,))


@content.register
def _(value: logging.Logger, reader: Reader) -> None:
    reader.identity(value)


@content.register
def _(value: types.ModuleType, reader: Reader) -> None:
    reader.module(value)


def _is_made_in_python(kind: type) -> bool:
    for base in kind.__mro__[:-1]:
        made = (vars(base).get("__new__"), vars(base).get("__init__"))
        if not base.__flags__ & _HEAP or base.__flags__ & _IMMUTABLE:
            return False
        if any(isinstance(x, types.BuiltinMethodType | types.WrapperDescriptorType) for x in made):
            return False
    return True
