"""What may be a node of a pipeline, and how flax holds it; what may be a module of a scan.

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


def check_modules(argument: str, modules: object) -> None:
    """Refuse anything but a tuple of modules. **Errors:** TypeError."""
    wrong = not isinstance(modules, tuple) or not all(isinstance(m, nnx.Pytree) for m in modules)
    if wrong:
        kinds = [type(x).__name__ for x in modules] if isinstance(modules, tuple) else []
        raise TypeError(
            f"{argument} is of type {type(modules).__name__}"
            + (f" of {', '.join(kinds)}" if isinstance(modules, tuple) else "")
            + f"; expected a tuple of nnx modules: {argument}=(model, optimizer), or (model,) for "
            "one."
        )
