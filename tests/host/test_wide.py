"""Sources of more records than 32 bits count: any place can be gone to, saved and drawn for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

import dagrax.pure as dp
from dagrax.nnx_api import HostSource, Pipeline
from dagrax.pure import host

SIZE = 10_000_000_007


class Numbers(host.AbstractHostSource):
    """The numbers below ten billion, in two words."""

    size = SIZE
    element_spec = jax.ShapeDtypeStruct((2,), np.uint32)

    def fetch(self, ids: np.ndarray, out: Any = None) -> Any:
        return np.stack([ids >> 32, ids & (2**32 - 1)], axis=-1).astype(np.uint32)


def drawn(batch: Array, *, record_keys: Array) -> dict[str, Array]:
    return {"id": batch, "drawn": jax.vmap(jax.random.bits)(record_keys)}


def made(**more: Any) -> Pipeline[Any, Any]:
    source = HostSource[Any](source=Numbers(), rngs=nnx.Rngs(0), **more)
    return Pipeline(source=source, stages=[drawn], batch_size=4, rngs=nnx.Rngs(1), remainder="drop")


def ids(batch: dict[str, Array]) -> list[int]:
    return [int(high) * 2**32 + int(low) for high, low in np.asarray(batch["id"])]


def test_a_position_beyond_32_bits_is_gone_to_moved_on_and_restored() -> None:
    pipeline = made()
    pipeline.seek(epoch=3, offset=2**33 + 8)
    assert ids(pipeline.step()) == list(range(2**33 + 8, 2**33 + 12))
    assert pipeline.cursor == (3, 2**33 + 12)
    state = iter(pipeline).get_state()
    found = pipeline.scan(lambda batch: batch, length=3)
    assert ids({"id": found["id"].reshape(-1, 2)}) == list(range(2**33 + 12, 2**33 + 24))
    other = made()
    iter(other).set_state(state)
    assert np.array_equal(other.step()["drawn"], found["drawn"][0])
    nnx.update(other, pipeline.checkpoint())
    assert other.cursor == (3, 2**33 + 24)
    pipeline.seek(epoch=0, offset=SIZE - SIZE % 4 - 4)
    pipeline.step()
    assert ids(pipeline.step()) == [0, 1, 2, 3]
    assert pipeline.cursor == (1, 4)


def test_draws_fold_the_high_word_then_the_low_one() -> None:
    pipeline = made(shuffle=True)
    batch = pipeline.step()
    (first, *_) = ids(batch)
    assert len({*ids(batch)}) == 4
    assert max(ids(batch)) < SIZE
    words = [jnp.array([[x >> 32, x & (2**32 - 1)]], jnp.uint32) for x in (first, 5)]
    zero = jnp.zeros(1, jnp.uint32)
    graph = pipeline._graph()
    for word, equal in zip(words, (True, False), strict=True):
        origin = dp.Origin(ids=word, lap=zero, epochs=zero, offset=jnp.zeros(2, jnp.uint32))
        own = dp.apply(graph, word, key=pipeline._key(), origin=origin)
        assert (own["drawn"][0] == batch["drawn"][0]) == equal


def test_loops_of_the_core_go_there_too() -> None:
    stream = dp.Stream(Numbers(), batch_size=4, remainder="carry")
    pipeline = dp.Pipeline.linear([drawn])
    start = dp.Cursor(0, SIZE - 6)
    key = jax.random.key(0)
    cursor, _, found = host.scan(
        lambda carry, batch: (carry, batch), None, pipeline, stream, start, key=key, length=2
    )
    assert ids({"id": found["id"].reshape(-1, 2)}) == [*range(SIZE - 6, SIZE), 0, 1]
    assert cursor.as_ints() == (1, 2)
    steps = list(host.epoch(pipeline, stream, start, key=key))
    assert [cursor.as_ints() for cursor, _ in steps] == [(0, SIZE - 2), (1, 2)]
    assert np.array_equal(steps[1][1]["drawn"], found["drawn"][1])
