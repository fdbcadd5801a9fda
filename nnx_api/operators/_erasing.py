"""Rectangles of images, erased where it is drawn for each record; in `eval()` none.

Images are of floats or uint8. Noise on single pixels stands in `_noises`.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import ops
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule
from ._fields import Kind, changed, declared
from ._magnitudes import Bounds, PerChannel, magnitude, magnitudes, one_or_more


class CoarseDropout(OperatorModule):
    """Set `holes` rectangles of a `size`, all within the image, to a `value`.

    **Errors:** TypeError for holes and sizes that are no whole numbers; ValueError for negative
    ones.
    """

    value: nnx.Param[Float[Array, "*channels"]]

    def __init__(
        self,
        holes: int,
        size: int | ops.Size,
        value: PerChannel = 0.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.holes = inner.whole("holes", holes, least=0)
        self.size = inner.size_of(size)
        self.value = one_or_more("value", value)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.coarse_dropout(value, self.holes, self.size, self.value[...], key=key)

        return changed(self, element, {"image": image}, self.fields)


class RandomErasing(OperatorModule):
    """Erase, with probability `p`, a rectangle with a share of the area from `scale`.

    Its height by its width is from `ratio`. **Errors:** TypeError for what are no numbers;
    ValueError for shares and probabilities that are not from 0 to 1, for ratios that are not above
    0, and for ranges that fall.
    """

    p: nnx.Param[Float[Array, ""]]
    scale: nnx.Param[Float[Array, "2"]]
    ratio: nnx.Param[Float[Array, "2"]]
    value: nnx.Param[Float[Array, "*channels"]]

    def __init__(
        self,
        p: Shaped[ArrayLike, ""] = 0.5,
        scale: Bounds = (0.02, 0.33),
        ratio: Bounds = (0.3, 3.3),
        value: PerChannel = 0.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.p = magnitude("p", p, least=0.0, most=1.0)
        self.scale = magnitudes("scale", scale, count=2, least=0.0, most=1.0, rising=True)
        self.ratio = magnitudes("ratio", ratio, count=2, above=0.0, rising=True)
        self.value = one_or_more("value", value)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        chance = self.p[...], self.scale[...], self.ratio[...]

        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.random_erase(value, *chance, self.value[...], key=key)

        return changed(self, element, {"image": image}, self.fields)
