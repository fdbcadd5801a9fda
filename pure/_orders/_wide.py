"""Exact 64-bit arithmetic in pairs of 32-bit words, which needs no 64-bit types.

Plain functions of arrays, to be mapped and traced as any other. What is counted is not known here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._namespace import Flags, namespace, plain
from .._namespace import Words as Word
from .._namespace import word as as_word


class Wide(NamedTuple):
    """Whole numbers below 2**64, as `high * 2**32 + low`; sums and products wrap there."""

    high: Word
    low: Word


def wide(word: Word) -> Wide:
    """A word as a wide number."""
    return Wide(namespace(word).zeros_like(word), word)


def product(a: Word, b: Word) -> Wide:
    """`a * b`, whole."""
    return Wide(high_product(a, b), a * b)


def high_product(a: Word, b: Word) -> Word:
    """`a * b // 2**32`: the part of `b` that `a` is of 2**32."""
    (a1, a0), (b1, b0) = _halves(a), _halves(b)
    middle = a1 * b0 + (a0 * b0 >> 16)  # at most 2**32 - 2**16 - 1, so it does not wrap
    return a1 * b1 + (middle >> 16) + ((middle & 0xFFFF) + a0 * b1 >> 16)


def plus(x: Wide, y: Wide) -> Wide:
    """`x + y`, modulo 2**64."""
    low = x.low + y.low
    return Wide(x.high + y.high + (low < x.low).astype(np.uint32), low)


def minus(x: Wide, y: Wide) -> Wide:
    """`x - y`, modulo 2**64."""
    return Wide(x.high - y.high - (x.low < y.low).astype(np.uint32), x.low - y.low)


def less(x: Wide, y: Wide) -> Flags:
    """Whether `x < y`."""
    return (x.high < y.high) | ((x.high == y.high) & (x.low < y.low))


def running(x: Wide) -> Wide:
    """The sums of `x[: i + 1]` along the first axis, modulo 2**64."""
    low = jnp.cumsum(x.low, axis=0, dtype=jnp.uint32)
    carried = (low < x.low).astype(np.uint32)  # where a sum wrapped, it is below what was added
    return Wide(jnp.cumsum(x.high + carried, axis=0, dtype=jnp.uint32), low)


def divided(x: Wide, by: Word) -> tuple[Wide, Word]:
    """`(x // by, x % by)`; `by`, an array or a scalar of uint32, is not zero."""
    by = as_word(by)
    if namespace(*x, by) is np:
        return _divided_on_the_host(x, by)
    high = x.high // by
    low, rest = _divided(x.high - high * by, x.low, by)
    return Wide(high, low), rest


def _divided_on_the_host(x: Wide, by: Word) -> tuple[Wide, Word]:
    whole, rest = np.divmod(
        (x.high.astype(np.uint64) << np.uint64(32)) | x.low, by.astype(np.uint64)
    )
    words = (x.astype(np.uint32) for x in (whole >> np.uint64(32), whole, rest))
    high, low, left = map(plain, words)
    return Wide(high, low), left


def _divided(high: Word, low: Word, by: Word) -> tuple[Word, Word]:
    # Long division by digits of 16 bits, for `high < by`: D. E. Knuth, "The Art of Computer
    # Programming", volume 2, 4.3.1, algorithm D, after H. S. Warren, "Hacker's Delight", divlu.
    shift = jax.lax.clz(by)
    by = by << shift
    # A shift by 32 bits gives zero in XLA.
    high = (high << shift) | jax.lax.shift_right_logical(low, jnp.uint32(32) - shift)
    first, second = _halves(low << shift)
    high, rest = _digit(high, first, by)
    low, rest = _digit(rest, second, by)
    return (high << 16) | low, rest >> shift


def _digit(x: Word, digit: Word, by: Word) -> tuple[Word, Word]:
    """`(x * 2**16 + digit)` divided by `by`, which is at least 2**31 and more than `x`."""
    upper, lower = _halves(by)
    guess = x // upper
    over = x - guess * upper
    for _ in range(2):  # it is at most two too high
        high = (over >> 16 == 0) & ((guess >> 16 != 0) | (guess * lower > (over << 16) + digit))
        guess, over = jnp.where(high, guess - 1, guess), jnp.where(high, over + upper, over)
    return guess, (x << 16) + digit - guess * by


def _halves(x: Word) -> tuple[Word, Word]:
    return x >> 16, x & np.uint32(0xFFFF)
