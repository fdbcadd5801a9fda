"""What a checkpoint holds, and that it comes back only to a pipeline made alike.

A checkpoint names its pipeline by digests, in an entry that no pipeline has as a Variable. Flax
sets entries in their order, this one first, and a pipeline then judges it before anything is set.
"""

from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from .._call._parts import Path, raw, with_value
from .._records import Ordering, Records
from ._identity import NODES, as_digests, as_words, digests, refuse_another
from ._module import PipelineCore

GUARD = "_guard"  # before `_position`, `_seed`, `nodes` and `source`


class Guard(nnx.Variable[PyTree]):
    """Whose checkpoint it is: digests of source, order, seed and graph, as numbers, and
    the nodes of the graph, as metadata: a place for numbers is as large for every graph."""


def checkpoint(pipeline: PipelineCore[Any, Any]) -> nnx.State[Any, Any]:
    """Everything but the data and an order given, in arrays that no step will move and no call can
    take away."""
    flat = nnx.to_flat_state(nnx.state(pipeline, nnx.Not(nnx.Any(Records, Ordering))))
    kept = [(path, _copied(leaf)) for path, leaf in flat if can_be_set(pipeline, path, leaf)]
    guard: list[tuple[Path, Any]] = []
    if not pipeline.cursor.is_traced:
        own = digests(pipeline)
        guard = [((GUARD,), Guard(as_words(own), nodes=own[NODES]))]
    state: nnx.State[Any, Any] = nnx.from_flat_state([*guard, *kept])
    return state


def judge(pipeline: PipelineCore[Any, Any], guard: object) -> None:
    """Refuse the checkpoint of a pipeline with another source, order, seed or graph."""
    saved = as_digests(np.asarray(jax.device_get(raw(guard))))
    if isinstance(guard, nnx.Variable):  # or an array, in what has kept no more
        saved |= {NODES: str(guard.get_metadata().get(NODES))}
    mend = "restore what fits alone: nnx.update(pipeline.nodes[…], state['nodes'][…])."
    refuse_another(digests(pipeline), saved, "The checkpoint", mend)


def _copied(leaf: PyTree) -> PyTree:
    value = jax.tree.map(_copy, raw(leaf))
    return with_value(leaf, value) if isinstance(leaf, nnx.Variable) else value


def _copy(x: object) -> object:
    return x.copy() if isinstance(x, jax.Array | np.ndarray) else x


def can_be_set(module: PyTree, path: Path, leaf: object) -> bool:
    """Whether an array that a module holds there can be replaced; a Variable always can."""
    held: Any = module
    for name in path if not isinstance(leaf, nnx.Variable) else ():
        if not isinstance(held, nnx.Pytree | dict | list):
            return False
        held = vars(held)[str(name)] if isinstance(held, nnx.Pytree) else held[name]
    return True
