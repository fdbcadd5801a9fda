"""What is decided at random: which of several, whether at all, and how much of each.

One draw of one key; what is done with it is not known here. A child of an operator draws from a key
of its own, `child_key(key, index)`, so that a record draws alike wherever it stands.
"""

from collections.abc import Collection

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, PyTree, Shaped

from .._checking import checked


def child_key(key: PRNGKeyArray, index: int) -> PRNGKeyArray:
    """The key of the child at an index: `jax.random.fold_in(key, index)`."""
    return jax.random.fold_in(key, index)


def happens(key: PRNGKeyArray, p: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether something of probability `p` does."""
    checked((p >= 0) & (p <= 1), "a probability is {p}; expected from 0 to 1", p=p)
    return jax.random.uniform(key) < p


def one_of(key: PRNGKeyArray, weights: Float[Array, " arms"]) -> Int32[Array, ""]:
    """An index, each as often as its weight is part of all."""
    checked(weights >= 0, "a weight is below 0 or NaN")
    ends = jnp.cumsum(weights)
    # Not behind the last that has a weight, whatever is rounded.
    last = jnp.max(jnp.where(weights > 0, jnp.arange(len(weights), dtype=jnp.int32), 0))
    place = jnp.searchsorted(ends, jax.random.uniform(key) * ends[-1], side="right")
    return jnp.minimum(place.astype(jnp.int32), last)


def gumbel_softmax(
    key: PRNGKeyArray, logits: Float[Array, " arms"], temperature: Float[Array, ""]
) -> Float[Array, " arms"]:
    """Parts that add up to 1, nearly all of it one arm's at a low temperature.

    Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017.
    """
    checked(temperature > 0, "a temperature is {t}; expected above 0", t=temperature)
    drawn = jax.random.gumbel(key, logits.shape, logits.dtype)
    return jax.nn.softmax((logits + drawn) / temperature)


def picked(index: Shaped[Array, ""], arms: Collection[PyTree]) -> PyTree:
    """The pytree of this index (False and True for two); what is one and the same in all of them is
    taken as it is."""

    def leaf(*values: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        same = all(value is values[0] for value in values)
        return values[0] if same else jax.lax.select_n(index, *map(jnp.asarray, values))

    return jax.tree.map(leaf, *arms)


def blended(
    parts: Float[Array, " arms"], arms: Collection[Float[Array, "..."]]
) -> Float[Array, "..."]:
    """The sum of arrays, each by its part."""
    first, *others = (
        part.astype(array.dtype) * array for part, array in zip(parts, arms, strict=True)
    )
    for other in others:
        first = first + other
    total: Float[Array, "..."] = first
    return total
