"""Orders of a source, shards and record ids, as modules: each equals the pure core's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, MemorySource, Pipeline
from dagrax.nnx_api._records import Ordering

KEY = jax.random.key(7)
X = np.arange(23.0, dtype=np.float32)
DATA = {"x": X}
WEIGHTS = np.arange(23) % 5


def jitter(batch: dict[str, jax.Array], *, record_keys: jax.Array) -> dict[str, jax.Array]:
    return {"x": batch["x"] + jax.vmap(jax.random.uniform)(record_keys)}


def pipeline_of(
    order: dp.AbstractOrder,
    *,
    remainder: dp.Remainder = "carry",
    shard: tuple[int, int] | None = None,
) -> Pipeline:
    return Pipeline(
        source=MemorySource(data=DATA, order=order),
        stages=[jitter],
        batch_size=8,
        remainder=remainder,
        rngs=nnx.Rngs(0),
        shard=shard,
        record_ids="id",
    )


def drawn(order: dp.AbstractOrder, count: int) -> list[int]:
    ids = order.ids(jnp.arange(count, dtype=jnp.uint32), jnp.uint32(0), 23)
    found: list[int] = np.asarray(ids).tolist()
    return found


def test_a_source_hands_out_its_records_in_the_order_given() -> None:
    order = dp.Weighted(KEY, WEIGHTS)
    pipeline = pipeline_of(order)
    assert pipeline.step()["id"].tolist() == drawn(order, 8)
    other = Pipeline(
        source=ArraySource(dp.ArraySource(DATA), order=order), batch_size=8, remainder="carry"
    )
    assert other.step()["x"].tolist() == X[drawn(order, 8)].tolist()


def test_step_for_and_scan_agree_on_records_and_draws() -> None:
    order = dp.Balanced(KEY, WEIGHTS)
    loop = pipeline_of(order)
    batches = list(loop)
    ys = pipeline_of(order).scan(lambda batch: batch, length=len(batches))
    for name in ("id", "x"):
        np.testing.assert_array_equal(ys[name], np.stack([batch[name] for batch in batches]))
    # A record that comes twice in an epoch is drawn twice.
    jitters = np.ravel(ys["x"]) - X[np.ravel(ys["id"])]
    assert len(np.unique(np.round(jitters, 6))) > 20


def test_another_order_of_the_kind_is_seen_by_the_next_batch() -> None:
    source = MemorySource(data=DATA, order=dp.Weighted(KEY, WEIGHTS))
    pipeline = Pipeline(source=source, batch_size=8, remainder="carry", record_ids="id")
    pipeline.step()
    other = dp.Weighted(KEY, WEIGHTS[::-1].copy())
    source.reorder(other)
    pipeline.seek(epoch=0)
    assert pipeline.step()["id"].tolist() == drawn(other, 8)


def test_an_order_is_no_parameter_and_in_no_checkpoint_but_known_to_it() -> None:
    pipeline = pipeline_of(dp.Weighted(KEY, WEIGHTS))
    assert not jax.tree.leaves(nnx.state(pipeline, nnx.Param))
    assert jax.tree.leaves(nnx.state(pipeline, Ordering))
    saved = pipeline.checkpoint()
    assert not jax.tree.leaves(nnx.filter_state(saved, Ordering))
    nnx.update(pipeline_of(dp.Weighted(KEY, WEIGHTS)), saved)
    with pytest.raises(ValueError, match="belongs to a pipeline with another order"):
        nnx.update(pipeline_of(dp.Weighted(KEY, WEIGHTS + 1)), saved)


def test_variants_have_orders_of_their_own() -> None:
    source = dp.ArraySource(DATA)
    orders = [dp.Weighted(KEY, WEIGHTS), dp.Weighted(KEY, WEIGHTS[::-1].copy())]
    made = [
        Pipeline(
            source=ArraySource(source, order=order),
            batch_size=8,
            remainder="carry",
            record_ids="id",
        )
        for order in orders
    ]
    together = Pipeline.variants(made)
    np.testing.assert_array_equal(together.step()["id"], [drawn(order, 8) for order in orders])


@pytest.mark.parametrize("remainder", ["partial", "pad"])
def test_the_shards_of_a_batch_are_the_batch(remainder: dp.Remainder) -> None:
    order = dp.Shuffled(KEY)
    whole = pipeline_of(order, remainder=remainder)
    parts = [pipeline_of(order, remainder=remainder, shard=(i, 2)) for i in range(2)]
    assert {len(part) for part in parts} == {len(whole)}
    for batch, *shards in zip(whole, *parts, strict=True):
        for name, values in batch.items():
            np.testing.assert_array_equal(values, np.concatenate([x[name] for x in shards]))


def test_a_batch_size_that_the_shards_do_not_divide_changes_nothing() -> None:
    pipeline = pipeline_of(dp.Shuffled(KEY), shard=(1, 4))
    with pytest.raises(ValueError, match=r"batch_size is 6, which the 4 shards"):
        pipeline.batch_size = 6
    assert pipeline.batch_size == 8
    assert len(pipeline.step()["id"]) == 2


def test_a_view_tells_the_ids_of_the_whole() -> None:
    source = MemorySource(data=DATA)[10:]
    pipeline = Pipeline(source=source, batch_size=4, record_ids="id", remainder="drop")
    assert pipeline.step()["id"].tolist() == [10, 11, 12, 13]
