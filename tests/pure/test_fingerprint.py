"""What a saved cursor is held against."""

from typing import Any

import jax
import numpy as np
import pytest

import dagrax.pure as dp


def crop(batch: Any) -> Any:
    return batch


def flip(batch: Any) -> Any:
    return batch


def mark(**changes: Any) -> dict[str, str]:
    made: dict[str, Any] = {
        "x": np.arange(100.0),
        "order": dp.Shuffled(jax.random.key(0)),
        "key": jax.random.key(1),
        "stage": crop,
        "batch_size": 4,
    } | changes
    stream = dp.Stream(
        dp.ArraySource({"x": made["x"]}), made["order"], batch_size=made["batch_size"]
    )
    return dp.fingerprint(dp.Pipeline.linear([made["stage"]]), stream, made["key"])


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"x": np.arange(101.0)}, "source"),
        ({"x": np.arange(1.0, 101.0)}, "source"),
        ({"x": np.arange(100)}, "source"),
        ({"order": dp.Sequential()}, "order"),
        ({"order": dp.Shuffled(jax.random.key(2))}, "order"),
        ({"key": jax.random.key(2)}, "seed"),
        ({"stage": flip}, "graph"),
        ({"stage": dp.per_record(flip)}, "graph"),
    ],
)
def test_each_part_tells_its_own_change_and_no_other(changes: dict[str, Any], part: str) -> None:
    one, other = mark(), mark(**changes)
    assert [name for name in one if one[name] != other[name]] == [part]


def test_a_fingerprint_is_the_same_made_again_and_with_another_batch_size() -> None:
    assert mark() == mark() == mark(batch_size=7)


def test_functions_of_one_record_are_told_apart() -> None:
    assert mark(stage=dp.per_record(crop))["graph"] != mark(stage=dp.per_record(flip))["graph"]
