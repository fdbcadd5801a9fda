"""A record pulled about as on a rubber sheet: each pixel is displaced by a smooth random field.

No matrix does this, so that `Warp` cannot hold it.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure.ops import Size, inner
from dagrax.pure.ops.inner import Changes

from .._element import Element, OperatorModule
from ._fields import Kind, declared
from ._geometric import moved
from ._magnitudes import magnitude


class RandomElastic(OperatorModule):
    """Displace the pixels of a record by noise of [-`alpha`, `alpha`] smoothed by a Gaussian.

    Boxes and keypoints move by the inverse of the field, found by repeated substitution; where
    the field folds the image, a point has no one place and is left near one of them.

    Args:
        alpha: by how many pixels, before the noise is smoothed.
        sigma: the width of the Gaussian, in pixels.

    The keywords are those of `RandomRotation`.
    """

    alpha: nnx.Param[Float[Array, ""]]
    sigma: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        alpha: Shaped[ArrayLike, ""] = 50.0,
        sigma: Shaped[ArrayLike, ""] = 5.0,
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mode: inner.Mode = "constant",
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.alpha = magnitude("alpha", alpha, least=0.0)
        self.sigma = magnitude("sigma", sigma, least=0.0)
        self.sampling = inner.sampling(method, fill, mode, mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        def changes(size: Size) -> Changes:
            field = inner.random_displacement(self.alpha[...], self.sigma[...], size, key=key)
            return inner.displacing(field, self.sampling)

        return moved(self, element, changes, self.fields)
