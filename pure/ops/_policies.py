"""Policies of augmentation: which of fourteen operations, how strong, and the operation itself.

The tables are torchvision's, for RandAugment, TrivialAugment and AugMix. The operations stand in
families of one form, each computed once whatever its members: one warp, one blend, one curve.
"""

from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from ._colour import adjust_saturation
from ._histogram import autocontrast, equalize
from ._in_turn import Choose
from ._matrices import rotation
from ._sample import Method
from ._targets import Fill
from ._tone import adjust_contrast, adjust_sharpness, posterize, solarize
from ._warp import warp

OPERATIONS = (
    "Identity",
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness"),
    *("Posterize", "Solarize", "AutoContrast"),
    "Equalize",
)
_FAMILY = (0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4)
_SHEAR_X, _SHEAR_Y, _RIGHT, _DOWN, _ROTATE, _BRIGHTNESS = range(1, 7)
_POSTERIZE, _SOLARIZE = 10, 11
_FIRST_SIGNED, _LAST_SIGNED = _SHEAR_X, 9
EVERY = tuple(range(len(OPERATIONS)))


class Table(NamedTuple):
    """How strong operations are at the last bin; they grow evenly up to it from nothing."""

    shear: float
    right: float  # pixels
    down: float
    rotate: float  # degrees
    blend: float
    bits: int  # taken away by Posterize, from `most_bits`
    most_bits: int = 8


class Step(NamedTuple):
    """One operation: its number in OPERATIONS, which part of the way to the last bin it goes, and
    in which direction. Its strength depends on the size of the image too: see `amount_of`."""

    operation: Int32[Array, "*steps"]
    part: Float[Array, "*steps"]
    sign: Float[Array, "*steps"]


def rand_augment_table(size: tuple[int, int]) -> Table:
    """That of `torchvision.transforms.RandAugment`."""
    height, width = size
    return Table(0.3, 150.0 / 331.0 * width, 150.0 / 331.0 * height, 30.0, 0.9, bits=4)


def trivial_augment_table(size: tuple[int, int]) -> Table:
    """That of `torchvision.transforms.TrivialAugmentWide`."""
    return Table(0.99, 32.0, 32.0, 135.0, 0.99, bits=6)


def aug_mix_table(size: tuple[int, int]) -> Table:
    """That of `torchvision.transforms.AugMix`."""
    height, width = size
    return Table(0.3, width / 3.0, height / 3.0, 30.0, 0.9, bits=4, most_bits=4)


def amounts(table: Table, part: Float[Array, ""]) -> Float[Array, "operations"]:
    """How strong each operation is at a part of the way to the last bin, 0 to 1.

    Shears, pixels, degrees, and factors less 1; bits that are kept; the threshold in [0, 1].
    """
    shear, right, down, rotate, blend, bits, most_bits = table
    most = jnp.asarray([0, shear, shear, right, down, rotate, *[blend] * 4, 0, 0, 0, 0])
    kept = most_bits - jnp.round(part * bits)
    strengths = most.astype(jnp.float32) * part
    return strengths.at[_POSTERIZE].set(kept).at[_SOLARIZE].set(1 - part)


def amount_of(step: Step, table: Table) -> Float[Array, ""]:
    """How strong one operation is on an image whose table this is."""
    return step.sign * amounts(table, step.part)[step.operation]


def step_of(key: PRNGKeyArray, part: Float[Array, ""], operations: Collection[int] = EVERY) -> Step:
    """One of these operations, each as often, negative half of the time where it has a sign."""
    which, turn = jax.random.split(key)
    operation = jnp.asarray(operations, jnp.int32)[
        jax.random.randint(which, (), 0, len(operations))
    ]
    signed = (operation >= _FIRST_SIGNED) & (operation <= _LAST_SIGNED)
    sign = jnp.where(signed & jax.random.bernoulli(turn), -1.0, 1.0)
    return Step(operation, jnp.asarray(part, jnp.float32), sign)


def stepped(
    choose: Choose,
    image: Float[Array, "h w c"],
    step: Step,
    table: Table,
    method: Method,
    fill: Fill,
) -> Float[Array, "h w c"]:
    """The image after one operation, of a family that is chosen as `choose` does it."""
    amount = amount_of(step, table)

    def moved(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        matrix = matrix_of(step, table, (image.shape[0], image.shape[1]))
        return warp(image, matrix, method=method, fill=fill)

    families = (
        lambda image: image,
        moved,
        lambda image: _blend(image, step.operation, amount),
        lambda image: _curve(image, step.operation, amount),
        lambda image: equalize(image),
    )
    family = jnp.asarray(_FAMILY, jnp.int32)[step.operation]
    result: Float[Array, "h w c"] = choose(family, families, image)
    return result


def matrix_of(step: Step, table: Table, size: tuple[int, int]) -> Float[Array, "3 3"]:
    """Where an operation moves points: nowhere, if it is none of geometry.

    A shear is about the corner, as torchvision's; a rotation about the centre.
    """
    amount = amount_of(step, table)

    def only(own: int) -> Float[Array, ""]:
        return jnp.where(step.operation == own, amount, 0)

    one, none = jnp.ones_like(amount), jnp.zeros_like(amount)
    rows = (
        (one, only(_SHEAR_X), only(_RIGHT)),
        (only(_SHEAR_Y), one, only(_DOWN)),
        (none, none, one),
    )
    straight = jnp.stack([jnp.stack(row) for row in rows])
    return jnp.where(step.operation == _ROTATE, rotation(only(_ROTATE), size), straight)


def _blend(
    image: Float[Array, "h w c"], operation: Int32[Array, ""], amount: Float[Array, ""]
) -> Float[Array, "h w c"]:
    # Away from black, grey, the mean of grey or a smooth image, or towards it.
    origins = (
        jnp.zeros_like(image),
        adjust_saturation(image, 0),
        adjust_contrast(image, 0),
        adjust_sharpness(image, 0),
    )
    origin = jax.lax.select_n(operation - _BRIGHTNESS, *origins)
    return jnp.clip(image + amount.astype(image.dtype) * (image - origin), 0, 1)


def _curve(
    image: Float[Array, "h w c"], operation: Int32[Array, ""], amount: Float[Array, ""]
) -> Float[Array, "h w c"]:
    bits = jnp.where(operation == _POSTERIZE, amount, 8)
    curves = posterize(image, bits), solarize(image, amount), autocontrast(image)
    return jax.lax.select_n(operation - _POSTERIZE, *curves)
