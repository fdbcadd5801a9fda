"""What a batch of a user's own may hold: numbers, which alone have a place on a device.

Looked at when JAX has refused one, to say which field it is. Streams are not known here.
"""

import jax
import numpy as np
from jaxtyping import PyTree

from .._text import path_text


def check_numbers(batch: PyTree) -> None:
    """Refuse a batch that holds what is no number. **Errors:** TypeError, naming the field."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if isinstance(leaf, str | bytes):
            kind = f"a {type(leaf).__name__}"
        elif isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind in "OSUMm":
            kind = f"an array of dtype {leaf.dtype}"
        else:
            continue
        field = f"Field `{path_text(path)}` of the batch" if path else "The batch"
        raise TypeError(
            f"{field} is {kind}; expected an array of numbers or booleans. Encode "
            f"{'the field' if path else 'it'} as integers{', or drop it' * bool(path)}."
        )
