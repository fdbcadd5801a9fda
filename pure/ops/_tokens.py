"""Text: the tokens of one record, some of them masked or replaced at random.

Their ids are numbers; what they stand for is not known.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, PRNGKeyArray, Shaped

from .._random._keys import check_key
from ._kinds import check_rate, count_of, integers_of


def mask_tokens(
    tokens: Integer[ArrayLike, "*length"],
    rate: Shaped[ArrayLike, ""],
    mask_id: int,
    *,
    key: PRNGKeyArray,
    vocabulary: int | None = None,
    keep: tuple[int, ...] = (),
    ignore: int = -100,
) -> tuple[Integer[Array, "*length"], Integer[Array, "*length"]]:
    """The tokens as BERT masks them, and what is to be predicted: `(tokens, targets)`.

    Each token is chosen with the probability `rate`. A chosen one becomes `mask_id` in 80 % of the
    cases, a random token in 10 %, and stays in 10 %. The targets are the tokens that were chosen,
    and `ignore` elsewhere (int32, if tokens are unsigned).

    - `vocabulary`: random tokens are drawn from 0 to `vocabulary - 1`, as in BERT; without it, from
      the tokens of this record.
    - `keep`: tokens that are never chosen, such as those of padding.
    """
    check_key("key", key)
    value = integers_of("mask_tokens", tokens)
    check_rate("mask_tokens", rate)
    choosing, kind, other = jax.random.split(key, 3)
    chosen = _uniform(choosing, value) < jnp.asarray(rate, jnp.float32)
    for kept in keep:
        chosen &= value != kept
    turn = _uniform(kind, value)
    masked = jnp.where(
        turn < 0.8, jnp.asarray(mask_id, value.dtype), _any(other, value, vocabulary)
    )
    changed = jnp.where(chosen & (turn < 0.9), masked, value)
    signed = value if jnp.issubdtype(value.dtype, jnp.signedinteger) else value.astype(jnp.int32)
    return changed, jnp.where(chosen, signed, jnp.asarray(ignore, signed.dtype))


def replace_tokens(
    tokens: Integer[ArrayLike, "*length"],
    rate: Shaped[ArrayLike, ""],
    vocabulary: int,
    *,
    key: PRNGKeyArray,
) -> Integer[Array, "*length"]:
    """The tokens, each with the probability `rate` replaced by one drawn from 0 to
    `vocabulary - 1`, which may be the same."""
    check_key("key", key)
    value = integers_of("replace_tokens", tokens)
    check_rate("replace_tokens", rate)
    choosing, other = jax.random.split(key)
    chosen = _uniform(choosing, value) < jnp.asarray(rate, jnp.float32)
    return jnp.where(chosen, _any(other, value, count_of("vocabulary", vocabulary)), value)


def _uniform(key: PRNGKeyArray, tokens: Integer[Array, "*length"]) -> Float[Array, "*length"]:
    return jax.random.uniform(key, tokens.shape)


def _any(
    key: PRNGKeyArray, tokens: Integer[Array, "*length"], vocabulary: int | None
) -> Integer[Array, "*length"]:
    if vocabulary is None:
        places: Integer[Array, "*length"] = jax.random.randint(key, tokens.shape, 0, tokens.size)
        return tokens.reshape(-1)[places]
    most = count_of("vocabulary", vocabulary)
    drawn: Integer[Array, "*length"] = jax.random.randint(key, tokens.shape, 0, most)
    return drawn.astype(tokens.dtype)
