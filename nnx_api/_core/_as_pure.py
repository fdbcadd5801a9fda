"""A pipeline as the pure core has it: a graph, a stream and a key, which no call changes.

Modules are held still: each call is made of their Variables as they were, in a module of its own.
What the three are used for is not known here.
"""

from typing import Any, cast

import equinox as eqx
import jax
from flax import nnx
from jaxtyping import PRNGKeyArray, PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from ._module import PipelineCore, Stage


class Still(eqx.Module):
    """A module as a function of its arrays, by the names that they have in it."""

    arrays: dict[str, PyTree]
    structure: nnx.GraphDef[Any] = eqx.field(static=True)
    state: object = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, module: nnx.Pytree):
        self.structure, state = nnx.split(module)
        found, self.state = jax.tree_util.tree_flatten_with_path(state)
        self.names = tuple(
            jax.tree_util.keystr(x[:-1], simple=True, separator="/") for x, _ in found
        )
        self.arrays = dict(zip(self.names, (x for _, x in found), strict=True))

    @property
    def __wrapped__(self) -> Stage:
        # Where the signature is read, and the name.
        state = jax.tree.unflatten(
            cast(Any, self.state), [self.arrays[name] for name in self.names]
        )
        module: Stage = nnx.merge(self.structure, state, copy=True)
        return module

    def __call__(self, *batches: PyTree, **keys: PyTree) -> PyTree:
        return self.__wrapped__(*batches, **keys)


def as_pure(
    pipeline: PipelineCore[Any, Any],
) -> tuple[dp.Pipeline[Any, Any], dp.Stream[Any], PRNGKeyArray | None]:
    """Graph, stream and key. **Errors:** ValueError for a pipeline with variants."""
    if pipeline._variants:
        raise ValueError(
            "The pipeline has variants, each with a graph and a seed of its own; take them one by "
            "one: [one.pure() for one in pipeline.unstack()]."
        )
    stages = {
        name: Still(node) if isinstance(node, nnx.Pytree) else node
        for name, node in pipeline.nodes.items()
    }
    graph = internal.with_stages(pipeline._schedule, stages, pipeline._dims)
    return graph, pipeline._stream(), pipeline._key()
