"""Images with noise, drawn for each record; in `eval()` there is none.

Each has a function in `dagrax.pure.ops`; whole parts of images are erased in `_erasing`.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import ops

from .._element import Element, OperatorModule
from ._fields import Kind, changed, declared
from ._magnitudes import flag, magnitude


class GaussianNoise(OperatorModule):
    """Add normal noise of deviation `std`; with `clip` the sum is clipped to [0, 1].

    **Errors:** TypeError for a std that is no number; ValueError for a negative one.
    """

    std: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        std: Shaped[ArrayLike, ""],
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = False,
    ):
        self.std = magnitude("std", std, least=0.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.gaussian_noise(value, self.std[...], clip=self.clip, key=key)

        return changed(self, element, {"image": image}, self.fields)


class SaltAndPepper(OperatorModule):
    """Strike each pixel with probability `amount`: it becomes black, or white.

    **Errors:** TypeError for an amount that is no number; ValueError for one that is not from 0 to
    1.
    """

    amount: nnx.Param[Float[Array, ""]]

    def __init__(
        self, amount: Shaped[ArrayLike, ""], *, fields: Mapping[str, Kind | None] | None = None
    ):
        self.amount = magnitude("amount", amount, least=0.0, most=1.0)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.salt_and_pepper(value, self.amount[...], key=key)

        return changed(self, element, {"image": image}, self.fields)


class PoissonNoise(OperatorModule):
    """Count photons, of which white has `peak` on average; with `clip` to [0, 1].

    **Errors:** TypeError for a peak that is no number; ValueError for one that is not above 0.
    """

    peak: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        peak: Shaped[ArrayLike, ""],
        *,
        fields: Mapping[str, Kind | None] | None = None,
        clip: bool = False,
    ):
        self.peak = magnitude("peak", peak, above=0.0)
        self.fields, self.clip = declared(fields), flag("clip", clip)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.poisson_noise(value, self.peak[...], clip=self.clip, key=key)

        return changed(self, element, {"image": image}, self.fields)
