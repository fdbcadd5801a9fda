import functools
import itertools
import operator
from typing import Any

import equinox as eqx
import jax
from flax import nnx

from ._compiled import FLAX_OWN, raw_value
from ._records import Records


class Watch:
    """Notices a change in what makes up a module, at the cost of one look at what it holds.

    It is quicker than `seen_in`, and may see a change where there is none.
    """

    def __init__(self, module: Any):
        self._dicts: list[dict[Any, Any]] = []
        self._named: list[dict[Any, Any]] = []  # those whose names can change unseen
        self._lists: list[Any] = []
        self._records: list[Records] = []
        self._blind = False  # something is in there that may change unseen
        self._add(module, set())
        # Flat, so that one pass in C compares them all.
        self._sizes = self._sizes_now()
        self._names = list(itertools.chain.from_iterable(self._named))
        self._values = list(self._values_now())

    def unchanged(self) -> bool:
        """Whether everything in the module holds, by identity, what it held."""
        return (
            not self._blind
            and self._sizes == self._sizes_now()
            and all(map(operator.is_, self._values, self._values_now()))
            and all(map(operator.is_, self._names, itertools.chain.from_iterable(self._named)))
        )

    def _sizes_now(self) -> list[int]:
        return [*map(len, self._dicts), *map(len, self._lists)]

    def _values_now(self) -> Any:
        chain = itertools.chain
        return chain(
            chain.from_iterable(map(dict.values, self._dicts)),
            chain.from_iterable(self._lists),
            map(raw_value, self._records),
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
            self._dicts.append(node)
            if not _are_listed(node):
                self._named.append(node)
            for name, child in node.items():
                if name not in FLAX_OWN:
                    self._add(child, known)
        elif isinstance(node, list | tuple | set):
            if not isinstance(node, tuple):
                self._lists.append(node)
            for child in node:
                self._add(child, known)
        elif not jax.tree_util.all_leaves([node]):
            self._blind |= not isinstance(node, eqx.Module | functools.partial)
            for child in jax.tree.leaves(node, is_leaf=lambda x: isinstance(x, nnx.Pytree)):
                self._add(child, known)


def _are_listed(attributes: dict[Any, Any]) -> bool:
    # Flax puts a new list of the names, itself an attribute, when there is a new one.
    return attributes.keys() - FLAX_OWN <= set(attributes.get("_pytree__nodes", ()))
