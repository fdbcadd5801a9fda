"""What a stream adds to a batch, and which part of it a shard takes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp

KEY = jax.random.key(2)
SOURCE = dp.ArraySource({"x": np.arange(23.0, dtype=np.float32)})


@pytest.mark.parametrize("count", [1, 4])
def test_a_shard_is_its_slice_of_every_batch(count: int) -> None:
    for order in (dp.Weighted(KEY, np.arange(23)), dp.Balanced(KEY, np.arange(23) % 3)):
        whole = dp.Stream(SOURCE, order, batch_size=8)
        cursor, batch, origin = jax.jit(lambda whole=whole: whole.take(dp.Cursor(1, 16)))()  # of 7
        split = np.array_split(np.asarray(batch["x"]), count)
        for index, expected in enumerate(split):
            part = dp.Stream(SOURCE, order, batch_size=8, shard=(index, count))
            after, own, its = jax.jit(lambda part=part: part.take(dp.Cursor(1, 16)))()
            np.testing.assert_array_equal(own["x"], expected)
            assert (tuple(map(int, after)), int(its.offset)) == (
                tuple(map(int, cursor)),
                int(origin.offset),
            )
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


def test_a_shard_without_records_in_a_last_batch_is_empty() -> None:
    rows = {"x": np.arange(30, dtype=np.float32)}
    windows = dp.Windows(rows, 5, 5, boundaries=[10])
    parts = [dp.Subset(dp.ArraySource(rows), range(many)) for many in (5, 1)]
    for source in (windows, dp.Concat(parts)):
        stream = dp.Stream(source, batch_size=4, shard=(3, 4))
        assert jax.tree.leaves(stream.take(dp.Cursor(0, 4))[1])[0].shape[0] == 0


def test_a_numpy_integer_counts_as_an_int() -> None:
    for order, same in [
        (dp.Repeat(dp.Sequential(), np.uint8(200)), dp.Repeat(dp.Sequential(), 200)),
        (dp.Windowed(KEY, np.int64(2), np.int64(3)), dp.Windowed(KEY, 2, 3)),
    ]:
        assert len({jax.tree.structure(order), jax.tree.structure(same)}) == 1
        assert order.length(3) == same.length(3)


def test_the_order_of_another_mixture_is_refused() -> None:
    def mixture(many: int) -> dp.Mixture:
        own = dp.ArraySource(np.arange(many))
        return dp.Mixture({"a": (own, 0.5), "b": (own, 0.5)}, KEY)

    dp.Stream(mixture(4), mixture(4).order, batch_size=2)
    with pytest.raises(ValueError, match="the source decides its own order; leave it out"):
        dp.Stream(mixture(4), mixture(8).order, batch_size=2)


class Huge(dp.AbstractSource):
    many: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.many

    def rows(self, ids: jax.Array) -> Any:
        return ids


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: dp.Subset(Huge(2**33), [5]), "has 8589934592 records; a view shows some of at"),
        (
            lambda: dp.split(Huge(2**32 - 1), 0.5, key=KEY),
            "a view shows some of at most 2147483647",
        ),
        (
            lambda: dp.Concat([Huge(2**31)] * 2),
            "^sources have 4294967296 records together; expected at most 4294967295. Join fewer, "
            r"or views of them: dp.Subset\(source, slice\(2\*\*31\)\).$",
        ),
    ],
    ids=["a view", "a keyed split", "joined"],
)
def test_more_records_than_are_counted_are_refused(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
