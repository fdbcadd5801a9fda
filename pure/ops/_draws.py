"""What random functions draw: numbers about a centre or between bounds, and an order.

A magnitude is `centre + range * u`, where the key alone says `u`, so that it has a derivative.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray


def about(centre: float, reach: Float[Array, ""], *, key: PRNGKeyArray) -> Float[Array, ""]:
    """A number from `centre - reach` to `centre + reach`."""
    return centre + reach * jax.random.uniform(key, (), reach.dtype, -1, 1)


def between(bounds: Float[Array, "2"], *, key: PRNGKeyArray) -> Float[Array, ""]:
    """A number from the first to the second."""
    low, high = bounds
    drawn: Float[Array, ""] = low + (high - low) * jax.random.uniform(key, (), bounds.dtype)
    return drawn


def ranks(draws: Float[Array, " things"]) -> Int32[Array, " things"]:
    """The place of each among all, the smallest first: every order is as likely as the others."""
    earlier = draws[None] < draws[:, None]
    alike = draws[None] == draws[:, None]
    number = jnp.arange(len(draws), dtype=jnp.int32)
    return jnp.sum(earlier | (alike & (number[None] < number[:, None])), 1, dtype=jnp.int32)
