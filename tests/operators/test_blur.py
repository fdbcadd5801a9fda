"""Blurs agree with OpenCV and scipy.ndimage, reach as far as they say, and are differentiable."""

from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.test_util import check_grads

from dagrax.pure import ops
from tests.operators.pictures import floats, photograph

gaussian: Any = jax.jit(ops.gaussian_blur, static_argnames="radius")
box: Any = jax.jit(ops.box_blur, static_argnames="radius")
motion: Any = jax.jit(ops.motion_blur, static_argnames="length")

both = pytest.mark.parametrize("channels", [1, 3])


@both
def test_a_gaussian_blur_is_that_of_scipy_and_of_opencv(channels: int) -> None:
    image = floats(photograph(channels=channels))
    for sigma in (0.8, 2.0):
        found = gaussian(image, sigma, radius=ops.gaussian_radius(sigma))
        right = scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="mirror")
        assert np.abs(found - right).max() < 1e-6  # both in float32
        taps = 2 * ops.gaussian_radius(sigma) + 1
        other = cv2.GaussianBlur(image, (taps, taps), sigma).reshape(image.shape)
        assert np.abs(found - other).max() < 2e-6


def test_the_radius_is_four_deviations_and_at_least_one() -> None:
    assert [ops.gaussian_radius(sigma) for sigma in (0, 0.1, 1, 1.6, 2)] == [1, 1, 4, 6, 8]
    assert ops.gaussian_radius(np.array([0.1, 3.0])) == 12
    image = floats(photograph())
    assert np.array_equal(ops.gaussian_blur(image, 1.0), gaussian(image, 1.0, radius=4))


def test_a_traced_sigma_gives_what_a_known_one_gives() -> None:
    image = floats(photograph())
    sigmas = jnp.array([0.0, 0.5, 1.5])
    found = jax.jit(jax.vmap(lambda sigma: ops.gaussian_blur(image, sigma, radius=6)))(sigmas)
    assert np.array_equal(found[0], image)
    for blurred, sigma in zip(found[1:], (0.5, 1.5), strict=True):
        right = scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="mirror", radius=6)
        assert np.abs(blurred - right).max() < 1e-6


def test_a_box_blur_is_a_mean() -> None:
    image = floats(photograph())
    assert np.abs(box(image, radius=2) - cv2.blur(image, (5, 5))).max() < 1e-6
    assert np.array_equal(box(image, radius=0), image)


def test_a_border_is_reflected_as_often_as_is_needed() -> None:
    image = floats(photograph())[:3, :5]
    right = scipy.ndimage.gaussian_filter(image, (2, 2, 0), mode="mirror", radius=8)
    assert np.abs(gaussian(image, 2.0, radius=8) - right).max() < 1e-6
    one = image[:1, :1]
    assert np.allclose(gaussian(one, 2.0, radius=8), one, atol=1e-6)


@pytest.mark.parametrize("length", [4, 5, 14])
def test_a_motion_blur_is_a_mean_along_a_line(length: int) -> None:
    image = floats(photograph())
    rows, columns, channels = np.indices(image.shape)
    for degrees in (0.0, 30.0, 90.0, -45.0, 200.0):
        angle = np.deg2rad(degrees)
        points = np.arange(length) - (length - 1) / 2
        moved = [
            scipy.ndimage.map_coordinates(
                image,
                (rows - at * np.sin(angle), columns + at * np.cos(angle), channels),
                order=1,
                mode="mirror",
            )
            for at in points
        ]
        found = motion(image, length=length, degrees=degrees)
        assert np.abs(found - np.mean(moved, 0)).max() < 1e-5
    fixed = jax.jit(lambda x: ops.motion_blur(x, length, 200.0))  # which XLA folds
    assert np.abs(fixed(image) - found).max() < 1e-6
    if length == 5:
        right = cv2.blur(image, (1, 5))
        assert np.abs(motion(image, length=5, degrees=90.0) - right).max() < 1e-6


def test_positive_angles_turn_counter_clockwise() -> None:
    dot = np.zeros((5, 5, 1), np.float32)
    dot[2, 2] = 1
    line = motion(dot, length=3, degrees=45.0)[..., 0]
    assert line[1, 3] == line[3, 1] > 0
    assert line[1, 1] == line[3, 3] == 0


def test_the_dtype_stays() -> None:
    for dtype in (jnp.float16, jnp.bfloat16):
        image = jax.ShapeDtypeStruct((5, 7, 2), dtype)
        for function in (
            lambda x: ops.gaussian_blur(x, 1.0),
            lambda x: ops.box_blur(x, 2),
            lambda x: ops.motion_blur(x, 3, 30.0),
        ):
            found = jax.eval_shape(function, image)
            assert (found.shape, found.dtype) == (image.shape, dtype)


def test_gradients_are_those_of_finite_differences() -> None:
    # In float64, where central differences are good to 1e-7.
    with jax.enable_x64(True):
        image = jnp.asarray(photograph()[:4, :5], jnp.float64) / 255
        functions = {
            "gaussian": (lambda x, at: ops.gaussian_blur(x, at, 2), 0.9),
            "motion": (lambda x, at: ops.motion_blur(x, 3, at), 20.0),
        }
        for function, at in functions.values():
            arguments = (image, jnp.asarray(at))
            check_grads(
                jax.jit(function), arguments, order=1, modes=["rev"], eps=1e-6, atol=1e-6, rtol=1e-6
            )
        slope = jax.grad(lambda at: ops.gaussian_blur(image, at, 3).sum())(jnp.asarray(0.0))
        assert float(slope) == 0
