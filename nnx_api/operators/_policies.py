"""Policies: RandAugment, TrivialAugment and AugMix, as torchvision has them.

The tables, the draws and the operations stand in `dagrax.pure.ops`. On a CPU each record computes
its own operations alone; on an accelerator families of them are computed for all.
"""

from collections.abc import Mapping

from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from dagrax.pure import internal
from dagrax.pure.ops import inner

from .._element import Element, OperatorModule
from ._fields import Change, Kind, changed, chosen_fields, declared
from ._magnitudes import magnitude
from ._names import count


class RandAugment(OperatorModule):
    """`num_ops` of torchvision's fourteen operations, each as often, at the strength `magnitude`.

    Cubuk et al., "RandAugment", 2019; operations and strengths are those of
    `torchvision.transforms.RandAugment` with 31 bins. The magnitude is a leaf: a bin from 0 to 30,
    and what lies between. Masks, boxes and keypoints are moved along with their image.

    - `method`, `fill`, `mask_fill`: how images are resampled, and what lies outside of them.
    - `fields`: see the chapter; by default the fields of the names of the kinds.

    **Errors:** ValueError for a count below 1 and a magnitude outside of 0 to 30; at the
    construction of a pipeline those of an image that is not of 1 or 3 channels.
    """

    magnitude: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: Shaped[ArrayLike, ""] = 9.0,
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.num_ops = count("num_ops", num_ops)
        self.magnitude = _bin(magnitude)
        self.sampling = inner.sampling(method, fill, "constant", mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        steps = inner.rand_steps(key, self.num_ops, self.magnitude[...])
        return _stepped(self, element, steps, inner.rand_augment_table)


class TrivialAugment(OperatorModule):
    """One of torchvision's fourteen operations, each as often, at one of 31 strengths.

    Müller and Hutter, "TrivialAugment", ICCV 2021; operations and strengths are those of
    `torchvision.transforms.TrivialAugmentWide`. Arguments and errors are those of `RandAugment`.
    """

    def __init__(
        self,
        *,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.sampling = inner.sampling(method, fill, "constant", mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        steps = inner.trivial_steps(key)
        return _stepped(self, element, steps, inner.trivial_augment_table)


class AugMix(OperatorModule):
    """An image mixed with `width` chains of one to three operations: see `dagrax.pure.ops`.

    Hendrycks et al., "AugMix", ICLR 2020: the parts of the chains are drawn from
    Dirichlet(alpha, …), that of all of them from Beta(alpha, alpha); the nine operations are the
    paper's, at one of the first `severity` of torchvision's 10 strengths. `alpha` is a leaf. An
    image in [0, 1] stays there.

    **Errors:** ValueError for a width or severity below 1, a severity above 10, an alpha that is
    not above 0, and at the construction of a pipeline for masks, boxes or keypoints beside the
    image, which cannot follow a mix; leave them out by `fields`.
    """

    alpha: nnx.Param[Float[Array, ""]]

    def __init__(
        self,
        width: int = 3,
        alpha: Shaped[ArrayLike, ""] = 1.0,
        *,
        severity: int = 3,
        method: inner.Method = "linear",
        fill: inner.Fill = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.width, self.severity = count("width", width), count("severity", severity)
        if self.severity > 10:
            raise ValueError(f"severity is {severity}; expected at most 10.")
        self.alpha = magnitude("alpha", alpha, above=0.0)
        self.sampling = inner.sampling(method, fill)
        self.fields = declared(fields)
        self.deterministic = False

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        others = [n for n, kind in chosen_fields(self, element, self.fields) if kind != "image"]
        if others:
            raise ValueError(
                f"AugMix mixes images that are moved apart, which {internal.listed(others)} cannot "
                'follow; leave them as they are on purpose: fields={"image": "image"}.'
            )

        how = self.sampling

        def mixed(image: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
            return inner.aug_mix(
                image, self.width, self.alpha[...], self.severity, how.method, how.fill, key=key
            )

        return changed(self, element, {"image": mixed}, self.fields)


def _stepped(
    policy: RandAugment | TrivialAugment,
    element: Element,
    steps: inner.Step,
    tables: inner.Tables,
) -> Element:
    how = policy.sampling

    def image(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return inner.augmented(value, steps, tables, how.method, how.fill)

    def mask(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return inner.augmented_mask(value, steps, tables, how.mask_fill)

    def boxes(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return inner.augmented_boxes(value, steps, tables, _size(policy, element))

    def points(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return inner.augmented_points(value, steps, tables, _size(policy, element))

    changes: dict[Kind, Change] = {
        "image": image,
        "mask": mask,
        "boxes": boxes,
        "keypoints": points,
    }
    return changed(policy, element, changes, policy.fields)


def _size(policy: OperatorModule, element: Element) -> tuple[int, int]:
    fields = getattr(policy, "fields", None)
    for name, kind in chosen_fields(policy, element, fields):
        if kind in ("image", "mask"):
            height, width = element.data[name].shape[:2]
            return height, width
    raise ValueError("boxes and keypoints are moved with an image or a mask; name one in fields.")


def _bin(value: Shaped[ArrayLike, ""]) -> nnx.Param[Float[Array, ""]]:
    return magnitude("magnitude", value, least=0.0, most=30.0)
