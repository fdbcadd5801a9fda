"""What only numbers can tell: looked at now where they are known, and else while a program runs.

In a program `certain` looks always, `checked` where it is asked for by `checking()`.
"""

from contextlib import AbstractContextManager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Shaped

from ._node import of_node


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

    `{name}` in the message is that of the `values`. **Errors:** ValueError, outside a trace.
    """
    arrays = {name: jnp.asarray(value) for name, value in values.items()}
    if _checking.value:
        checkify.debug_check(jnp.all(holds), of_node(message), **arrays)
    elif known(holds) and not np.asarray(holds).all():
        texts = {name: str(np.asarray(array)) for name, array in arrays.items()}
        raise ValueError(of_node(message).format(**texts))


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
