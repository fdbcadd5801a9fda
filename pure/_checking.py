"""What only numbers can tell: looked at now where they are known, and else while a program runs.

In a program `certain` looks always, `checked` where it is asked for by `checking()`.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Shaped

from ._mesh import alike
from ._node import mapped_axes, of_node


def known(value: object) -> bool:
    """Whether a value can be looked at now: it belongs to no trace."""
    return not isinstance(value, Tracer)


def in_a_trace() -> bool:
    """Whether what is computed now is traced, though it is given nothing that is."""
    return isinstance(jnp.zeros((), jnp.uint32) + np.uint32(1), Tracer)


def certain(
    value: Shaped[Array, "..."], fails: Bool[ArrayLike, ""], message: str
) -> Shaped[Array, "..."]:
    """The value, if nothing fails. **Errors:** ValueError, or inside a trace a run-time error."""
    if known(fails):
        if np.asarray(fails):
            raise ValueError(message)
        return value
    refused: Shaped[Array, "..."] = eqx.error_if(value, fails, of_node(message))
    return refused


def checked(
    holds: Bool[ArrayLike, "..."], message: str, **values: Shaped[ArrayLike, "..."]
) -> None:
    """Refuse what does not hold: outside a trace at once, and within `checking()` in what
    `jax.experimental.checkify` runs. It costs nothing in other programs.

    `{name}` in the message is that of the `values`; of variants the first is named for which it
    does not hold. **Errors:** ValueError, outside a trace.
    """
    arrays = {name: jnp.asarray(value) for name, value in values.items()}
    if _checking.value:
        is_told = "variants" in arrays
        fails, arrays = first_variant(~jnp.all(holds), arrays)
        where = "" if is_told else in_variant(arrays)
        checkify.debug_check(~fails, of_node(message, where), **arrays)
    elif known(holds) and not np.asarray(holds).all():
        texts = {name: str(np.asarray(array)) for name, array in arrays.items()}
        raise ValueError(of_node(message).format(**texts))


def first_variant(
    fails: Bool[Array, ""], found: Mapping[str, Shaped[Array, "..."]]
) -> tuple[Bool[Array, ""], dict[str, Shaped[Array, "..."]]]:
    """What the first of the variants has found, which it is, and how many have found something.

    Where variants are none, or known already, what was found.
    """
    axes, found = mapped_axes(), dict(found)
    if not axes or "variants" in found:
        return fails, found
    found["variants"] = fails.astype(jnp.uint32)
    for level in reversed(range(len(axes))):
        every, (flags, many) = jax.lax.all_gather((found, (fails, found["variants"])), axes[level])
        index = alike(jnp.arange(flags.shape[0], dtype=jnp.uint32), flags)
        first = jnp.min(index, where=flags, initial=flags.shape[0])
        found = {word: _of(flags & (index == first), x) for word, x in every.items()}
        found = {**found, "variants": many.sum(), f"variant{level}": first}
        fails = flags.any()
    return fails, found


def in_variant(found: Iterable[str]) -> str:
    """` in variant {variant0}`, to stand in a message into which what was found is written."""
    levels = sorted(f"{{{word}}}" for word in found if re.fullmatch(r"variant\d+", word))
    return f" in variant {', '.join(levels)}" if levels else ""


def _of(first: Bool[Array, " n"], each: Shaped[Array, "n ..."]) -> Shaped[Array, "..."]:
    # By a sum, which can be had of rows on several devices.
    there = first.reshape(first.shape + (1,) * (each.ndim - 1))
    return jnp.sum(jnp.where(there, each, jnp.zeros_like(each)), axis=0, dtype=each.dtype)


def checking() -> AbstractContextManager[None]:
    """Within it functions look at values, where `jax.experimental.checkify` runs them.

    Not outside: a program that has a check, though it computes nothing of it, is called by JAX in
    ten times the time.
    """
    asked: AbstractContextManager[None] = _checking(True)
    return asked


def unchecked() -> AbstractContextManager[None]:
    """Within it they look at none."""
    asked: AbstractContextManager[None] = _checking(False)
    return asked


def is_checking() -> bool:
    """Whether this is within `checking()`."""
    return bool(_checking.value)


# Of the caches of `jax.jit` it is a part.
_checking = jax.make_user_context(False)
