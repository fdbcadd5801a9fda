"""Fields selected, renamed and cast, and standardized by one exact pass over a source."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import checkify

import dagrax.pure as dp
from dagrax.nnx_api import ArraySource, HostSource, MemorySource, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.pure import host, ops

RNG = np.random.default_rng(0)
DATA = {"x": np.arange(6, dtype=np.float32), "y": np.arange(6), "z": np.ones((6, 2), np.uint8)}


def after(*stages: Any, data: Any = None) -> dict[str, Any]:
    batch: dict[str, Any] = Pipeline(
        source=MemorySource(data=data or DATA), stages=stages, batch_size=6, rngs=nnx.Rngs(0)
    ).step()
    return batch


def test_fields_are_selected_dropped_and_renamed() -> None:
    assert set(after(op.Select("z", "x"))) == {"x", "z"}
    assert list(after(op.Drop("z", "x"))) == ["y"]
    batch = after(op.Rename({"x": "y", "y": "x", "z": "w"}))
    assert set(batch) == {"x", "y", "w"}
    assert batch["y"].dtype == np.float32


def test_a_cast_changes_dtypes_and_nothing_else() -> None:
    batch = after(op.Cast({"y": "float16", "x": np.int8, "z": jnp.float32}))
    assert {own: batch[own].dtype.name for own in batch} == {
        "x": "int8",
        "y": "float16",
        "z": "float32",
    }
    assert batch["x"].tolist() == batch["y"].tolist() == list(range(6))


def test_labels_become_one_hot() -> None:
    np.testing.assert_array_equal(after(op.OneHot("y", 6))["y"], np.eye(6))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (op.OneHot("y", 5), "one_hot takes labels from 0 to 4 (classes=5), not 5 to 5"),
        (op.Cast({"w": "uint8"}), "cast: a number is not from 0 to 255"),
    ],
)
def test_what_does_not_fit_is_refused_under_checkify(stage: Any, message: str) -> None:
    run = checkify.checkify(jax.jit(lambda batch: stage(batch)), errors=checkify.user_checks)
    with ops.checking():
        error, _ = run({"y": np.array([5]), "w": np.array([300])})
    assert message in str(error.get())


# Fits


TABLE: dict[str, Any] = {
    "far": (1e4 + RNG.standard_normal((3001, 4)) * [0.01, 1, 30, 0]).astype(np.float32),
    "image": RNG.integers(0, 256, (3001, 3, 5, 2)).astype(np.uint8),
    "one": RNG.standard_normal(3001).astype(np.float32),
}


def sources() -> dict[str, tuple[Any, np.ndarray]]:
    whole = dp.ArraySource(TABLE)
    every = np.arange(3001)
    return {
        "whole": (whole, every),
        "view": (dp.Subset(whole, range(5, 3000, 7)), every[5:3000:7]),
        "list": (dp.Subset(whole, [9, 1, 4]), np.array([9, 1, 4])),
        "host": (Table(), every),
        "host view": (dp.Subset(Table(), range(5, 3000, 7)), every[5:3000:7]),
    }


class Table(host.AbstractHostSource[dict[str, np.ndarray]]):
    """The table, read on the host."""

    size = 3001

    def __init__(self) -> None:
        self.element_spec = {
            name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in TABLE.items()
        }

    def fetch(
        self, ids: np.ndarray, out: dict[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        return {name: x[ids] for name, x in TABLE.items()}


@pytest.mark.parametrize("name", ["whole", "view", "list", "host", "host view"])
def test_a_fit_is_that_of_numpy_in_double_precision(name: str) -> None:
    source, ids = sources()[name]
    found = dp.fit(source, ("far", "image", "one"), chunk=256)
    for field, moments in found.items():
        data = TABLE[field][ids].astype(np.float64)
        over = tuple(range(data.ndim - 1)) if data.ndim > 1 else (0,)
        # The numbers of `far` are themselves rounded to 1e-3, which NumPy sees as well.
        np.testing.assert_allclose(moments.mean, data.mean(over), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(moments.std, data.std(over), rtol=1e-5, atol=1e-6)
        assert moments.count == data.size // max(1, moments.mean.size)


def test_windows_and_other_axes_are_fitted() -> None:
    series = RNG.standard_normal((500, 3)).astype(np.float32)
    windows = dp.Windows({"x": series}, 16, stride=4)
    rows = np.stack([series[i : i + 16] for i in range(0, 485, 4)]).astype(np.float64)
    for axes, over in (((-1,), (0, 1)), ((), (0, 1, 2)), ((0, 1), (0,))):
        found = dp.fit(windows, "x", axes)["x"]
        np.testing.assert_allclose(found.mean, rows.mean(over), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.variance, rows.var(over), rtol=1e-5)


def test_large_images_are_averaged_without_a_drift() -> None:
    # A sum of 2.5 million numbers in single precision, one by one, would lose 3 digits.
    images = np.full((10, 500, 500, 1), 0.1, np.float32)
    images[1:, ::2] = 0.7
    found = dp.fit(dp.ArraySource({"image": images}), "image")["image"]
    np.testing.assert_allclose(found.mean, [images.astype(np.float64).mean()], rtol=1e-6)
    np.testing.assert_allclose(found.std, [images.astype(np.float64).std()], rtol=1e-5)


@pytest.mark.parametrize("kind", [MemorySource, ArraySource, HostSource])
def test_a_field_is_standardized_by_all_records_of_its_source(kind: Any) -> None:
    given: Any = {
        MemorySource: {"data": TABLE},
        ArraySource: {"source": dp.ArraySource(TABLE)},
        HostSource: {"source": Table()},
    }[kind]
    source = kind(**given)
    standard = op.Standardize.fit(source[:-1], ("far", "image"))
    batch = Pipeline(source=source, stages=[standard], batch_size=3000).step()
    for field, over in (("far", 0), ("image", (0, 1, 2))):
        expected = np.where(np.arange(batch[field].shape[-1]) == 3, 0, 1)
        # The mean of `far` itself is kept to 1e-3, a twentieth of its least deviation.
        np.testing.assert_allclose(batch[field].mean(over), 0, atol=6e-2)
        # A constant is not divided by its deviation of 0, so that it is 0 everywhere.
        np.testing.assert_allclose(batch[field].std(over), expected, atol=1e-2)
    assert batch["one"] is not None
    assert not jax.tree.leaves(nnx.state(standard, nnx.Param))
    assert len(jax.tree.leaves(nnx.state(standard, nnx.BatchStat))) == 4


def test_moments_are_given_by_hand() -> None:
    batch = after(op.Standardize({"x": (2.0, 2.0), "z": (np.ones(2), [1.0, 0.0])}))
    np.testing.assert_allclose(batch["x"], (np.arange(6) - 2) / 2)
    assert batch["z"].dtype == np.float32
    assert not batch["z"].any()
