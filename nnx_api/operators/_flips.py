"""Flips and quarter turns, drawn for each record: pixels are moved and none is changed.

How a flip moves boxes and keypoints is in the core.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure.ops import Size, inner
from dagrax.pure.ops.inner import Motion

from .._element import Element, OperatorModule
from ._fields import Kind, declared
from ._geometric import AbstractGeometric, moved
from ._magnitudes import magnitude


class RandomFlip(OperatorModule, AbstractGeometric):
    """Mirror a record with a probability `p`.

    Args:
        p: the probability, a Param; a draw does not change smoothly with it, so its gradient is 0.
        axis: "horizontal" changes left and right, "vertical" up and down.
        fields: the kind of each field to move; by default those that are named image, mask, boxes
            and keypoints are moved, as what they are named.
    """

    p: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        p: Shaped[ArrayLike, ""] = 0.5,
        axis: inner.Axis = "horizontal",
        *,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        if axis not in ("horizontal", "vertical"):
            raise ValueError(f"axis is {axis!r}; expected 'horizontal' or 'vertical'.")
        self.p = magnitude("p", p, least=0.0, most=1.0)
        self.axis: inner.Axis = axis
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        if key is None:
            return inner.staying(size)
        return inner.flipping(inner.happens(key, self.p[...]), self.axis, size)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)


class RandomRot90(OperatorModule, AbstractGeometric):
    """Turn a square record by 0, 1, 2 or 3 quarter turns, each as likely.

    `fields` as in `RandomFlip`. **Errors:** ValueError for an image that is not square.
    """

    def __init__(self, *, fields: Mapping[str, Kind | None] | None = None):
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        if key is None:
            return inner.staying(size)
        return inner.quarter_turning(inner.quarters(key=key), size)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)
