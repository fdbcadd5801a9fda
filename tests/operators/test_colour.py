"""Functions of colour agree with Pillow, OpenCV and scikit-image, and hold what they promise."""

from collections.abc import Callable
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from PIL import ImageEnhance, ImageOps
from skimage import color, exposure

from dagrax.pure import ops
from tests.operators.pictures import SIZE, floats, photograph, pillow, pixels

Function = Callable[..., Any]
EXPOSURE: Any = exposure  # untyped


def quick(function: Function, *static: str) -> Function:
    """The same, compiled: one program for each shape, where eagerly each step is one."""
    return jax.jit(function, static_argnames=static)


# Two numbers for each function that has one: both sides of the one that gives the image.
ADJUSTED: dict[str, tuple[Function, tuple[float, float]]] = {
    "brightness": (quick(ops.adjust_brightness, "clip"), (-0.2, 0.3)),
    "contrast": (quick(ops.adjust_contrast, "clip"), (0.4, 1.7)),
    "saturation": (quick(ops.adjust_saturation, "clip"), (0.3, 1.8)),
    "hue": (quick(ops.adjust_hue, "clip"), (-0.13, 0.4)),
    "gamma": (quick(ops.adjust_gamma, "clip"), (0.6, 2.3)),
    "sharpness": (quick(ops.adjust_sharpness, "clip"), (0.1, 2.5)),
}
# What each gives the image at.
NEUTRAL = {"brightness": 0.0, "hue": 0.0}
EXACT: dict[str, Function] = {
    "invert": quick(ops.invert),
    "solarize": quick(lambda image: ops.solarize(image, 0.4 if _floating(image) else 102)),
    "posterize": quick(lambda image: ops.posterize(image, 3)),
    "equalize": quick(ops.equalize),
}
PLAIN: dict[str, Function] = {
    "autocontrast": quick(ops.autocontrast),
    "normalize": quick(lambda image: ops.normalize(image, 0.4, 0.2)),
    "denormalize": quick(lambda image: ops.denormalize(image, 0.4, 0.2)),
    "grayscale": quick(lambda image: ops.rgb_to_grayscale(image, keep_channels=True)),
}
EVERY: dict[str, Function] = {
    **{name: lambda x, f=f, at=at: f(x, at[1]) for name, (f, at) in ADJUSTED.items()},
    **EXACT,
    **PLAIN,
}
SPACES = {
    "rgb_to_hsv": quick(ops.rgb_to_hsv),
    "hsv_to_rgb": quick(ops.hsv_to_rgb),
    "rgb_to_yuv": quick(ops.rgb_to_yuv),
    "yuv_to_rgb": quick(ops.yuv_to_rgb),
}

both = pytest.mark.parametrize("channels", [1, 3])


def _floating(image: Any) -> bool:
    return bool(jnp.issubdtype(image.dtype, jnp.floating))


def cube(count: int = 33) -> np.ndarray:
    """Colours from all over the RGB cube, its corners, edges and diagonal among them."""
    axis = np.linspace(0, 1, count, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, axis), -1).reshape(count, -1, 3)


# By number


def by_pillow(enhancer: Any) -> Function:
    return lambda image, at: floats(pixels(enhancer(pillow(image)).enhance(at)))


def turned(image: np.ndarray, turn: float) -> Any:
    if image.shape[2] == 1:
        return floats(image)
    hsv = color.rgb2hsv(image)
    hsv[..., 0] = (hsv[..., 0] + turn) % 1
    return color.hsv2rgb(hsv)


# Pillow rounds what it mixes with to a level, and the mixture down: (|1 - factor| / 2 + 1) levels.
REFERENCES: dict[str, tuple[Function, Callable[[float], float]]] = {
    "brightness": (lambda image, at: np.clip(floats(image) + at, 0, 1), lambda at: 1e-6),
    "contrast": (by_pillow(ImageEnhance.Contrast), lambda at: (abs(1 - at) / 2 + 1) / 255),
    "saturation": (by_pillow(ImageEnhance.Color), lambda at: (abs(1 - at) / 2 + 1) / 255),
    "hue": (turned, lambda at: 1e-5),  # in float64 there
    "gamma": (lambda image, at: EXPOSURE.adjust_gamma(floats(image), at), lambda at: 1e-6),
    "sharpness": (by_pillow(ImageEnhance.Sharpness), lambda at: (abs(1 - at) / 2 + 1) / 255),
}


