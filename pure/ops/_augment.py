"""RandAugment, TrivialAugment and AugMix: the steps of a record drawn, and carried out.

What one step does, and how strong it is, stands in `_policies`. The steps are drawn apart from the
image, so that masks, boxes and points can go the same way.
"""

import functools
from collections.abc import Callable, Collection
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ._arguments import image_of, numbers
from ._chance import child_key
from ._in_turn import Choose, in_turn
from ._mixing import symmetric_beta
from ._pixels import COLOURS, in_range
from ._policies import Step, Table, aug_mix_table, matrix_of, step_of, stepped
from ._sample import Method
from ._targets import Fill
from ._tone import levels, unit
from ._warp import warp_boxes, warp_mask, warp_points

Tables: TypeAlias = Callable[[tuple[int, int]], Table]
# AugMix leaves out what its benchmark of corruptions has: brightness, colour, contrast, sharpness.
_MIXED = (1, 2, 3, 4, 5, 10, 11, 12, 13)
_DEPTH, _BINS = 3, 10


def rand_steps(key: PRNGKeyArray, count: int, magnitude: Float[Array, ""]) -> Step:
    """So many steps of RandAugment, each of the strength of a bin from 0 to 30."""
    keys = jnp.stack([child_key(key, index) for index in range(count)])
    return jax.vmap(lambda key: step_of(key, magnitude / 30))(keys)


def trivial_steps(key: PRNGKeyArray) -> Step:
    """The one step of TrivialAugment, of the strength of any of 31 bins."""

    def one(key: PRNGKeyArray) -> Step:
        own, bin_ = jax.random.split(key)
        return step_of(own, jax.random.randint(bin_, (), 0, 31).astype(jnp.float32) / 30)

    return jax.vmap(one)(key[None])


def augmented(
    image: Shaped[ArrayLike, "h w c"], steps: Step, tables: Tables, method: Method, fill: Fill
) -> Shaped[Array, "h w c"]:
    """The image after these steps. One of uint8 is made float, and rounded to levels again."""
    value, back = _floats(image)
    run = functools.partial(
        _all_steps, table=tables((value.shape[0], value.shape[1])), method=method, fill=fill
    )
    return back(in_turn(run)(value, steps))


def augmented_mask(
    mask: Shaped[ArrayLike, "h w *c"], steps: Step, tables: Tables, fill: Fill
) -> Shaped[Array, "h w *c"]:
    """A mask that goes the way of its image."""
    value = numbers("mask", mask)
    size = (value.shape[0], value.shape[1])
    for matrix in _matrices(steps, tables, size):
        value = warp_mask(value, matrix, mask_fill=fill)
    return value


def augmented_boxes(
    boxes: Float[ArrayLike, "n 4"], steps: Step, tables: Tables, size: tuple[int, int]
) -> Float[Array, "n 4"]:
    """Boxes that go the way of their image, which is of this size."""
    value = numbers("boxes", boxes)
    for matrix in _matrices(steps, tables, size):
        value = warp_boxes(value, matrix, size)
    return value


def augmented_points(
    points: Float[ArrayLike, "n 2"], steps: Step, tables: Tables, size: tuple[int, int]
) -> Float[Array, "n 2"]:
    """Points that go the way of their image, which is of this size."""
    value = numbers("points", points)
    for matrix in _matrices(steps, tables, size):
        value = warp_points(value, matrix)
    return value


def aug_mix(
    image: Shaped[ArrayLike, "h w c"],
    width: int,
    alpha: Float[Array, ""],
    severity: int,
    method: Method,
    fill: Fill,
    *,
    key: PRNGKeyArray,
) -> Shaped[Array, "h w c"]:
    """The image mixed with chains of one to three steps of its own: `width` of them.

    Hendrycks et al., "AugMix", ICLR 2020, strengths as torchvision's: any of the first `severity`
    of 10 bins. All parts add up to 1, so that an image in [0, 1] stays there.
    """
    value, back = _floats(image)
    drawing, parting, mixing, lengths = jax.random.split(key, 4)
    steps = _chains(drawing, width, severity)
    depths = jax.random.randint(lengths, (width,), 1, _DEPTH + 1)
    parts = jax.random.dirichlet(parting, jnp.broadcast_to(alpha, (width,)))
    share = symmetric_beta(mixing, alpha)
    table = aug_mix_table((value.shape[0], value.shape[1]))
    run = functools.partial(_all_chains, table=table, method=method, fill=fill)
    chained = in_turn(run)(value, steps, depths, parts.astype(value.dtype))
    own = share.astype(value.dtype)
    return back((1 - own) * value + own * chained)


def _chains(key: PRNGKeyArray, width: int, severity: int) -> Step:
    def one(key: PRNGKeyArray) -> Step:
        own, bin_ = jax.random.split(key)
        part = jax.random.randint(bin_, (), 0, severity).astype(jnp.float32) / (_BINS - 1)
        return step_of(own, part, _MIXED)

    return jax.vmap(jax.vmap(one))(jax.random.split(key, (width, _DEPTH)))


def _all_steps(
    choose: Choose,
    image: Float[Array, "h w c"],
    steps: Step,
    *,
    table: Table,
    method: Method,
    fill: Fill,
) -> Float[Array, "h w c"]:
    def turn(image: Float[Array, "h w c"], step: Step) -> tuple[Float[Array, "h w c"], None]:
        return stepped(choose, image, step, table, method, fill), None

    return jax.lax.scan(turn, image, steps)[0]


def _all_chains(
    choose: Choose,
    image: Float[Array, "h w c"],
    steps: Step,
    depths: Shaped[Array, " width"],
    parts: Float[Array, " width"],
    *,
    table: Table,
    method: Method,
    fill: Fill,
) -> Float[Array, "h w c"]:
    run = functools.partial(_all_steps, choose, table=table, method=method, fill=fill)

    def chain(
        total: Float[Array, "h w c"],
        own: tuple[Step, Shaped[Array, ""], Float[Array, ""]],
    ) -> tuple[Float[Array, "h w c"], None]:
        steps, depth, part = own
        # Behind its depth a chain goes on by identities.
        counted = jnp.arange(_DEPTH, dtype=depth.dtype) < depth
        kept = steps._replace(operation=jnp.where(counted, steps.operation, 0))
        return total + part * run(image, kept), None

    return jax.lax.scan(chain, jnp.zeros_like(image), (steps, depths, parts))[0]


def _matrices(
    steps: Step, tables: Tables, size: tuple[int, int]
) -> Collection[Float[Array, "3 3"]]:
    count = steps.operation.shape[0]
    own = [jax.tree.map(lambda x, i=i: x[i], steps) for i in range(count)]
    return [matrix_of(step, tables(size), size) for step in own]


def _floats(
    image: Shaped[ArrayLike, "h w c"],
) -> tuple[Float[Array, "h w c"], Callable[[Array], Array]]:
    value = image_of("The policy", image, channels=COLOURS, exact=True)
    if value.dtype == jnp.uint8:
        return unit(value, jnp.dtype(jnp.float32)), levels
    in_range("The policy", value)
    return value, lambda result: result
