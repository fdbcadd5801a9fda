"""Weights made ready to be drawn from: a table by which one look finds a record.

Each record has a bucket of the same capacity, in which it leaves what it does not fill to one other
record, its alias: A. J. Walker, "An efficient method for generating discrete random variables with
general distributions", ACM TOMS 3, 1977. Filled by running sums, as in Hübschle-Schneider and
Sanders, "Parallel Weighted Random Sampling", ESA 2019. Orders are not known here.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, UInt32

from .._apart import settled
from .._namespace import Batch, Epoch, looked_up, namespace, words
from ._chance import below
from ._wide import Wide, divided, high_product, less, minus, plus, product, running, wide

Words = UInt32[Array, " records"]


class Alias(eqx.Module):
    """For each record how much of its bucket is its own, and whose the rest is."""

    slots: UInt32[Array, "records 2"]
    capacity: UInt32[Array, ""]

    def drawn(self, bits: Wide, offset: Epoch) -> Batch:
        """The records that these random bits fall to; `offset` is as for `settled`."""
        xp = namespace(*bits)
        bucket, left = below(bits, words(self.slots.shape[0], bits.low))
        # A loop that looks up and computes at once is a loop over single numbers.
        spot = high_product(left, self.capacity)
        bucket, spot = settled(xp.stack([bucket, spot]), offset)
        slots = looked_up(self.slots, bucket)
        drawn: Batch = xp.where(spot < slots[:, 0], bucket, slots[:, 1])
        return drawn


class _Shares(NamedTuple):
    """What each record holds of all buckets together, which are full to the last unit."""

    held: Wide
    capacity: UInt32[Array, ""]


@jax.jit
def alias(weights: Float32[Array, " records"]) -> Alias:
    """The table of some weights: whole numbers, equal however they are computed.

    A record is drawn as often as its weight says, to within 2**-29 of that or of the mean weight,
    whichever is more. One of weight 0 is not drawn.
    """
    held, capacity = _shares(weights)
    light = (held.high == 0) & (held.low <= capacity)
    lacks = Wide(jnp.zeros_like(held.low), jnp.where(light, capacity - held.low, 0))
    over = minus(held, wide(jnp.broadcast_to(capacity, held.low.shape)))
    given = running(Wide(*(jnp.where(light, 0, x) for x in over)))
    taken = running(lacks)
    # The light ones are filled in their order by the heavy ones in theirs. A heavy one that has
    # given all that it has over may lack something itself, which the next one gives.
    before = _either(light, minus(taken, lacks), given)
    giver = _first(given, plus(before, wide(jnp.ones_like(held.low))))
    emptied = minus(_at(taken, _first(taken, given)), given)
    own = jnp.where(light, held.low, capacity - emptied.low)
    return Alias(jnp.stack([own, giver], axis=1), capacity)


def _shares(weights: Float32[Array, " records"]) -> _Shares:
    many = jnp.uint32(weights.shape[0])
    weights = jnp.where((weights > 0) & (weights < jnp.inf), weights, 0)
    weights = jnp.where(weights.max() > 0, weights, 1)
    held = _scaled(_units(weights), many)
    # What is there may be drawn, be it ever so little.
    held = held._replace(
        low=jnp.where((weights > 0) & (held.high == 0) & (held.low == 0), 1, held.low)
    )
    total = _last(running(held))
    whole, rest = divided(total, many)
    capacity = whole.low + (rest > 0).astype(jnp.uint32)
    # All buckets are a little larger than all shares: each gets a unit, as far as they go.
    missing = minus(product(many, capacity), total).low
    some = weights > 0
    count = jnp.cumsum(some, dtype=jnp.uint32)
    more = missing // count[-1] + (count <= missing % count[-1]).astype(jnp.uint32)
    return _Shares(plus(held, wide(jnp.where(some, more, 0))), capacity)


def _units(weights: Float32[Array, " records"]) -> Wide:
    # Multiples of a power of two, of which the sum of all has at most 62 bits: no sum is rounded.
    bits = 62 - weights.shape[0].bit_length()
    _, exponent = jnp.frexp(weights.max())
    scaled = jnp.ldexp(weights, -exponent) * np.float32(2.0**bits)
    high = jnp.floor(scaled * np.float32(2.0**-32))
    low = scaled - high * np.float32(2.0**32)
    return Wide(high.astype(jnp.uint32), low.astype(jnp.uint32))


def _scaled(units: Wide, many: UInt32[Array, ""]) -> Wide:
    # Such that their mean has 31 bits.
    mean, _ = divided(_last(running(units)), many)
    unused = jnp.where(mean.high > 0, jax.lax.clz(mean.high), 32 + jax.lax.clz(mean.low))
    up = jnp.maximum(unused.astype(jnp.int32) - 33, 0).astype(jnp.uint32)
    down = jnp.maximum(33 - unused.astype(jnp.int32), 0).astype(jnp.uint32)
    right = Wide(_right(units.high, down), _right(units.low, down) | _left(units.high, 32 - down))
    return Wide(_left(right.high, up) | _right(right.low, 32 - up), _left(right.low, up))


def _right(x: Words, by: UInt32[Array, ""]) -> Words:
    return jax.lax.shift_right_logical(x, jnp.broadcast_to(by, x.shape))  # by 32 bits gives zero


def _left(x: Words, by: UInt32[Array, ""]) -> Words:
    return jax.lax.shift_left(x, jnp.broadcast_to(by, x.shape))


def _first(sums: Wide, least: Wide) -> Words:
    """For each the first index whose sum is at least that, or the last index: a binary search."""
    many = sums.low.shape[0]
    found = jnp.zeros(least.low.shape, jnp.uint32)
    steps = jnp.uint32(1) << jnp.arange(many.bit_length(), dtype=jnp.uint32)[::-1]

    def halve(found: Words, step: UInt32[Array, ""]) -> tuple[Words, None]:
        there = found + step
        is_below = less(_at(sums, jnp.minimum(there, many) - 1), least)
        return jnp.where((there <= many) & is_below, there, found), None

    return jnp.minimum(jax.lax.scan(halve, found, steps)[0], np.uint32(many - 1))


def _at(x: Wide, index: Words) -> Wide:
    return Wide(*(part.at[index].get(mode="promise_in_bounds") for part in x))


def _last(x: Wide) -> Wide:
    return Wide(x.high[-1], x.low[-1])


def _either(which: Bool[Array, " records"], x: Wide, y: Wide) -> Wide:
    return Wide(*(jnp.where(which, a, b) for a, b in zip(x, y, strict=True)))
