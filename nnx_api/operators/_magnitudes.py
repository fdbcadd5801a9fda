"""The magnitudes of operators: numbers that are learnable, judged when they are given.

What an operator does with them is not known here.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from dagrax.pure import internal

Limits: TypeAlias = Shaped[ArrayLike, "..."] | tuple[float, ...] | list[float]
PerChannel: TypeAlias = Shaped[ArrayLike, "*channels"] | tuple[float | int, ...] | list[float | int]
Bounds: TypeAlias = Shaped[ArrayLike, "2"] | tuple[float | int, float | int] | list[float | int]
_NUMBERS = int | float | np.integer | np.floating | np.ndarray | jax.Array


def magnitude(
    name: str,
    value: Shaped[ArrayLike, ""],
    *,
    least: float = -np.inf,
    most: float = np.inf,
    above: float = -np.inf,
    whole: bool = False,
) -> nnx.Param[Float[Array, ""]]:
    """One number as a Param.

    **Errors:** TypeError for anything else; ValueError for several numbers, NaN, infinity, one that
    is not from `least` to `most`, not `above`, and not `whole`.
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise TypeError(internal.valued(name, value, "a number."))
    if np.ndim(value):
        raise ValueError(f"{name} is {internal.spec_text(value)}; expected one number.")
    _judge(name, value, least, most)
    _judge_above(name, value, above)
    if _some(jnp.asarray(value, jnp.float32), np.isinf):
        raise ValueError(f"{name} is {value!r}; expected a finite number.")
    if whole and _some(jnp.asarray(value, jnp.float32), lambda x: x != np.round(x)):
        raise ValueError(f"{name} is {value!r}; expected a whole number.")
    return nnx.Param(jnp.asarray(value, jnp.float32))


def one_or_more(
    name: str, value: PerChannel, *, above: float = -np.inf
) -> nnx.Param[Float[Array, "*channels"]]:
    """A number, or one for each channel, as a Param. **Errors:** those of both."""
    if isinstance(value, tuple | list) or np.ndim(value):
        return magnitudes(name, value, above=above)
    return magnitude(name, value, above=above)


def flag(name: str, value: object) -> bool:
    """Whether something is to be done. **Errors:** TypeError for anything but True and False."""
    if not isinstance(value, bool):
        raise TypeError(internal.valued(name, value, "True or False."))
    return value


def magnitudes(
    name: str,
    values: Shaped[ArrayLike, " numbers"] | tuple[float | int, ...] | list[float | int],
    *,
    count: int | None = None,
    least: float = -np.inf,
    most: float = np.inf,
    above: float = -np.inf,
    rising: bool = False,
) -> nnx.Param[Float[Array, " numbers"]]:
    """Several numbers as a Param, such as a range `(low, high)`, which is `rising`.

    **Errors:** TypeError for anything else; ValueError for another `count` of them, NaN, a number
    that is not from `least` to `most`, or not `above`, and a range that falls.
    """
    expected = "numbers" if count is None else f"{count} numbers"
    if not isinstance(values, tuple | list | np.ndarray | jax.Array):
        raise TypeError(internal.valued(name, values, f"{expected}."))
    for value in values if isinstance(values, tuple | list) else ():
        if isinstance(value, bool) or not isinstance(value, _NUMBERS):
            raise TypeError(internal.valued(name, values, f"{expected}."))
    array = jnp.asarray(values, jnp.float32)
    if array.ndim != 1 or count not in (None, len(array)):
        raise ValueError(f"{name} is {internal.spec_text(array)}; expected {expected}.")
    if rising and _some(array, np.isinf):
        raise ValueError(f"{name} is {values!r}; expected finite numbers.")
    _judge(name, values, least, most)
    _judge_above(name, values, above)
    if rising and _some(array, lambda x: np.diff(x) < 0):
        raise ValueError(f"{name} is {values!r}; expected a range (low, high) that does not fall.")
    return nnx.Param(array)


def limits(
    name: str, value: Limits, *, most: float = np.inf, pairs: int = 1
) -> nnx.Param[Float[Array, "..."]]:
    """A number, for as much either way, or (least, largest) of each of at most so many pairs.

    **Errors:** those of `magnitude` and `magnitudes`.
    """
    if isinstance(value, tuple | list) or np.ndim(value):
        count = 4 if pairs == 2 and np.shape(value) == (4,) else 2
        return magnitudes(name, value, count=count, least=-most, most=most, rising=count == 2)
    return magnitude(name, value, least=0.0, most=most)


def _judge(name: str, value: object, least: float, most: float) -> None:
    array = jnp.asarray(value, jnp.float32)
    if _some(array, np.isnan) or _some(array, lambda x: (x < least) | (x > most)):
        raise ValueError(f"{name} is {value!r}; expected {_between(least, most)}.")


def _judge_above(name: str, value: object, above: float) -> None:
    if _some(jnp.asarray(value, jnp.float32), lambda x: ~(x > above)):
        raise ValueError(f"{name} is {value!r}; expected above {above:g}.")


def _some(array: Shaped[Array, "..."], fails: Callable[[np.ndarray], np.ndarray]) -> bool:
    # Inside a trace a value is not known.
    return not isinstance(array, Tracer) and bool(np.any(fails(np.asarray(array))))


def _between(least: float, most: float) -> str:
    if np.isinf(least) and np.isinf(most):
        return "numbers that are not NaN"
    if np.isinf(most):
        return f"at least {least:g}"
    return f"from {least:g} to {most:g}" if not np.isinf(least) else f"at most {most:g}"
