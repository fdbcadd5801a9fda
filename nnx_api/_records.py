from typing import Any

from flax import nnx


class Records(nnx.Variable[Any]):
    """The data of a source: a pytree of arrays whose leading axes are the records.

    A type of its own, so that any filter can leave the data out: `nnx.Not(Records)`.
    """


class Seed(nnx.Variable[Any]):
    """A key that never changes: every draw folds what it is for into it."""


class Position(nnx.Variable[Any]):
    """One half of a cursor, an unsigned integer: a NumPy scalar outside a trace."""
