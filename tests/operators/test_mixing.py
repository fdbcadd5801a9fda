"""Records of a batch are mixed with each other, and normalized by what was seen of all of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

import dagrax.pure as dp
from dagrax.nnx_api import MemorySource, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.pure import ops
from dagrax.pure.ops import _mixing
from dagrax.pure.ops._mixing import _rectangle, partners

ROWS = 6
RNG = np.random.default_rng(0)
IMAGES = RNG.random((ROWS, 8, 12, 3)).astype(np.float32)
LABELS = np.eye(ROWS, dtype=np.float32)
BATCH = {"image": IMAGES, "label": LABELS, "id": np.arange(ROWS)}
KEY = jax.random.key(1)
KEYS = jax.random.split(jax.random.key(2), ROWS)
MIX = {"mixup": ops.mixup, "cutmix": ops.cutmix}


@functools.partial(jax.jit, static_argnums=0)
def mixed(name: str, batch: Any, alpha: Any, key: Any, keys: Any) -> Any:
    return MIX[name](batch, ("image", "label"), alpha, key=key, record_keys=keys)


def partner_of(labels: Any, row: int) -> int | None:
    """Whose label is mixed into that of a row."""
    others = [other for other in np.nonzero(labels[row])[0] if other != row]
    assert len(others) < 2
    return int(others[0]) if others else None


def test_each_record_is_mixed_with_another_by_a_share_of_its_own() -> None:
    out = mixed("mixup", BATCH, 1.0, KEY, KEYS)
    shares = np.diagonal(out["label"])
    assert len(set(shares.tolist())) == ROWS
    assert out["id"] is not BATCH["id"] and (out["id"] == BATCH["id"]).all()
    for row, share in enumerate(shares):
        other = partner_of(out["label"], row)
        assert other is not None
        expected = share * IMAGES[row] + (1 - share) * IMAGES[other]
        np.testing.assert_allclose(out["image"][row], expected, rtol=1e-5)


def test_a_record_gets_a_rectangle_of_another_and_its_label_by_the_area() -> None:
    out = mixed("cutmix", BATCH, 1.0, KEY, KEYS)
    cut = 0
    for row in range(ROWS):
        other = partner_of(out["label"], row)
        foreign = (np.asarray(out["image"][row]) != IMAGES[row]).any(-1)
        if other is None:
            assert not foreign.any()
            continue
        cut += 1
        assert (out["image"][row][foreign] == IMAGES[other][foreign]).all()
        down, across = np.nonzero(foreign.any(1))[0], np.nonzero(foreign.any(0))[0]
        assert foreign[down[0] : down[-1] + 1, across[0] : across[-1] + 1].all()
        np.testing.assert_allclose(out["label"][row, other], foreign.mean(), rtol=1e-6)
        np.testing.assert_allclose(out["label"][row].sum(), 1, rtol=1e-6)
    assert cut >= 3


def test_sides_of_the_rectangle_are_those_of_the_paper() -> None:
    # Where it is not cut off at the border, its sides are those of the image by sqrt(1 - share).
    share = jnp.float32(1 - 0.36)
    draw = jax.jit(jax.vmap(lambda key: _rectangle(key, share, (40, 20))))
    whole = draw(jax.random.split(KEY, 500))
    areas = np.asarray(whole).sum((1, 2))
    assert areas.max() == 24 * 12
    heights = np.asarray(whole.any(2)).sum(1)
    assert (heights.max(), heights.min()) == (24, 12)


shares = jax.jit(_mixing.shares)


def test_shares_are_of_the_beta_distribution() -> None:
    keys = jax.random.split(KEY, 10_000)
    for alpha in (0.3, 1.0, 4.0):
        share = shares(jnp.float32(alpha), keys)
        assert scipy.stats.kstest(share, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-4


def test_every_record_has_another_as_its_partner_each_as_often() -> None:
    draw = jax.jit(jax.vmap(lambda key: partners(key, jnp.ones(4, bool))))
    found = np.asarray(draw(jax.random.split(KEY, 10_000)))
    for row in range(4):
        counts = np.bincount(found[:, row], minlength=4)
        assert counts[row] == 0
        expected = 10_000 / 3
        assert (abs(np.delete(counts, row) - expected) < 4 * np.sqrt(expected * 2 / 3)).all()
    assert (np.sort(found, axis=1) == np.arange(4)).all()


@pytest.mark.parametrize("name", MIX)
def test_fill_takes_no_part_and_changes_no_draw(name: str) -> None:
    valid = np.arange(ROWS) < 4
    filled = {**BATCH, "image": IMAGES.copy(), "valid": valid}
    filled["image"][4:] = np.inf  # type: ignore[index]  # fill is kept bit for bit
    out = mixed(name, filled, 1.0, KEY, KEYS)
    alone = mixed(name, {k: v[:4] for k, v in BATCH.items()}, 1.0, KEY, KEYS[:4])  # type: ignore[index]
    np.testing.assert_array_equal(out["image"][:4], alone["image"])
    np.testing.assert_array_equal(out["label"][:4], alone["label"])
    np.testing.assert_array_equal(out["image"][4:], filled["image"][4:])  # type: ignore[index]
    np.testing.assert_array_equal(out["label"][4:], LABELS[4:])
    assert np.asarray(out["label"])[:4, 4:].sum() == 0


@pytest.mark.parametrize("name", MIX)
def test_a_record_that_is_alone_stays_as_it_is(name: str) -> None:
    alone = {key: value[:1] for key, value in BATCH.items()}  # type: ignore[index]
    lonely = {**BATCH, "valid": np.arange(ROWS) == 2}
    for batch, keys in ((alone, KEYS[:1]), (lonely, KEYS)):
        out = mixed(name, batch, 1.0, KEY, keys)
        np.testing.assert_array_equal(out["image"], batch["image"])
        np.testing.assert_array_equal(out["label"], batch["label"])


def test_a_share_is_that_of_its_record_wherever_it_stands() -> None:
    out = mixed("mixup", BATCH, 1.0, KEY, KEYS)
    turned = {name: value[::-1] for name, value in BATCH.items()}  # type: ignore[index]
    back = mixed("mixup", turned, 1.0, jax.random.key(9), KEYS[::-1])
    np.testing.assert_array_equal(np.diagonal(out["label"]), np.diagonal(back["label"][::-1]))


def test_the_gradient_of_alpha_is_that_of_the_distribution() -> None:
    # Of E (share - 1/2)^2 = 1 / (4 (2 alpha + 1)), whose derivative is -1 / (2 (2 alpha + 1)^2).
    keys = jax.random.split(KEY, 4000)
    loss = jax.grad(lambda alpha: jnp.mean((shares(alpha, keys) - 0.5) ** 2))
    slope = jax.jit(loss)(jnp.float32(1.5))
    # 4,000 draws: one in sixty of the deviation of each, which is about the mean.
    np.testing.assert_allclose(slope, -1 / (2 * 16), rtol=0.08)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_mix_keeps_its_dtype(dtype: Any) -> None:
    mix = functools.partial(ops.mixup, fields=["x"], alpha=1.0, key=KEY, record_keys=KEYS[:3])
    assert jax.eval_shape(mix, {"x": jnp.ones((3, 2), dtype)})["x"].dtype == dtype


def test_a_rectangle_of_integers_is_exact() -> None:
    levels = (IMAGES * 255).astype(np.uint8)
    masks = np.broadcast_to(np.arange(ROWS, dtype=np.int32)[:, None, None], (ROWS, 8, 12))
    batch = {"image": levels, "mask": masks}
    cut = jax.jit(
        lambda batch: ops.cutmix(batch, ["image", "mask"], 1.0, key=KEY, record_keys=KEYS)
    )
    out = cut(batch)
    assert (out["image"].dtype, out["mask"].dtype) == (np.uint8, masks.dtype)
    assert (out["mask"] != masks).any()
    np.testing.assert_array_equal(out["image"], levels[out["mask"], *np.mgrid[:8, :12]])


# Modules


def pipe(*stages: Any, data: Any = None, **options: Any) -> Pipeline[Any]:
    data = {"image": IMAGES, "label": np.arange(ROWS)} if data is None else data
    options = {"batch_size": 4, "rngs": nnx.Rngs(0), **options}
    return Pipeline(source=MemorySource(data=data), stages=stages, **options)


@pytest.mark.parametrize("kind", [op.MixUp, op.CutMix])
def test_integer_labels_become_one_hot_in_training_and_in_eval(kind: Any) -> None:
    pipeline = pipe(kind(1.0, classes=ROWS), remainder="pad")
    first, last = list(pipeline)
    assert last["valid"].tolist() == [True, True, False, False]
    assert (first["label"] > 0).sum(1).tolist() == [2, 2, 2, 2] or kind is op.CutMix
    np.testing.assert_allclose(first["label"].sum(1), 1, rtol=1e-6)
    assert first["label"][:, 4:].sum() == 0
    pipeline.eval()  # type: ignore[no-untyped-call]
    still, _ = list(pipeline)
    np.testing.assert_array_equal(still["image"], IMAGES[:4])
    np.testing.assert_array_equal(still["label"], LABELS[:4])


def test_alpha_is_a_learnable_leaf() -> None:
    mix = op.MixUp(0.7, classes=ROWS)
    loss = lambda mix: (mix(BATCH, key=KEY, record_keys=KEYS)["image"] ** 2).sum()  # noqa: E731
    (slope,) = jax.tree.leaves(nnx.jit(nnx.grad(loss))(mix))
    assert np.isfinite(slope) and slope != 0


# Moments


TABLE = (1e4 + RNG.standard_normal((1000, 3)) * [1, 5, 0]).astype(np.float32)


def near(found: ops.Moments, table: np.ndarray, rtol: float = 1e-4) -> None:
    wide = table.astype(np.float64)
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, wide.var(0), rtol=rtol, atol=1e-5)
    assert found.count == len(table)


def test_moments_of_parts_are_merged_to_those_of_the_whole() -> None:
    merge = jax.jit(lambda seen, part: ops.merged(seen, ops.moments(part)))
    seen = ops.no_moments(TABLE[0])
    for part in np.split(TABLE, 10):
        seen = merge(seen, part)
    # The mean is 10,000 deviations from zero: float32 keeps three digits of them in each merge.
    near(seen, TABLE, rtol=1e-3)


def test_moments_are_told_apart_by_the_axes_that_are_asked_for() -> None:
    for axes, shape in {(-1,): (3,), (): (), (0,): (8, 1, 1), (0, -1): (8, 1, 3)}.items():
        found = jax.jit(functools.partial(ops.moments, axes=axes))(IMAGES)
        over = tuple(a + 1 for a in range(3) if a not in axes and a - 3 not in axes)
        expected = IMAGES.astype(np.float64).mean((0, *over)).reshape(shape)
        assert found.mean.shape == ops.no_moments(IMAGES[0], axes).mean.shape == shape
        np.testing.assert_allclose(found.mean, expected, rtol=1e-5)
        assert found.count == IMAGES.size // max(1, expected.size)
    assert ops.moments(np.arange(4.0)).mean.shape == ()


def test_fill_does_not_count() -> None:
    valid = np.arange(ROWS) < 4
    filled = np.where(valid[:, None, None, None], IMAGES, np.nan)
    found, expected = ops.moments(filled, valid=valid), ops.moments(IMAGES[:4])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)
    seen = ops.running(expected, ops.moments(filled, valid=np.zeros(ROWS, bool)), 0.5)
    jax.tree.map(np.testing.assert_array_equal, seen, expected)


def test_running_moments_are_those_of_all_at_first_and_then_of_what_was_last_seen() -> None:
    batches = [TABLE[i : i + 100] for i in range(0, 1000, 100)]
    run = jax.jit(lambda seen, part, momentum: ops.running(seen, ops.moments(part), momentum))
    always = fading = ops.no_moments(TABLE[0])
    mean = np.zeros(3)
    for count, batch in enumerate(batches, 1):
        always, fading = run(always, batch, 1.0), run(fading, batch, 0.8)
        part = max(1 / count, 1 - 0.8)
        mean += part * (batch.astype(np.float64).mean(0) - mean)
        np.testing.assert_allclose(fading.mean, mean, rtol=1e-6)
    near(always, TABLE, rtol=1e-3)


def test_the_core_carries_its_moments_itself() -> None:
    stream = dp.Stream(dp.ArraySource({"x": TABLE}), batch_size=64, remainder="pad")
    pipeline = dp.Pipeline.linear([lambda batch: batch])

    def body(moments: ops.Moments, batch: Any) -> Any:
        x, moments = ops.running_normalize(batch["x"], moments, 1.0, valid=batch["valid"])
        return moments, x

    start = ops.no_moments(TABLE[0])
    _, seen, _ = dp.scan(body, start, pipeline, stream, stream.start(), length=16)
    near(seen, TABLE, rtol=1e-3)


def test_a_running_normalization_learns_in_training_alone() -> None:
    norm = op.RunningNormalize(1.0, field="x", features=3)
    pipeline = pipe(norm, data={"x": TABLE}, batch_size=256, remainder="pad")
    for batch in pipeline:
        assert np.isfinite(batch["x"]).all()
    stats = jax.tree.leaves(nnx.state(pipeline, nnx.BatchStat))
    assert sorted(np.shape(x) for x in stats) == [(), (3,), (3,)]
    moments = norm.moments()
    near(moments, TABLE, rtol=1e-3)
    pipeline.eval()  # type: ignore[no-untyped-call]
    batch = pipeline.step()
    expected = (TABLE[:256] - TABLE.mean(0)) / [TABLE[:, 0].std(), TABLE[:, 1].std(), 1]
    # At 10,000, one step of float32 is 1e-3.
    np.testing.assert_allclose(batch["x"], expected, atol=4e-3)
    jax.tree.map(np.testing.assert_array_equal, norm.moments(), moments)
    pipeline.train()  # type: ignore[no-untyped-call]
    pipeline.step()
    assert norm.moments().count > moments.count
