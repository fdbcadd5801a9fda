"""A scan on an accelerator: where its records are is found for all batches before it begins.

There each step would launch a program more for it, which takes longer than to write the places down
and to read them. On a CPU it costs a step nothing. How records are read is not known here.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from .._namespace import Flags, Words
from .._random._origin import Origin
from ._batching import Batching, Cursor
from ._carry import check_carry

_MOST = 2**21  # records of a scan: above, places would take memory that may be missed
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")


def is_worth_a_table(records: int) -> bool:
    """Whether so many records of a scan are few enough, and the platform one to gain by it."""
    return jax.default_backend() != "cpu" and records <= _MOST


def by_table(
    batching: Batching,
    origin: Callable[[Cursor, int], tuple[Words, Flags, Origin]],
    step: Callable[[_Carry, Words, Flags, Origin], tuple[_Carry, _Y]],
    carry: _Carry,
    cursor: Cursor,
    length: int,
) -> tuple[Cursor, _Carry, _Y]:
    """`length` steps in a `jax.lax.scan` over the places of their batches.

    - `batching`: of batches of one length.
    - `origin`: the places of a batch, which of them count, and their origin, by `Stream.origin`.
    - `step`: the new carry and a result, from the carry and what `origin` has given.
    - `carry`, `cursor`: where it begins.
    - `length`: how many steps.

    Returns the cursor behind the last batch, the last carry and the stacked results.
    """
    size = batching.batch_size
    epoch, offset = (jnp.asarray(x) for x in batching.settle(*cursor))
    epochs, offsets = batching.starts(epoch, offset, length)

    def tick(carry: _Carry, found: tuple[Words, Flags, Origin]) -> tuple[_Carry, _Y]:
        new, y = step(carry, *found)
        check_carry(carry, new)
        return new, y

    table = jax.vmap(lambda *at: origin(Cursor(*at), size))(epochs, offsets)
    carry, ys = jax.lax.scan(tick, carry, table)
    return batching.settle(epochs[-1], offsets[-1] + size), carry, ys
