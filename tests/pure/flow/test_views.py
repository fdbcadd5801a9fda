"""Views of a source: the records that were asked for, by the ids and draws of the whole."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from dagrax.pure.internal import source_digest
from tests import reference
from tests.zoo import REMAINDERS, Noise, Rotated, assert_same, records

SIZE = 23
DATA = records(SIZE)
WHOLE = dp.ArraySource(DATA)
KEY = jax.random.key(7)
DRAWN = dp.fast_key(7)  # whose programs compile sooner
MASK = np.arange(SIZE) % 3 == 1
IDS = [5, 0, 21, 3]


@jax.jit
def seen(source: dp.AbstractSource) -> tuple[jax.Array, jax.Array]:
    places = jnp.arange(source.size, dtype=jnp.uint32)
    return source.record_ids(places), source.rows(places)["id"]


def ids_of(source: dp.AbstractSource) -> list[int]:
    """The ids that the records of a view have in the whole, in their order."""
    ids, rows = (x.tolist() for x in seen(source))
    assert rows == ids
    own: list[int] = ids
    return own


VIEWS: dict[str, tuple[dp.AbstractSource, list[int]]] = {
    "ids": (dp.Subset(WHOLE, IDS), IDS),
    "ids in a JAX array": (dp.Subset(WHOLE, jnp.asarray(IDS)), IDS),
    "a range": (dp.Subset(WHOLE, range(20, 3, -4)), [20, 16, 12, 8, 4]),
    "a slice": (dp.Subset(WHOLE, slice(-3, None)), [20, 21, 22]),
    "a mask": (dp.where(WHOLE, MASK), np.flatnonzero(MASK).tolist()),
    "a mask in a list": (dp.where(WHOLE, [*MASK.tolist()]), np.flatnonzero(MASK).tolist()),
    "the first part": (dp.split(WHOLE, 0.5)[0], [*range(12)]),
    "the last part": (dp.split(WHOLE, [10, 6, 7])[2], [*range(16, 23)]),
    "a view of a view": (dp.Subset(dp.where(WHOLE, MASK), [6, 2]), [19, 7]),
    "a view of a view of a view": (
        dp.Subset(dp.where(dp.Subset(WHOLE, range(22, -1, -1)), MASK), slice(1, 4)),
        [18, 15, 12],
    ),
}


@pytest.mark.parametrize(("view", "expected"), VIEWS.values(), ids=VIEWS)
def test_a_view_has_the_records_that_were_asked_for(
    view: dp.AbstractSource, expected: list[int]
) -> None:
    assert ids_of(view) == expected
    assert view.element_spec == WHOLE.element_spec


def test_a_view_holds_the_arrays_of_the_whole() -> None:
    view = dp.Subset(dp.where(WHOLE, MASK), [1, 0])
    assert {id(x) for x in jax.tree.leaves(WHOLE)} < {id(x) for x in jax.tree.leaves(view)}


@pytest.mark.parametrize(
    ("parts", "sizes", "key"),
    [
        (0.8, [18, 5], None),
        (18, [18, 5], None),
        ([0.8, 0.2], [18, 5], KEY),
        ((0.5, 0.25, 0.25), [12, 5, 6], None),
        (np.array([0.6, 0.3, 0.1], np.float32), [14, 7, 2], None),
        ([5, 18], [5, 18], None),
    ],
    ids=str,
)
def test_a_split_shares_records_out_each_once(parts: Any, sizes: list[int], key: Any) -> None:
    views = dp.split(WHOLE, parts, key=key)
    assert [view.size for view in views] == sizes
    shared = list(itertools.chain(*map(ids_of, views)))
    assert len(set(shared)) == len(shared) == sum(sizes)
    assert (shared == [*range(sum(sizes))]) is (key is None)


def test_a_random_split_holds_no_table_and_follows_its_key() -> None:
    view, _ = dp.split(WHOLE, 0.8, key=KEY)
    held = {id(x) for x in jax.tree.leaves(WHOLE)}
    assert [x.shape for x in jax.tree.leaves(view) if id(x) not in held] == [()]
    assert ids_of(view) == ids_of(dp.split(WHOLE, 0.8, key=jax.random.key(7))[0])
    assert ids_of(view) != ids_of(dp.split(WHOLE, 0.8, key=jax.random.key(8))[0])


def test_records_are_split_at_random_as_often_here_as_there() -> None:
    keys = jax.random.split(jax.random.key(3), 400)
    places = jnp.arange(5, dtype=jnp.uint32)
    small = dp.ArraySource(np.arange(10))
    draw = jax.jit(jax.vmap(lambda key: dp.split(small, 0.5, key=key)[0].record_ids(places)))
    drawn = draw(keys)
    counts = np.bincount(np.asarray(drawn).reshape(-1), minlength=10)
    assert (abs(counts - 200) < 5 * 10).all()  # five standard deviations of a fair coin


@pytest.mark.parametrize("remainder", REMAINDERS)
def test_a_stream_of_a_view_gives_records_and_draws_of_the_whole(remainder: Any) -> None:
    view = dp.Subset(dp.where(WHOLE, MASK), [6, 2, 0, 1, 5])
    own = [19, 7, 1, 4, 16]
    stage = Noise(jnp.float32(1.5))
    size = 5 if remainder == "partial" else 3
    stream = dp.Stream(view, Rotated(), batch_size=size, remainder=remainder)
    pipeline, cursor = dp.Pipeline.linear({"noise": stage}), stream.start()
    ids = reference.permutation(Rotated(), 5)
    given = reference.batches(5, size, remainder, ids)
    for _, place in zip(range(3), given, strict=False):
        expected = place._replace(ids=[own[i] for i in place.ids])
        rows = {name: x[np.asarray(expected.ids)] for name, x in DATA.items()}
        batch = stage.plain(KEY, expected)("noise", rows)
        if place.valid is not None:
            batch["valid"] = np.asarray(place.valid)
        cursor, actual = dp.step(pipeline, stream, cursor, key=KEY)
        assert_same(actual, batch)


def test_a_scan_over_a_random_view_gives_what_its_steps_give() -> None:
    train, _ = dp.split(WHOLE, 16, key=KEY)
    stream = dp.Stream(train, dp.Shuffled(KEY), batch_size=4)
    pipeline = dp.Pipeline.linear({"noise": Noise(jnp.float32(1.5))})
    steps = [batch for _, batch in dp.epoch(pipeline, stream, stream.start(), key=DRAWN)]
    body = lambda carry, batch: (carry, batch)  # noqa: E731
    *_, ys = dp.scan(body, None, pipeline, stream, stream.start(), key=DRAWN, length=4)
    for index, batch in enumerate(steps):
        assert_same({k: y[index] for k, y in ys.items()}, jax.tree.map(np.asarray, batch))
    read = np.concatenate([batch["id"] for batch in steps]).tolist()
    assert sorted(read) == sorted(ids_of(train))


def test_a_gradient_by_the_data_reaches_the_records_of_the_view_alone() -> None:
    def loss(x: jax.Array) -> jax.Array:
        view = dp.Subset(dp.ArraySource({"x": x}), [3, 1])
        total: jax.Array = view.rows(jnp.arange(2, dtype=jnp.uint32))["x"].sum()
        return total

    assert jax.jit(jax.grad(loss))(jnp.ones(5)).tolist() == [0, 1, 0, 1, 0]


def test_a_view_may_be_made_of_traced_ids() -> None:
    def rows(ids: jax.Array) -> Any:
        return dp.Subset(WHOLE, ids).rows(jnp.arange(2, dtype=jnp.uint32))["id"]

    assert jax.jit(rows)(jnp.asarray([4, 2])).tolist() == [4, 2]


def test_variants_share_views_of_windows_and_a_mixture_of_them() -> None:
    first, rest = dp.split(dp.Windows(DATA, 2), 0.5, key=DRAWN)
    mixture = dp.Mixture({"a": (first, 1), "b": (rest, 1)}, DRAWN)

    def noisy(record: Any, *, key: Any) -> Any:
        return {"id": record["id"], "drawn": jax.random.key_data(key)}

    def drawn(pipeline: dp.Pipeline, stream: dp.Stream, key: Any) -> Any:
        return dp.step(pipeline, stream, stream.start(), key=key)[1]

    pipeline = dp.Pipeline.linear([dp.per_record(noisy)])
    keys = jnp.stack([dp.fast_key(0), dp.fast_key(1)])
    together, alone = dp.vmap_variants(drawn, vary=["key"]), jax.jit(drawn)
    stream = dp.Stream(first, batch_size=4)
    found = jax.jit(together)(pipeline, stream, keys)
    for index, key in enumerate(keys):
        own = {name: x[index] for name, x in found.items()}
        assert_same(own, jax.tree.map(np.asarray, alone(pipeline, stream, key)))
    assert (found["drawn"][0] != found["drawn"][1]).any()
    traced = jax.make_jaxpr(together)(pipeline, dp.Stream(mixture, batch_size=4), keys)
    assert [x.shape for x in traced.out_avals] == [(2, 4, 2), (2, 4, 2)]
    assert f"[2,{SIZE}" not in str(traced)  # the data are stacked nowhere


def test_views_and_the_whole_have_digests_of_their_own() -> None:
    same = dp.ArraySource({"x": np.zeros(40, np.float32)})  # whose records look alike
    sources = [
        same,
        *dp.split(same, 0.5),
        *dp.split(same, 0.5, key=KEY),
        dp.Subset(same, range(39, -1, -1)),
        dp.Subset(same, [*range(38), 39]),
        dp.where(same, np.arange(40) != 38),
    ]
    digests = [source_digest(source) for source in sources]
    # Among them two that show the same records; a part from the start on of the whole is another.
    assert len({*digests}) == len(digests) - 1
    assert digests[-1] == digests[-2]
