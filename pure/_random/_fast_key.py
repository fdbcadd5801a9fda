"""A random number generator that XLA fuses into what is done with its numbers.

JAX knows it by its name, so that a saved key is found again. Nothing of pipelines is known here.
"""

import functools
import math
import sys
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jaxtyping import Array, PRNGKeyArray, Shaped, UInt, UInt32

Words = UInt32[Array, "..."]
if TYPE_CHECKING:
    Host: TypeAlias = Array
else:
    Host: TypeAlias = UInt32[np.ndarray, "..."] | np.uint32

_NAME = "threefry2x32-13"
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
# The second word of a counter says what it counts, so that draws, `fold_in` and `split` of one key
# never meet.
_DRAW, _FOLD_IN, _SPLIT = map(np.uint32, (0, 1, 2))


def fast_key(seed: int) -> PRNGKeyArray:
    """A key that `jax.random` takes like any other, and whose draws cost a CPU less.

    It seeds a pipeline as `key=fast_key(0)` in the pure core and as
    `rngs=nnx.Rngs(pipeline=fast_key(0))`. The numbers differ from those of `jax.random.key(seed)`;
    like them, they depend on nothing but the key, in any batch. JAX knows the generator by its name
    once `dagrax.pure` is imported: `jax.random.wrap_key_data(words, impl="threefry2x32-13")` makes
    a key of its saved words again, as a checkpoint does. `jax.random.poisson` alone takes no keys
    but JAX's own: give it
    `jax.random.wrap_key_data(jax.random.key_data(key), impl="threefry2x32")`.

    It is Threefry-2x32 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
    3", SC 2011, with 13 rounds, from which on its authors' Random123 knows no statistical flaw.
    JAX's own has 20, which XLA for CPUs runs as a loop over arrays; on an accelerator little is
    gained.

    **Errors:** TypeError for a seed that is no int, ValueError for one outside 0 to 2**32 - 1. A
    draw of more than 2**32 numbers from one key is a ValueError.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(
            f"seed is {seed!r} of type {type(seed).__name__}; expected an int: write fast_key(0)."
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; expected an int from 0 to 2**32 - 1.")
    return jax.random.key(np.uint32(seed), impl=_FAST)


def is_fast(key: PRNGKeyArray) -> bool:
    """Whether a key is one of `fast_key`, or made from one by `jax.random`."""
    return str(jax.random.key_impl(key)) == _NAME


def threefry_words(
    key: Sequence[Words | Host], counter: Words | Host, purpose: np.uint32
) -> tuple[Words | Host, Words | Host]:
    """Two words for each counter; of NumPy's, NumPy's."""
    words = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    first, second = counter + words[0], purpose + words[1]
    for index in range(13):
        first = first + second
        rotation = np.uint32(_ROTATIONS[index % 8])
        second = first ^ ((second << rotation) | (second >> (32 - rotation)))
        if index % 4 == 3:
            turn = index // 4 + 1
            first = first + words[turn % 3]
            second = second + words[(turn + 1) % 3] + np.uint32(turn)
    return first, second


@functools.partial(jax.jit, static_argnums=2, inline=True)
def threefry(key: UInt32[Array, "2"], counter: Words, purpose: np.uint32) -> tuple[Words, Words]:
    """`threefry_words`, compiled."""
    first, second = threefry_words((key[0], key[1]), counter, purpose)
    return jnp.asarray(first), jnp.asarray(second)


def _seed(seed: Shaped[Array, ""]) -> UInt32[Array, "2"]:
    high = seed >> 32 if seed.dtype.itemsize == 8 else jnp.zeros_like(seed)
    return jnp.stack([high.astype(np.uint32), seed.astype(np.uint32)])


def _random_bits(key: UInt32[Array, "2"], width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    first, second = threefry(key, _counter(shape), _DRAW)
    bits: UInt[Array, "..."] = first.astype(f"uint{width}")
    return bits if width < 64 else (bits << 32) | second.astype(bits.dtype)


def _fold_in(key: UInt32[Array, "2"], data: int | Words) -> UInt32[Array, "2"]:
    return jnp.stack(threefry(key, jnp.asarray(data), _FOLD_IN))


def _split(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "*shape 2"]:
    return jnp.stack(threefry(key, _counter(shape), _SPLIT), axis=-1)


def _counter(shape: tuple[int, ...]) -> Words:
    size = math.prod(shape)
    if size > 2**32:
        raise ValueError(
            f"{size} numbers were asked of one fast key, which has 2**32; split the key, and draw "
            "a part from each."
        )
    return jax.lax.iota(np.uint32, size).reshape(shape)


def _named() -> Hashable:
    """The generator under its name in JAX's list of them, which a checkpoint looks into.

    Only JAX's own modules can put it there, and which one does so differs between releases: it is
    the one of the generators' type.
    """
    spec: Any = define_prng_impl(
        key_shape=(2,),
        seed=_seed,
        split=_split,
        random_bits=_random_bits,
        fold_in=_fold_in,
        name=_NAME,
        tag=_NAME,
    )
    made = spec._impl
    generators = sys.modules[type(made).__module__]
    if _NAME not in generators.prngs:  # a second copy of this module takes the first one's
        generators.register_prng(made)
    return _NAME


_FAST = _named()
