"""Where a NaN or an infinity comes from: what was given finite numbers and returns others.

Record by record and field by field, so that a missing value that is handed on is laid to nobody's
charge. Which node or loop has computed it, and where batches come from, is not known here.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree, Shaped

from .._text import path_text
from ._reads import Reads

Numbers: TypeAlias = Shaped[Array, "..."] | Shaped[np.ndarray, "..."]
Flags: TypeAlias = Bool[Array, "..."] | Bool[np.ndarray, "..."] | np.bool_
_NO = np.bool_(False)


class Given(NamedTuple):
    """A field of what was given, by the name of the input that it is in where there are several,
    and where it is not finite."""

    field: str
    of: str
    bad: Flags


class Made(NamedTuple):
    """A field of what was returned, and in which records it is not finite without having been so.

    One answer for the whole, where its rows are not those of the batch. `source` is another field
    that was not finite there, from which it may come; with none, all that it is made of was.
    `others` says whether something of that is not finite in another record.
    """

    field: str
    value: Numbers
    blamed: Flags
    others: Flags
    source: Given | None = None


def made(
    inputs: Sequence[PyTree],
    output: PyTree,
    records: int,
    *,
    named: Sequence[str],
    counts: Flags | None = None,
    read: Reads | None = None,
) -> Iterator[Made]:
    """For each field of floats, where it is not finite although what it is made of was; then, where
    the field of its own name was, although another was not.

    Of arrays of JAX, traced or not, or of NumPy. `read` says for each leaf of the output of which
    of the inputs it is made, of all where that is not known. `counts` says which rows are records:
    nobody is to blame for the others. Inputs are `named`, to tell the fields of several apart.
    """
    given = [x for tree, name in _with_names(inputs, named) for x in _given(tree, name, records)]
    leaves = jax.tree_util.tree_leaves_with_path(output)
    if read is None or len(read) != len(leaves):
        read = (frozenset(range(len(given))),) * len(leaves)
    maybes: list[Made] = []
    for (path, leaf), used in zip(leaves, read, strict=True):
        if not _is_float(leaf):
            continue
        field, value = path_text(path), leaf if isinstance(leaf, np.ndarray) else jnp.asarray(leaf)
        bad = _bad(value, records)
        bad = bad & counts if counts is not None and bad.ndim else bad
        of = [given[number] for number in sorted(used)]
        others = _any([x.bad.any() for x in of])
        rest = _any([_beside(x.bad, bad) for x in of])
        yield Made(field, value, bad & ~rest, others)
        own = [_beside(x.bad, bad) for x in given if x.field == field]
        left = bad & ~_any(own)
        for source in (x for x in of if own and x.field != field and x.bad is not _NO):
            at = _beside(source.bad, bad)
            maybes.append(Made(field, value, left & at, others, source))
            left = left & ~at
    yield from maybes


def _with_names(inputs: Sequence[PyTree], named: Sequence[str]) -> Iterator[tuple[PyTree, str]]:
    # Of several: a single one needs no name.
    yield from zip(inputs, named if len(inputs) > 1 else [""] * len(inputs), strict=True)


def _given(tree: PyTree, name: str, records: int) -> Iterator[Given]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield Given(path_text(path), name, _bad(leaf, records) if _is_float(leaf) else _NO)


def _is_float(leaf: PyTree) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


def _any(flags: Sequence[Flags]) -> Flags:
    found: Flags = _NO
    for each in flags:
        found = each if found is _NO else found | each
    return found


def _beside(given: Flags, bad: Flags) -> Flags:
    return given if bad.ndim else given.any()


def _bad(leaf: PyTree, records: int) -> Flags:
    value = leaf if isinstance(leaf, np.ndarray) else jnp.asarray(leaf)
    axes = tuple(range(1 if value.shape[:1] == (records,) else 0, value.ndim))
    if isinstance(value, np.ndarray):
        return np.asarray(np.any(~np.isfinite(value), axis=axes))
    return jnp.any(~jnp.isfinite(value), axis=axes)
