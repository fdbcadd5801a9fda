"""The kinds of Variables that a pipeline has of its own, so that filters can tell them apart.

What each is for is said here; what is done with them is not known.
"""

from flax import nnx
from jaxtyping import PyTree


class Records(nnx.Variable[PyTree]):
    """The data of a source: arrays whose leading axes are the records.

    A type of its own, so that any filter can leave the data out: `nnx.Not(Records)`.
    """


class Seed(nnx.Variable[PyTree]):
    """A key that never changes: every draw folds what it is for into it."""


class Position(nnx.Variable[PyTree]):
    """Where the next batch starts: epoch and offset, as one array of two unsigned integers."""
