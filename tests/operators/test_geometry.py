"""Whole pixels and sizes: flips, turns, windows, margins and resizing, against NumPy and Pillow."""

import functools
from typing import Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dagrax.pure import ops

from .photographs import apart, photograph, whole_pixels

MASK = (whole_pixels(1)[..., 0] // 16).astype(np.int32)
PICTURES = [
    pytest.param(photograph(), id="floats"),
    pytest.param(photograph(1), id="one channel"),
    pytest.param(whole_pixels(), id="uint8"),
    pytest.param(MASK, id="mask"),
    pytest.param(MASK > 5, id="booleans"),
]


@pytest.mark.parametrize("image", PICTURES)
def test_pixels_are_moved_and_none_is_changed(image: np.ndarray) -> None:
    found = {
        "flip_left_right": (ops.flip_left_right(image), np.fliplr(image)),
        "flip_up_down": (ops.flip_up_down(image), np.flipud(image)),
        "transpose": (ops.transpose(image), np.swapaxes(image, 0, 1)),
        "crop": (ops.crop(image, 3, 5, (20, 31)), image[3:23, 5:36]),
        "crop at an edge": (ops.crop(image, 37 - 20, 52 - 31, (20, 31)), image[17:, 21:]),
        "center_crop": (ops.center_crop(image, (20, 31)), image[8:28, 10:41]),
        "resize": (ops.resize(image, (20, 81), "nearest"), _nearest(image, (20, 81))),
    }
    for k in range(-4, 5):
        found[f"rot90 {k}"] = ops.rot90(image, k), np.rot90(image, k)
    for name, (result, expected) in found.items():
        assert result.dtype == image.dtype, name
        np.testing.assert_array_equal(result, expected, err_msg=name)


def _nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        np.floor((np.arange(after) + 0.5) * before / after).astype(int)
        for before, after in zip(image.shape, size, strict=False)
    )
    return image[rows][:, columns]  # type: ignore[no-any-return]


def test_a_window_and_quarter_turns_may_be_known_only_at_run_time() -> None:
    image = photograph(3, 32, 32)
    moved = jax.jit(lambda image, k: (ops.rot90(image, k), ops.crop(image, k + 4, 7 - k, (9, 8))))
    for k in range(-4, 8):
        turned, window = moved(image, k)
        np.testing.assert_array_equal(turned, np.rot90(image, k))
        np.testing.assert_array_equal(window, image[k + 4 : k + 13, 7 - k : 15 - k])


@pytest.mark.parametrize("place", [(-1, 0), (29, 0), (0, -1), (0, 45), (2**31 - 1, 0)])
def test_a_window_that_leaves_the_image_is_never_moved_back(place: tuple[int, int]) -> None:
    image = photograph()
    with pytest.raises(ValueError, match=r"9x8 window at top .* which it leaves"):
        ops.crop(image, *place, (9, 8))
    with pytest.raises(jax.errors.JaxRuntimeError, match="which it leaves"):
        jax.block_until_ready(_window(image, *place))


_window = jax.jit(lambda image, top, left: ops.crop(image, top, left, (9, 8)))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize(
    ("padding", "sides"),
    [(0, ((0, 0), (0, 0))), ((2, 70), ((2, 2), (70, 70))), (((1, 2), (3, 150)),) * 2],
)
def test_margins_are_those_of_numpy(
    padding: ops.Padding,
    sides: tuple[tuple[int, int], ...],
    mode: Literal["constant", "reflect", "edge"],
) -> None:
    for image in (photograph(), whole_pixels(1)):
        expected = np.pad(image, [*sides, (0, 0)], mode)
        np.testing.assert_array_equal(ops.pad(image, padding, mode), expected)


def test_margins_are_filled_with_a_number_or_one_for_each_channel() -> None:
    colours = ops.pad(whole_pixels(), 2, fill=(7, 255, 0))
    assert colours.dtype == jnp.uint8
    np.testing.assert_array_equal(colours[:2], np.broadcast_to((7, 255, 0), (2, 56, 3)))
    np.testing.assert_array_equal(ops.pad(MASK, ((0, 1), (0, 0)), fill=-1)[-1], np.full(52, -1))
    assert float(ops.pad(photograph(1), 1, fill=0.25)[0, 0, 0]) == 0.25


SIZES = [(20, 30), (60, 71), (11, 97), (37, 52), (1, 1)]
PILLOW = {"linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}
resized = jax.jit(ops.resize, static_argnums=(1, 2, 3))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_resizing_is_that_of_pillow(method: str, size: tuple[int, int]) -> None:
    image = photograph()
    channels = [Image.fromarray(channel) for channel in np.moveaxis(image, 2, 0)]
    height, width = size
    resizing = [np.asarray(x.resize((width, height), PILLOW[method])) for x in channels]
    # Pillow's weights are doubles, ours single: up to 37 products of numbers in [0, 1].
    assert apart(resized(image, size, method), np.stack(resizing, -1)) < 1e-5


def test_resizing_without_antialias_is_that_of_opencv() -> None:
    image = photograph()
    for size in SIZES:
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        assert apart(resized(image, size, "linear", False), expected) < 1e-5


def test_the_dtype_of_an_image_is_kept() -> None:
    image = jnp.asarray(photograph(), jnp.bfloat16)
    wide = image.astype(jnp.float32)
    turned = jax.jit(functools.partial(ops.rotate, degrees=20.0))
    for function in (lambda x: resized(x, (20, 30), "linear"), turned):
        found = function(image)  # type: ignore[no-untyped-call]
        assert found.dtype == jnp.bfloat16
        # One rounding, of the result, by half of the last of eight bits.
        expected = function(wide)  # type: ignore[no-untyped-call]
        np.testing.assert_allclose(found.astype(jnp.float32), expected, 1.001 * 2**-8, 1e-6)
