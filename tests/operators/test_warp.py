"""Matrices and what they move: against OpenCV and SciPy, and to the bit where that is promised."""

import functools
from typing import Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
import skimage.transform

from dagrax.pure import ops
from dagrax.pure.ops._elastic import elastic_boxes

from .photographs import HEIGHT, WIDTH, apart, flowers, photograph, whole_pixels

SIZE = (HEIGHT, WIDTH)
METHODS = ("linear", "nearest", "cubic")
MODES = {"constant": "grid-constant", "edge": "nearest", "reflect": "mirror"}
warp = jax.jit(ops.warp, static_argnames=("size", "method", "mode"))
rotate = jax.jit(ops.rotate, static_argnames=("method", "mode"))
rotation = jax.jit(ops.rotation, static_argnums=1)
elastic = jax.jit(ops.elastic, static_argnames=("method", "mode"))


@functools.cache
def some_matrix() -> jax.Array:
    """A turn, a shear and a move, that leave some of the result outside."""
    turned = ops.shear(5.0, -3.0, SIZE) @ ops.rotation(17.3, SIZE)
    return ops.translation(2.3, -1.7) @ ops.scaling(0.7, 0.9, SIZE) @ turned


def floats(rows: npt.ArrayLike) -> np.ndarray:
    return np.asarray(rows, np.float32)


def looked_up(
    image: np.ndarray, x: npt.ArrayLike, y: npt.ArrayLike, order: int, mode: str
) -> np.ndarray:
    """SciPy's reading of an image at the points (x, y)."""
    channels = np.moveaxis(image, 2, 0)
    return np.stack(
        [scipy.ndimage.map_coordinates(c, [y, x], order=order, mode=mode) for c in channels], -1
    )


