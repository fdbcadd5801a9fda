"""What may be a node of a pipeline, and how flax holds it.

The pure core has judged whether a stage can be called; here it becomes an attribute of a module.
"""

from typing import Any

import jax
from flax import nnx

import dagrax.pure as dp

from ._core._module import PipelineCore, Stage


def nodes_of(graph: dp.Pipeline[Any, Any]) -> dict[str, Stage]:
    """The stages of a graph by name; a module is held as itself. **Errors:** TypeError for a
    Pipeline."""
    nodes: dict[str, Stage] = {}
    for name, stage in graph.stages.items():
        # A module that is no pytree is still one to flax.
        own = stage.func if isinstance(stage, jax.tree_util.Partial) else stage
        nodes[name] = own if isinstance(own, nnx.Pytree) else stage
        if isinstance(own, PipelineCore):
            raise TypeError(
                f"Node `{name}` is a Pipeline, which does not know where the records of its "
                "batches come from; put its stages into this one."
            )
    return nodes
