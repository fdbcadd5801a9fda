"""A scan whose places are found before it, as it is on an accelerator, is the same scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import dagrax.pure as dp
from dagrax.pure._flow import _stream
from dagrax.pure._flow._batching import Batching
from dagrax.pure._flow._table import is_worth_a_table

KEY = jax.random.key(1)
ORDERS = {
    "sequential": dp.Sequential(),
    "shuffled": dp.Shuffled(jax.random.key(3)),
    "balanced": dp.Balanced(jax.random.key(3), np.arange(10) % 3),
}


@pytest.mark.parametrize(
    ("records", "size", "remainder"),
    [
        *((*sizes, x) for sizes in [(10, 3), (12, 4), (7, 1)] for x in ("drop", "pad", "carry")),
        *((3, 8, x) for x in ("pad", "carry")),
    ],
)
def test_places_in_a_row_are_those_of_one_after_the_other(
    records: int, size: int, remainder: dp.Remainder
) -> None:
    batching = Batching(records, size, remainder)
    for offset in range(records):
        epoch, start = batching.settle(2, offset).as_ints()
        found = batching.starts(jnp.uint32(epoch), jnp.uint32(start), 9)
        expected = [batching.skip(epoch, start, step).as_ints() for step in range(9)]
        assert list(zip(*(x.tolist() for x in found), strict=True)) == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("remainder", ["partial", "drop", "pad", "carry"])
def test_a_scan_by_a_table_is_a_scan(
    order: str, remainder: dp.Remainder, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 5 if remainder == "partial" else 4
    data = {"x": np.arange(10, dtype=np.float32)}
    stream = dp.Stream(
        dp.ArraySource(data), ORDERS[order], batch_size=size, remainder=remainder, record_ids="id"
    )
    pipeline = dp.Pipeline.linear([noisy])

    def run(cursor: dp.Cursor) -> object:
        return dp.scan(
            lambda total, batch: (total + batch["x"].sum(), batch),
            jnp.float32(0),
            pipeline,
            stream,
            cursor,
            key=KEY,
            length=7,
        )

    starts = [stream.start(2), dp.Cursor(0, size)]
    plain = [run(start) for start in starts]
    monkeypatch.setattr(_stream, "is_worth_a_table", lambda records: True)
    jax.clear_caches()
    jax.tree.map(np.testing.assert_array_equal, [jax.jit(run)(start) for start in starts], plain)


@pytest.mark.parametrize("order", ORDERS)
def test_a_scan_by_a_table_can_be_checked(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = dp.Stream(dp.ArraySource({"x": np.ones(10, np.float32)}), ORDERS[order], batch_size=5)
    monkeypatch.setattr(_stream, "is_worth_a_table", lambda records: True)

    def run(least: jax.Array) -> jax.Array:
        def body(_: None, batch: dict[str, jax.Array]) -> tuple[None, jax.Array]:
            checkify.check((batch["x"] > least).all(), "too small")
            return None, batch["x"].sum()

        pipeline = dp.Pipeline.linear([noisy])
        return dp.scan(body, None, pipeline, stream, stream.start(), key=KEY, length=2)[2]

    checked = jax.jit(checkify.checkify(run))
    assert checked(jnp.float32(0))[0].get() is None
    assert "too small" in (checked(jnp.float32(3))[0].get() or "")


def noisy(batch: dict[str, jax.Array], *, record_keys: jax.Array) -> dict[str, jax.Array]:
    noise = jax.vmap(jax.random.uniform)(record_keys)
    return {**batch, "x": batch["x"] + noise}


def test_on_a_cpu_there_is_no_table() -> None:
    assert is_worth_a_table(2**21) == (jax.default_backend() != "cpu")
    assert not is_worth_a_table(2**21 + 1)