@both
@pytest.mark.parametrize("name", ADJUSTED)
def test_an_adjusted_photograph_is_that_of_another_library(name: str, channels: int) -> None:
    function, numbers = ADJUSTED[name]
    expected, tolerance = REFERENCES[name]
    image = photograph(channels=channels)
    for at in numbers:
        found = function(floats(image), at)
        assert found.shape == image.shape
        assert np.abs(found - expected(image, at)).max() <= tolerance(at) + 1e-6
    neutral = function(floats(image), NEUTRAL.get(name, 1.0))
    assert np.abs(neutral - floats(image)).max() < 1e-6


def test_gain_multiplies_what_gamma_gives() -> None:
    image = floats(photograph())
    expected = np.clip(1.5 * image**2, 0, 1)
    adjust = ADJUSTED["gamma"][0]
    assert np.allclose(adjust(image, 2.0, 1.5), expected, atol=1e-6)
    assert np.all(adjust(image, 0.0) == 1)


def test_nothing_is_clipped_that_is_not_to_be() -> None:
    image = floats(photograph())
    for name, (function, numbers) in ADJUSTED.items():
        found = [function(image, at, clip=False) for at in numbers]
        clipped = [function(image, at) for at in numbers]
        outside = any(bool(((x < 0) | (x > 1)).any()) for x in found)
        assert outside == (name not in ("hue", "gamma")), name
        for with_, without in zip(clipped, found, strict=True):
            assert np.allclose(with_, np.clip(without, 0, 1), atol=1e-6), name


# Levels


@both
@pytest.mark.parametrize("number", [0, 1])
def test_levels_of_uint8_are_those_of_pillow(number: int, channels: int) -> None:
    image = photograph(number, channels)
    own = pillow(image)
    solarize, posterize = quick(ops.solarize), quick(ops.posterize)
    expected = [
        (EXACT["invert"](image), ImageOps.invert(own)),
        (EXACT["equalize"](image), ImageOps.equalize(own)),
        *((solarize(image, at), ImageOps.solarize(own, at)) for at in (0, 1, 100, 255, 256)),
        *((posterize(image, at), ImageOps.posterize(own, at)) for at in range(1, 9)),
    ]
    for found, right in expected:
        assert found.dtype == jnp.uint8
        assert np.array_equal(found, pixels(right))
    assert not posterize(image, 0).any()


@both
@pytest.mark.parametrize("name", EXACT)
def test_floats_have_the_levels_of_uint8(name: str, channels: int) -> None:
    image = photograph(channels=channels)
    function = EXACT[name]
    assert np.allclose(function(floats(image)), floats(np.asarray(function(image))), atol=1e-6)


def test_few_levels_are_equalized_as_by_pillow() -> None:
    flat = np.full((*SIZE, 1), 7, np.uint8)
    two = np.where(np.arange(SIZE[1])[:, None] < 3, flat, np.uint8(200))
    few = photograph(1, 1) // np.uint8(90) * np.uint8(90)
    for image in (flat, two, few):
        assert np.array_equal(EXACT["equalize"](image), pixels(ImageOps.equalize(pillow(image))))


@both
def test_contrast_is_stretched_as_by_pillow(channels: int) -> None:
    image = photograph(1, channels) // np.uint8(2) + np.uint8(30)
    found = PLAIN["autocontrast"](floats(image))
    right = floats(pixels(ImageOps.autocontrast(pillow(image))))
    assert np.abs(found - right).max() <= 1 / 255  # Pillow rounds down
    assert (float(found.min()), float(found.max())) == (0, 1)
    assert (
        ops.autocontrast(np.full((2, 2, 1), 0.3, np.float32)).tolist()
        == [[[np.float32(0.3)]] * 2] * 2
    )


# Spaces


