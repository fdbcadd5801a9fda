"""Sizes of axes: what an annotation's names stand for, and in what an array differs from them.

jaxtyping judges whether an array fits; here it is said why it does not. Fields, containers and
nodes are not known.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from .._text import Specs
from . import _annotation as an
from ._annotation import Annotation

Size: TypeAlias = int | tuple[int, ...]  # many for an axis such as `*shape`
Sizes: TypeAlias = dict[str, Size]
_KINDS = ("float32", "int32", "uint8", "bool")


def example(name: str, size: Size) -> tuple[jax.ShapeDtypeStruct, Annotation]:
    """A spec and an annotation that give an axis its size, once the one is held against the
    other."""
    many = isinstance(size, tuple)
    shape = size if isinstance(size, tuple) else (size,)
    return _spec(shape, "float32"), Shaped[jax.ShapeDtypeStruct, "*" * many + name]


def for_specs(annotation: Annotation, owner: object) -> Annotation:
    """The annotation for specs in place of arrays, with axes such as `{self.size}` filled in."""
    if an.is_array(annotation):
        scope = {"self": owner}
        axes = re.sub(r"\{([^{}]*)\}", lambda m: str(eval(m[1], {}, scope)), annotation.dim_str)
        return annotation.dtype[jax.ShapeDtypeStruct, axes]
    if an.is_pytree(annotation) and annotation is not PyTree:
        leaf = for_specs(annotation.leaftype, owner)
        return PyTree[leaf, annotation.structure] if annotation.structure else PyTree[leaf]
    return annotation


def computed_axes(annotation: Annotation) -> list[str]:
    """The axes that depend on others, such as `h//2` and `{self.size}`."""
    return [x for x in _axes_of(annotation) if not re.fullmatch(r"\.\.\.|[*#?]*\w*", x)]


def bindings(annotation: Annotation, value: Specs) -> Sizes:
    """The sizes that an array gives to the names in an annotation that it fits."""
    axes, sizes = _axes_of(annotation), list[PyTree](getattr(value, "shape", ()))
    if not an.is_array(annotation):
        return {}
    for index, axis in enumerate(axes):
        if _is_many(axis):
            behind = len(sizes) - (len(axes) - index - 1)
            sizes[index:behind] = [tuple(sizes[index:behind])]
    return {
        name: size
        for axis, size in zip(axes, sizes, strict=True)
        if (name := axis.lstrip("#*")).isidentifier() and name[0] != "_"
        if not ("#" in axis and (size == 1 or "*" in axis))
    }


def sizes_text(sizes: Sizes, notes: Mapping[str, str]) -> str:
    """The sizes in force, `batch=4, h=3 as declared`."""
    return ", ".join(f"{name}={_size(size)}{notes.get(name, '')}" for name, size in sizes.items())


def difference(
    annotations: Sequence[Annotation], value: Specs, sizes: Sizes, owner: object, *, given: bool
) -> str:
    """In what an array differs from its annotation, in sentences; how a dtype is mended.

    `given` says that it is what a stage is given, and not what it returns.
    """
    annotation, *others = annotations
    if others or not an.is_array(annotation):
        return ""
    own = for_specs(annotation, owner)
    return (
        _other_dtype(own, value, given)
        or _other_rank(own, value)
        or _other_sizes(annotation, own, value, sizes)
    )


def _other_dtype(own: Annotation, value: Specs, given: bool) -> str:
    if isinstance(value, own.dtype[jax.ShapeDtypeStruct, "..."]):
        return ""
    kinds = [x for x in _KINDS if isinstance(_spec((), x), own.dtype[jax.ShapeDtypeStruct, ""])]
    cast = f", `.astype(jnp.{kinds[0]})`," if kinds else ""
    return f" Cast it{' before this node' * given}{cast} or change the annotation."


def _other_rank(own: Annotation, value: Specs) -> str:
    axes, rank = _axes_of(own), len(value.shape)
    many = any(map(_is_many, axes))
    wanted = len(axes) - many
    if rank == wanted or (many and rank > wanted):
        return ""
    be = "is" if wanted == 1 else "are"
    return f" It has {_number(rank)} where {'at least ' * many}{wanted} {be} expected."


def _other_sizes(annotation: Annotation, own: Annotation, value: Specs, sizes: Sizes) -> str:
    axes, known = list(zip(_axes_of(annotation), _axes_of(own), strict=True)), dict(sizes)
    shape = list(value.shape)
    for index in [i for i, (axis, _) in enumerate(axes) if _is_many(axis)]:
        del shape[index : len(shape) - (len(axes) - index - 1)]
        del axes[index]
    return "".join(
        f" Its axis `{axis}` is {size}, not {expected}."
        for (axis, filled), size in zip(axes, shape, strict=True)
        if (expected := _expected(filled, size, known)) != size
    )


def uncomputed(annotation: Annotation, sizes: Sizes, error: Exception) -> str:
    """Why the annotation itself cannot be evaluated, as a sentence."""
    for axis in computed_axes(annotation):
        if "{" in axis:
            continue
        unknown = [name for name in re.findall(r"[^\W\d]\w*", axis) if name not in sizes]
        if unknown:
            names = " and ".join(f"`{name}`" for name in unknown)
            return (
                f" The axis `{axis}` cannot be computed, for nothing else binds {names}; name "
                f"{names} as an axis of an input, or of another field."
            )
    return f" The annotation cannot be evaluated ({error}); correct it."


def _number(axes: int) -> str:
    return "1 axis" if axes == 1 else f"{axes} axes"


def _expected(axis: str, size: int, known: Sizes) -> int:
    if axis.isidentifier():
        bound = size if axis[0] == "_" else known.setdefault(axis, size)
        return bound if isinstance(bound, int) else size
    if re.search(r"[#?]", axis):
        return size
    return int(eval(axis, {}, known))  # as jaxtyping has done before


def _axes_of(annotation: Annotation) -> list[str]:
    if an.is_pytree(annotation) and annotation is not PyTree:
        return _axes_of(annotation.leaftype)
    axes = annotation.dim_str.split() if an.is_array(annotation) else []
    return [re.sub(r"^\w+=(?=\w)", "", axis) for axis in axes]  # `rows=4` is a 4 with a comment


def _is_many(axis: str) -> bool:
    return axis == "..." or re.match(r"#?\*", axis) is not None


def _size(size: Size) -> str:
    return f"[{','.join(map(str, size))}]" if isinstance(size, tuple) else str(size)


def _spec(shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype))
