"""Many pytrees of one structure as one, with a leading axis of variants; functions mapped over it.

What differs between them otherwise is told by its place. Neither graphs nor loops are known here.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from ._checking import is_checking
from ._flow._batching import Cursor
from ._mesh import alike, entry
from ._node import in_variants, mapped_axes
from ._sources._source import AbstractSource
from ._text import listed, near, of_type, spec_text

_Tree = TypeVar("_Tree")
ARRAYS = (np.generic, np.ndarray, jax.Array)
NUMBERS = (bool, int, float, complex, *ARRAYS)


def stack(variants: Sequence[_Tree]) -> _Tree:
    """Pytrees of one structure as one, whose arrays and numbers have a leading axis of variants.

    Sources stay as they are, for variants share their data: a stack of streams has one source.

    **Errors:** ValueError for no variants, and for variants that differ in anything but the values
    of arrays and numbers, naming each place with both values; for sources of other arrays.
    """
    if not isinstance(variants, list | tuple):
        raise TypeError(of_type("variants", variants, "a list of pytrees: write stack([a, b])."))
    if not variants:
        raise ValueError("There are no variants to stack; pass at least one.")
    first, *others = variants
    unlike = told_apart(
        (index, difference)
        for index, other in enumerate(others, start=1)
        for difference in differences(first, other)
    )
    if unlike:
        raise ValueError(
            f"The variants cannot be stacked:{unlike}\nVariants are alike in all but the values of "
            "arrays and numbers: make what varies a leaf, and the rest equal."
        )
    together: _Tree = jax.tree.map(_stacked, first, *others, is_leaf=_is_source)
    return together


def unstack(variants: _Tree) -> list[_Tree]:
    """The variants one by one. **Errors:** ValueError for arrays without one axis of variants."""
    return [select(variants, index) for index in range(_count({"variants": variants}))]


def select(variants: _Tree, index: int | Int[Array, ""]) -> _Tree:
    """One of the variants; the index may be traced.

    **Errors:** ValueError for arrays without one axis of variants; IndexError for an index outside.
    """
    count = _count({"variants": variants})
    if isinstance(index, int) and not -count <= index < count:
        raise IndexError(f"There is no variant {index}; there are {count}.")
    one: _Tree = jax.tree.map(
        lambda x: entry(jnp.asarray(x), index) if eqx.is_array_like(x) else x,
        variants,
        is_leaf=_is_source,
    )
    return one


def variant_axes(variants: PyTree) -> PyTree:
    """The `in_axes` of a stack for `jax.vmap`: 0 for each array, None for sources and the rest."""
    return jax.tree.map(
        lambda x: 0 if eqx.is_array(x) or isinstance(x, np.ndarray) else None,
        variants,
        is_leaf=_is_source,
    )


def vmap_variants(
    fn: Callable[..., PyTree], *, vary: Sequence[str] | None = None
) -> Callable[..., PyTree]:
    """`fn` for all variants at once: `vmap_variants(step)(pipelines, stream, cursor)`.

    `vary` names the parameters whose arguments are stacks; the others are shared. By default it is
    the first one alone. Of a stream, the order may vary, never the source: an order that is shared
    means one gather for all variants. Outputs get a leading axis of variants, but for cursors,
    which stay shared. It can be nested, for variants of variants. (From a batch's `key` of another
    kind than threefry, JAX draws other numbers under vmap; records have threefry keys always.)

    **Errors:** TypeError for a parameter that `fn` does not have; ValueError for stacks of
    different length.
    """
    signature = inspect.signature(fn)
    names = _stacks(list(signature.parameters), vary)

    @functools.wraps(fn)
    def mapped(*args: PyTree, **kwargs: PyTree) -> PyTree:
        bound = signature.bind(*args, **kwargs)
        stacks = {name: bound.arguments[name] for name in names if name in bound.arguments}
        _count(stacks, f" in {listed(names)}", ", and name the arguments that are stacks in `vary`")
        arrays, fixed = eqx.partition(stacks, eqx.is_array_like)
        arrays = alike(arrays, arrays, is_leaf=_is_source)
        puts_back: list[Callable[..., PyTree]] = []

        def one(arrays: dict[str, PyTree]) -> tuple[list[Cursor], list[PyTree]]:
            bound.arguments.update(eqx.combine(arrays, fixed))
            cursors, others, put_back = _sorted_out(fn(*bound.args, **bound.kwargs))
            puts_back.append(put_back)
            return cursors, others

        shared = 0 if any(map(_is_cursor, stacks.values())) else None
        axes = variant_axes(arrays)
        parts = over_variants(one, in_axes=(axes,), out_axes=(shared, 0))(arrays)
        return puts_back[-1](*parts)

    return mapped


def _stacks(known: list[str], vary: Sequence[str] | None) -> list[str]:
    """The names of the parameters that are stacks. **Errors:** those of `vmap_variants`."""
    names = known[:1] if vary is None else list(vary)
    unknown = [name for name in names if name not in known]
    if isinstance(vary, str) or unknown:
        raise TypeError(
            f"vary is {vary!r}; expected names of parameters, which are {listed(known)}."
            + (f" Write vary=[{vary!r}]." if isinstance(vary, str) else near(unknown[0], known))
        )
    return names


def over_variants(
    fn: Callable[..., _Tree], *, in_axes: tuple[PyTree, ...], out_axes: tuple[int | None, ...]
) -> Callable[..., _Tree]:
    """`jax.vmap`. In programs that look at values the axis has a name, by which is told in which
    variant something was found."""
    if not is_checking():
        return jax.vmap(fn, in_axes=in_axes, out_axes=out_axes)
    axis = f"variants {len(mapped_axes())}"

    def one(*args: PyTree) -> _Tree:
        with in_variants(axis):
            return fn(*args)

    return jax.vmap(one, in_axes=in_axes, out_axes=out_axes, axis_name=axis)


def _sorted_out(output: PyTree) -> tuple[list[Cursor], list[PyTree], Callable[..., PyTree]]:
    """Cursors, arrays, and a function that puts these back among the rest, such as functions."""
    leaves, structure = jax.tree.flatten(output, is_leaf=_is_cursor)
    kinds = ["cursor" if _is_cursor(x) else "array" * eqx.is_array_like(x) for x in leaves]
    cursors, arrays = (
        [x for x, kind in zip(leaves, kinds, strict=True) if kind == wanted]
        for wanted in ("cursor", "array")
    )
    rest = [None if kind else x for x, kind in zip(leaves, kinds, strict=True)]

    def put_back(cursors: list[Cursor], arrays: list[PyTree]) -> PyTree:
        found = {"cursor": iter(cursors), "array": iter(arrays)}
        pairs = zip(kinds, rest, strict=True)
        return jax.tree.unflatten(structure, [next(found[k]) if k else x for k, x in pairs])

    return cursors, arrays, put_back


def _stacked(first: PyTree, *others: PyTree) -> PyTree:
    if isinstance(first, NUMBERS):
        return jnp.stack([jnp.asarray(x) for x in (first, *others)])
    return first


def _count(stacks: dict[str, PyTree], where: str = "", hint: str = "") -> int:
    counts: dict[int | None, str] = {}
    for name, stacked in stacks.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(stacked, is_leaf=_is_source):
            if eqx.is_array_like(leaf) and not _is_source(leaf):
                place = name + jax.tree_util.keystr(path)
                counts.setdefault((*jnp.shape(leaf), None)[0], place)
    (count, *others) = counts or (None,)
    if count is None or others:
        found = ", ".join(f"`{x}` has {'none' if n is None else n}" for n, x in counts.items())
        raise ValueError(
            "All arrays of stacked variants have a leading axis of one length, the variants; here "
            f"{found or f'there are no arrays{where}'}. Stack them by `stack`{hint * (not found)}."
        )
    return count


def told_apart(differences: Iterable[tuple[int, tuple[str, str, str]]]) -> str:
    """A line for each place in which a variant differs from the first: the first that does."""
    found: dict[str, str] = {}
    for index, (place, before, after) in differences:
        line = f"`{place}` is {before} in variant 0 and {after} in variant {index}."
        found.setdefault(place, line)
    return "".join(f"\n  - {line}" for line in found.values())


def differences(
    a: PyTree, b: PyTree, place: str = "", *, kinds: tuple[type, ...] = NUMBERS
) -> Iterator[tuple[str, str, str]]:
    """Where two pytrees differ in anything but the values of leaves of these kinds; both values.

    Places are given as a user would type them, `stages['crop'].size`.
    """
    here = place or "variants"
    if isinstance(a, AbstractSource) and type(a) is type(b):
        (leaves, here_in), (others, there_in) = (jax.tree.flatten(x) for x in (a, b))
        alike = str(here_in) == str(there_in)
        if not alike or any(x is not y for x, y in zip(leaves, others, strict=True)):
            yield here, "one source", "another (make it once, for all)"
        return
    if isinstance(a, kinds) and isinstance(b, kinds):
        if spec_text(a) != spec_text(b):
            yield here, spec_text(a), spec_text(b)
        return
    if type(a) is not type(b):
        yield here, f"of type {type(a).__name__}", f"of type {type(b).__name__}"
        return
    fixed = False
    for name, x, y in _static(a, b):
        if x is not y and x != y:
            fixed = True
            yield f"{place}.{name}".lstrip("."), repr(x), repr(y)
    if fixed:
        return
    below, other = _children(a), _children(b)
    if list(below) != list(other):
        yield here, f"made of {listed(below)}", f"made of {listed(other)}"
        return
    for step, child in below.items():
        yield from differences(child, other[step], f"{place}{step}".lstrip("."), kinds=kinds)
    if not below and a is not b and a != b:
        yield here, repr(a), repr(b)


def _static(a: PyTree, b: PyTree) -> Iterator[tuple[str, object, object]]:
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            if field.metadata.get("static"):
                yield field.name, getattr(a, field.name), getattr(b, field.name)
    if isinstance(a, functools.partial):
        yield "func", a.func, b.func


def _children(tree: PyTree) -> dict[str, PyTree]:
    below = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: x is not tree)
    return {jax.tree_util.keystr(path): child for path, child in below if path}


def _is_source(x: object) -> bool:
    return isinstance(x, AbstractSource)


def _is_cursor(x: object) -> bool:
    return isinstance(x, Cursor)
