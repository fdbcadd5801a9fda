import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import PyTree, Shaped, jaxtyped

from . import _annotation as an
from ._contents import Content, Fault, Reading, contents
from ._spec import spec_text

Sizes: TypeAlias = dict[str, Any]


class Known(NamedTuple):
    """What holds for all nodes: sizes of axes, where each comes from, and fields that may stand in
    any TypedDict."""

    dims: Sizes
    notes: dict[str, str]
    free: tuple[str, ...]

    def with_dims(self, declared: Iterable[tuple[str, Any]], bound: Sizes, node: str) -> "Known":
        """With the sizes that a node has given to axes declared graph-wide."""
        new = {name: bound[name] for name, _ in declared if name in bound and name not in self.dims}
        notes = dict.fromkeys(new, f" from node `{node}`")
        return Known(self.dims | new, self.notes | notes, self.free)


class Part(NamedTuple):
    """An input or the output of a node: how it is called, its annotation and its specs."""

    label: str
    annotation: Any
    value: PyTree[jax.ShapeDtypeStruct]


def misfits(parts: Sequence[Part], known: Known, owner: Any) -> tuple[list[str], Sizes]:
    """Where the parts do not fit their annotations, a line for each field; and the axes bound.

    Axes of one name are equal across all parts, and to those known. `owner` is the `self` of an
    axis such as `{self.size}`.
    """
    found = [
        (part.label, item)
        for part in parts
        for item in contents(part.annotation, part.value, (), Reading({}, known.free))
    ]
    bound, lines = dict(known.dims), []
    with jaxtyped("context"):
        for name, size in known.dims.items():
            _binds(name, size)
        # Computed axes last: `h//2` may stand before the array that binds `h`.
        for label, item in sorted(found, key=lambda pair: _is_computed(pair[1])):
            place = f"{label} `{'/'.join(item.path)}`" if item.path else label.rstrip(",")
            if isinstance(item, Fault):
                lines.append(f"{place}: {item.text}")
            elif (text := _misfit(item, bound, owner)) is not None:
                values = [f"{x}={_size(n)}{known.notes.get(x, '')}" for x, n in bound.items()]
                lines.append(f"{place}: {text} ({', '.join(values)}).{_cast(item)}")
    return lines, bound


def _misfit(content: Content, bound: Sizes, owner: Any) -> str | None:
    """Why a content does not fit; if it does, what it binds goes into `bound`."""
    expected = "expected " + " or ".join(map(an.text_of, content.annotations))
    try:
        for annotation in content.annotations:
            own = _of_specs(annotation, owner)
            if isinstance(content.value, own):
                bound.update(_bindings(own, content.value))
                return None
    except Exception as error:  # jaxtyping evaluates what the annotation says
        return f"{expected}, {_unknown(content, error)}"
    return f"{expected}, got {spec_text(content.value)}"


def _unknown(content: Content, error: Exception) -> str:
    computed = [axis for x in content.annotations for axis in _axes_of(x) if not _is_plain(axis)]
    if not computed:
        return f"which jaxtyping cannot read: {error}"
    named = " and ".join(f"`{axis}`" for axis in computed)
    return (
        f"but the axis {named} cannot be computed from what is bound; name each axis that it "
        "speaks of in an input, or in another field"
    )


def _cast(content: Content) -> str:
    """How to mend a dtype of another kind."""
    kinds = [x.dtype[jax.ShapeDtypeStruct, "..."] for x in content.annotations if an.is_array(x)]
    if not kinds or any(isinstance(content.value, kind) for kind in kinds):
        return ""
    for name in ("float32", "int32", "uint8", "bool"):
        if isinstance(jax.ShapeDtypeStruct((), np.dtype(name)), kinds[0]):
            return f" Cast it, `.astype(jnp.{name})`, or change the annotation."
    return ""


def _size(size: int | tuple[int, ...]) -> str:
    return f"[{','.join(map(str, size))}]" if isinstance(size, tuple) else str(size)


def _of_specs(annotation: Any, owner: Any) -> Any:
    """The annotation for specs in place of arrays, with axes such as `{self.size}` filled in."""
    if an.is_array(annotation):
        scope = {"self": owner}
        axes = re.sub(r"\{([^{}]*)\}", lambda m: str(eval(m[1], {}, scope)), annotation.dim_str)
        return annotation.dtype[jax.ShapeDtypeStruct, axes]
    if an.is_pytree(annotation) and annotation is not PyTree:
        leaf = _of_specs(annotation.leaftype, owner)
        return PyTree[leaf, annotation.structure] if annotation.structure else PyTree[leaf]
    return annotation


def _is_computed(item: Content | Fault) -> bool:
    return isinstance(item, Content) and not all(
        _is_plain(axis) for x in item.annotations for axis in _axes_of(x)
    )


def _is_plain(axis: str) -> bool:
    return re.fullmatch(r"\.\.\.|[*#?]*\w*", axis) is not None


def _axes_of(annotation: Any) -> list[str]:
    if an.is_pytree(annotation) and annotation is not PyTree:
        return _axes_of(annotation.leaftype)
    axes = annotation.dim_str.split() if an.is_array(annotation) else []
    return [re.sub(r"^\w+=(?=\w)", "", axis) for axis in axes]  # `rows=4` is a 4 with a comment


def _bindings(annotation: Any, value: Any) -> Sizes:
    """The sizes of the axes of an array that fits its annotation."""
    if not an.is_array(annotation):
        return {}
    axes, sizes = _axes_of(annotation), list(value.shape)
    for index, axis in enumerate(axes):
        if "*" in axis or axis == "...":
            behind = len(sizes) - (len(axes) - index - 1)
            sizes[index:behind] = [tuple(sizes[index:behind])]
    return {
        name: size
        for axis, size in zip(axes, sizes, strict=True)
        if (name := axis.lstrip("#*")).isidentifier() and name[0] != "_"
        if not ("#" in axis and (size == 1 or "*" in axis))
    }


def _binds(name: str, size: int) -> bool:
    axis: Any = Shaped[jax.ShapeDtypeStruct, name]
    return isinstance(jax.ShapeDtypeStruct((size,), np.dtype("float32")), axis)
