"""Methods and functions under `nnx.jit`, called with the wrong arguments."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from tests.types.records import Images, Labelled, Pooled


class Pool(nnx.Module):
    @nnx.jit
    def __call__(self, batch: Labelled) -> Pooled:
        return {"mean": batch["image"].mean(axis=(1, 2)), "label": batch["label"]}

    @nnx.jit
    def darkest(self, batch: Labelled) -> Float[Array, " c"]:
        return self(batch)["mean"].min(axis=0)

    @nnx.jit
    def misspelt(self, batch: Labelled) -> object:
        return self(batch)["maen"]  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]

    @nnx.jit(static_argnames="keep")
    def total(self, batch: Labelled, *, keep: bool = False) -> Float[Array, " *batch"]:
        return jnp.sum(self(batch)["mean"], keepdims=keep)


@nnx.jit
def evaluate(pool: Pool, batch: Labelled) -> Pooled:
    return pool(batch)


def wrong_batch(pool: Pool, batch: Images) -> Array:
    return pool.darkest(batch)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def no_batch(pool: Pool) -> Array:
    return pool.darkest()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def two_batches(pool: Pool, batch: Labelled) -> Array:
    return pool.darkest(batch, batch)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def wrong_result(pool: Pool, batch: Labelled) -> Labelled:
    return pool(batch)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def wrong_keyword(pool: Pool, batch: Labelled) -> Array:
    return pool.total(batch, kept=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def swapped(pool: Pool, batch: Labelled) -> Pooled:
    return evaluate(batch, pool)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def unbound(batch: Labelled) -> Array:
    return Pool.darkest(batch)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