def test_spaces_are_those_of_other_libraries() -> None:
    image = floats(photograph())
    hsv, right = np.asarray(SPACES["rgb_to_hsv"](image)), color.rgb2hsv(image)
    apart = np.abs(hsv - right)
    apart[..., 0] = np.minimum(apart[..., 0], 1 - apart[..., 0])  # round the circle
    assert apart.max() < 1e-5
    assert np.allclose(SPACES["hsv_to_rgb"](right.astype(np.float32)), image, atol=1e-5)
    assert np.allclose(SPACES["rgb_to_yuv"](image), color.rgb2yuv(image), atol=1e-6)
    grey = quick(ops.rgb_to_grayscale)(image)
    assert np.allclose(grey[..., 0], cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), atol=1e-6)
    assert np.array_equal(PLAIN["grayscale"](image), np.tile(grey, 3))


def test_there_and_back_is_the_colour_all_over_the_cube() -> None:
    colours = cube()
    turn, mean = ADJUSTED["hue"][0], np.array([0.4, 0.5, 0.6], np.float32)
    hsv = SPACES["rgb_to_hsv"](colours)
    back = [
        SPACES["hsv_to_rgb"](hsv),
        SPACES["yuv_to_rgb"](SPACES["rgb_to_yuv"](colours)),
        turn(colours, 0.0),
        turn(colours, -1.0),
        turn(turn(colours, 0.37), -0.37),
        quick(lambda x: ops.denormalize(ops.normalize(x, mean, 0.2), mean, 0.2))(colours),
    ]
    for found in back:
        assert np.abs(found - colours).max() < 1e-5
    assert (float(hsv.min()), float(hsv.max())) == (0, 1)


def test_a_hue_may_turn_many_times() -> None:
    hsv = np.array([[[0.25, 1, 1], [3.25, 1, 1], [-0.75, 1, 1]]], np.float32)
    assert np.allclose(SPACES["hsv_to_rgb"](hsv), [[[0.5, 1, 0]] * 3], atol=1e-6)


def test_channels_are_normalized_each_by_its_own() -> None:
    image = floats(photograph())
    mean, std = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.1, 0.2, 0.3], np.float32)
    assert np.allclose(ops.normalize(image, mean, std), (image - mean) / std, atol=1e-5)
    assert np.allclose(ops.normalize(image, 0.5, [0.1]), (image - 0.5) / 0.1, atol=1e-5)
    assert np.allclose(ops.denormalize(image, mean, std), image * std + mean, atol=1e-6)


# What holds for all


@pytest.mark.parametrize("name", EVERY)
def test_grey_stays_grey(name: str) -> None:
    image = np.tile(floats(photograph(channels=1)), 3)
    found = np.asarray(EVERY[name](image))
    assert found.max() > found.min()
    assert np.array_equal(found, np.tile(found[..., :1], 3))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@both
def test_channels_and_dtype_stay(channels: int, dtype: Any) -> None:
    image = jax.ShapeDtypeStruct((5, 7, channels), dtype)
    for name, function in (EVERY | (SPACES if channels == 3 else {})).items():
        found = jax.eval_shape(function, image)
        assert (found.shape, found.dtype) == (image.shape, image.dtype), name
    assert jax.eval_shape(ops.rgb_to_grayscale, image).shape == (5, 7, 1)


@pytest.mark.parametrize("name", ["contrast", "hue", "gamma"])
def test_numbers_of_16_bits_are_computed_in_32(name: str) -> None:
    function, (_, at) = ADJUSTED[name]
    image = jnp.asarray(floats(photograph()), jnp.bfloat16)
    right = function(image.astype(jnp.float32), at).astype(jnp.bfloat16)
    assert np.array_equal(function(image, jnp.float32(at)), right)


@both
def test_the_contrast_of_a_flat_image_is_the_image(channels: int) -> None:
    image = np.full((*SIZE, channels), 0.3, np.float32)
    assert np.array_equal(ops.adjust_contrast(image, 1.9), image)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("name", EVERY | SPACES)
def test_other_numbers_of_channels_are_refused(name: str, channels: int) -> None:
    with pytest.raises(ValueError, match=f"of .*3 channels, but was given f32\\[5,7,{channels}\\]"):
        jax.eval_shape((EVERY | SPACES)[name], jax.ShapeDtypeStruct((5, 7, channels), jnp.float32))


