"""RandAugment, TrivialAugment and AugMix: torchvision's tables, what is drawn, what it does."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image, ImageEnhance, ImageOps

from dagrax.nnx_api import MemorySource, Pipeline
from dagrax.nnx_api import operators as op
from dagrax.pure.ops import _augment, _policies
from dagrax.pure.ops._in_turn import all_of, one_of
from dagrax.pure.ops._policies import OPERATIONS, Step
from tests.operators.photographs import whole_pixels

LEVELS = whole_pixels()
HEIGHT, WIDTH = LEVELS.shape[:2]
PHOTO = (LEVELS / np.float32(255)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(8), 6)
MANY = 10_000


# Tables


def spaced(last: float, bins: int = 31) -> np.ndarray:
    return np.array([last * i / (bins - 1) for i in range(bins)])


def kept(bits: int, less: int, bins: int) -> np.ndarray:
    """`bits - (arange(bins) / ((bins - 1) / less)).round()`, as torchvision writes it."""
    return np.array([bits - round(i / ((bins - 1) / less)) for i in range(bins)])


def table(shear: float, right: float, down: float, turn: float, blend: float, bits: Any) -> Any:
    bins = len(bits)
    return {
        "Identity": spaced(0, bins),
        "ShearX": spaced(shear, bins),
        "ShearY": spaced(shear, bins),
        "TranslateX": spaced(right, bins),
        "TranslateY": spaced(down, bins),
        "Rotate": spaced(turn, bins),
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), spaced(blend, bins)),
        "Posterize": bits,
        "Solarize": (255 - spaced(255, bins)) / 255,
        "AutoContrast": spaced(0, bins),
        "Equalize": spaced(0, bins),
    }


# torchvision's `_augmentation_space` of each, for images of 224 pixels by 160.
TABLES = {
    "rand_augment": table(0.3, 150 / 331 * 160, 150 / 331 * 224, 30, 0.9, kept(8, 4, 31)),
    "trivial_augment": table(0.99, 32, 32, 135, 0.99, kept(8, 6, 31)),
    "aug_mix": table(0.3, 160 / 3, 224 / 3, 30, 0.9, kept(4, 4, 10)),
}


@pytest.mark.parametrize("name", TABLES)
def test_operations_and_strengths_are_those_of_torchvision(name: str) -> None:
    assert tuple(TABLES[name]) == OPERATIONS
    own = getattr(_policies, f"{name}_table")((224, 160))
    bins = len(TABLES[name]["Identity"])
    parts = np.arange(bins, dtype=np.float32) / (bins - 1)
    found = jax.jit(jax.vmap(functools.partial(_policies.amounts, own)))(parts)
    # Multiples of a float32 part: one rounding, of numbers up to 135.
    expected = np.stack([*TABLES[name].values()], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def even(counts: np.ndarray, of: int) -> bool:
    expected = of / len(counts)
    return bool((abs(counts - expected) < 4 * np.sqrt(expected)).all())


def test_each_operation_is_drawn_as_often_and_half_of_the_signs_are_negative() -> None:
    keys = jax.random.split(jax.random.key(0), MANY)
    rand = jax.jit(jax.vmap(lambda key: _augment.rand_steps(key, 2, jnp.float32(9))))(keys)
    trivial = jax.jit(jax.vmap(_augment.trivial_steps))(keys)
    assert rand.operation.shape == (MANY, 2)
    np.testing.assert_allclose(rand.part, 0.3, rtol=1e-6)
    assert even(np.bincount(np.round(np.ravel(trivial.part) * 30).astype(int), minlength=31), MANY)
    for steps in (rand, trivial):
        operation, sign = np.ravel(steps.operation), np.ravel(steps.sign)
        assert even(np.bincount(operation, minlength=14), operation.size)
        signed = (operation >= 1) & (operation <= 9)  # shears to sharpness
        assert (sign[~signed] == 1).all()
        assert even(np.bincount((sign[signed] > 0).astype(int)), int(signed.sum()))
    # The two steps of a record have nothing to do with each other.
    both = np.asarray(rand.operation)
    assert even(np.bincount(both[:, 0] * 14 + both[:, 1], minlength=196), MANY)


# Operations


@functools.partial(jax.jit, static_argnums=(0, 4))
def stepped(choose: Any, image: Any, operation: Any, amount: Any, method: Any = "nearest") -> Any:
    # A table whose strengths are 1 at the last bin, so that the sign is the strength.
    own = _policies.Table(1.0, 1.0, 1.0, 1.0, 1.0, bits=0, most_bits=1)
    step = Step(operation, jnp.float32(1), amount)
    return _policies.stepped(choose, image, step, own, method, 0.0)


def affine(a: float, b: float, c: float, d: float, e: float, f: float) -> Callable[[Any], Any]:
    """Pillow's, which maps the corners of pixels of the result back to those of the image."""
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.NEAREST
    )


