"""What a step function makes of what it is given, looked at in programs that look at values.

It is given what the loop holds, and a batch; it makes results, and the next of what is held. How a
loop runs, and what its batches are, is not known here.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._checking import is_checking
from .._random._origin import Origin
from ._reads import reads
from ._refused import Word, check_step

Held: TypeAlias = Mapping[str, PyTree]  # by the names that a user would write: `carry`


class Stepped:
    """A call of a step function, made before it and asked behind it. `shared` are what it reads
    besides, by name."""

    def __init__(
        self,
        step: Callable[[dict[str, PyTree], PyTree], tuple[Held, PyTree]],
        held: Held,
        batch: PyTree,
        shared: Held | None = None,
    ):
        given = {**held, "batch": batch}
        self._inputs, self._shared = _leaves(given), _leaves(shared or {})
        names, structure = list(self._inputs), jax.tree.structure(list(given.values()))

        def again(inputs: dict[str, PyTree]) -> dict[str, PyTree]:
            trees = jax.tree.unflatten(structure, [inputs[name] for name in names])
            own = dict(zip(given, trees, strict=True))
            batch = own.pop("batch")
            after, y = step(own, batch)
            return _leaves({**after, "ys": y})

        self._read = reads(again, [self._inputs])

    def check(self, held: Held, y: PyTree, origin: Origin, number: Word) -> None:
        """Refuse a NaN or an infinity that the step of this number has made."""
        outputs = _leaves({**held, "ys": y})
        check_step(self._read, self._inputs, self._shared, outputs, origin, number)


def counted() -> tuple[Word, ...]:
    """What a loop that looks at values carries besides, and no other: the number of its step."""
    return (jnp.zeros((), jnp.uint32),) if is_checking() else ()


def spelt_leaves(name: str, tree: PyTree) -> dict[str, PyTree]:
    """The leaves of a tree by the names that a user would write: `carry['w']`."""
    named = jax.tree_util.tree_leaves_with_path(tree)
    return {name + jax.tree_util.keystr(path): leaf for path, leaf in named}


def _leaves(trees: Held) -> dict[str, PyTree]:
    return {
        spelt: leaf
        for name, tree in trees.items()
        for spelt, leaf in spelt_leaves(name, tree).items()
    }
