"""Windows of a record and margins round it; what lies in a margin is `fill`, in a mask `mask_fill`.

Where a window stands is drawn in the core.
"""

from collections.abc import Mapping

from jaxtyping import PRNGKeyArray

from dagrax.pure.ops import Padding, Size, inner
from dagrax.pure.ops.inner import Motion

from .._element import Element, OperatorModule
from ._fields import Kind, declared
from ._geometric import AbstractGeometric, moved


class RandomCrop(OperatorModule, AbstractGeometric):
    """A window of a record, of `size` (height, width), after margins: each place is as likely.

    In `eval()` it is the window in the middle of the record, the record itself if it has that size.

    Args:
        size: of the window.
        padding: pixels, as one number, (vertical, horizontal) or ((top, bottom), (left, right)).
        mode: what stands in the margins of an image: `fill`, or its pixels again ("reflect",
            "edge").
        fill: a number, or one for each channel.
        mask_fill: what stands in the margins of a mask.
        fields: as in `RandomFlip`.
    """

    def __init__(
        self,
        size: int | Size,
        padding: Padding = 0,
        *,
        mode: inner.Mode = "constant",
        fill: inner.Fill = 0,
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.size = inner.size_of(size)
        self.padding = inner.margins(padding)
        self.sampling = inner.sampling("linear", fill, mode, mask_fill)
        self.fields = declared(fields)
        self.deterministic = False

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        before = inner.padded_size(size, self.padding)
        if key is None:
            top, left = inner.middle(size, self.size, self.padding)
        else:
            top, left = inner.place(before, self.size, key=key)
        return inner.cropping(top, left, self.size, self.padding, self.sampling)

    def apply(self, element: Element, *, key: PRNGKeyArray) -> Element:
        return moved(self, element, lambda size: self.motion(size, key).changes, self.fields)

    def in_eval(self, element: Element) -> Element:
        return moved(self, element, lambda size: self.motion(size, None).changes, self.fields)


class CenterCrop(OperatorModule, AbstractGeometric):
    """The window in the middle of a record; an odd rest leaves the smaller half above and left.

    `size` is (height, width); `fields` as in `RandomFlip`.
    """

    def __init__(self, size: int | Size, *, fields: Mapping[str, Kind | None] | None = None):
        self.size = inner.size_of(size)
        self.fields = declared(fields)

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        return inner.centring(size, self.size)

    def apply(self, element: Element) -> Element:
        return moved(self, element, lambda size: self.motion(size, None).changes, self.fields)


class Pad(OperatorModule, AbstractGeometric):
    """A record with margins round it. The arguments are those of `RandomCrop`."""

    def __init__(
        self,
        padding: Padding,
        *,
        mode: inner.Mode = "constant",
        fill: inner.Fill = 0,
        mask_fill: int = 0,
        fields: Mapping[str, Kind | None] | None = None,
    ):
        self.padding = inner.margins(padding)
        self.sampling = inner.sampling("linear", fill, mode, mask_fill)
        self.fields = declared(fields)

    def motion(self, size: Size, key: PRNGKeyArray | None) -> Motion:
        return inner.padding_by(self.padding, inner.padded_size(size, self.padding), self.sampling)

    def apply(self, element: Element) -> Element:
        return moved(self, element, lambda size: self.motion(size, None).changes, self.fields)
