import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ._batching import Cursor
from ._names import listed, near
from ._source import AbstractSource
from ._spec import spec_text

_Tree = TypeVar("_Tree")
ARRAYS = (np.generic, np.ndarray, jax.Array)
NUMBERS = (bool, int, float, complex, *ARRAYS)


def stack(variants: Sequence[_Tree]) -> _Tree:
    """Pytrees of one structure as one, whose arrays and numbers have a leading axis of variants.

    Sources stay as they are, for variants share their data: a stack of streams has one source.

    **Errors:** ValueError for no variants, and for variants that differ in anything but the values
    of arrays and numbers, naming each place with both values; for sources of other arrays.
    """
    if not variants:
        raise ValueError("There are no variants to stack; pass at least one.")
    first, *others = variants
    unlike = [
        f"\n  - `{place}` is {before} in variant 0 and {after} in variant {index}."
        for index, other in enumerate(others, start=1)
        for place, before, after in differences(first, other)
    ]
    if unlike:
        raise ValueError(
            f"The variants cannot be stacked:{''.join(unlike)}\nVariants are alike in all but "
            "the values of arrays and numbers: make what varies a leaf, and the rest equal."
        )
    together: _Tree = jax.tree.map(_stacked, first, *others, is_leaf=_is_source)
    return together


def unstack(variants: _Tree) -> list[_Tree]:
    """The variants one by one. **Errors:** ValueError for arrays without one axis of variants."""
    return [select(variants, index) for index in range(_count({"variants": variants}))]


def select(variants: _Tree, index: int | Int[Array, ""]) -> _Tree:
    """One of the variants; the index may be traced."""
    one: _Tree = jax.tree.map(
        lambda x: x[index] if eqx.is_array_like(x) else x, variants, is_leaf=_is_source
    )
    return one


def variant_axes(variants: Any) -> Any:
    """The `in_axes` of a stack for `jax.vmap`: 0 for each array, None for sources and the rest."""
    return jax.tree.map(
        lambda x: 0 if eqx.is_array(x) or isinstance(x, np.ndarray) else None,
        variants,
        is_leaf=_is_source,
    )


def vmap_variants(
    fn: Callable[..., Any], *, vary: Sequence[str] | None = None
) -> Callable[..., Any]:
    """`fn` for all variants at once: `vmap_variants(step)(pipelines, stream, cursor)`.

    `vary` names the parameters whose arguments are stacks; the others are shared. By default it is
    the first one alone. Of a stream, the order may vary, never the source: an order that is shared
    means one gather for all variants. Outputs get a leading axis of variants, but for cursors,
    which stay shared. It can be nested, for variants of variants.

    **Errors:** TypeError for a parameter that `fn` does not have; ValueError for stacks of
    different length.
    """
    signature = inspect.signature(fn)
    names = [*signature.parameters][:1] if vary is None else list(vary)
    known = list(signature.parameters)
    unknown = [name for name in names if name not in known]
    if isinstance(vary, str) or unknown:
        raise TypeError(
            f"vary is {vary!r}; expected names of parameters, which are "
            f"{listed(signature.parameters)}."
            + (f" Write vary=[{vary!r}]." if isinstance(vary, str) else near(unknown[0], known))
        )

    @functools.wraps(fn)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        stacks = {name: bound.arguments[name] for name in names if name in bound.arguments}
        _count(stacks)
        arrays, rest = eqx.partition(stacks, eqx.is_array_like)
        structures: list[Any] = []

        def one(arrays: dict[str, Any]) -> tuple[list[Any], list[Any]]:
            bound.arguments.update(eqx.combine(arrays, rest))
            output = fn(*bound.args, **bound.kwargs)
            leaves, structure = jax.tree.flatten(output, is_leaf=_is_cursor)
            structures.append((structure, [_is_cursor(leaf) for leaf in leaves]))
            cursors = [leaf for leaf in leaves if _is_cursor(leaf)]
            return cursors, [leaf for leaf in leaves if not _is_cursor(leaf)]

        shared = 0 if any(map(_is_cursor, stacks.values())) else None
        axes = variant_axes(arrays)
        parts = jax.vmap(one, in_axes=(axes,), out_axes=(shared, 0))(arrays)
        structure, is_cursor = structures[-1]
        cursors, others = map(iter, parts)
        return structure.unflatten([next(cursors if is_it else others) for is_it in is_cursor])

    return mapped


def _stacked(first: Any, *others: Any) -> Any:
    if isinstance(first, NUMBERS):
        return jnp.stack([jnp.asarray(x) for x in (first, *others)])
    return first


def _count(stacks: dict[str, Any]) -> int:
    counts: dict[str, int | None] = {}
    for name, stacked in stacks.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(stacked, is_leaf=_is_source):
            if eqx.is_array_like(leaf) and not _is_source(leaf):
                counts[name + jax.tree_util.keystr(path)] = (*jnp.shape(leaf), None)[0]
    if len(set(counts.values())) != 1 or None in counts.values():
        found = ", ".join(
            f"`{place}` has {'none' if n is None else n}" for place, n in counts.items()
        )
        raise ValueError(
            "All arrays of stacked variants have a leading axis of one length, the variants; "
            f"here {found or 'there are no arrays'}. Stack them by `stack`."
        )
    return next(n for n in counts.values() if n is not None)


def differences(
    a: Any, b: Any, place: str = "", *, kinds: tuple[type, ...] = NUMBERS
) -> Iterator[tuple[str, str, str]]:
    """Where two pytrees differ in anything but the values of leaves of these kinds; both values.

    Places are given as a user would type them, `stages['crop'].size`.
    """
    here = place or "variants"
    if isinstance(a, AbstractSource) and isinstance(b, AbstractSource):
        same = len(jax.tree.leaves(a)) == len(jax.tree.leaves(b))
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False)
        if not (same and all(x is y for x, y in pairs)):
            yield here, "one source", "another, whose data are other arrays"
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


def _static(a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            if field.metadata.get("static"):
                yield field.name, getattr(a, field.name), getattr(b, field.name)
    if isinstance(a, functools.partial):
        yield "func", a.func, b.func


def _children(tree: Any) -> dict[str, Any]:
    below = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: x is not tree)
    return {jax.tree_util.keystr(path): child for path, child in below if path}


def _is_source(x: Any) -> bool:
    return isinstance(x, AbstractSource)


def _is_cursor(x: Any) -> bool:
    return isinstance(x, Cursor)
