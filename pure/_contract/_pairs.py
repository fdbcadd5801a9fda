"""A batch taken apart beside its annotation: which array meets which, where containers differ.

Sizes are not judged here, and no node is known: a walk yields arrays with what is said of each,
and the fields that cannot fit whatever their shape.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import typing_extensions as te
from jaxtyping import AbstractDtype, PyTree

from .._text import Specs, listed, near, spec_text
from . import _annotation as an
from ._annotation import Annotation, Bound

Path: TypeAlias = tuple[str, ...]
_ARRAYS = (jax.Array, np.ndarray, np.generic)
_NUMBERS = (bool, int, float, complex)


class Content(NamedTuple):
    """An array, or a whole pytree, that jaxtyping is to hold against one of some annotations.

    `text` is what its author wrote.
    """

    path: Path
    annotations: tuple[Annotation, ...]
    value: Specs
    text: str


class Choice(NamedTuple):
    """The contents of a container by each of the records that it may be."""

    path: Path
    options: tuple[tuple["Content | Choice | Fault", ...], ...]


class Fault(NamedTuple):
    """A field, or a container, that does not fit whatever its shape."""

    path: Path
    text: str


class Reading(NamedTuple):
    """How annotations are read: type variables, and fields that any TypedDict lets through."""

    bound: Bound
    free: tuple[str, ...]


Item: TypeAlias = Content | Choice | Fault
Found: TypeAlias = Iterator[Item]


def contents(annotation: Annotation, value: Specs, path: Path, reading: Reading) -> Found:
    """The arrays of a pytree of specs, each with its annotation; and where containers differ.

    An annotation that says nothing of arrays (`Any`, a Protocol) yields nothing.
    """
    annotation = an.plain(annotation, reading.bound)
    if annotation is Any or annotation is object:
        return
    if an.is_union(annotation):
        yield from _one_of(te.get_args(annotation), value, path, reading)
    elif an.is_array(annotation):
        if isinstance(value, jax.ShapeDtypeStruct):
            yield Content(path, (annotation,), value, an.text_of(annotation))
        else:
            yield _other(annotation, value, path)
    elif an.is_pytree(annotation):
        yield from _leaves(annotation, value, path, reading)
    else:
        yield from _container(annotation, value, path, reading)


def _container(annotation: Annotation, value: Specs, path: Path, reading: Reading) -> Found:
    kind, bound = an.class_of(annotation, reading.bound)
    inner = reading._replace(bound=bound)
    if te.is_typeddict(kind):
        yield from _typed_dict(kind, value, path, inner)
    elif an.is_record(kind):
        try:
            fields = an.fields_of(kind)
        except NameError as error:
            yield _unresolved(kind, error, path)
            return
        if isinstance(value, kind):
            for name, field in fields.items():
                yield from contents(field, getattr(value, name), (*path, name), inner)
        else:
            yield _other(annotation, value, path)
    elif te.get_args(annotation) and isinstance(kind, type):
        yield from _generic(annotation, kind, value, path, reading)
    elif isinstance(kind, type) and issubclass(kind, AbstractDtype):
        yield Fault(path, f'{kind.__name__} has no axes; write {kind.__name__}[Array, "..."].')
    elif isinstance(kind, type) and not _is_of(value, kind):
        yield _other(annotation, value, path)


def _typed_dict(record: Annotation, value: Specs, path: Path, reading: Reading) -> Found:
    if not isinstance(value, dict):
        yield _other(record, value, path)
        return
    try:
        fields, extra = an.fields_of(record), an.extra_fields(record)
    except NameError as error:
        yield _unresolved(record, error, path)
        return
    unknown = [name for name in value if name not in fields and name not in reading.free]
    for name, field in fields.items():
        if name in value:
            yield from contents(field, value[name], (*path, name), reading)
        elif an.is_required(record, name, field):
            text = an.text_of(an.plain(field, reading.bound))
            hint = near(name, unknown)
            yield Fault(
                (*path, name),
                f"expected {text}, but there is no such field; there are {listed(value)}.{hint}",
            )
            unknown = [other for other in unknown if f"`{other}`" not in hint]
    for name in unknown:
        if extra is not None:
            yield from contents(extra, value[name], (*path, name), reading)
        else:
            yield Fault(
                (*path, name),
                f"expected no such field in {record.__name__}, got {spec_text(value[name])}."
                + (
                    near(name, fields)
                    or f" Declare it there, or write `class {record.__name__}(TypedDict, "
                    "closed=False)`, of typing_extensions, to let other fields through."
                ),
            )


def _generic(
    annotation: Annotation, kind: type, value: Specs, path: Path, reading: Reading
) -> Found:
    arguments = te.get_args(annotation)
    if issubclass(kind, Mapping):
        if isinstance(value, dict):
            for name, item in value.items():
                yield from contents(arguments[1], item, (*path, str(name)), reading)
        else:
            yield _other(annotation, value, path)
    elif issubclass(kind, Sequence):
        own = kind if kind in (list, tuple) else (list, tuple)
        same = kind is not tuple or arguments[-1] is Ellipsis
        each = arguments[:1] * len(value) if same and isinstance(value, own) else arguments
        if isinstance(value, own) and len(value) == len(each):
            for index, item in enumerate(value):
                yield from contents(each[index], item, (*path, str(index)), reading)
        else:
            yield _other(annotation, value, path)


def _leaves(annotation: Annotation, value: Specs, path: Path, reading: Reading) -> Found:
    if annotation is PyTree:
        return
    leaf = an.plain(annotation.leaftype, reading.bound)
    if annotation.structure is not None:  # also the home of axes such as `?n`
        yield Content(path, (annotation,), value, an.text_of(annotation))
        return
    for steps, spec in jax.tree_util.tree_leaves_with_path(value):
        names = tuple(jax.tree_util.keystr((step,), simple=True) for step in steps)
        yield from contents(leaf, spec, (*path, *names), reading)


def _one_of(options: Sequence[Annotation], value: Specs, path: Path, reading: Reading) -> Found:
    text = " or ".join(an.text_of(an.plain(option, reading.bound)) for option in options)
    found = [tuple(contents(option, value, path, reading)) for option in options]
    able = [items for items in found if not any(isinstance(item, Fault) for item in items)]
    if not able:
        yield Fault(path, f"expected {text}, got {_kind(value)}.")
    elif () in able or not isinstance(value, jax.ShapeDtypeStruct):
        yield Choice(path, tuple(able))
    else:
        alike = [item for items in able for item in items if isinstance(item, Content)]
        yield Content(path, tuple(x for item in alike for x in item.annotations), value, text)


def _other(annotation: Annotation, value: Specs, path: Path) -> Fault:
    kind, _ = an.class_of(annotation, {})
    fields = te.is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, Mapping))
    mend = " Put it into a dict." if fields and isinstance(value, jax.ShapeDtypeStruct) else ""
    return Fault(path, f"expected {an.text_of(annotation)}, got {_kind(value)}.{mend}")


def _unresolved(record: type, error: NameError, path: Path) -> Fault:
    return Fault(
        path,
        f"the fields of {record.__name__} name `{error.name}`, which is not defined at run time; "
        "define or import it at the top level of its module, outside `if TYPE_CHECKING`.",
    )


def _kind(value: Specs) -> str:
    if value is None or isinstance(value, jax.ShapeDtypeStruct):
        return spec_text(value)
    return f"{type(value).__name__} {spec_text(value)}"


def _is_of(value: Specs, kind: type) -> bool:
    if issubclass(kind, _ARRAYS):
        return isinstance(value, jax.ShapeDtypeStruct)
    if kind in _NUMBERS:
        return isinstance(value, jax.ShapeDtypeStruct) and value.shape == ()
    if kind is types.NoneType:
        return value is None
    return isinstance(value, kind)
