"""How names, paths, shapes and kinds are written in messages and tables: once, for everybody.

One shape has one spelling, `f32[4,3]`; one wrong kind one sentence. Nothing of dagrax is known
here: neither nodes nor streams, only words.
"""

import difflib
import re
import types
from collections.abc import Iterable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

Specs: TypeAlias = PyTree[jax.ShapeDtypeStruct]

_SHORT = types.MappingProxyType(
    {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "complex": "c"}
)


def specs(tree: PyTree) -> Specs:
    """The shapes and dtypes of a pytree of arrays, in its own containers."""

    def spec(leaf: PyTree) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))

    return jax.tree.map(spec, tree)


def spec_text(tree: PyTree) -> str:
    """A leaf as `f32[4,3]`, a container as its fields: `{image: f32[4,3], label: i32[4]}`."""
    if tree is None:
        return "None"
    if jax.tree_util.all_leaves([tree]):
        return _leaf(tree)
    return "{" + fields_text(tree) + "}"


def kind_text(value: object) -> str:
    """What was returned: an array as `f32[4,3]`, anything else by the name of its type."""
    return spec_text(value) if isinstance(value, jax.Array) else type(value).__name__


def fields_text(tree: PyTree) -> str:
    """The fields of a batch: `image: f32[4,3], label: i32[4]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return ", ".join(f"{path_text(path)}: {_leaf(x)}" if path else _leaf(x) for path, x in leaves)


def path_text(path: tuple[object, ...]) -> str:
    """A leaf's place in a pytree as a user would type it: `image`, `meta/camera`, `0`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _leaf(leaf: PyTree) -> str:
    try:
        dtype = str(jnp.result_type(leaf))
    except (TypeError, ValueError):  # no array: a function that a model holds, say
        return type(leaf).__name__
    return array_text(dtype, jnp.shape(leaf))


def node_text(name: str) -> str:
    """The name of a node where the source stands beside it: one named so is `source (node)`."""
    return f"{name} (node)" if re.fullmatch(r"source( \(node\))*", name) else name


def array_text(dtype: str, shape: tuple[int, ...]) -> str:
    """A shape and the name of a dtype as `f32[4,3]`."""
    word = re.match("[a-z]*", dtype)
    kind = word[0] if word else ""
    return f"{_SHORT.get(kind, kind)}{dtype[len(kind) :]}[{','.join(map(str, shape))}]"


def listed(names: Iterable[str]) -> str:
    """The names in back-ticks, separated by commas."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def near(name: object, known: Iterable[str]) -> str:
    """` Did you mean …?` with the known name that is nearest to an unknown one, or nothing."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean `{found[0]}`?" if found else ""


def suggestion(name: object, known: Iterable[str]) -> str:
    """A closing sentence for an unknown name: the nearest known one, or all of them."""
    known = list(known)
    return near(name, known).strip() or f"The nodes are {listed(known)}."


def of_type(name: str, value: object, expected: str) -> str:
    """A wrong kind: `source is of type dict; expected a source: write ArraySource(data).`"""
    return f"{name} is of type {type(value).__name__}; expected {expected}"


def valued(name: str, value: object, expected: str) -> str:
    """A wrong kind whose value says more: `length is '3' of type str; expected an int.`"""
    return f"{name} is {value!r} of type {type(value).__name__}; expected {expected}"
