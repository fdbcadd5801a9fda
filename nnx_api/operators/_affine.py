"""Turns, moves, shears and perspectives, drawn for each record; the image is resampled once.

Magnitudes are learnable: a draw is a fixed number times its range.
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
from ._magnitudes import Limits, limits, magnitude, magnitudes


class RandomRotation(OperatorModule, AbstractGeometric):
    """Turn a record about its centre, counter-clockwise as seen.

    Args:
        degrees: at most so many either way, or (least, largest); each angle is as likely.
        method: "linear", "nearest" or "cubic".
        fill: what lies outside, a number or one for each channel.
        mode: "constant" for `fill`, "reflect" or "edge".
        mask_fill: what lies outside a mask.
        fields: as in `RandomFlip`.
    """

    degrees: nnx.Param[Float[Array, "..."]]

    def __init__(
        self,
        degrees: Limits,
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mode: inner.Mode = "constant",
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.degrees = limits("degrees", degrees)
        self.sampling = inner.sampling(method, fill, mode, mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        if key is None:
            return inner.staying(size)
        matrix = inner.random_rotation(self.degrees[...], size, key=key)
        return inner.warping(matrix, size, self.sampling)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)


class RandomTranslation(OperatorModule, AbstractGeometric):
    """Move a record by at most `x` of its width and `y` of its height, by parts of pixels too.

    The keywords are those of `RandomRotation`.
    """

    x: nnx.Param[Float[Array, ""]]
    y: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        x: Shaped[ArrayLike, ""],
        y: Shaped[ArrayLike, ""],
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mode: inner.Mode = "constant",
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.x = magnitude("x", x, least=0.0)
        self.y = magnitude("y", y, least=0.0)
        self.sampling = inner.sampling(method, fill, mode, mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        if key is None:
            return inner.staying(size)
        matrix = inner.random_translation(self.x[...], self.y[...], size, key=key)
        return inner.warping(matrix, size, self.sampling)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)


class RandomAffine(OperatorModule, AbstractGeometric):
    """Scale, shear, turn and move a record, each by a draw of its own.

    Args:
        degrees: at most so many either way, or (least, largest).
        translate: at most these fractions (x, y) of width and height.
        scale: the least and the largest factor.
        shear: degrees along x, at most so many or (least, largest); or four numbers, for x and y.

    The keywords are those of `RandomRotation`.
    """

    degrees: nnx.Param[Float[Array, "..."]]
    translate: nnx.Param[Float[Array, "2"]]
    scale: nnx.Param[Float[Array, "2"]]
    shear: nnx.Param[Float[Array, "..."]]

    def __init__(
        self,
        degrees: Limits = 0.0,
        translate: Limits = (0.0, 0.0),
        scale: Limits = (1.0, 1.0),
        shear: Limits = 0.0,
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mode: inner.Mode = "constant",
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.degrees = limits("degrees", degrees)
        self.translate = magnitudes("translate", translate, count=2, least=0.0)
        self.scale = magnitudes("scale", scale, count=2, least=1e-6, rising=True)
        self.shear = limits("shear", shear, most=89.0, pairs=2)
        self.sampling = inner.sampling(method, fill, mode, mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        if key is None:
            return inner.staying(size)
        ranges = self.degrees[...], self.translate[...], self.scale[...], self.shear[...]
        return inner.warping(inner.random_affine(*ranges, size, key=key), size, self.sampling)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)


class RandomPerspective(OperatorModule, AbstractGeometric):
    """Move each corner of a record inwards, by at most `distortion` / 2 of the side each way.

    From 2/3 on a draw may fold the record. The keywords are those of `RandomRotation`.
    """

    distortion: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        distortion: Shaped[ArrayLike, ""] = 0.5,
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mode: inner.Mode = "constant",
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.distortion = magnitude("distortion", distortion, least=0.0, most=1.0)
        self.sampling = inner.sampling(method, fill, mode, mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        if key is None:
            return inner.staying(size)
        matrix = inner.random_perspective(self.distortion[...], size, key=key)
        return inner.warping(matrix, size, self.sampling)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)
