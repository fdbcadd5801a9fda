"""Whether a checkpoint is to be trusted, and belongs here: its guard, its places, its numbers.

A number goes into another of its kind, if that can hold it; an array only into one like it. From
where a checkpoint is read is not known here, nor what is done with one that is refused.
"""

import json
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ..._graph._told import graph_changes
from ..._text import array_text, listed
from ._arrays import Saved
from ._digests import together
from ._resumable import Whole

FORMAT = 2
DIGESTS = "digests"  # of the arrays, themselves an array: the JSON stays small
_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)


class Refusal(Exception):
    """Why a checkpoint that can be read is not to be trusted."""


def seal(about: Mapping[str, object]) -> str:
    """A digest of what a checkpoint says of itself."""
    return together(sorted((name, x) for name, x in about.items() if name != "seal"))


def judged(about: object, whole: Whole) -> dict[str, int | str]:
    """What a checkpoint says of itself, if that is unchanged and of a run like this one.

    **Errors:** Refusal.
    """
    if not isinstance(about, dict) or about.get("seal") != seal(about):
        raise Refusal("its position, or what it says of itself, changed since it was written.")
    if about["format"] != FORMAT:
        raise Refusal(f"its format is {about['format']}; this version reads {FORMAT}.")
    # What stands beside the pipeline may be missing: this is told by its arrays.
    other = [
        x
        for x in whole.about
        if about.get(x, whole.about[x] if "/" in x else 0) != whole.about[x] and _last(x) != "nodes"
    ]
    if own := [name for name in other if "/" not in name]:
        others = " and another ".join(_other(name, about, whole) for name in own)
        raise Refusal(f"it belongs to a pipeline with another {others}.")
    if other:
        holder = other[0].rpartition("/")[0]
        what = _other(other[0], about, whole)
        raise Refusal(f"its `{holder}` is a pipeline with another {what}.")
    return about


def _other(name: str, about: Mapping[str, object], whole: Whole) -> str:
    what = _last(name)
    if what == "policy":
        return f'remainder ("{about.get(name)}", here "{whole.about[name]}")'
    if what == "graph":
        nodes = name.removesuffix(what) + "nodes"
        told = graph_changes(about.get(nodes), whole.about[nodes])
        return f"graph ({told})" if told else what
    return what  # of the others there are digests alone, which say nothing to a reader


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def check_places(
    saved: Mapping[str, jax.ShapeDtypeStruct], about: Mapping[str, int | str], whole: Whole
) -> None:
    """Refuse arrays that do not go into the places that there are. **Errors:** Refusal."""
    names, own = [name for name in saved if name != DIGESTS], whole.arrays
    if missing := [name for name in own if name not in names]:
        raise Refusal(f"it does not hold {listed(missing)}.")
    if more := [name for name in names if name not in own]:
        raise Refusal(f"it also holds {listed(more)}, for which no place was given.")
    keys = json.loads(str(about["keys"]))
    for name, array in own.items():
        there = keys.get(name) or _text(saved[name])
        here = whole.keys.get(name) or _text(array)
        if there != here and not _is_number_alike(saved[name], array):
            raise Refusal(f"it holds `{name}` as {there}, which is {here} here.")


def converted(name: str, array: Saved, like: Saved) -> Saved:
    """A saved array in the dtype of its place. **Errors:** Refusal for what that cannot hold."""
    if array.dtype == like.dtype:
        return array
    number = np.asarray(array)
    with np.errstate(all="ignore"):
        other = number.astype(like.dtype)
    own, new = number.item(), other.item()
    if own != new and own == own:
        raise Refusal(
            f"it holds `{name}` as the {_text(array)} {own}, which {_text(like)} cannot hold."
        )
    return other


def _is_number_alike(saved: jax.ShapeDtypeStruct, own: Saved) -> bool:
    return saved.shape == own.shape == () and _kind(saved.dtype) == _kind(own.dtype)


def _kind(dtype: np.dtype) -> object:
    return next((kind for kind in _KINDS if jnp.issubdtype(dtype, kind)), None)


def _text(array: Saved | jax.ShapeDtypeStruct) -> str:
    # By its own dtype, which JAX would tell as one of 32 bits.
    return array_text(str(array.dtype), array.shape)
