import functools
import itertools
from operator import is_
from typing import Any

import equinox as eqx
import jax
from flax import nnx

from ._compiled import FLAX_OWN, raw_value
from ._records import Records

_each = itertools.chain.from_iterable


class Watch:
    """Notices a change in what makes up a module, at the cost of one look at what it holds.

    It is quicker than `seen_in`, and may see a change where there is none.
    """

    def __init__(self, module: Any):
        self._held: list[Any] = []  # lists, and live views of what dicts hold
        self._named: list[dict[Any, Any]] = []  # those whose names can change unseen
        self._records: list[Records] = []
        self._blind = False  # something is in there that may change unseen
        self._add(module, set())
        # Flat, so that one pass in C compares them all.
        self._sizes = list(map(len, self._held))
        self._values = list(_each(self._held))
        self._names = list(_each(self._named))
        self._data = list(map(raw_value, self._records))

    def unchanged(self) -> bool:
        """Whether everything in the module holds, by identity, what it held."""
        return (
            not self._blind
            and self._sizes == list(map(len, self._held))
            and all(map(is_, self._values, _each(self._held)))
            and all(map(is_, self._names, _each(self._named)))
            and all(map(is_, self._data, map(raw_value, self._records)))
        )

    def _add(self, node: Any, known: set[int]) -> None:
        if id(node) in known:
            return
        known.add(id(node))
        if isinstance(node, nnx.Variable):
            if isinstance(node, Records):
                self._records.append(node)
                self._add(node.get_raw_value(), known)
        elif isinstance(node, nnx.Pytree):
            self._add(vars(node), known)
        elif isinstance(node, dict):
            self._held.append(node.values())
            if not _are_listed(node):
                self._named.append(node)
            for name, child in node.items():
                if name not in FLAX_OWN:
                    self._add(child, known)
        elif isinstance(node, list | tuple | set):
            if not isinstance(node, tuple):
                self._held.append(node)
            for child in node:
                self._add(child, known)
        elif not jax.tree_util.all_leaves([node]):
            self._blind |= not isinstance(node, eqx.Module | functools.partial)
            for child in jax.tree.leaves(node, is_leaf=lambda x: isinstance(x, nnx.Pytree)):
                self._add(child, known)


def _are_listed(attributes: dict[Any, Any]) -> bool:
    # Flax puts a new list of the names, itself an attribute, when there is a new one.
    return attributes.keys() - FLAX_OWN <= set(attributes.get("_pytree__nodes", ()))
