"""A record, or a part of it, brought to another size.

The conventions of resizing are those of `dagrax.pure.ops.resize`.
"""

from collections.abc import Mapping

from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from dagrax.pure.ops import Size, inner
from dagrax.pure.ops.inner import Motion

from .._element import Element, OperatorModule
from ._fields import Kind, declared
from ._geometric import AbstractGeometric, moved
from ._magnitudes import Limits, flag, magnitudes


class Resize(OperatorModule, AbstractGeometric):
    """A record brought to `size` (height, width); a mask by its nearest pixels.

    Args:
        size: of the result.
        method: "linear", "nearest" or "cubic".
        antialias: whether a reduction takes the mean of what it covers.
        fields: as in `RandomFlip`.
    """

    def __init__(
        self,
        size: int | Size,
        *,
        method: inner.Method = "linear",
        antialias: bool = True,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.size = inner.size_of(size)
        self.sampling = inner.sampling(method)
        self.antialias = flag("antialias", antialias)
        self.fields = declared(fields)

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        return inner.resizing(size, self.size, self.sampling.method, self.antialias)

    def apply(self, element: Element) -> Element:
        return moved(self, element, lambda size: self.motion(size, None).changes, self.fields)


class RandomResizedCrop(OperatorModule, AbstractGeometric):
    """A part of a record brought to `size` (height, width); in `eval()` the whole record.

    Its edges lie anywhere, not on whole pixels, so that gradients reach `scale` and `ratio`.

    Args:
        size: of the result.
        scale: the least and the largest share of the image's area, each between as likely.
        ratio: the least and the largest width / height, uniform in the logarithm.
        method: "linear", "nearest" or "cubic".
        antialias: whether a reduction takes the mean of what it covers.
        fields: as in `RandomFlip`.
    """

    scale: nnx.Param[Float[Array, "2"]]
    ratio: nnx.Param[Float[Array, "2"]]

    def __init__(
        self,
        size: int | Size,
        scale: Limits = (0.08, 1.0),
        ratio: Limits = (3 / 4, 4 / 3),
        *,
        method: inner.Method = "linear",
        antialias: bool = True,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.size = inner.size_of(size)
        self.scale = magnitudes("scale", scale, count=2, least=1e-6, most=1.0, rising=True)
        self.ratio = magnitudes("ratio", ratio, count=2, least=1e-6, rising=True)
        self.sampling = inner.sampling(method)
        self.antialias = flag("antialias", antialias)
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        how = self.sampling.method, self.antialias
        if key is None:
            return inner.resizing(size, self.size, *how)
        matrix = inner.random_box(self.scale[...], self.ratio[...], size, self.size, key=key)
        return inner.rescaling(matrix, self.size, *how)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)

    def in_eval(self, element: Element) -> Element:
        return moved(self, element, lambda size: self.motion(size, None).changes, self.fields)
