"""Arrays that are no images: waves, tokens, labels and features, refused by name if they are of the
wrong kind.

What is done with them is not known here; images are judged in `_arguments`.
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, Shaped

from .._checking import checked
from .._text import spec_text, valued
from ._arguments import numbers


def floats_of(
    function: str, value: Shaped[ArrayLike, "..."], *, axes: int = 0
) -> Float[Array, "..."]:
    """The value as floats of JAX. **Errors:** TypeError for another dtype, ValueError for fewer
    than so many axes."""
    array = numbers(function, value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{function} takes floats, but was given {spec_text(array)}; cast it before: "
            "x.astype(jnp.float32)."
        )
    return _deep_enough(function, array, axes)


def integers_of(
    function: str, value: Shaped[ArrayLike, "..."], *, axes: int = 0
) -> Integer[Array, "..."]:
    """The value as integers of JAX. **Errors:** TypeError for another dtype, ValueError for fewer
    than so many axes."""
    array = numbers(function, value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"{function} takes integers, but was given {spec_text(array)}; cast it before: "
            "x.astype(jnp.int32)."
        )
    return _deep_enough(function, array, axes)


def count_of(name: str, value: object, *, least: int = 1) -> int:
    """A number of things, which is known while a program is traced. **Errors:** TypeError,
    ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(valued(name, value, "an int."))
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}.")
    return int(value)


def check_rate(function: str, rate: Shaped[ArrayLike, ""]) -> None:
    """Look whether a probability is one, where values are looked at."""
    given = numbers("rate", rate)
    checked(
        (given >= 0) & (given <= 1),
        f"{function} takes a rate from 0 to 1, not {{rate}}.",
        rate=given,
    )


def _deep_enough(function: str, array: Shaped[Array, "..."], axes: int) -> Shaped[Array, "..."]:
    if array.ndim < axes:
        needed = "one axis" if axes == 1 else f"{axes} axes"
        raise ValueError(
            f"{function} takes an array of at least {needed}, but was given {spec_text(array)}."
        )
    return array
