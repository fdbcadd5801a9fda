"""The levels and channels of images: grey, inverted, cut, equalized, normalized, cast.

Each has a function in `dagrax.pure.ops`; strengths of tone and colour stand in `_tones`.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import ops

from .._element import Element, OperatorModule
from ._fields import Kind, changed, declared
from ._magnitudes import PerChannel, magnitude, one_or_more


class Grayscale(OperatorModule):
    """Images of one channel: their luma."""

    def __init__(self, *, fields: Mapping[str, Kind | None] | None = None):
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        return changed(self, element, {"image": ops.rgb_to_grayscale}, self.fields)


class RandomGrayscale(OperatorModule):
    """With probability `p`, images whose channels are all their luma.

    **Errors:** TypeError for a p that is no number; ValueError for one that is not from 0 to 1.
    """

    p: nnx.Param[Float[Array, ""]]

    def __init__(
        self, p: Shaped[ArrayLike, ""] = 0.1, *, fields: Mapping[str, Kind | None] | None = None
    ):
        self.p = magnitude("p", p, least=0.0, most=1.0)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.random_grayscale(value, self.p[...], key=key)

        return changed(self, element, {"image": image}, self.fields)


class Invert(OperatorModule):
    """The negative of images, of floats or uint8."""

    def __init__(self, *, fields: Mapping[str, Kind | None] | None = None):
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        return changed(self, element, {"image": ops.invert}, self.fields)


class Solarize(OperatorModule):
    """Invert what is at least `threshold`, which is in the units of the image: 0.5, or 128.

    **Errors:** TypeError and ValueError for a threshold that is not one number.
    """

    threshold: nnx.Param[Float[Array, ""]]

    def __init__(
        self, threshold: Shaped[ArrayLike, ""], *, fields: Mapping[str, Kind | None] | None = None
    ):
        self.threshold = magnitude("threshold", threshold)
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.solarize(value, self.threshold[...])

        return changed(self, element, {"image": image}, self.fields)


class Posterize(OperatorModule):
    """Keep the highest `bits` of the 8 of each channel; floats have 256 levels.

    **Errors:** TypeError for bits that are no number; ValueError for other than whole numbers from
    0 to 8.
    """

    bits: nnx.Param[Float[Array, ""]]

    def __init__(
        self, bits: Shaped[ArrayLike, ""], *, fields: Mapping[str, Kind | None] | None = None
    ):
        self.bits = magnitude("bits", bits, least=0.0, most=8.0, whole=True)
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.posterize(value, self.bits[...])

        return changed(self, element, {"image": image}, self.fields)


class Equalize(OperatorModule):
    """Spread the levels of each channel, so that each is as frequent as the others."""

    def __init__(self, *, fields: Mapping[str, Kind | None] | None = None):
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        return changed(self, element, {"image": ops.equalize}, self.fields)


class AutoContrast(OperatorModule):
    """Stretch each channel, so that it reaches from 0 to 1."""

    def __init__(self, *, fields: Mapping[str, Kind | None] | None = None):
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        return changed(self, element, {"image": ops.autocontrast}, self.fields)


class Normalize(OperatorModule):
    """`(image - mean) / std`, each a number, or one for each channel.

    **Errors:** TypeError for what are no numbers; ValueError for a std that is not above 0.
    """

    mean: nnx.Param[Float[Array, "*channels"]]
    std: nnx.Param[Float[Array, "*channels"]]

    def __init__(
        self,
        mean: PerChannel,
        std: PerChannel,
        *,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.mean = one_or_more("mean", mean)
        self.std = one_or_more("std", std, above=0.0)
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.normalize(value, self.mean[...], self.std[...])

        return changed(self, element, {"image": image}, self.fields)


class ToFloat(OperatorModule):
    """Images of uint8 as float32 in [0, 1]."""

    def __init__(self, *, fields: Mapping[str, Kind | None] | None = None):
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        return changed(self, element, {"image": ops.to_float}, self.fields)


class ToUint8(OperatorModule):
    """Images in [0, 1] as uint8: the nearest of 256 levels, what is outside at the bounds."""

    def __init__(self, *, fields: Mapping[str, Kind | None] | None = None):
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        return changed(self, element, {"image": ops.to_uint8}, self.fields)
