"""The key of a draw is a function of (seed key, node name, epoch, record id) and nothing else."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from tests import reference
from tests.zoo import Remainder, Rotated

KEY = jax.random.key(7)
SIZE = 7

# The words of the key that each record was given, by (epoch, record id).
Draws = dict[tuple[int, int], tuple[int, ...]]


def draw(batch: Any, *, record_keys: Any) -> Any:
    return {**batch, "drawn": jax.vmap(jax.random.key_data)(record_keys)}


def draw_once(batch: Any, *, key: Any) -> Any:
    return {**batch, "drawn": jax.random.key_data(key)}


def same(batch: Any) -> Any:
    return batch


def linear(*names: str, drawing: str = "noise") -> dp.Pipeline:
    nodes = {name: draw if name == drawing else same for name in names}
    edges = {name: [before] for before, name in itertools.pairwise(names)} | {names[0]: []}
    return dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink=names[-1])


def draws(
    pipeline: dp.Pipeline,
    *,
    batch_size: int = 3,
    order: dp.AbstractOrder | None = None,
    remainder: Remainder = "partial",
    key: jax.Array = KEY,
    cursor: tuple[int, int] = (0, 0),
    epochs: int = 2,
) -> Draws:
    """Every draw until the given number of epochs is over."""
    order = Rotated() if order is None else order
    source = dp.ArraySource({"id": np.arange(SIZE)})
    stream = dp.Stream(source, order, batch_size=batch_size, remainder=remainder)
    at = dp.Cursor(*map(np.uint32, cursor))
    found: Draws = {}
    while int(at.epoch) < epochs:
        _, _, origin = stream.take(at)
        after, batch = dp.step(pipeline, stream, at, key=key)
        of = np.asarray(origin.epochs)[np.asarray(origin.lap)].tolist()
        for epoch, record, words in zip(
            of, batch["id"].tolist(), batch["drawn"].tolist(), strict=True
        ):
            assert found.setdefault((epoch, record), tuple(words)) == tuple(words)
        at = after
    return found


@pytest.fixture(scope="module")
def known() -> Draws:
    """What one pipeline draws in two epochs; each test below changes one thing."""
    return draws(linear("crop", "noise", "flip"))


def test_every_draw_follows_the_rule_one_record_at_a_time(known: Draws) -> None:
    assert set(known) == {(epoch, record) for epoch in (0, 1) for record in range(SIZE)}
    for (epoch, record), words in known.items():
        key = reference.record_key(KEY, "noise", epoch, record)
        assert words == tuple(jax.random.key_data(key).tolist())


def test_a_fast_key_follows_the_rule_in_its_own_kind() -> None:
    fast = dp.fast_key(7)
    assert batch_draw(1, 3, key=fast) == words_of(reference.batch_key(fast, "noise", 1, 3))
    for batch_size in (3, 7):
        found = draws(linear("crop", "noise"), key=fast, batch_size=batch_size)
        assert len(found) == 2 * SIZE
        for (epoch, record), words in found.items():
            assert list(words) == words_of(reference.record_key(fast, "noise", epoch, record))


def test_the_rule_does_not_change_from_release_to_release() -> None:
    # Literal numbers: a checkpoint of today must draw alike tomorrow.
    assert reference.stable_hash("record:noise") == 400103980
    assert draws(linear("noise"), epochs=1)[0, 3] == (1734904878, 3152866446)


# What a draw does not depend on


@pytest.mark.parametrize("batch_size", [1, 7])
def test_another_batch_size_changes_no_draw(known: Draws, batch_size: int) -> None:
    assert draws(linear("crop", "noise", "flip"), batch_size=batch_size) == known


@pytest.mark.parametrize(
    "order", [dp.Sequential(), dp.Shuffled(jax.random.key(1))], ids=["in order", "shuffled"]
)
def test_another_order_changes_no_draw(known: Draws, order: dp.AbstractOrder) -> None:
    found = draws(linear("crop", "noise", "flip"), order=order, batch_size=SIZE, epochs=1)
    assert found.items() <= known.items()
    assert len(found) == SIZE


@pytest.mark.parametrize("remainder", ["drop", "pad", "carry"])
def test_another_remainder_changes_no_draw(known: Draws, remainder: Remainder) -> None:
    found = draws(linear("crop", "noise", "flip"), remainder=remainder)
    inside = {place: words for place, words in found.items() if place[0] < 2}
    assert inside.items() <= known.items()
    assert len(inside) == (12 if remainder == "drop" else 14)


def test_resuming_from_a_cursor_changes_no_draw(known: Draws) -> None:
    found = draws(linear("crop", "noise", "flip"), cursor=(1, 2))
    assert found.items() <= known.items()
    assert len(found) == 5


@pytest.mark.parametrize(
    "names",
    [
        ("crop", "noise", "blur", "flip"),
        ("blur", "crop", "noise", "flip"),
        ("noise", "flip"),
        ("noise",),
        ("cut", "noise", "turn"),
        ("flip", "noise", "crop"),
    ],
    ids=["added behind", "added before", "one removed", "all removed", "renamed", "moved"],
)
def test_other_nodes_change_no_draw(known: Draws, names: tuple[str, ...]) -> None:
    assert draws(linear(*names)) == known


def test_other_nodes_that_draw_change_no_draw(known: Draws) -> None:
    nodes: dict[str, Any] = {"before": draw, "once": draw_once, "noise": draw}
    edges = {"before": [], "once": ["before"], "noise": ["once"]}
    assert draws(dp.Pipeline.from_dag(nodes=nodes, edges=edges, sink="noise")) == known


def test_a_compiled_step_draws_alike(known: Draws) -> None:
    source = dp.ArraySource({"id": np.arange(SIZE)})
    stream = dp.Stream(source, batch_size=SIZE)
    _, batch = jax.jit(dp.step)(linear("noise"), stream, stream.start(), key=KEY)
    assert {
        (0, i): tuple(words) for i, words in enumerate(batch["drawn"].tolist())
    }.items() <= known.items()


def test_apply_takes_the_origin_of_the_records(known: Draws) -> None:
    origin = dp.Origin(
        ids=jnp.uint32([4, 2]),
        lap=jnp.uint32([1, 0]),
        epochs=jnp.uint32([0, 1]),
        offset=jnp.uint32(0),
    )
    batch = dp.apply(linear("noise"), {"id": jnp.arange(2)}, key=KEY, origin=origin)
    assert [tuple(words) for words in batch["drawn"].tolist()] == [known[1, 4], known[0, 2]]


def test_without_an_origin_records_count_from_zero_in_epoch_zero(known: Draws) -> None:
    batch = dp.apply(linear("noise"), {"id": jnp.arange(2)}, key=KEY)
    assert [tuple(words) for words in batch["drawn"].tolist()] == [known[0, 0], known[0, 1]]


# What it does depend on


def test_records_and_epochs_all_draw_differently(known: Draws) -> None:
    assert len(set(known.values())) == len(known) == 2 * SIZE


def test_another_seed_changes_every_draw(known: Draws) -> None:
    found = draws(linear("crop", "noise", "flip"), key=jax.random.key(8))
    assert not set(found.values()) & set(known.values())


def test_another_node_name_changes_every_draw(known: Draws) -> None:
    found = draws(linear("crop", "grain", "flip", drawing="grain"))
    assert not set(found.values()) & set(known.values())


# One key for a batch


def words_of(key: jax.Array) -> list[int]:
    words: list[int] = jax.random.key_data(key).tolist()
    return words


def batch_draw(
    epoch: int, offset: int, node: str = "noise", ids: Any = (0, 1), key: jax.Array = KEY
) -> list[int]:
    origin = dp.Origin(
        ids=jnp.uint32(ids),
        lap=jnp.zeros(2, jnp.uint32),
        epochs=jnp.uint32([epoch]),
        offset=jnp.uint32(offset),
    )
    pipeline = dp.Pipeline.from_dag(nodes={node: draw_once}, edges={node: []}, sink=node)
    drawn: list[int] = dp.apply(pipeline, {}, key=key, origin=origin)["drawn"].tolist()
    return drawn


def test_the_key_of_a_batch_depends_on_node_epoch_and_offset() -> None:
    places = [(0, 0), (0, 3), (1, 0), (3, 0)]
    drawn = [batch_draw(*place) for place in places] + [batch_draw(0, 0, "flip")]
    assert len(set(map(tuple, drawn))) == 5
    for place, words in zip(places, drawn, strict=False):
        assert words == jax.random.key_data(reference.batch_key(KEY, "noise", *place)).tolist()


def test_the_key_of_a_batch_does_not_depend_on_its_records() -> None:
    assert batch_draw(1, 3, ids=(0, 1)) == batch_draw(1, 3, ids=(5, 2))


def test_batch_and_record_keys_of_one_node_never_meet(known: Draws) -> None:
    assert tuple(batch_draw(0, 3)) not in known.values()


@pytest.mark.parametrize(
    "key",
    [jax.random.key(0, impl="rbg"), jax.random.key(0, impl="unsafe_rbg"), dp.fast_key(0)],
    ids=["rbg", "unsafe_rbg", "fast"],
)
def test_a_record_is_drawn_alike_in_any_batch_also_with_keys_of_another_kind(
    key: jax.Array,
) -> None:
    noise = dp.per_record(lambda record, *, key: jax.random.normal(key))
    draws = [
        np.concatenate(
            [
                batch
                for _, batch in dp.epoch(
                    dp.Pipeline.linear([noise]),
                    dp.Stream(dp.ArraySource(np.zeros(6)), batch_size=batch_size),
                    dp.Cursor(0, 0),
                    key=key,
                )
            ]
        )
        for batch_size in (2, 3, 6)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])
