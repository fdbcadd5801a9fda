"""Random words at the positions of an epoch: each a function of key, epoch and position alone.

What is drawn by them is not known here.
"""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._namespace import Batch, Epoch, Words, namespace
from .._random._fast_key import threefry, threefry_words
from .._random._keys import words_of
from ._wide import Wide, high_product, plus, product, wide

_ORDER = np.uint32(3)  # what the words are for: the draws of a fast key have 0 to 2
_WORDS = np.uint32(4)


def words_at(key: PRNGKeyArray | np.ndarray, epoch: Epoch, positions: Batch) -> Wide:
    """64 random bits for each position."""
    first, second, *more = words_of(key)
    for word in (*more, epoch):
        first, second = _drawn((first, second), word, _ORDER)
    return Wide(*_drawn((first, second), positions, _WORDS))


def _drawn(
    key: Sequence[Words | np.uint32], counter: Words | np.uint32, purpose: np.uint32
) -> tuple[Words, Words]:
    if namespace(*key, counter) is np:
        first, second = threefry_words(cast(Sequence[Words], key), cast(Words, counter), purpose)
        return first, second
    drawn: tuple[Words, Words] = threefry(jnp.stack([*key]), jnp.asarray(counter), purpose)
    return drawn


def below(bits: Wide, size: Words) -> Wide:
    """Random numbers below a size, and 32 bits that are left: of `bits / 2**64 * size`, the whole
    and the part. One number is more likely than another by at most `size / 2**64`."""
    return plus(product(bits.high, size), wide(high_product(bits.low, size)))