@pytest.mark.parametrize("name", EVERY | SPACES)
def test_integers_and_batches_are_refused(name: str) -> None:
    function = (EVERY | SPACES)[name]
    wrong = jnp.int32 if name in EXACT else jnp.uint8
    with pytest.raises(TypeError, match=r"takes an image of floats.*; cast it before"):
        jax.eval_shape(function, jax.ShapeDtypeStruct((5, 7, 3), wrong))
    with pytest.raises(ValueError, match=r"but was given f32\[2,5,7,3\]; map it"):
        jax.eval_shape(function, jax.ShapeDtypeStruct((2, 5, 7, 3), jnp.float32))


# Gradients


def smooth() -> np.ndarray:
    """A few colours in which no two channels, and none and a bound, are near."""
    steps = np.random.default_rng(3).permuted(np.tile(np.linspace(0.15, 0.85, 3), (20, 1)), axis=1)
    jitter = np.random.default_rng(4).uniform(-0.1, 0.1, (20, 3))
    return (steps + jitter).reshape(4, 5, 3)


@pytest.mark.parametrize("name", [*ADJUSTED, *PLAIN, *SPACES, "invert", "scaled"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    # In float64, where central differences are good to 1e-7.
    with jax.enable_x64(True):
        image = jnp.asarray(smooth())
        if name in ADJUSTED:
            function, (_, at) = ADJUSTED[name]
            arguments: tuple[jax.Array, ...] = (image, jnp.asarray(at))
            unclipped: Function = jax.jit(lambda image, at: function(image, at, clip=False))
        elif name == "scaled":
            arguments = (image, jnp.asarray([0.4, 0.5, 0.6]), jnp.asarray([0.2, 0.3, 0.4]))
            unclipped = jax.jit(ops.normalize)
        else:
            arguments, unclipped = (image,), jax.jit((EVERY | SPACES)[name])
        check_grads(unclipped, arguments, order=1, modes=["rev"], eps=1e-6, atol=1e-6, rtol=1e-6)


def test_gradients_are_finite_where_channels_are_alike_and_at_the_bounds() -> None:
    axis = np.array([0, 0.5, 1], np.float32)
    colours = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(3, 9, 3)
    numbers = {name: jnp.float32([*at, NEUTRAL.get(name, 1)]) for name, (_, at) in ADJUSTED.items()}

    @jax.jit
    def gradients() -> dict[str, Any]:
        slope = {
            name: jax.vmap(jax.grad(lambda x, at, f=f: f(x, at).sum(), (0, 1)), (None, 0))
            for name, (f, _) in ADJUSTED.items()
        }
        adjusted = {name: slope[name](colours, at) for name, at in numbers.items()}
        plain = PLAIN | SPACES
        return adjusted | {
            name: jax.grad(lambda x, f=plain[name]: f(x).sum())(colours) for name in plain
        }

    for name, found in gradients().items():
        assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(found)), name


def test_what_changes_nothing_passes_gradients_as_they_are() -> None:
    axis = np.array([0, 0.5, 1], np.float32)
    colours = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(27, 1, 1, 3)

    def slopes(function: Function) -> Any:
        return jax.jit(jax.vmap(jax.jacfwd(function)))(colours).reshape(27, 3, 3)

    identity = np.tile(np.eye(3), (27, 1, 1))
    turned = slopes(lambda x: ops.adjust_hue(x, jnp.float32(0), clip=False))
    there_and_back = slopes(lambda x: ops.hsv_to_rgb(ops.rgb_to_hsv(x)))
    is_grey = (colours == colours[..., :1]).all((1, 2, 3))
    assert np.allclose(turned, identity, atol=1e-6)
    assert np.allclose(there_and_back[~is_grey], identity[~is_grey], atol=1e-5)


def test_gamma_passes_nothing_at_zero() -> None:
    slope = jax.grad(lambda x, at: ops.adjust_gamma(x, at).sum(), argnums=(0, 1))
    zero = jnp.zeros((1, 1, 1))
    image, power = jax.jit(jax.vmap(slope, (None, 0)))(zero, jnp.float32([0.5, 1, 2]))
    assert not image.any() and not power.any()
