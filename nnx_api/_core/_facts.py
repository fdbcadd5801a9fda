"""The facts about a pipeline: what its nodes hold, as Variables, and what they write.

What a summary says, and how it is shown, stands in `dagrax.pure`; nothing is set here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Parts, Values
from .._records import Ordering, Records
from .._variants import each_variant
from . import _calls
from ._apart import apart
from ._module import Modules, PipelineCore
from ._refusal import is_key

_MOST = 4  # numbers that are written out
_LARGE = 2**16  # numbers that are not looked through


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
    variants = jnp.shape(pipeline._seed.get_raw_value())
    nodes = {name: _holding(node, written[name], variants) for name, node in pipeline.nodes.items()}
    data = [x.get_raw_value() for x in parts.leaves if isinstance(x, Records | Ordering)]
    kinds = Records, Ordering, nnx.Param
    carry = [x.get_raw_value() for x in parts.leaves if not isinstance(x, kinds)]
    varies = ["seed"] * _differ(pipeline._seed.get_raw_value(), len(variants))
    varies += ["order"] * any(pipeline._variants)
    name = pipeline._one_source()._named()
    return internal.Holdings(nodes, data, carry, variants, tuple(varies), name)


def _holding(
    node: object, written: list[nnx.Variable[PyTree]], variants: tuple[int, ...]
) -> internal.Holding:
    parts = Parts.of({"node": node})
    own = parts.leaves
    learned = {id(x): x.get_raw_value() for x in own if isinstance(x, nnx.Param)}
    state = [x for x in written if not isinstance(x, nnx.Param)]
    draws = ("rngs",) if any(isinstance(x, nnx.RngState) for x in state) else ()
    return internal.Holding(learned, bool(state), draws, tuple(_varying(parts, variants)))


def _varying(parts: Parts, variants: tuple[int, ...]) -> Iterator[str]:
    """What differs between variants, with its numbers, where it is one number each."""
    for path, leaf in zip(parts.paths, parts.leaves, strict=True):
        whole = ".".join(map(str, path[1:]))
        for name, x in internal.spelt_leaves(whole, leaf.get_raw_value()).items():
            if jnp.shape(x)[: len(variants)] == variants and _differ(x, len(variants)):
                is_told = jnp.shape(x) == variants and not is_key(x)
                numbers = np.asarray(x).ravel().tolist() if is_told else []
                few = [f"{number:.4g}" for number in numbers[:_MOST]]
                said = f": {', '.join([*few, *['…'] * (len(numbers) > _MOST)])}" if few else ""
                yield name + said


def _differ(x: PyTree, levels: int) -> bool:
    """Whether the variants of an array differ; of a large or a traced one none is known to."""
    if not levels or isinstance(x, Tracer) or jnp.size(x) > _LARGE:
        return False
    if is_key(x):
        x = jax.random.key_data(x)
    rows = np.asarray(x).reshape(-1, *jnp.shape(x)[levels:])
    return bool((rows != rows[:1]).any())


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
