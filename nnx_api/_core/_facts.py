"""The facts about a pipeline: what its nodes hold, as Variables, and what they write.

What a summary says, and how it is shown, stands in `dagrax.pure`; nothing is set here.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Parts, Values
from .._records import Ordering, Records
from .._variants import each_variant
from . import _calls
from ._apart import apart
from ._module import Modules, PipelineCore


def facts(
    pipeline: PipelineCore[Any, Any], *, cost: bool = False, measure: bool = False
) -> dp.Summary:
    """The summary of a pipeline. **Errors:** those of `Pipeline.summary`."""
    internal.check_asked(cost, measure)
    pipeline._check_graph()
    specs = _calls.survey(pipeline).outputs
    found = internal.summary_of(
        pipeline._graph(), pipeline._stream(), specs, _holdings(pipeline, specs)
    )
    if not cost and not measure:
        return found
    own = apart(pipeline, measure=measure)
    return internal.with_figures(found, pipeline._schedule, own, cost=cost, measure=measure)


def _holdings(pipeline: PipelineCore[Any, Any], specs: Mapping[str, PyTree]) -> internal.Holdings:
    parts = Parts.of(pipeline)
    written = _written(pipeline, parts)
    nodes = {name: _holding(node, written[name]) for name, node in pipeline.nodes.items()}
    data = [x.get_raw_value() for x in parts.leaves if isinstance(x, Records | Ordering)]
    kinds = Records, Ordering, nnx.Param
    carry = [x.get_raw_value() for x in parts.leaves if not isinstance(x, kinds)]
    seeds = jnp.shape(pipeline._seed.get_raw_value())
    return internal.Holdings(nodes, data, carry, seeds, pipeline._one_source()._named())


def _holding(node: object, written: list[nnx.Variable[PyTree]]) -> internal.Holding:
    own = Parts.of({"node": node}).leaves
    learned = {id(x): x.get_raw_value() for x in own if isinstance(x, nnx.Param)}
    state = [x for x in written if not isinstance(x, nnx.Param)]
    draws = ("rngs",) if any(isinstance(x, nnx.RngState) for x in state) else ()
    return internal.Holding(learned, bool(state), draws)


def _written(
    pipeline: PipelineCore[Any, Any], parts: Parts
) -> dict[str, list[nnx.Variable[PyTree]]]:
    """The Variables that each node writes, from a run on shapes."""
    found: dict[str, list[nnx.Variable[PyTree]]] = {}

    def one(own: PipelineCore[Any, Any], modules: Modules, carry: None) -> tuple[None, None]:
        inside, stream, graph = Parts.of(own), own._stream(), own._graph()
        batch, origin = stream.first(stream.batching.length(0))
        outputs: dict[str, PyTree] = {}
        for name in graph.schedule.order:
            inputs = [outputs[x] for x in graph.schedule.predecessors(name)] or [batch]
            values = Parts.of(own).values()
            outputs[name] = internal.call(name, graph.stages[name], inputs, own._key(), origin)
            changed = inside.changes(own, values, "A stage")
            found[name] = [parts.leaves[index] for index in changed]
        return None, None

    def run(values: Values) -> None:
        each_variant(one, parts.together(values), pipeline._variants)

    jax.eval_shape(run, parts.values())
    return found
