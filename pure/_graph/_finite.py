"""Where a NaN or an infinity comes from: a node that was given finite numbers and returns others.

Record by record, so that a missing value that a node hands on is not laid to its charge. Told in a
program only within `checking()`; where batches come from is not known here.
"""

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from .._checking import checked, is_checking
from .._mesh import alike, looked_up
from .._random._origin import Origin
from .._text import path_text

Numbers: TypeAlias = Shaped[Array, "..."] | Shaped[np.ndarray, "..."]
Flags: TypeAlias = Bool[Array, "..."] | Bool[np.ndarray, "..."]


class Made(NamedTuple):
    """A field of what a node returned, and in which records the node is to blame for what is not
    finite there; one answer for the whole, where its rows are not those of the batch. `others`
    says whether something that it was given is not finite, of which it may be a mixture."""

    field: str
    value: Numbers
    blamed: Flags
    others: Flags | np.bool_


def made(
    inputs: Sequence[PyTree], output: PyTree, records: int, counts: Flags | None = None
) -> Iterator[Made]:
    """For each field of floats, where it is not finite although what was given of it was.

    Of arrays of JAX, traced or not, or of NumPy. `counts` says which rows are records: nobody is to
    blame for the others.
    """
    none = np.zeros((), np.bool_)
    given = functools.reduce(operator.or_, [_bad(x, records) for _, x in _floats(inputs)], none)
    for field, value in _floats(output):
        bad = _bad(value, records)
        rest = given if bad.ndim else given.any()
        blamed = bad & ~rest
        if counts is not None and blamed.ndim:
            blamed = blamed & counts
        yield Made(field, value, blamed, given.any())


def check_finite(
    inputs: Sequence[PyTree], output: PyTree, origin: Origin, *, is_own: bool = False
) -> None:
    """Refuse a NaN or an infinity that a node has made, in programs that look at values.

    `is_own` says that the batch is a user's own, whose rows are no records of a source.
    """
    if not is_checking():
        return
    found = made(inputs, output, origin.ids.shape[0], origin.counts)
    for field, value, blamed, others in found:
        name = f"field `{field}`" if field else "the output"
        name = name.replace("{", "{{").replace("}", "}}")
        if not blamed.ndim:
            said = f"{name} is {{value}}; all that the node was given is finite."
            checked(~blamed, said, value=_worst(value, jnp.ones_like(value, jnp.bool_)))
            continue
        rows = jnp.asarray(blamed)
        numbers = alike(jnp.arange(rows.shape[0]), rows)
        first = rows & (numbers == jnp.min(numbers, where=rows, initial=rows.shape[0]))
        ids = [_of(first, word) for word in (origin.ids.T if origin.ids.ndim > 1 else [origin.ids])]
        told = {f"id{place}": word for place, word in enumerate(ids)}
        told |= {"value": _worst(value, _along(first, value))}
        if not is_own:
            told |= {"epoch": _of(first, _epochs(origin))}
        row, where = ("row", "of the batch given") if is_own else ("record", "in epoch {epoch}")
        said = (
            f"{name} of {row} {_SPELT[len(ids)]} {where} is {{value}}; what the node was given of "
            f"that {row} is finite"
        )
        mixes = f", but of another {row} it is not: a node that mixes {row}s spreads that."
        checked(~rows.any() | others, f"{said}.", **told)
        checked(~(rows.any() & others), said + mixes, **told)


_SPELT = ("", "{id0}", "{id0} * 2**32 + {id1}")


def _floats(tree: PyTree) -> list[tuple[str, Numbers]]:
    leaves = [
        (path_text(path), x if isinstance(x, np.ndarray) else jnp.asarray(x))
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    ]
    return [(field, x) for field, x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]


def _bad(value: Numbers, records: int) -> Flags:
    axes = range(1 if value.shape[:1] == (records,) else 0, value.ndim)
    if isinstance(value, np.ndarray):
        return np.asarray(np.any(~np.isfinite(value), axis=tuple(axes)))
    return jnp.any(~jnp.isfinite(value), axis=tuple(axes))


def _along(rows: Bool[Array, " n"], value: Numbers) -> Bool[Array, "n ..."]:
    return rows.reshape(rows.shape + (1,) * (value.ndim - 1))


def _of(first: Bool[Array, " n"], numbers: Shaped[Array, "*n"]) -> Shaped[Array, ""]:
    # By a sum, which can be had of rows on several devices.
    return jnp.sum(jnp.where(first, numbers, 0)) if jnp.ndim(numbers) else jnp.asarray(numbers)


def _epochs(origin: Origin) -> Shaped[Array, "*n"]:
    if origin.own is not None:
        return jnp.asarray(origin.own)
    epochs = jnp.asarray(origin.epochs)
    return epochs[0] if len(epochs) == 1 else looked_up(epochs, jnp.asarray(origin.lap))


def _worst(value: Numbers, where: Bool[Array, "..."]) -> Float[Array, ""]:
    seen = jnp.abs(value) if jnp.iscomplexobj(value) else value
    is_nan, is_inf = jnp.any(jnp.isnan(seen) & where), jnp.any((seen == jnp.inf) & where)
    return jnp.where(is_nan, jnp.float32("nan"), jnp.where(is_inf, jnp.inf, -jnp.inf))