# A shear of x by s about the middle of the first pixel, as it is written for corners.
S = 0.25
OPERATIONS_OF_PILLOW: dict[str, tuple[float, Callable[[Any], Any]]] = {
    "Identity": (1, lambda image: image),
    "ShearX": (S, affine(1, -S, S / 2, 0, 1, 0)),
    "ShearY": (-S, affine(1, 0, 0, S, 1, -S / 2)),
    "TranslateX": (7, affine(1, 0, -7, 0, 1, 0)),
    "TranslateY": (-5, affine(1, 0, 0, 0, 1, 5)),
    "Rotate": (20, lambda image: image.rotate(20)),
    "Brightness": (-0.4, lambda image: ImageEnhance.Brightness(image).enhance(0.6)),
    "Color": (0.5, lambda image: ImageEnhance.Color(image).enhance(1.5)),
    "Contrast": (0.5, lambda image: ImageEnhance.Contrast(image).enhance(1.5)),
    "Sharpness": (0.9, lambda image: ImageEnhance.Sharpness(image).enhance(1.9)),
    "Posterize": (3, lambda image: ImageOps.posterize(image, 3)),
    "Solarize": (0.5, lambda image: ImageOps.solarize(image, 128)),
    "AutoContrast": (1, ImageOps.autocontrast),
    "Equalize": (1, ImageOps.equalize),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_that_of_pillow(name: str) -> None:
    amount, of_pillow = OPERATIONS_OF_PILLOW[name]
    expected = np.asarray(of_pillow(Image.fromarray(LEVELS)))
    number = jnp.int32(OPERATIONS.index(name))
    if name == "Posterize" or name == "Solarize":  # its strength is given by bits, not by a sign
        image = _policies._curve(jnp.asarray(PHOTO), number, jnp.float32(amount))
    else:
        image = stepped(one_of, PHOTO, number, jnp.float32(amount))
    apart = abs(np.asarray(image) * 255 - expected)
    # Pillow rounds levels, and its grey mean and smooth image before they are blended. The nearest
    # pixel of a place just between two may be either.
    moved = name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    assert (apart > 2.0).mean() < (0.02 if moved else 1e-9), name


def test_to_compute_all_families_and_take_one_is_the_same() -> None:
    numbers = jnp.arange(14, dtype=jnp.int32)
    every = jax.jit(jax.vmap(lambda n: stepped(all_of, PHOTO, n, jnp.float32(0.25), "linear")))
    for number, image in zip(numbers, every(numbers), strict=True):
        one = stepped(one_of, PHOTO, number, jnp.float32(0.25), "linear")
        # Fused otherwise, so rounded otherwise; equalize turns that into a level now and then.
        apart = abs(np.asarray(image - one))
        assert (apart > 1e-5).mean() < 0.01 and apart.max() < 0.02


# Modules

POLICIES: dict[str, Callable[[], Any]] = {
    "rand_augment": op.RandAugment,
    "trivial_augment": op.TrivialAugment,
    "aug_mix": op.AugMix,
}
ROWS = np.stack([np.roll(PHOTO, 3 * i, axis=0) for i in range(6)])


@functools.cache
def program(name: str) -> Callable[..., Any]:
    policy = POLICIES[name]()
    return jax.jit(lambda images, keys: policy({"image": images}, record_keys=keys)["image"])


@pytest.mark.parametrize("name", POLICIES)
def test_a_record_is_augmented_alike_wherever_it_stands(name: str) -> None:
    whole = np.asarray(program(name)(ROWS, KEYS))
    assert whole.min() >= 0 and whole.max() <= 1
    assert sum((own != row).any() for own, row in zip(whole, ROWS, strict=True)) >= 4
    back = np.asarray(program(name)(ROWS[::-1], KEYS[::-1]))[::-1]
    np.testing.assert_array_equal(whole, back)
    others = np.concatenate([ROWS[:2], ROWS[:2], ROWS[:2]])
    among = program(name)(others, KEYS)
    np.testing.assert_array_equal(whole[:2], among[:2])


def test_levels_stay_levels_and_eval_leaves_them() -> None:
    data = {"image": np.stack([LEVELS] * 3)}
    pipeline = Pipeline(
        source=MemorySource(data=data),
        stages=[op.TrivialAugment()],
        batch_size=3,
        rngs=nnx.Rngs(0),
    )
    assert pipeline.step()["image"].dtype == np.uint8
    pipeline.eval()  # type: ignore[no-untyped-call]
    np.testing.assert_array_equal(pipeline.step()["image"], data["image"])


def test_masks_points_and_boxes_go_the_way_of_their_image() -> None:
    image = np.zeros((40, 40, 1), np.float32)
    image[18:23, 24:29] = 1
    element = {
        "image": image,
        "mask": (image[..., 0] > 0).astype(np.int32),
        "keypoints": np.array([[26.0, 20.0]], np.float32),
        "boxes": np.array([[24.0, 18.0, 29.0, 23.0]], np.float32),
    }
    batch = {name: np.stack([x] * 40) for name, x in element.items()}
    keys = jax.random.split(jax.random.key(0), 40)
    policy = op.RandAugment(magnitude=12.0)
    out = jax.jit(lambda batch: policy(batch, record_keys=keys))(batch)
    out = {name: np.asarray(x) for name, x in out.items()}
    steps = jax.vmap(lambda key: _augment.rand_steps(key, 2, jnp.float32(12)))(keys)
    seen = 0
    for i in range(40):
        mask = np.asarray(out["mask"][i])
        rows, columns = np.nonzero(mask)
        plain = ((steps.operation[i] <= 6) | (steps.operation[i] == 9)).all()
        if not len(rows) or not plain:
            continue
        seen += 1
        x, y = out["keypoints"][i, 0]
        # The middle of the marker, whose pixels are whole ones.
        assert abs(columns.mean() - x) < 0.6 and abs(rows.mean() - y) < 0.6
        x0, y0, x1, y1 = out["boxes"][i, 0]
        assert x0 - 1 <= columns.min() and columns.max() <= x1 + 1
        assert y0 - 1 <= rows.min() and rows.max() <= y1 + 1
    assert seen > 10


def test_masks_cannot_follow_a_mix() -> None:
    batch = {"image": ROWS, "mask": np.zeros(ROWS.shape[:3], np.int32)}
    with pytest.raises(ValueError, match="AugMix mixes images that are moved apart"):
        jax.eval_shape(lambda batch: op.AugMix()(batch, record_keys=KEYS), batch)
    aside = op.AugMix(fields={"image": "image"})
    jax.eval_shape(lambda batch: aside(batch, record_keys=KEYS), batch)


def test_a_batch_of_numpy_may_be_closed_over_by_a_program() -> None:
    batch, keys = {"image": PHOTO[None, :8, :9]}, KEYS[:1]
    policy = op.RandAugment(1)
    inside = jax.jit(lambda: policy(batch, record_keys=keys)["image"])()
    given = jax.jit(lambda batch: policy(batch, record_keys=keys)["image"])(batch)
    np.testing.assert_allclose(inside, given, atol=1e-6)


# Gradients


@pytest.mark.parametrize(("name", "argument"), [("rand_augment", 8.3), ("aug_mix", 1.3)])
def test_gradients_are_those_of_finite_differences(name: str, argument: float) -> None:
    kind = {"rand_augment": op.RandAugment, "aug_mix": op.AugMix}[name]
    fields = {"rand_augment": {"magnitude": argument}, "aug_mix": {"alpha": argument}}[name]
    graph, state = nnx.split(kind(**fields))
    (leaf,), structure = jax.tree.flatten(state)
    # A smooth image: differences of linear interpolation have no kinks then.
    y, x = np.mgrid[: HEIGHT // 2, : WIDTH // 2] / 30
    smooth = np.stack([0.5 + 0.2 * np.sin(x + y + c) for c in range(3)], -1).astype(np.float32)

    def loss(leaf: Any) -> Any:
        policy = nnx.merge(graph, jax.tree.unflatten(structure, [leaf]))
        images = policy({"image": jnp.stack([smooth] * 4)}, record_keys=KEYS[:4])["image"]
        return jnp.mean(jnp.sin(3 * images))

    run = jax.jit(jax.value_and_grad(loss))
    slope = run(leaf)[1]
    difference = (run(leaf + 0.02)[0] - run(leaf - 0.02)[0]) / 0.04
    assert abs(slope) > 1e-4
    # Pixels that cross a border of the image, or a threshold, are in the differences alone.
    np.testing.assert_allclose(slope, difference, rtol=0.1, atol=2e-4)
