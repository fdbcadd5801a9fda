"""What a loop carries must come back as it went in; what did not is told leaf by leaf.

Neither streams nor step functions are known here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._text import spec_text

_ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)


def check_carry(before: PyTree, after: PyTree, name: str = "carry") -> None:
    """Refuse a loop body whose carry comes back with another structure, shape or dtype.

    **Errors:** a TypeError that lists every leaf that changed. A Python number may become an array;
    what is no array, such as the function in a layer, must stay what it is.
    """
    old, new = (jax.tree_util.tree_leaves_with_path(x) for x in (before, after))
    was: object = jax.tree.structure(before)
    now: object = jax.tree.structure(after)
    if was != now:
        raise TypeError(
            f"The step function was given a {name} of structure {was} and returned one of "
            f"structure {now}; return the {name} in the structure it came in."
        )
    changed = [
        f"\n  - `{name}{jax.tree_util.keystr(path)}` came in as {_text(x)} and went out "
        f"as {_text(y)}."
        for (path, x), (_, y) in zip(old, new, strict=True)
        if not _fits(x, y)
    ]
    if changed:
        raise TypeError(
            f"The step function changes its {name}, which must keep its shapes and dtypes:"
            f"{''.join(changed)}\nGive the initial {name} the type that the step function returns, "
            "or cast what it returns."
        )


def _fits(x: object, y: object) -> bool:
    if not isinstance(x, _ARRAYS) or not isinstance(y, _ARRAYS):
        return x is y or (type(x) is type(y) and x == y)
    same = jnp.result_type(x) == jnp.result_type(y) or jax.typeof(x).weak_type
    return jnp.shape(x) == jnp.shape(y) and bool(same)


def _text(leaf: object) -> str:
    return spec_text(leaf) if isinstance(leaf, _ARRAYS) else repr(leaf)
