"""Noise has the moments it says, and what is erased is a rectangle that stays in the image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import dagrax.pure as dp
from dagrax.pure import ops
from tests.operators.pictures import floats, photograph

DRAWS = 10_000
GREY = np.full((100, 100, 3), 0.4, np.float32)


def keys(count: int = DRAWS) -> Any:
    return jax.random.split(jax.random.key(5), count)


def near(found: Any, mean: float, deviation: float, count: int = DRAWS) -> bool:
    """Whether a mean of so many draws is within 4 of its deviations."""
    return bool(abs(float(np.mean(found)) - mean) <= 4 * deviation / np.sqrt(count))


# By value


@pytest.mark.parametrize(
    ("name", "draw", "mean", "deviation"),
    [
        ("gaussian", lambda x, key: ops.gaussian_noise(x, 0.2, key=key), 0.4, 0.2),
        ("speckle", lambda x, key: ops.speckle(x, 0.2, key=key), 0.4, 0.08),
        ("poisson", lambda x, key: ops.poisson_noise(x, 5.0, key=key), 0.4, np.sqrt(0.4 / 5)),
        ("photons", lambda x, key: ops.poisson_noise(x, 90.0, key=key), 0.4, np.sqrt(0.4 / 90)),
    ],
)
def test_noise_has_its_mean_and_deviation(
    name: str, draw: Any, mean: float, deviation: float
) -> None:
    found = np.asarray(jax.jit(draw)(GREY, jax.random.key(1)), np.float64)
    assert near(found, mean, deviation, found.size)
    # The deviation of a variance is about its size times the root of 2 / n, and that of a count
    # of 2 on average somewhat more.
    assert near((found - mean) ** 2, deviation**2, 1.6 * deviation**2, found.size)
    assert not np.array_equal(found[..., 0], found[..., 1])


def test_photons_are_whole_and_any_key_draws_them() -> None:
    draw = jax.jit(lambda x: ops.poisson_noise(x, 5.0, key=dp.fast_key(0)))
    found = draw(GREY[:9, :9])
    assert np.allclose(found * 5, np.round(found * 5), atol=1e-5)
    assert not draw(-GREY[:9, :9]).any()


def test_photons_are_drawn_from_the_poisson_distribution() -> None:
    count = 100_000
    draw = jax.jit(
        lambda mean, key: ops.poisson_noise(jnp.full((1, count, 1), mean / 4096), 4096.0, key=key)
    )
    for mean in (0, 0.01, 0.3, 1, 4, 7.9, 8, 12, 50, 333, 1000):
        found = np.asarray(draw(mean, jax.random.key(int(97 * mean))), np.float64).ravel() * 4096
        assert np.array_equal(found, np.round(found)), mean
        # 4 deviations of a mean, and of a variance: the fourth moment of a count is 3 m^2 + m.
        assert near(found, mean, np.sqrt(mean), count), mean
        assert near((found - mean) ** 2, mean, np.sqrt(2 * mean**2 + mean), count), mean
        # Kolmogorov: a distance above 2 / sqrt(n) comes once in 1500 times, for counts less often.
        counts = np.arange(mean + 9 * np.sqrt(mean) + 9)
        share = np.searchsorted(np.sort(found), counts, "right") / count
        assert np.abs(share - stats.poisson.cdf(counts, mean)).max() < 2 / np.sqrt(count), mean


def test_noise_is_clipped_if_it_is_asked_for() -> None:
    draw = jax.jit(lambda key: ops.gaussian_noise(GREY, 1.0, key=key))(jax.random.key(0))
    clipped = ops.gaussian_noise(GREY, 1.0, clip=True, key=jax.random.key(0))
    assert draw.min() < 0 and draw.max() > 1
    assert np.allclose(clipped, np.clip(draw, 0, 1), atol=1e-6)


def test_the_gradient_of_photons_is_that_of_their_mean() -> None:
    image = jnp.array([[[0.0, 0.3, 0.9, -0.5]]])

    def total(image: Any, peak: Any) -> Any:
        return ops.poisson_noise(image, peak, key=jax.random.key(0)).sum()

    found, slopes = jax.jit(jax.value_and_grad(total, (0, 1)))(image, 20.0)
    assert slopes[0].ravel().tolist() == [1, 1, 1, 0]
    noise = float(found) - 1.2
    assert np.isclose(slopes[1], -noise / 2 / 20, atol=1e-6)  # noise is as the root of 1 / peak


# By pixel


def test_salt_and_pepper_strike_whole_pixels_as_often_as_they_say() -> None:
    found = np.asarray(jax.jit(ops.salt_and_pepper)(GREY, 0.3, key=jax.random.key(2)))
    assert np.array_equal(found, np.tile(found[..., :1], 3))
    for value, share in ((0.0, 0.15), (1.0, 0.15), (np.float32(0.4), 0.7)):
        assert near(found[..., 0] == value, share, np.sqrt(share * (1 - share)))
    none, all_ = (ops.salt_and_pepper(GREY, p, key=jax.random.key(2)) for p in (0, 1))
    assert np.array_equal(none, GREY)
    assert set(np.unique(all_)) == {0, 1}


# Rectangles


@pytest.mark.parametrize("channels", [1, 3])
def test_a_rectangle_is_erased_as_it_is_by_slices(channels: int) -> None:
    for image, value in ((photograph(channels=channels), 7), (floats(photograph()), 0.25)):
        right = image.copy()
        right[3:8, 40:52] = value
        found = jax.jit(lambda x, top, v=value: ops.erase(x, top, 40, (5, 12), v))(image, 3)
        assert found.dtype == image.dtype
        assert np.array_equal(found, right)
    image = photograph().copy()
    found = ops.erase(image, 0, 1, 2, (1, 2, 255))
    image[:2, 1:3] = (1, 2, 255)
    assert np.array_equal(found, image)


def test_holes_lie_within_the_image_anywhere_alike() -> None:
    image = np.ones((4, 5, 1), np.float32)
    drop = jax.jit(jax.vmap(lambda key: ops.coarse_dropout(image, 1, (2, 3), key=key)))
    found = np.asarray(drop(keys()))[..., 0] == 0
    assert (found.sum((1, 2)) == 6).all()
    places = [
        found[:, top : top + 2, left : left + 3].all((1, 2))
        for top in range(3)
        for left in range(3)
    ]
    assert all(near(place, 1 / 9, np.sqrt(1 / 9 * 8 / 9)) for place in places)


def test_there_are_as_many_holes_as_asked_for() -> None:
    image = np.full((9, 9, 3), 200, np.uint8)
    drop = jax.vmap(lambda key: ops.coarse_dropout(image, 2, 1, (1, 2, 3), key=key))
    found = np.asarray(jax.jit(drop)(keys(200)))
    struck = (found == np.array([1, 2, 3], np.uint8)).all(-1)
    assert np.array_equal(~struck, (found == 200).all(-1))
    assert set(struck.sum((1, 2)).tolist()) == {1, 2}  # two may be one
    assert np.array_equal(ops.coarse_dropout(image, 0, 3, key=jax.random.key(0)), image)


def test_rectangles_by_chance_have_the_area_and_the_ratio_asked_for() -> None:
    image = np.ones((60, 80, 1), np.float32)
    p, scale, ratio = 0.7, (0.1, 0.2), (0.5, 2.0)
    erase = jax.jit(jax.vmap(lambda key: ops.random_erase(image, p, scale, ratio, key=key)))
    found = np.asarray(erase(keys(2_000)))[..., 0] == 0
    some = found.any((1, 2))
    assert near(some, p, np.sqrt(p * (1 - p)), 2_000)
    height = found[some].any(2).sum(1)
    width = found[some].any(1).sum(1)
    area = found[some].sum((1, 2))
    assert np.array_equal(area, height * width)  # all of a rectangle, within the image
    # Sides are rounded to pixels: each by up to 1 / 2 of at least 15.
    assert (area / 4800).min() > 0.1 * 0.93 and (area / 4800).max() < 0.2 * 1.07
    assert (height / width).min() > 0.5 * 0.93 and (height / width).max() < 2 * 1.07
    assert near(area / 4800, 0.15, 0.1 / np.sqrt(12), len(area))
    assert near(np.log(height / width), 0, np.log(4) / np.sqrt(12), len(area))


def test_a_rectangle_that_never_fits_is_not_erased() -> None:
    image = np.ones((2, 50, 1), np.float32)
    erase = jax.jit(lambda key: ops.random_erase(image, 1.0, (0.9, 1.0), (30.0, 40.0), key=key))
    found = erase(jax.random.key(0))
    assert np.array_equal(found, image)


def test_the_dtype_stays_and_uint8_is_erased() -> None:
    key = jax.random.key(0)
    floating = {
        "gaussian": lambda x: ops.gaussian_noise(x, 0.1, key=key),
        "speckle": lambda x: ops.speckle(x, 0.1, key=key),
        "poisson": lambda x: ops.poisson_noise(x, 9.0, key=key),
        "salt": lambda x: ops.salt_and_pepper(x, 0.1, key=key),
    }
    erasing = {
        "erase": lambda x: ops.erase(x, 0, 0, 2, 1),
        "holes": lambda x: ops.coarse_dropout(x, 3, 2, key=key),
        "random": lambda x: ops.random_erase(x, key=key),
    }
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, jnp.uint8):
        image = jax.ShapeDtypeStruct((5, 7, 2), dtype)
        for name, function in (erasing if dtype == jnp.uint8 else floating | erasing).items():
            found = jax.eval_shape(function, image)
            assert (found.shape, found.dtype) == (image.shape, dtype), name
    for function in floating.values():
        with pytest.raises(TypeError, match="takes an image of floats"):
            jax.eval_shape(function, jax.ShapeDtypeStruct((5, 7, 2), jnp.uint8))
