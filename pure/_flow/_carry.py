"""What a loop carries must come back as it went in; what did not is told leaf by leaf.

Neither streams nor step functions are known here.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._text import spec_text

_Leaf: TypeAlias = tuple[tuple[Any, ...], Any]
_Structure: TypeAlias = Any  # a PyTreeDef
_MOST = 4  # leaves that are written out, where the structure is another
_LONGEST = 200
_ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)


def check_carry(before: PyTree, after: PyTree, name: str = "carry") -> None:
    """Refuse a loop body whose carry comes back with another structure, shape or dtype.

    **Errors:** a TypeError that lists every leaf that changed. A Python number may become an array;
    what is no array, such as the function in a layer, must stay what it is.
    """
    old, new = (jax.tree_util.tree_leaves_with_path(x) for x in (before, after))
    was: _Structure = jax.tree.structure(before)
    now: _Structure = jax.tree.structure(after)
    if was != now:
        lines = [
            *(f"`{x}` came in as {y} and does not go out." for x, y in _alone(old, new, name)),
            *(f"`{x}` goes out as {y} and did not come in." for x, y in _alone(new, old, name)),
        ] or [_unlike(was, now)]
        raise TypeError(
            f"The step function changes the structure of its {name}:{_rows(lines)}\nReturn the "
            f"{name} in the structure it came in."
        )
    changed = [
        f"`{name}{jax.tree_util.keystr(path)}` came in as {_text(x)} and went out as {_text(y)}."
        for (path, x), (_, y) in zip(old, new, strict=True)
        if not _fits(x, y)
    ]
    if changed:
        rows = _rows(changed, most=len(changed))
        raise TypeError(
            f"The step function changes its {name}, which must keep its shapes and dtypes:{rows}\n"
            f"Give the initial {name} the type that the step function returns, "
            "or cast what it returns."
        )


def _rows(lines: Sequence[str], most: int = _MOST) -> str:
    more = [f"… and {len(lines) - most} more."] if len(lines) > most else []
    return "".join(f"\n  - {line}" for line in [*lines[:most], *more])


def _alone(these: Sequence[_Leaf], others: Sequence[_Leaf], name: str) -> Iterator[tuple[str, str]]:
    """The leaves that have no like among others, by name."""
    known = {path for path, _ in others}
    for path, leaf in these:
        if path not in known:
            yield name + jax.tree_util.keystr(path), _text(leaf)


def _unlike(was: _Structure, now: _Structure) -> str:
    """The innermost containers around all that differs, where the leaves have the same names."""
    pairs = list(zip(was.children(), now.children(), strict=False))
    unlike = [(x, y) for x, y in pairs if x != y]
    if was.node_data() == now.node_data() and len(unlike) == 1:
        return _unlike(*unlike[0])
    return f"{_short(was)} came in and {_short(now)} went out."


def _short(structure: _Structure) -> str:
    text = str(structure)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _fits(x: object, y: object) -> bool:
    if not isinstance(x, _ARRAYS) or not isinstance(y, _ARRAYS):
        return x is y or (type(x) is type(y) and x == y)
    same = jnp.result_type(x) == jnp.result_type(y) or jax.typeof(x).weak_type
    return jnp.shape(x) == jnp.shape(y) and bool(same)


def _text(leaf: object) -> str:
    return spec_text(leaf) if isinstance(leaf, _ARRAYS) else repr(leaf)
