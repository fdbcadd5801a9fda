"""How annotations are read: without their wrappings, by their class, as their author wrote them.

What is annotated is not known here, nor any value. Everything that may stand behind a colon is
an `Annotation`, hence its name: at run time there is no narrower type for it.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeAlias

import typing_extensions as te
from jaxtyping import AbstractArray, PyTree

Annotation: TypeAlias = Any
Bound: TypeAlias = Mapping[Annotation, Annotation]  # what type variables stand for


def plain(annotation: Annotation, bound: Bound) -> Annotation:
    """An annotation without what only a type checker reads: qualifiers, aliases, type variables.

    `bound` maps the type variables of a generic record to its arguments.
    """
    while True:
        if isinstance(annotation, typing.TypeVar):
            annotation = bound.get(annotation, annotation.__bound__ or Any)
        elif _origin(annotation) in (te.Required, te.NotRequired, te.ReadOnly, te.Annotated):
            annotation = te.get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":  # typing's own, or its backport
            annotation = annotation.__value__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return types.NoneType if annotation is None else annotation


def class_of(annotation: Annotation, bound: Bound) -> tuple[Annotation, Bound]:
    """The class that an annotation names, `Pair` of `Pair[Image]`, and its type variables."""
    origin, arguments = te.get_origin(annotation), te.get_args(annotation)
    if not isinstance(origin, type):
        return annotation, bound
    variables = getattr(origin, "__parameters__", ())
    return origin, dict(zip(variables, (plain(x, bound) for x in arguments), strict=False))


def fields_of(record: type) -> dict[str, Annotation]:
    """The fields of a TypedDict, a NamedTuple or a dataclass with their annotations."""
    hints = te.get_type_hints(record, include_extras=True)
    if not dataclasses.is_dataclass(record):
        return hints
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


def is_required(record: Annotation, name: str, annotation: Annotation) -> bool:
    """Whether a field of a TypedDict must be there."""
    return name in record.__required_keys__ and _origin(annotation) is not te.NotRequired


def extra_fields(record: Annotation) -> Annotation:
    """What fields that a TypedDict does not name must be; None where there may be none (PEP 728).

    Those are refused unless it says `closed=False`, or `extra_items`.
    """
    items = getattr(record, "__extra_items__", te.NoExtraItems)
    if items is not None and items is not te.NoExtraItems:
        return items
    return Any if getattr(record, "__closed__", None) is False else None


def is_record(annotation: Annotation) -> bool:
    """Whether an annotation is a NamedTuple or a dataclass."""
    if not isinstance(annotation, type):
        return False
    return dataclasses.is_dataclass(annotation) or (
        issubclass(annotation, tuple) and annotation is not tuple
    )


def is_array(annotation: Annotation) -> bool:
    """Whether an annotation is an array of jaxtyping's."""
    return isinstance(annotation, type) and issubclass(annotation, AbstractArray)


def is_union(annotation: Annotation) -> bool:
    """Whether an annotation names several kinds: `X | Y`, `Optional[X]`."""
    return _origin(annotation) in (typing.Union, types.UnionType)


def is_pytree(annotation: Annotation) -> bool:
    """Whether an annotation is jaxtyping's `PyTree`, or `PyTree[…]`."""
    return isinstance(annotation, type(PyTree))


def text_of(annotation: Annotation) -> str:
    """An annotation as its author wrote it: `Float[Array, "batch h w c"]`."""
    annotation = plain(annotation, {})
    if is_array(annotation):
        kind = str(getattr(annotation.array_type, "__name__", "Array")).rpartition(".")[2]
        return f'{annotation.dtype.__name__}[{kind}, "{" ".join(annotation.dim_str.split())}"]'
    if is_pytree(annotation):
        inside = [text_of(annotation.leaftype)] if annotation is not PyTree else []
        if inside and annotation.structure is not None:
            inside.append(f'"{annotation.structure}"')
        return f"PyTree[{', '.join(inside)}]" if inside else "PyTree"
    if is_union(annotation):
        return " or ".join(map(text_of, te.get_args(annotation)))
    if annotation in (types.NoneType, Ellipsis):
        return "None" if annotation is types.NoneType else "..."
    origin, arguments = te.get_origin(annotation), te.get_args(annotation)
    if arguments and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(text_of, arguments))}]"
    return str(getattr(annotation, "__name__", annotation)).removeprefix("jaxlib._jax.")


def _origin(annotation: Annotation) -> Annotation:
    origin: Annotation = te.get_origin(annotation)
    return origin
