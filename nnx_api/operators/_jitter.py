"""Brightness, contrast, saturation and hue, drawn for each record and in an order of its own.

How that costs one hue and few sums is told in `dagrax.pure.ops`. Each alone is in `_random_tones`.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import ops

from .._element import Element, OperatorModule
from ._fields import Kind, changed, declared
from ._magnitudes import flag, magnitude


class ColorJitter(OperatorModule):
    """`RandomBrightness`, `RandomContrast`, `RandomSaturation` and `RandomHue` in random order.

    Each that is given has its range; one that is None is left out, and costs nothing.

    **Errors:** TypeError for a range that is no number; ValueError for one that is negative, above
    1 for contrast and saturation, or above 0.5 for hue.
    """

    brightness: nnx.Param[Float[Array, ""]] | None
    contrast: nnx.Param[Float[Array, ""]] | None
    saturation: nnx.Param[Float[Array, ""]] | None
    hue: nnx.Param[Float[Array, ""]] | None

    def __init__(
        self,
        brightness: Shaped[ArrayLike, ""] | None = None,
        contrast: Shaped[ArrayLike, ""] | None = None,
        saturation: Shaped[ArrayLike, ""] | None = None,
        hue: Shaped[ArrayLike, ""] | None = None,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.brightness = _range("brightness", brightness)
        self.contrast = _range("contrast", contrast, most=1.0)
        self.saturation = _range("saturation", saturation, most=1.0)
        self.hue = _range("hue", hue, most=0.5)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        given = (self.brightness, self.contrast, self.saturation, self.hue)
        brightness, contrast, saturation, hue = (None if x is None else x[...] for x in given)

        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.color_jitter(
                value, brightness, contrast, saturation, hue, clip=self.clip, key=key
            )

        return changed(self, element, {"image": image}, self.fields)


def _range(
    name: str, value: Shaped[ArrayLike, ""] | None, most: float = float("inf")
) -> nnx.Param[Float[Array, ""]] | None:
    return None if value is None else magnitude(name, value, least=0.0, most=most)
