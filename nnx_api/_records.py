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


class Position(nnx.Variable[PyTree]):
    """Where the next batch starts: epoch and offset, as one array of two unsigned integers."""


def held(tree: _Tree) -> _Tree:
    """A pytree with its arrays in `Records`, one for each, so that flax can name them by a path."""
    variables: _Tree = jax.tree.map(Records, tree)
    return variables


def values(tree: _Tree, place: str) -> _Tree:
    """The pytree that was `held`. **Errors:** TypeError if something else stands at its place."""

    def value(leaf: object) -> PyTree:
        if isinstance(leaf, Records):
            return leaf.get_value()
        expected = f"Records: to replace the data, write {place}[…] = Records(array)."
        raise TypeError(internal.of_type(f"A leaf of {place}", leaf, expected))

    arrays: _Tree = jax.tree.map(value, tree, is_leaf=lambda x: isinstance(x, Records))
    return arrays
