"""What the tables of the orders must hold, so that equality with them is worth something.

Exactness where it is promised, and what chance may not do. How often each record is drawn is held
against the laws of chance in `tests.pure.flow`, over more epochs than a table has.
"""

from typing import Any

import numpy as np
import pytest

from tests.flow.table import (
    BLOCK,
    LABELS,
    MIXTURES,
    ORDERS,
    SIZE,
    SOURCES,
    WEIGHTS,
    WINDOW,
    epochs_of,
)

ALL = np.arange(SIZE)


@pytest.mark.parametrize("name", ["sequential", "shuffled", "windowed", "of one's own"])
def test_an_order_without_replacement_visits_each_record_once_an_epoch(name: str) -> None:
    epochs = epochs_of(name)
    np.testing.assert_array_equal(np.sort(epochs.ids), np.broadcast_to(ALL, epochs.ids.shape))
    assert epochs.turns is epochs.own is None
    orders = {tuple(ids) for ids in epochs.ids.tolist()}
    assert len(orders) == 1 if name == "sequential" else len(orders) > 3


def test_a_windowed_order_reads_few_blocks_at_a_time() -> None:
    for ids in epochs_of("windowed").ids // BLOCK:
        # Two of the three blocks are mixed, and the other one stands alone before or behind.
        alone = [
            b for b in range(3) if len({*np.flatnonzero(ids == b) - ALL[: sum(ids == b)]}) == 1
        ]
        assert any(len({*ids[ids != b]}) == WINDOW for b in alone)
        assert any(ids[0] == b or ids[-1] == b for b in alone)


def test_a_record_without_weight_is_never_drawn_and_any_other_may_be() -> None:
    ids = epochs_of("weighted").ids
    assert {*ids.ravel().tolist()} == {*np.flatnonzero(WEIGHTS).tolist()}
    assert {*epochs_of("with replacement").ids.ravel().tolist()} == {*ALL.tolist()}


def test_every_turn_through_the_classes_has_each_once_across_the_borders_of_epochs() -> None:
    classes = LABELS[epochs_of("balanced").ids.ravel()].reshape(-1, 3)
    np.testing.assert_array_equal(np.sort(classes), np.broadcast_to(np.arange(3), classes.shape))


@pytest.mark.parametrize(
    ("name", "inner", "times"),
    [
        ("repeat", "shuffled", 2),
        ("repeat of repeats", "balanced", 3),
    ],
)
def test_an_order_repeated_has_each_record_of_the_other_some_times_in_a_row(
    name: str, inner: str, times: int
) -> None:
    repeated = np.repeat(epochs_of(inner).ids, times, axis=1)
    np.testing.assert_array_equal(epochs_of(name).ids, repeated)


@pytest.mark.parametrize("name", [*ORDERS, *MIXTURES])
def test_no_two_visits_of_a_record_in_an_epoch_draw_alike(name: str) -> None:
    epochs = epochs_of(name).full()
    columns: Any = epochs
    drawn = np.stack(columns, axis=-1)
    for epoch in drawn.tolist():
        assert len({tuple(visit) for visit in epoch}) == epochs.length


def test_a_mixture_keeps_its_proportions_and_the_epochs_of_its_sources() -> None:
    epochs = epochs_of("mixture")
    assert epochs.own is not None
    ids, own = epochs.ids.ravel(), epochs.own.ravel()
    is_first = ids < 7
    changed = 20  # the first block behind the position asked for
    assert (is_first[:changed].reshape(-1, 4).sum(axis=1) == 3).all()
    behind = is_first[changed:]
    assert (behind[: len(behind) // 3 * 3].reshape(-1, 3).sum(axis=1) == 1).all()
    for whose, size in ((is_first, 7), (~is_first, 5)):
        given, epoch = ids[whose], own[whose]
        # Within a block the last records of an epoch may come behind the first of the next.
        np.testing.assert_array_equal(np.sort(epoch), np.arange(len(given)) // size)
        for lap in range(len(given) // size):
            assert len({*given[epoch == lap].tolist()}) == size


def test_every_source_has_as_many_records_and_views_the_ids_of_the_whole() -> None:
    for name, made in {**SOURCES, **MIXTURES}.items():
        held = made()
        assert held.source.size == len(held.drawn) == SIZE, name
        assert (len({*held.drawn.tolist()}) == SIZE) is (name not in MIXTURES), name
