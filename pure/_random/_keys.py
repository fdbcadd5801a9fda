"""The key of a draw: a function of seed, node, epoch and record id, and of nothing else.

Batches, streams and stages are not known here.
"""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray, UInt32

from .._mesh import looked_up
from .._text import of_type, spec_text, valued
from ._fast_key import is_fast
from ._origin import Origin

RecordKeys = Key[Array, " batch"] | UInt32[Array, "batch words"]


def batch_key(key: PRNGKeyArray, node: str, origin: Origin) -> PRNGKeyArray:
    """One key for the whole batch: a function of seed, node name, epoch and offset."""
    seed = jax.random.fold_in(key, _stable_hash(f"batch:{node}"))
    own = jax.random.fold_in(seed, origin.epochs[0])
    for word in jnp.atleast_1d(origin.offset):
        own = jax.random.fold_in(own, word)
    return own


def record_keys(key: PRNGKeyArray, node: str, origin: Origin) -> RecordKeys:
    """One key for each record: a function of seed, node name, epoch and record id, and of the turn
    where an order hands a record out twice.

    Hence a record is drawn alike whatever batch, order or graph it stands in. The keys are fast
    ones where the seed key is, otherwise threefry keys, of whichever kind it is.
    """
    seed = jax.random.fold_in(
        key if is_fast(key) else of_threefry(key), _stable_hash(f"record:{node}")
    )
    keys: RecordKeys = _of_epochs(seed, origin)
    for word in origin.ids.T if origin.ids.ndim > 1 else [origin.ids]:
        keys = _each(keys, word)
    return keys if origin.turn is None else _each(keys, origin.turn)


def _of_epochs(seed: PRNGKeyArray, origin: Origin) -> PRNGKeyArray | RecordKeys:
    # One key where all records are of one epoch, one for each record otherwise.
    if origin.own is not None:
        return _each(seed, origin.own)
    if len(origin.epochs) == 1:
        return jax.random.fold_in(seed, origin.epochs[0])
    return looked_up(_each(seed, origin.epochs), origin.lap)


def _each(key: PRNGKeyArray | RecordKeys, numbers: UInt32[Array, " numbers"]) -> RecordKeys:
    many = jnp.ndim(key) > (0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1)
    return jax.vmap(jax.random.fold_in, in_axes=(0 if many else None, 0))(key, numbers)


def check_key(name: str, key: object) -> None:
    """Refuse what is no array of JAX keys. **Errors:** TypeError."""
    expected = "a JAX key: write jax.random.key(0)."
    if not isinstance(key, jax.Array | np.ndarray):
        told = valued if isinstance(key, int | str) else of_type
        raise TypeError(told(name, key, expected))
    raw = key.dtype == np.uint32 and key.ndim > 0
    if not raw and not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(f"{name} is {spec_text(key)}; expected {expected}")


def words_of(key: PRNGKeyArray | np.ndarray) -> Sequence[UInt32[Array, ""] | np.uint32]:
    """The words of a key; NumPy's of NumPy's. **Errors:** ValueError for several keys in one
    array."""
    words = key if isinstance(key, np.ndarray) else jax.random.key_data(key)
    if words.ndim != 1:
        raise ValueError(
            f"key is {spec_text(key)}, which are several JAX keys; expected one: write key[0], or "
            "make one order of each and map over them, stacked by dagrax.pure.stack."
        )
    return [*words]


def of_threefry(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key itself, or a threefry key made of the words of a key of another kind.

    Draws from a batch of keys of another kind, such as rbg, depend on the batch that they are in.
    """
    if str(jax.random.key_impl(key)) == "threefry2x32":
        return key
    words = jax.random.key_data(key).reshape(-1)
    derived: PRNGKeyArray = jax.random.wrap_key_data(words[:2], impl="threefry2x32")
    for index in range(2, len(words)):
        derived = jax.random.fold_in(derived, words[index])
    return derived


def _stable_hash(text: str) -> int:
    # Python's own hash differs from process to process.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
