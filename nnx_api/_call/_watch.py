"""Whether Variables have kept their metadata, at the cost of one look at each.

What else modules are made of is looked at where their key is read. A value of a Variable is no
structure, and may change.
"""

import operator
from collections.abc import Callable, Iterable
from operator import is_

from flax import nnx
from jaxtyping import PyTree

from ._parts import Held

metadata_of: Callable[[nnx.Variable[PyTree]], dict[str, object]] = operator.attrgetter(
    "_var_metadata"
)
_WORDS = frozenset({bool, str, type(None)})


def in_words(metadata: dict[str, object]) -> bool:
    """Whether it holds plain words alone: equal ones are the same, and are compared in one go."""
    return _WORDS.issuperset(map(type, metadata.values()))


class Metadata:
    """Notices other metadata. What a dict holds that is more than words is looked at elsewhere."""

    def __init__(self, leaves: Iterable[nnx.Variable[PyTree]]):
        own = [x for x in leaves if not isinstance(x, Held)]
        self._told = [x for x in own if in_words(metadata_of(x))]
        self._others = [x for x in own if not in_words(metadata_of(x))]
        self.settle()

    def is_unchanged(self) -> bool:
        """Whether every Variable has the metadata that it had."""
        return self._words == list(map(metadata_of, self._told)) and (
            not self._others or all(map(is_, self._metadata, map(metadata_of, self._others)))
        )

    def settle(self) -> None:
        """Take what there is now for what there was: a trace has set it."""
        self._words = list(map(dict, map(metadata_of, self._told)))
        self._metadata = list(map(metadata_of, self._others))
