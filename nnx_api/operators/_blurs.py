"""Images, blurred by a deviation that is learnable, or drawn for each record.

How far the blur reaches is static: it follows from the sigma that is given at construction.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import ops
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule
from ._fields import Kind, changed, declared
from ._magnitudes import Bounds, magnitude, magnitudes


class GaussianBlur(OperatorModule):
    """Blur images by normal weights of deviation `sigma` pixels.

    Pixels up to `radius` away count: four times the sigma that is given, if it is None. It is
    static, so that a sigma that learns to be larger needs a larger one from the start.

    **Errors:** TypeError for a sigma that is no number; ValueError for one that is negative, or
    traced and without a radius.
    """

    sigma: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        sigma: Shaped[ArrayLike, ""],
        *,
        radius: int | None = None,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.sigma = magnitude("sigma", sigma, least=0.0)
        self.radius = _radius(self, self.sigma[...], radius)
        self.fields = declared(fields)

    def apply(self, element: Element) -> Element:
        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.gaussian_blur(value, self.sigma[...], self.radius)

        return changed(self, element, {"image": image}, self.fields)


class RandomGaussianBlur(OperatorModule):
    """Blur images by a deviation that is drawn between two, `sigma=(least, most)`.

    The `radius` is that of the larger, if it is None. **Errors:** those of `GaussianBlur`;
    ValueError for a range that falls.
    """

    sigma: nnx.Param[Float[Array, "2"]]

    def __init__(
        self,
        sigma: Bounds = (0.1, 2.0),
        *,
        radius: int | None = None,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.sigma = magnitudes("sigma", sigma, count=2, least=0.0, rising=True)
        self.radius = _radius(self, self.sigma[...], radius)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        sigma = inner.between(self.sigma[...], key=key)

        def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return ops.gaussian_blur(value, sigma, self.radius)

        return changed(self, element, {"image": image}, self.fields)


def _radius(operator: OperatorModule, sigma: Float[Array, "*ends"], radius: int | None) -> int:
    if radius is None:
        return ops.gaussian_radius(sigma, type(operator).__name__)
    return inner.whole("radius", radius, least=0)
