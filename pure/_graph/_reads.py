"""What of its inputs each output of a function is made of, read off its program.

A field that a function computes of `x` alone has nothing of a NaN in `age`. Nothing is run, and
what is done with the answer is not known here.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import PyTree

from .._checking import unchecked

Reads: TypeAlias = tuple[frozenset[int], ...]


def reads(function: Callable[..., PyTree], inputs: Sequence[PyTree]) -> Reads | None:
    """For each leaf of `function(*inputs)` the leaves of the inputs that it depends on, by number.

    None for a function that cannot be traced by itself, as one that writes to what it holds.
    """
    try:
        with warnings.catch_warnings(), unchecked():
            warnings.simplefilter("ignore")  # it is called once more, and warns then
            program = jax.make_jaxpr(function)(*inputs)
    except Exception:
        # It runs with these very inputs; whatever it says of a second trace is not its fault.
        return None
    many = len(program.out_avals)
    found = []
    for number in range(many):
        _, used = dce_jaxpr(program.jaxpr, [number == other for other in range(many)])
        found.append(frozenset(place for place, is_used in enumerate(used) if is_used))
    return tuple(found)
