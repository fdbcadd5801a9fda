"""What a running program says of the first NaN or infinity that it makes, where that is looked for.

All of it is told in numbers of one kind, so that `jax.experimental.checkify` keeps the first in
time, whoever has made it. When it is somebody's fault stands in `_finite`.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from .._checking import checked, first_variant, in_variant
from .._mesh import alike, looked_up
from .._node import bare_of_braces
from .._random._origin import Origin
from ._finite import Flags, Given, Numbers, made
from ._reads import Reads

Word: TypeAlias = Shaped[Array, ""] | np.uint32
_WORDS = ("word0", "word1", "epoch", "step")
_SPELT = ("", "{word0}", "{word0} * 2**32 + {word1}")


def check_finite(
    read: Reads | None,
    inputs: Sequence[PyTree],
    output: PyTree,
    origin: Origin,
    named: Sequence[str],
    is_own: bool,
) -> None:
    """Refuse a NaN or an infinity that a node has made, in programs that look at values.

    `read` says of which of the inputs, those of the nodes `named`, it has made what it returns.
    `is_own` says that the batch is a user's own, whose rows are no records of a source.
    """
    row, where = ("row", "of the batch given") if is_own else ("record", "in epoch {epoch}")
    finite, there = "; all that the node makes it of is finite", f" in that {row}"
    many, counts = origin.ids.shape[0], origin.counts
    for found in made(inputs, output, many, counts=counts, read=read, named=named):
        name = f"field `{bare_of_braces(found.field)}`" if found.field else "the output"
        source = found.source and _field(found.source)
        if not found.blamed.ndim:
            said = _may_come(source) if source else finite
            _refuse(found.blamed, name, f"{said}.", _worst(found.value, True), {})
            continue
        rows = jnp.asarray(found.blamed)
        numbers = alike(jnp.arange(rows.shape[0]), rows)
        first = rows & (numbers == jnp.min(numbers, where=rows, initial=rows.shape[0]))
        words = [_of(first, x) for x in (origin.ids.T if origin.ids.ndim > 1 else [origin.ids])]
        told = _words(words) | ({} if is_own else {"epoch": _of(first, _epochs(origin))})
        name = f"{name} of {row} {_SPELT[len(words)]} {where}"
        worst = _worst(found.value, _along(first, found.value))
        if source:
            _refuse(rows.any(), name, f"{_may_come(source)}{there}.", worst, told)
            continue
        mixes = f", but not in another: a node that mixes {row}s spreads that."
        _refuse(rows.any() & ~found.others, name, f"{finite}{there}.", worst, told)
        _refuse(rows.any() & found.others, name, f"{finite}{there}{mixes}", worst, told)


def check_step(
    read: Reads | None,
    inputs: dict[str, PyTree],
    shared: dict[str, PyTree],
    output: dict[str, PyTree],
    origin: Origin,
    step: Word,
) -> None:
    """Refuse a NaN or an infinity that a step function has made, in programs that look at values.

    Leaves are named as a user would write them: `carry['w']` and `batch['x']` go in, `ys['loss']`
    and `carry['w']` come out, of which the results are told first. `read` says of which of
    those they are made, all perhaps of what is `shared`; `step` counts the steps of the loop.
    """
    offset = jnp.asarray(origin.offset)
    words = [offset] if not offset.ndim else list(offset)
    told = _words(words) | {"epoch": jnp.asarray(origin.epochs)[0], "step": step}
    place = f"step {{step}} of the scan (epoch {{epoch}}, offset {_SPELT[len(words)]})"
    others = range(len(inputs), len(inputs) + len(shared))
    read = read and tuple(used.union(others) for used in read)
    several = made([inputs, shared], output, -1, read=read, named=["", ""])
    for found in sorted(several, key=lambda x: (x.source is not None, not _is_result(x.field))):
        is_result = _is_result(found.field)
        field = bare_of_braces(found.field)
        name = f"the step function: `{field}` {'in' if is_result else 'behind'} {place}"
        said = "; all that it is made of is finite"
        if found.source:
            said = _may_come(f"`{bare_of_braces(found.source.field)}`")
        elif not is_result:
            said += ". Where its loss is finite, look at the gradient"
        _refuse(found.blamed, name, f"{said}.", _worst(found.value, True), told)


def _is_result(field: str) -> bool:
    return re.match(r"ys\b", field) is not None


def _field(source: Given) -> str:
    name = f"field `{source.field}`" if source.field else "what it was given"
    return bare_of_braces(f"{name} of `{source.of}`" if source.of else name)


def _may_come(source: str) -> str:
    return f"; it was finite before, and may come from {source}, which is not finite"


def _refuse(
    fails: Flags, name: str, after: str, worst: Float[Array, ""], told: dict[str, Word]
) -> None:
    numbers = {**dict.fromkeys(_WORDS, np.uint32(0)), **told}
    words = {word: jnp.asarray(number, jnp.uint32) for word, number in numbers.items()}
    fails, found = first_variant(jnp.asarray(fails), {"value": worst, **words})
    checked(~fails, f"{name} is {{value}}{in_variant(found)}{after}", **found)


def _words(words: Sequence[Word]) -> dict[str, Word]:
    return {f"word{place}": word for place, word in enumerate(words)}


def _along(rows: Bool[Array, " n"], value: Numbers) -> Bool[Array, "n ..."]:
    return rows.reshape(rows.shape + (1,) * (value.ndim - 1))


def _of(first: Bool[Array, " n"], numbers: Shaped[Array, "*n"]) -> Word:
    # By a sum, which can be had of rows on several devices.
    return jnp.sum(jnp.where(first, numbers, 0)) if jnp.ndim(numbers) else jnp.asarray(numbers)


def _epochs(origin: Origin) -> Shaped[Array, "*n"]:
    if origin.own is not None:
        return jnp.asarray(origin.own)
    epochs = jnp.asarray(origin.epochs)
    return epochs[0] if len(epochs) == 1 else looked_up(epochs, jnp.asarray(origin.lap))


def _worst(value: Numbers, where: Bool[Array, "..."] | bool) -> Float[Array, ""]:
    seen = jnp.abs(value) if jnp.iscomplexobj(value) else value
    is_nan, is_inf = jnp.any(jnp.isnan(seen) & where), jnp.any((seen == jnp.inf) & where)
    return jnp.where(is_nan, jnp.float32("nan"), jnp.where(is_inf, jnp.inf, -jnp.inf))
