"""The tone and colour of images, adjusted by strengths that are drawn for each record.

What is learnable is the range of the draws. In `eval()` images stay as they are.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import ops
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule
from ._fields import Kind, declared
from ._magnitudes import flag, magnitude
from ._tones import adjusted


class RandomBrightness(OperatorModule):
    """Add a number from `-range` to `range` to images.

    **Errors:** TypeError for a range that is no number; ValueError for one that is negative.
    """

    range: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        range: Shaped[ArrayLike, ""] = 0.2,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.range = magnitude("range", range, least=0.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        delta = inner.about(0.0, self.range[...], key=key)

        return adjusted(self, element, ops.adjust_brightness, delta, self.clip, self.fields)


class RandomContrast(OperatorModule):
    """`Contrast` by a factor from `1 - range` to `1 + range`.

    **Errors:** TypeError for a range that is no number; ValueError for one that is not from 0 to 1.
    """

    range: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        range: Shaped[ArrayLike, ""] = 0.2,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.range = magnitude("range", range, least=0.0, most=1.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        factor = inner.about(1.0, self.range[...], key=key)

        return adjusted(self, element, ops.adjust_contrast, factor, self.clip, self.fields)


class RandomSaturation(OperatorModule):
    """`Saturation` by a factor from `1 - range` to `1 + range`.

    **Errors:** TypeError for a range that is no number; ValueError for one that is not from 0 to 1.
    """

    range: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        range: Shaped[ArrayLike, ""] = 0.2,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.range = magnitude("range", range, least=0.0, most=1.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        factor = inner.about(1.0, self.range[...], key=key)

        return adjusted(self, element, ops.adjust_saturation, factor, self.clip, self.fields)


class RandomHue(OperatorModule):
    """`Hue` by a turn from `-range` to `range`, half a turn at most.

    **Errors:** TypeError for a range that is no number; ValueError for one not from 0 to 0.5.
    """

    range: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        range: Shaped[ArrayLike, ""] = 0.2,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.range = magnitude("range", range, least=0.0, most=0.5)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        turn = inner.about(0.0, self.range[...], key=key)

        return adjusted(self, element, ops.adjust_hue, turn, self.clip, self.fields)


class RandomGamma(OperatorModule):
    """`Gamma` by a power from `1 - range` to `1 + range`.

    **Errors:** TypeError for a range that is no number; ValueError for one that is not from 0 to 1.
    """

    range: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        range: Shaped[ArrayLike, ""] = 0.2,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.range = magnitude("range", range, least=0.0, most=1.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        gamma = inner.about(1.0, self.range[...], key=key)

        return adjusted(self, element, ops.adjust_gamma, gamma, self.clip, self.fields)


class RandomSharpness(OperatorModule):
    """`Sharpness` by a factor from `1 - range` to `1 + range`.

    **Errors:** TypeError for a range that is no number; ValueError for one that is not from 0 to 1.
    """

    range: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        range: Shaped[ArrayLike, ""] = 0.2,
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = True,
    ):
        self.range = magnitude("range", range, least=0.0, most=1.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        factor = inner.about(1.0, self.range[...], key=key)

        return adjusted(self, element, ops.adjust_sharpness, factor, self.clip, self.fields)