def origins(matrix: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """In doubles, the points that the pixels of the result come from."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inverse = np.linalg.inv(np.asarray(matrix, np.float64))
    across, down, depth = np.einsum("ij,jhw->ihw", inverse, np.stack([x, y, np.ones_like(x)]))
    return across / depth, down / depth


# --- What is exact


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", METHODS)
def test_the_identity_is_the_image_and_quarter_turns_are_rot90(method: str, mode: str) -> None:
    image, square = photograph(), photograph(1, 32, 32)
    assert np.array_equal(warp(image, jnp.eye(3), method=method, mode=mode), image)
    turned = warp(image, rotation(180.0, SIZE), method=method, mode=mode)
    assert np.array_equal(turned, np.rot90(image, 2))
    for k in range(-5, 6):
        turned = warp(square, rotation(90.0 * k, 32), method=method, mode=mode)
        assert np.array_equal(turned, np.rot90(square, k)), k


def test_a_traced_angle_turns_exactly_too() -> None:
    for side in (31, 32):
        image = photograph(3, side, side)
        for k in range(-2, 4):
            assert np.array_equal(rotate(image, 90.0 * k), np.rot90(image, k)), (side, k)


def test_four_quarter_turns_are_the_identity() -> None:
    image = turned = flowers()[:32, :32]
    for _ in range(4):
        turned = np.asarray(rotate(turned, 90.0))
    assert np.array_equal(turned, image)


def test_whole_pixels_are_turned_by_the_nearest() -> None:
    image = whole_pixels(3, 32, 32)
    turned = rotate(image, 90.0, method="nearest")
    assert turned.dtype == jnp.uint8
    assert np.array_equal(turned, np.rot90(image))


def test_a_matrix_that_maps_four_corners_to_themselves_is_the_identity() -> None:
    corners = [(0, 0), (51, 0), (51, 36), (0, 36)]
    assert np.array_equal(ops.perspective(corners, corners), np.eye(3))


# --- Against others


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_a_warp_is_what_scipy_reads_at_the_origins(method: str, mode: str) -> None:
    for image in (photograph(), photograph(1)):
        for matrix in (some_matrix(), ops.scaling(0.08, 0.1, SIZE)):  # far outside, too
            x, y = origins(matrix)
            found = np.asarray(warp(image, matrix, method=method, mode=mode))
            expected = looked_up(image, x, y, int(method == "linear"), MODES[mode])
            # Where the nearest changes, rounding decides.
            between = [np.abs(at - np.floor(at) - 0.5) < 1e-3 for at in (x, y)]
            kept = ~(between[0] | between[1]) | (method == "linear")
            # Places far outside are known to 1e-4 of a pixel in single precision.
            assert apart(found[kept], expected[kept]) < 1e-4


def test_cubic_is_the_kernel_of_keys() -> None:
    image = photograph()
    inverse = np.linalg.inv(np.asarray(some_matrix(), np.float64))
    expected = skimage.transform.warp(image, inverse, order=3, clip=False, mode="constant")  # type: ignore[no-untyped-call]
    x, y = origins(some_matrix())
    inside = (x > 1) & (x < WIDTH - 2) & (y > 1) & (y < HEIGHT - 2)  # no edge is read
    found = np.asarray(warp(image, some_matrix(), method="cubic"))
    assert inside.sum() > 500
    assert apart(found[inside], expected[inside]) < 1e-4
    assert found.max() > 1  # its overshoot is kept
    ramp = np.broadcast_to(np.arange(WIDTH, dtype=np.float32)[:, None], (HEIGHT, WIDTH, 1))
    assert apart(np.asarray(warp(ramp, some_matrix(), method="cubic"))[inside, 0], x[inside]) < 1e-4


def test_a_perspective_is_that_of_opencv() -> None:
    image, corners = photograph(), floats([(0, 0), (51, 0), (51, 36), (0, 36)])
    moved = corners + floats([(4, 3), (-6, 2), (-1, -5), (3, 0)])
    matrix = ops.perspective(corners, moved)
    expected = cv2.getPerspectiveTransform(corners, moved)
    assert apart(matrix, expected) < 1e-5
    assert apart(ops.warp_points(corners, matrix), moved) < 1e-4
    # OpenCV rounds origins to 1/32 of a pixel; neighbours differ by up to 0.8.
    pixels = cv2.warpPerspective(image, expected, (WIDTH, HEIGHT))
    assert apart(warp(image, matrix), pixels) < 0.8 / 32 * 2


def test_matrices_are_those_of_opencv_and_of_their_definition() -> None:
    centre = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    turned = cv2.getRotationMatrix2D(centre, 33.0, 1.0)  # counter-clockwise
    assert apart(ops.rotation(33.0, SIZE)[:2], turned) < 1e-5
    assert apart(ops.scaling(2.0, 2.0, SIZE)[:2], cv2.getRotationMatrix2D(centre, 0, 2)) < 1e-5
    assert apart(ops.translation(3, -2), [[1, 0, 3], [0, 1, -2], [0, 0, 1]]) == 0
    sheared = ops.shear(45.0, 0.0, SIZE)
    assert apart(sheared[:2, :2], [[1, 1], [0, 1]]) < 1e-6
    assert apart(ops.shear(0.0, 30.0, SIZE)[1, 0], np.tan(np.pi / 6)) < 1e-6
    for matrix in (sheared, ops.rotation(33.0, SIZE), ops.scaling(3.0, 0.2, SIZE)):
        assert apart(ops.warp_points(floats([centre]), matrix), [centre]) < 1e-5


def test_points_outside_are_mixed_with_the_fill() -> None:
    image = photograph()
    filled = warp(image, ops.translation(0.25, 0.0), fill=jnp.asarray([0.1, 0.5, 1.0]))
    expected = 0.75 * image[:, 0] + 0.25 * np.asarray([0.1, 0.5, 1.0], np.float32)
    assert apart(filled[:, 0], expected) < 1e-6
    away = warp(image, ops.translation(99.0, 0.0), fill=0.3)
    assert np.array_equal(away, np.full_like(image, 0.3))


# --- What moves with an image


def test_a_mark_painted_at_a_point_is_found_where_the_point_goes() -> None:
    for matrix in (
        some_matrix(),
        ops.perspective([(0, 0), (51, 0), (51, 36), (0, 36)], [(3, 1), (47, 4), (50, 33), (1, 35)]),
    ):
        points = floats([(20.0, 15.0), (31.0, 20.0), (25.0, 11.0)])
        moved = np.asarray(ops.warp_points(points, matrix))
        # The places of pixels as an image: linear, so that reading between pixels is exact.
        y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
        places = np.asarray(warp(np.stack([x, y], -1), matrix))
        for point, (column, row) in zip(points, moved, strict=True):
            found = looked_up(places, [column], [row], 1, "nearest")[0]
            # A perspective is not linear between the pixels of the result.
            assert apart(found, point) < (1e-4 if matrix[2, 0] == 0 else 1e-2)


def test_a_box_is_the_one_round_its_moved_corners_clipped_to_the_image() -> None:
    boxes = floats([(10, 5, 30, 20), (0, 0, 52, 37), (40, 30, 52, 37)])
    turned = ops.warp_boxes(boxes, rotation(180.0, SIZE), SIZE)
    assert apart(turned, [(22, 17, 42, 32), (0, 0, 52, 37), (0, 0, 12, 7)]) < 1e-5
    moved = ops.warp_boxes(boxes, ops.translation(30.0, -10.0), SIZE)
    assert apart(moved, [(40, 0, 52, 10), (30, 0, 52, 27), (52, 20, 52, 27)]) < 1e-5
    larger = ops.warp_boxes(boxes, ops.rotation(45.0, SIZE), (500, 500))[0]
    extent = (20 + 15) / np.sqrt(2)
    assert apart(larger[2:] - larger[:2], [extent, extent]) < 1e-4


def test_a_box_that_has_left_the_image_comes_back_by_no_motion() -> None:
    boxes = floats([(0, 2, 0, 14), (3, 16, 9, 16), (0, 0, 0, 0), (9, 3, 3, 9), (2, 2, 6, 6)])

    def moved(degrees: jax.Array) -> jax.Array:
        turned = ops.warp_boxes(boxes, ops.rotation(degrees, (16, 16)), (16, 16))
        field = jnp.tile(degrees / 100, (16, 16, 2)) * jnp.arange(16.0)[:, None, None] / 16
        tilted = ops.perspective(
            [(0, 0), (15, 0), (15, 15), (0, 15)], [(3, 1), (9, 4), (8, 9), (1, 9)]
        )
        return jnp.stack([turned, elastic_boxes(turned, field), ops.warp_boxes(turned, tilted, 16)])

    found, slopes = jax.jit(lambda degrees: (moved(degrees), jax.jacfwd(moved)(degrees)))(40.0)
    areas = np.prod(np.asarray(found[..., 2:] - found[..., :2]), axis=-1)
    assert (areas[:, :4] == 0).all()
    assert (areas[:, 4] > 1).all()
    assert np.isfinite(slopes).all()


def test_a_mask_keeps_its_classes() -> None:
    mask = (whole_pixels(1)[..., 0] // 16).astype(np.int32)
    moved = np.asarray(ops.warp_mask(mask, some_matrix(), mask_fill=-1))
    x, y = origins(some_matrix())
    expected = scipy.ndimage.map_coordinates(mask, [y, x], order=0, mode="grid-constant", cval=-1)
    assert moved.dtype == np.int32
    assert (moved != expected).mean() < 0.002  # where the nearest changes
    assert np.array_equal(ops.warp_mask(mask > 3, jnp.eye(3)), mask > 3)


def test_an_elastic_image_is_what_scipy_reads_beside_its_pixels() -> None:
    image, generator = photograph(), np.random.default_rng(0)
    noise = generator.normal(size=(*SIZE, 2)).astype(np.float32)
    displacement = 12 * cv2.GaussianBlur(noise, (0, 0), 4)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for mode, its in MODES.items():
        places = x + displacement[..., 0], y + displacement[..., 1]
        found = elastic(image, displacement, mode=mode)
        assert apart(found, looked_up(image, *places, 1, its)) < 1e-5
    assert np.array_equal(elastic(image, 0 * displacement), image)


# --- Gradients


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_a_warp_has_the_gradients_of_finite_differences(method: Literal["linear", "cubic"]) -> None:
    weights = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(*SIZE, 3)), 2)

    def loss(image: jax.Array, degrees: jax.Array, fill: jax.Array) -> jax.Array:
        return jnp.vdot(ops.rotate(image, degrees, method=method, fill=fill), weights)

    with jax.enable_x64(True):
        image = scipy.ndimage.gaussian_filter(photograph().astype(np.float64), (1, 1, 0))
        direction = np.random.default_rng(1).normal(size=image.shape)
        arguments = (image, np.float64(20.0), np.float64(0.3))
        along = (direction, np.ones(()), np.ones(()))
        value = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
        gradients = value(*arguments)[1]
        for place, step in enumerate(along):

            def beside(by: float, place: int = place, step: np.ndarray = step) -> float:
                moved = [x + by * step if at == place else x for at, x in enumerate(arguments)]
                return float(value(*moved)[0])

            difference = (beside(1e-6) - beside(-1e-6)) / 2e-6
            assert np.vdot(gradients[place], step) == pytest.approx(difference, rel=1e-4)


def test_a_matrix_that_is_no_number_gives_no_numbers() -> None:
    assert np.isnan(warp(photograph(), jnp.full((3, 3), jnp.nan))).all()
