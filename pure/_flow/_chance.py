"""Random words at the positions of an epoch: each a function of key, epoch and position alone.

What is drawn by them is not known here.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32

from .._random._fast_key import threefry
from .._random._keys import words_of
from ._wide import Wide, high_product, plus, product, wide

_ORDER = np.uint32(3)  # what the words are for: the draws of a fast key have 0 to 2
_WORDS = np.uint32(4)


def words_at(
    key: PRNGKeyArray, epoch: UInt32[Array, ""], positions: UInt32[Array, " batch"]
) -> Wide:
    """64 random bits for each position."""
    first, second, *more = words_of(key)
    for word in (*more, epoch):
        first, second = threefry(jnp.stack([first, second]), word, _ORDER)
    return Wide(*threefry(jnp.stack([first, second]), positions, _WORDS))


def below(bits: Wide, size: UInt32[Array, "..."]) -> Wide:
    """Random numbers below a size, and 32 bits that are left: of `bits / 2**64 * size`, the whole
    and the part. One number is more likely than another by at most `size / 2**64`."""
    return plus(product(bits.high, size), wide(high_product(bits.low, size)))
