"""A digest of the numbers of an array, the same however it lies over devices and processes.

A sum of hashed words, each with its index: a word that changed is always noticed, more than one but
by a chance of 2**-64. Sums need no order, so each device and each process adds up what it has.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

from ..._mesh import alike

_NARROW = ("int2", "uint2", "int4", "uint4")
_CHUNK = 2**16  # words that stay in a core's cache
_Words = TypeVar("_Words", Array, np.ndarray)


def content(array: Array | np.ndarray) -> UInt32[np.ndarray, "2"]:
    """A digest of what an array holds: bits and their places, neither dtype nor shape."""
    if isinstance(array, jax.Array):
        return np.asarray(jax.device_get(_of_device(array)))
    words = _viewed(array)
    sums = np.zeros(2, np.uint32)
    for start in range(0, words.size, _CHUNK):
        chunk = words[start : start + _CHUNK].astype(np.uint32)
        index = np.arange(chunk.size, dtype=np.uint32) + np.uint32(start % 2**32)
        sums += np.stack([x.sum(dtype=np.uint32) for x in _mixed(chunk, index)])
    return sums


def together(parts: Sequence[object]) -> str:
    """A short digest of several things by how they are written."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


@jax.jit
def _of_device(array: Array) -> UInt32[Array, "2"]:
    words = _bits(array).astype(jnp.uint32)
    index = jnp.zeros((), jnp.uint32)
    for axis, length in enumerate(words.shape):
        along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        index = index * jnp.uint32(length % 2**32) + along
    index = jnp.broadcast_to(index, words.shape)
    return jnp.stack([x.sum(dtype=jnp.uint32) for x in _mixed(words, alike(index, words))])


def _mixed(words: _Words, index: _Words) -> tuple[_Words, _Words]:
    # Each word hashed, and that once more in a way that no sum keeps. In place, where NumPy can.
    index += np.uint32(0x9E3779B9)
    index *= np.uint32(0x85EBCA6B)
    words ^= index ^ (index >> np.uint32(15))
    first = _hashed(words)
    return first, (first ^ (first >> np.uint32(15))) * np.uint32(0x2C1B3C6D)


def _hashed(x: _Words) -> _Words:
    # `lowbias32`, found by C. Wellons, "Prospecting for Hash Functions", nullprogram.com, 2018.
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def _viewed(array: np.ndarray) -> np.ndarray:
    # Whole words, and numbers of less than a byte in one each, as XLA has them.
    narrow = array.dtype.name in _NARROW
    whole = np.ascontiguousarray(array.astype(np.int8) if narrow else array)
    size = whole.dtype.itemsize // (2 if whole.dtype.kind == "c" else 1)
    return whole.reshape(-1).view(_word(size))


def _bits(array: Array) -> Array:
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        return jnp.stack([_bits(array.real), _bits(array.imag)], axis=array.ndim)
    narrow = array.dtype.name in _NARROW
    if narrow or array.dtype == jnp.bool_:
        array = array.astype(jnp.int8)
    bits: Array = jax.lax.bitcast_convert_type(array, _word(array.dtype.itemsize))
    return bits


def _word(size: int) -> np.dtype:
    return np.dtype({1: np.uint8, 2: np.uint16}.get(size, np.uint32))
