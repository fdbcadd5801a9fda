"""One draw moves all fields of a record: image, mask, boxes and keypoints, none left behind.

What a motion does to each of them is in the core; nothing here knows which operator it is.
"""

import abc
from collections.abc import Callable
from typing import TypeVar

from jaxtyping import Array, PRNGKeyArray, Shaped

from dagrax.pure.ops import Size, inner
from dagrax.pure.ops.inner import Changes, Motion, Sampling

from .._element import Element, OperatorModule
from ._fields import Change, Fields, Kind, changed, chosen_fields, on_field

Made = TypeVar("Made")


class AbstractGeometric(abc.ABC):
    """What `Warp` asks of an operator that it holds: a motion by a matrix."""

    fields: Fields | None
    sampling: Sampling = Sampling()

    @abc.abstractmethod
    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        """What becomes of a record whose image is of `size`, for the draw of this key.

        Without a key it is what becomes of it in `eval()`, or of any if the operator never draws.
        """

    @abc.abstractmethod
    def draws(self) -> bool:
        """As that of an OperatorModule."""


def moved(
    operator: OperatorModule,
    element: Element,
    changes: Callable[[Size], Changes],
    fields: Fields | None,
) -> Element:
    """The element with its fields changed as one, for the size of its image.

    **Errors:** ValueError for images and masks of several sizes, and for none; those of the fields.
    """
    own = made(operator, changes, _size(operator, element, fields))
    kinds: dict[Kind, Change] = {
        "image": own.image,
        "mask": own.mask,
        "boxes": own.boxes,
        "keypoints": own.keypoints,
    }
    return changed(operator, element, kinds, fields)


def made(operator: object, make: Callable[[Size], Made], size: Size) -> Made:
    """What is made for a size. **Errors:** ValueError, with the operator's name, if nothing can."""
    try:
        return make(size)
    except ValueError as error:  # of the core, which knows no operators
        raise ValueError(f"{type(operator).__name__}: {error}") from None


def _size(operator: OperatorModule, element: Element, fields: Fields | None) -> Size:
    name = type(operator).__name__
    chosen = chosen_fields(operator, element, fields)
    sizes = {
        field: on_field(operator, field, element.data[field], _judge(kind)).shape[:2]
        for field, kind in chosen
        if kind in ("image", "mask")
    }
    if len(set(sizes.values())) > 1:
        each = " and ".join(f"`{field}` is {h}x{w}" for field, (h, w) in sizes.items())
        raise ValueError(
            f"{name} moves the fields of a record together, but {each}; expected one height and "
            "width: bring them to one size in a stage before, or leave one out of fields={…}."
        )
    if chosen and not sizes:
        told = " and ".join(f"`{field}`" for field, _ in chosen)
        raise ValueError(
            f"{name} moves {told}, but no image or mask tells it the size; say which field is "
            'one: fields={…: "image"}.'
        )
    height, width = next(iter(sizes.values()), (1, 1))
    return height, width


def _judge(kind: Kind) -> Change:
    def judged(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        return (inner.mask_of if kind == "mask" else inner.picture_of)("it", value)

    return judged
