"""Batches that are NamedTuples and dataclasses, and stages that take records of any type."""

import dataclasses
from typing import Generic, NamedTuple, TypeVar, assert_type

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import dagrax.pure as dp
from tests.types.records import IMAGE, LABEL

Record = TypeVar("Record")


class Pair(NamedTuple):
    image: Float[Array, "batch h w c"]
    label: Int[Array, " batch"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scores:
    score: Float[Array, " batch"]


class Twice(eqx.Module, Generic[Record]):
    def __call__(self, record: Record) -> Record:
        twice: Record = jax.tree.map(lambda x: 2 * x, record)
        return twice


def unchanged(record: Record) -> Record:
    return record


def score(pair: Pair) -> Scores:
    return Scores(pair.image.mean(axis=(1, 2, 3)))


source = dp.ArraySource[Pair](Pair(jnp.asarray(IMAGE), jnp.asarray(LABEL)))
stream = dp.Stream(source, batch_size=4)
pipeline = dp.Pipeline[Pair, Scores].linear(
    [Twice[Pair](), dp.per_record(unchanged), dp.per_record(Twice[Pair]()), score]
)
dp.check(pipeline, stream)

cursor, pair, origin = stream.take(stream.start())
assert_type(origin, dp.Origin)
assert_type(Twice[Pair]()(pair), Pair)
assert_type(dp.apply(pipeline, pair), Scores)

cursor, scores = dp.step(pipeline, stream, cursor)
assert_type(scores, Scores)
assert scores.score.shape == (4,)


def best(carry: None, scores: Scores) -> tuple[None, Array]:
    return carry, scores.score.max()


cursor, nothing, highest = dp.scan(best, None, pipeline, stream, cursor, length=2)
assert_type(nothing, None)
assert_type(highest, Array)
assert highest.shape == (2,)
