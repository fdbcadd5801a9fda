"""What a stream adds to a batch, and which part of it a shard takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp

KEY = jax.random.key(2)
SOURCE = dp.ArraySource({"x": np.arange(23.0, dtype=np.float32)})


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_shard_is_its_slice_of_every_batch(count: int) -> None:
    for order in (dp.Weighted(KEY, np.arange(23)), dp.Balanced(KEY, np.arange(23) % 3)):
        whole = dp.Stream(SOURCE, order, batch_size=8)
        cursor, batch, origin = whole.take(dp.Cursor(1, 16))  # the last batch, of 7
        split = np.array_split(np.asarray(batch["x"]), count)
        for index, expected in enumerate(split):
            part = dp.Stream(SOURCE, order, batch_size=8, shard=(index, count))
            after, own, its = part.take(dp.Cursor(1, 16))
            np.testing.assert_array_equal(own["x"], expected)
            assert (after, int(its.offset)) == (cursor, int(origin.offset))
            assert part.steps_per_epoch == whole.steps_per_epoch


def test_record_ids_are_those_of_the_origin_and_survive_a_new_dict_and_a_scan() -> None:
    stream = dp.Stream(
        SOURCE, dp.Shuffled(KEY), batch_size=8, remainder="pad", record_ids="id", shard=(1, 2)
    )
    pipeline: dp.Pipeline = dp.Pipeline.linear([lambda batch: {"y": batch["x"] * 2}])
    _, batch = dp.step(pipeline, stream, stream.start())
    assert sorted(batch) == ["id", "valid", "y"]
    assert batch["id"].dtype == jnp.uint32
    np.testing.assert_array_equal(batch["id"], stream.take(stream.start())[2].ids)
    _, _, ys = dp.scan(lambda c, b: (c, b), None, pipeline, stream, stream.start(), length=3)
    np.testing.assert_array_equal(ys["y"], 2.0 * np.asarray(ys["id"], np.float32))


def test_a_batch_without_records_is_one_of_no_rows() -> None:
    stream = dp.Stream(
        dp.ArraySource({"x": np.arange(9)}),
        dp.Weighted(KEY, np.arange(9)),
        batch_size=4,
        shard=(3, 4),
    )
    _, batch, _ = stream.take(dp.Cursor(0, 8))
    assert batch["x"].shape == (0,)
