"""What a saved cursor is held against."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dagrax.pure as dp
from dagrax.pure import _fingerprint
from dagrax.pure._fingerprint import graph_digest, source_digest
from tests.platforms import on_a_cpu


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


# What it costs


def image_source(images: Any) -> dp.ArraySource:
    return dp.ArraySource({"image": images, "label": np.arange(len(images))})


def test_item_19_a_digest_reads_no_more_of_larger_records() -> None:
    def bytes_for(shape: tuple[int, ...]) -> int:
        data = {"image": jax.ShapeDtypeStruct((100, *shape), jnp.uint8)}
        source = eqx.tree_at(lambda s: s.data, dp.ArraySource(np.zeros(100)), data)
        memory = jax.jit(_fingerprint._sampled).lower(source, np.arange(64, dtype=np.uint32))
        found = memory.compile().memory_analysis()
        assert found is not None
        return int(found.temp_size_in_bytes + found.output_size_in_bytes)

    small, large = bytes_for((32, 32, 3)), bytes_for((256, 256, 3))
    assert large <= small < 64 * 1024


def test_item_19_what_is_known_is_not_read_again() -> None:
    source = image_source(np.zeros((5, 300), np.float32))
    pipeline, stream = dp.Pipeline.linear([crop]), dp.Stream(source, batch_size=2)
    key = jax.random.key(0)
    known = dp.fingerprint(
        pipeline, stream, key, source=source_digest(source), graph=graph_digest(pipeline)
    )
    assert known == dp.fingerprint(pipeline, stream, key)
    given = dp.fingerprint(pipeline, stream, key, source="a", graph="b")
    assert (given["source"], given["graph"]) == ("a", "b")


@on_a_cpu
def test_equal_data_have_one_digest_in_memory_and_in_a_file(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 20, 30), np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    held = {source_digest(image_source(x)) for x in (images, mapped, jnp.asarray(images))}
    assert len(held) == 1


@pytest.mark.parametrize("place", [(0, 0, 0), (69, 19, 29)], ids=["first", "last"])
def test_the_first_and_the_last_number_are_looked_at(place: tuple[int, ...]) -> None:
    images = np.zeros((70, 20, 30), np.uint8)
    before = source_digest(image_source(images))
    images[place] = 1
    assert source_digest(image_source(images)) != before


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (5, 7)])
def test_records_of_any_shape_have_a_digest(shape: tuple[int, ...]) -> None:
    one, other = (source_digest(dp.ArraySource(np.zeros((9, *s)))) for s in (shape, (2, *shape)))
    assert one != other
