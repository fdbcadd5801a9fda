"""Several geometric operators as one: their matrices composed, the image resampled once.

What is outside an image is seen only once, at the end: no operator cuts off what the next would
bring back.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
from flax import nnx
from jaxtyping import PRNGKeyArray

from dagrax.pure import internal
from dagrax.pure.ops import Size, inner
from dagrax.pure.ops.inner import Motion, Sampling

from .._element import Element, OperatorModule
from ._elastic import RandomElastic
from ._fields import Kind, declared
from ._geometric import AbstractGeometric, made, moved


class Warp(OperatorModule, AbstractGeometric):
    """Geometric operators, one after the other, with one resampling and without its losses.

    Args:
        operators: flips, crops, margins, sizes, turns, moves, shears, perspectives. They say where
            pixels go; the other keywords are said to the Warp alone.
        method: "linear", "nearest" or "cubic"; a reduction takes no means.
        fill: what lies outside, a number or one for each channel.
        mode: "constant" for `fill`, "reflect" or "edge".
        mask_fill: what lies outside a mask.
        fields: as in `RandomFlip`.
    """

    def __init__(
        self,
        operators: Sequence[OperatorModule],
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mode: inner.Mode = "constant",
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.operators = nnx.List(_judged(operators))
        self.sampling = inner.sampling(method, fill, mode, mask_fill)
        self.fields = declared(fields)
        if self.draws():
            self.deterministic = False

    def draws(self) -> bool:
        return any(operator.draws() for operator in self.operators)

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        keys = [None] * len(self.operators)
        if key is not None:
            keys = list(jax.random.split(key, len(self.operators)))
        matrix = inner.staying(size).matrix
        for operator, own in zip(self.operators, keys, strict=True):
            off = getattr(operator, "deterministic", False)  # which eval() may set of one alone
            motion = made(
                operator, functools.partial(operator.motion, key=None if off else own), size
            )
            matrix, size = inner.composed(motion.matrix, matrix), motion.size
        return inner.warping(matrix, size, self.sampling)

    def apply(self, element: Element, *, key: PRNGKeyArray | None = None) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)

    def in_eval(self, element: Element) -> Element:
        return moved(self, element, lambda size: self.motion(size, None).changes, self.fields)


def _judged(operators: object) -> list[AbstractGeometric]:
    expected = "a list of geometric operators: Warp([RandomFlip(), RandomRotation(10.0)])."
    if not isinstance(operators, list | tuple | nnx.List):
        raise TypeError(internal.of_type("operators", operators, expected))
    if not operators:
        raise ValueError(f"operators is empty; expected {expected}")
    for operator in operators:
        name = type(operator).__name__
        if isinstance(operator, RandomElastic):
            raise TypeError(
                "Warp composes matrices, and RandomElastic has none; list it beside the Warp, as a "
                "stage of its own."
            )
        if not isinstance(operator, AbstractGeometric):
            raise TypeError(
                f"Warp holds {name}, which is no geometric operator; list it beside the Warp, as a "
                "stage of its own."
            )
        _alone(name, operator)
    return list(operators)


def _alone(name: str, operator: AbstractGeometric) -> None:
    # What it would have no use for is not ignored.
    for field in dataclasses.fields(Sampling):
        value = getattr(operator.sampling, field.name)
        if value != getattr(Sampling(), field.name):
            raise ValueError(
                f"Warp holds {name} with {field.name}={value!r}, but samples once, in its own way; "
                f"pass {field.name}= to Warp, and not to {name}."
            )
    if operator.fields is not None:
        raise ValueError(
            f"Warp holds {name} with fields of its own, but moves all fields together; pass "
            f"fields= to Warp, and not to {name}."
        )
