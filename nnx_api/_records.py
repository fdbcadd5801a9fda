"""The kinds of Variables that a pipeline has of its own, so that filters can tell them apart.

What each is for is said here; what is done with them is not known.
"""

from typing import TypeVar

import jax
from flax import nnx
from jaxtyping import PyTree

from dagrax.pure import internal

_Tree = TypeVar("_Tree")


class Records(nnx.Variable[PyTree]):
    """The data of a source: arrays whose leading axes are the records.

    A type of its own, so that any filter can leave the data out: `nnx.Not(Records)`.
    """


class Seed(nnx.Variable[PyTree]):
    """A key that never changes: every draw folds what it is for into it."""


class Ordering(nnx.Variable[PyTree]):
    """An array of an order that a source was given: a key, weights, labels.

    No data and no parameter. Like the data it is what a pipeline is made of, and as large, so it is
    in no checkpoint; the checkpoint knows the order by a digest.
    """


class Position(nnx.Variable[PyTree]):
    """Where the next batch starts: epoch and offset, as one array of two unsigned integers."""


def held(tree: _Tree, kind: type[nnx.Variable[PyTree]] = Records) -> _Tree:
    """A pytree with its arrays in Variables, one for each, so that flax can name them by a path."""
    variables: _Tree = jax.tree.map(kind, tree)
    return variables


def values(tree: _Tree, place: str, kind: type[nnx.Variable[PyTree]] = Records) -> _Tree:
    """The pytree that was `held`. **Errors:** TypeError if something else stands at its place."""

    def value(leaf: object) -> PyTree:
        if isinstance(leaf, kind):
            return leaf.get_value()
        name = kind.__name__
        expected = f"{name}: to replace the data, write {place}[…] = {name}(array)."
        raise TypeError(internal.of_type(f"A leaf of {place}", leaf, expected))

    arrays: _Tree = jax.tree.map(value, tree, is_leaf=lambda x: isinstance(x, kind))
    return arrays
