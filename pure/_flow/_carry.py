from typing import Any

import jax
import jax.numpy as jnp

from .._text import spec_text


def check_carry(before: Any, after: Any, name: str = "carry") -> None:
    """Refuse a loop body whose carry comes back with another structure, shape or dtype.

    **Errors:** a TypeError that lists every leaf that changed. A Python number may become an array.
    """
    old, new = (jax.tree_util.tree_leaves_with_path(x) for x in (before, after))
    was, now = str(jax.tree.structure(before)), str(jax.tree.structure(after))
    if was != now:
        raise TypeError(
            f"The step function was given a {name} of structure {was} and returned one of "
            f"structure {now}; return the {name} in the structure it came in."
        )
    changed = [
        f"\n  - `{name}{jax.tree_util.keystr(path)}` came in as {spec_text(x)} and went out "
        f"as {spec_text(y)}."
        for (path, x), (_, y) in zip(old, new, strict=True)
        if _shape(x) != _shape(y) or (jnp.result_type(x) != jnp.result_type(y) and not _weak(x))
    ]
    if changed:
        raise TypeError(
            f"The step function changes its {name}, which must keep its shapes and dtypes:"
            f"{''.join(changed)}\nGive the initial {name} the type that the step function returns, "
            "or cast what it returns."
        )


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(jnp.shape(x))


def _weak(x: Any) -> bool:
    return bool(jax.typeof(x).weak_type)
