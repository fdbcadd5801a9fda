"""Whether the inputs and the output of a node fit what is stated, held together as one.

An axis name means one size across all of them, which is why they are judged in one go. Graphs,
and how a node is run, are not known.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from jaxtyping import jaxtyped

from .._text import Specs, spec_text
from ._annotation import Annotation
from ._axes import (
    Sizes,
    bindings,
    computed_axes,
    difference,
    example,
    for_specs,
    sizes_text,
    uncomputed,
)
from ._pairs import Choice, Content, Fault, Item, Reading, contents


class Known(NamedTuple):
    """What holds for all nodes: sizes of axes, where each comes from, fields that may stand in any
    TypedDict, and the axes that a node has named."""

    sizes: Sizes
    notes: dict[str, str]
    free: tuple[str, ...]
    named: frozenset[str]

    def with_sizes(
        self, dims: Iterable[tuple[str, int | None]], bound: Sizes, giver: str
    ) -> "Known":
        """With the sizes that a node, or the source, has given to axes declared graph-wide."""
        new = {name: bound[name] for name, _ in dims if name in bound and name not in self.sizes}
        notes = dict.fromkeys(new, f" from {giver}")
        return Known(self.sizes | new, self.notes | notes, self.free, self.named | bound.keys())


class Part(NamedTuple):
    """An input or the output of a node: how it is called, its annotation and its specs."""

    label: str
    annotation: Annotation
    value: Specs
    given: bool


_Labelled: TypeAlias = tuple[Part, Content | Fault]


def misfits(parts: Sequence[Part], known: Known, owner: object) -> tuple[list[str], Sizes]:
    """Where the parts do not fit their annotations, a line for each field; and the sizes that they
    give to axes.

    Axes of one name are equal across all parts, and to those known. `owner` is the `self` of an
    axis such as `{self.size}`.
    """
    found = [
        pair
        for part in parts
        for item in contents(part.annotation, part.value, (), Reading({}, known.free))
        for pair in _chosen(part, item, known, owner)
    ]
    return _held(found, known, owner)


def _held(found: Sequence[_Labelled], known: Known, owner: object) -> tuple[list[str], Sizes]:
    lines: list[str] = []
    sizes = dict(known.sizes)
    bound: Sizes = {}
    # What isinstance binds is kept here, and would be lost in a function of its own under
    # jaxtyping's import hook.
    with jaxtyped("context"):
        for name, size in sizes.items():
            isinstance(*example(name, size))
        # Computed axes last: `h//2` may stand before the array that binds `h`.
        for part, item in sorted(found, key=lambda pair: _is_computed(pair[1])):
            place = part.label.rstrip(",")
            if item.path:
                place = f"{part.label} `{'/'.join(item.path)}`"
            if isinstance(item, Fault):
                lines.append(f"{place}: {item.text}")
                continue
            try:
                options = [for_specs(annotation, owner) for annotation in item.annotations]
                fitting = next((x for x in options if isinstance(item.value, x)), None)
            except Exception as error:  # jaxtyping evaluates what the annotation says
                why = uncomputed(item.annotations[0], sizes, error)
            else:
                if fitting is not None:
                    bound |= bindings(fitting, item.value)
                    sizes |= bound
                    continue
                why = difference(item.annotations, item.value, sizes, owner, given=part.given)
            got = f"{spec_text(item.value)} ({sizes_text(sizes, known.notes)})"
            lines.append(f"{place}: expected {item.text}, got {got}.{why}")
    return lines, bound


def _chosen(part: Part, item: Item, known: Known, owner: object) -> list[_Labelled]:
    if not isinstance(item, Choice):
        return [(part, item)]
    options = [
        [pair for inner in option for pair in _chosen(part, inner, known, owner)]
        for option in item.options
    ]
    fitting = (option for option in options if not _held(option, known, owner)[0])
    return next(fitting, options[0])


def _is_computed(item: Content | Fault) -> bool:
    return isinstance(item, Content) and any(map(computed_axes, item.annotations))
