"""The tone and colour of images, adjusted by a strength that is learnable.

Each has a function in `dagrax.pure.ops`; its kin in `_random_tones` draw their strengths. What
all of them do with theirs is `adjusted`.
"""

from collections.abc import Callable, Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from dagrax.pure import ops

from .._element import Element, OperatorModule
from ._fields import Fields, Kind, changed, declared
from ._magnitudes import flag, magnitude


def adjusted(
    operator: OperatorModule,
    element: Element,
    function: Callable[..., Shaped[Array, "..."]],
    strength: Float[Array, ""],
    clip: bool,
    fields: Fields | None,
) -> Element:
    """The element with its images adjusted by `function(image, strength, clip=clip)`."""

    def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return function(value, strength, clip=clip)

    return changed(operator, element, {"image": image}, fields)


class Brightness(OperatorModule):
    """Add `delta` to images, 0 if none is given.

    **Errors:** TypeError and ValueError for a delta that is not one number.
    """

    delta: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        delta: Shaped[ArrayLike, ""] = 0.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.delta = magnitude("delta", delta)
        self.fields, self.clip = declared(fields), flag("clip", clip)

    def apply(self, element: Element) -> Element:
        return adjusted(
            self, element, ops.adjust_brightness, self.delta[...], self.clip, self.fields
        )


class Contrast(OperatorModule):
    """Move images away from the mean of their grey: by `factor` 0 onto it, by 1 not at all.

    **Errors:** TypeError and ValueError for a factor that is not one number, or negative.
    """

    factor: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        factor: Shaped[ArrayLike, ""] = 1.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.factor = magnitude("factor", factor, least=0.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)

    def apply(self, element: Element) -> Element:
        return adjusted(
            self, element, ops.adjust_contrast, self.factor[...], self.clip, self.fields
        )


class Saturation(OperatorModule):
    """Move colours away from their grey: by `factor` 0 onto it, by 1 not at all.

    **Errors:** TypeError and ValueError for a factor that is not one number, or negative.
    """

    factor: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        factor: Shaped[ArrayLike, ""] = 1.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.factor = magnitude("factor", factor, least=0.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)

    def apply(self, element: Element) -> Element:
        return adjusted(
            self, element, ops.adjust_saturation, self.factor[...], self.clip, self.fields
        )


class Hue(OperatorModule):
    """Turn the hue of images by a part of its circle.

    **Errors:** TypeError and ValueError for a turn that is not one number.
    """

    turn: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        turn: Shaped[ArrayLike, ""] = 0.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.turn = magnitude("turn", turn)
        self.fields, self.clip = declared(fields), flag("clip", clip)

    def apply(self, element: Element) -> Element:
        return adjusted(self, element, ops.adjust_hue, self.turn[...], self.clip, self.fields)


class Gamma(OperatorModule):
    """Raise images to the power `gamma`.

    **Errors:** TypeError and ValueError for a gamma that is not one number, or negative.
    """

    gamma: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        gamma: Shaped[ArrayLike, ""] = 1.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.gamma = magnitude("gamma", gamma, least=0.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)

    def apply(self, element: Element) -> Element:
        return adjusted(self, element, ops.adjust_gamma, self.gamma[...], self.clip, self.fields)


class Sharpness(OperatorModule):
    """Move images away from a smooth one: by `factor` 0 onto it, by 1 not at all.

    **Errors:** TypeError and ValueError for a factor that is not one number, or negative.
    """

    factor: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        factor: Shaped[ArrayLike, ""] = 1.0,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.factor = magnitude("factor", factor, least=0.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)

    def apply(self, element: Element) -> Element:
        return adjusted(
            self, element, ops.adjust_sharpness, self.factor[...], self.clip, self.fields
        )
