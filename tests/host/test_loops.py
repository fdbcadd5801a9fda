"""Loops of the core over files: what they give, to the bit, is what they give of arrays."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import dagrax.pure as dp
from dagrax.pure import host
from dagrax.pure.host._ahead import _feed

KEY = jax.random.key(0)
DATA = {
    "image": np.random.default_rng(0).integers(0, 256, (103, 4, 4, 3), np.uint8),
    "label": np.arange(103, dtype=np.int32),
}


def noise(batch: dict[str, Array], *, record_keys: Array) -> dict[str, Array]:
    image = batch["image"].astype(jnp.float32) / 255
    drawn = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(record_keys)
    return {**batch, "image": image + drawn}


PIPELINE = dp.Pipeline.linear([noise])


def files(folder: Path) -> host.DiskSource:
    for name, array in DATA.items():
        np.save(folder / f"{name}.npy", array)
    return host.DiskSource({name: folder / f"{name}.npy" for name in DATA})


def body(carry: Array, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    label = batch["label"].astype(jnp.float32)
    loss = jnp.mean(batch["image"] * label[:, None, None, None])
    return carry * 0.9 + loss, {"loss": loss, **batch}


@pytest.mark.parametrize("remainder", ["drop", "pad", "carry"])
@pytest.mark.parametrize("platform", ["a CPU", "an accelerator"])
def test_a_scan_of_files_is_the_scan_of_the_arrays(
    remainder: str, platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if platform == "an accelerator":
        # Whole chunks have a program of their own there: some are whole, others are not.
        monkeypatch.setattr(_feed, "asks_the_host", lambda: True)
        monkeypatch.setattr(_feed, "batches_of_a_chunk", lambda stream: 4)
    given: dict[str, Any] = {"batch_size": 10, "remainder": remainder, "record_ids": "id"}
    in_memory = dp.Stream(dp.ArraySource(DATA), dp.Shuffled(KEY), **given)
    on_disk = dp.Stream(files(tmp_path), dp.Shuffled(KEY), **given)
    cursor = dp.Cursor(1, 20)
    results = [
        dp.scan(body, jnp.float32(0), PIPELINE, in_memory, cursor, key=KEY, length=27),
        host.scan(body, jnp.float32(0), PIPELINE, on_disk, cursor, key=KEY, length=27),
    ]
    (expected, structure), (own, same) = map(jax.tree.flatten, results)
    assert len({structure, same}) == 1
    for x, y in zip(own, expected, strict=True):
        assert np.array_equal(x, y)


def test_an_epoch_of_files_is_the_epoch_of_the_arrays(tmp_path: Path) -> None:
    in_memory = dp.Stream(dp.ArraySource(DATA), dp.Shuffled(KEY), batch_size=10)
    on_disk = dp.Stream(files(tmp_path), dp.Shuffled(KEY), batch_size=10)
    expected = list(dp.epoch(PIPELINE, in_memory, in_memory.start(3), key=KEY))
    own = list(host.epoch(PIPELINE, on_disk, on_disk.start(3), key=KEY))
    assert len(own) == len(expected) == 11
    for (cursor, batch), (its, model) in zip(own, expected, strict=True):
        assert cursor == its
        for name in DATA:
            assert np.array_equal(batch[name], model[name])


def test_what_cannot_be_read_here_is_refused(tmp_path: Path) -> None:
    stream = dp.Stream(files(tmp_path), batch_size=10)
    with pytest.raises(TypeError, match=r"^The records of a DiskSource are read on the host, and"):
        dp.step(dp.Pipeline.linear([]), stream, stream.start())
    with pytest.raises(TypeError, match=r"^The source of the stream is of type ArraySource; exp"):
        host.epoch(PIPELINE, dp.Stream(dp.ArraySource(DATA), batch_size=5), dp.Cursor(0, 0))
    assert dp.check(PIPELINE, stream)["noise"]["image"].shape == (10, 4, 4, 3)
