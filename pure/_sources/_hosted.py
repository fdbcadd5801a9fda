"""A host source as a source like any other: its records are handed in, and not in the program.

Orders, views, streams and contracts read of it what they read of any: a size and a spec. The one
thing that it cannot do is to give records inside of a trace. When they are read is not known here.
"""

from typing import Any, cast

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PyTree, UInt32

from .._orders._order import AbstractOrder, Sequential
from .._static._kinds import content
from .._static._reader import Reader
from .._text import spec_text
from ._fetched import fetched
from ._host_source import AbstractHostSource, Ids, check_host_source, spec_of
from ._source import AbstractSource, Batch, check_part, check_source
from ._unknown import UNKNOWN


class Handle:
    """A host source, equal to itself alone: no program depends on more of it than size and spec."""

    __slots__ = ("source", "spec")

    def __init__(self, source: AbstractHostSource[Any]):
        self.source, self.spec = source, spec_of(source)

    @property
    def size(self) -> int:
        """The number of records, which one that is iterated over knows at its end only."""
        return int(self.source.size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self.source is other.source

    def __hash__(self) -> int:
        return id(self.source)

    def __repr__(self) -> str:
        told = "" if self.size == UNKNOWN else f"{self.size} "
        return f"{type(self.source).__name__} of {told}records of {spec_text(self.spec)}"

    def __deepcopy__(self, memo: object) -> "Handle":
        return self


@content.register
def _(value: Handle, reader: Reader) -> None:
    shapes = [(str(path), x.shape, str(x.dtype)) for path, x in _leaves(value.spec)]
    structure: object = jax.tree.structure(value.spec)
    # No program depends on how many records one has that finds them out pass by pass.
    size = value.size >= 2**31 if value.source.has_own_order else value.size
    reader.parts.append(("host", size, repr(structure), *shapes))


class Hosted(AbstractSource[Batch]):
    """The records of a host source, by their ids."""

    handle: Handle = eqx.field(static=True)

    def __init__(self, source: AbstractHostSource[Batch] | Handle):
        if not isinstance(source, Handle):
            check_host_source("source", source)
        self.handle = source if isinstance(source, Handle) else Handle(source)

    @property
    def size(self) -> int:
        return self.handle.size

    @property
    def element_spec(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one record, as its source says them."""
        return self.handle.spec

    @property
    def order(self) -> AbstractOrder | None:
        """As they come, where a source has an order of its own."""
        return Sequential() if self.handle.source.has_own_order else None

    @property
    def annotation(self) -> object:
        """Nothing: a host source states its spec alone."""
        return Any

    def rows(self, ids: UInt32[Array, " batch"]) -> Batch:
        """**Errors:** TypeError: no program can ask for them."""
        name = type(self.handle.source).__name__
        raise TypeError(
            f"The records of a {name} are read on the host, and cannot be asked for by a compiled "
            "program or inside a trace (jit, scan, vmap). Run the loop outside: of a pipeline call "
            "step(), scan(…), blocks(…) or a `for`, in the core host.scan(…) or host.epoch(…); or "
            "pass the batch to the function."
        )

    def fetch(self, ids: Ids, out: PyTree[np.ndarray] | None = None) -> PyTree[np.ndarray]:
        return fetched(self.handle.source, ids, out)


def is_hosted(tree: PyTree) -> bool:
    """Whether a source, or a stream of one, has records that are read on the host."""
    return any(isinstance(x, Hosted) for x in jax.tree.leaves(tree, is_leaf=_is_hosted))


def given_source(name: str, source: object) -> AbstractSource[Any]:
    """What a user gives for a source, as one. **Errors:** TypeError, those of a host source."""
    if isinstance(source, AbstractHostSource):
        check_host_source(name, source)
        return Hosted(source)
    check_source(name, source)
    return cast(AbstractSource[Any], source)


def given_part(name: str, source: object) -> AbstractSource[Any]:
    """What a user gives for a part of another source, as one. **Errors:** those of `check_part`."""
    own = given_source(name, source)
    if isinstance(own, Hosted) and own.order is not None:
        raise TypeError(
            f"{name} is of type {type(own.handle.source).__name__}, whose records come in their "
            "own order; choose, join and mix them by the library that gives them."
        )
    check_part(name, own)
    return own


def _is_hosted(x: object) -> bool:
    return isinstance(x, Hosted)


def _leaves(spec: PyTree) -> list[tuple[tuple[object, ...], jax.ShapeDtypeStruct]]:
    found: list[tuple[tuple[object, ...], jax.ShapeDtypeStruct]]
    found = jax.tree_util.tree_leaves_with_path(spec)
    return found
