from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ._names import listed, suggestion
from ._origin import Origin
from ._random import batch_key, record_keys
from ._schedule import Schedule, graph_failures, raise_failures
from ._stage import arity_failure, as_stage, random_arguments, stage_names, type_name

_ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)


class Pipeline(eqx.Module):
    """A graph of stages: a pytree whose leaves are the stages' arrays, with a static schedule.

    A stage is a callable. It is called with the outputs of its predecessors as positional
    arguments, in the order of the edges; a stage without predecessors reads the source batch. A
    stage that declares a keyword `key` gets one key for each batch, one that declares
    `record_keys` one for each record.
    """

    stages: dict[str, Callable[..., Any]]
    schedule: Schedule = eqx.field(static=True)

    def __check_init__(self) -> None:
        if set(self.stages) != set(self.schedule.order):
            raise ValueError(
                f"The stages are {listed(self.stages)}, but the schedule is one of "
                f"{listed(self.schedule.order)}; build both by Pipeline.from_dag."
            )

    @classmethod
    def linear(cls, stages: Sequence[Callable[..., Any]]) -> "Pipeline":
        """Stages in a row: each reads the output of the one before it.

        They are named after their type: `noise`, `noise_1`, …
        """
        if not isinstance(stages, Sequence) or isinstance(stages, str):
            raise TypeError(
                f"stages is of type {type(stages).__name__}; expected a list of stages: write "
                "[normalize, augment]."
            )
        names = stage_names(stages)
        schedule = Schedule.linear(names)
        nodes = dict(zip(names, stages, strict=True))
        return cls.from_dag(nodes=nodes, edges=dict(schedule.edges), sink=schedule.sink)

    @classmethod
    def from_dag(
        cls,
        *,
        nodes: Mapping[str, Callable[..., Any]],
        edges: Mapping[str, Sequence[str]],
        sink: str,
    ) -> "Pipeline":
        """Stages in a graph: `edges` maps each node to its predecessors, `[]` reads the source.

        The output of the pipeline is that of `sink`; nodes from which it cannot be reached do not
        run. **Errors:** a ValueError that lists everything wrong with the graph at once; TypeError
        for a stage that cannot be called.
        """
        _check_mappings(nodes, edges)
        for name, stage in nodes.items():
            if isinstance(stage, type):
                raise TypeError(
                    f"Node `{name}` is the class {stage.__name__}; expected an instance of it, or "
                    f"a function: write {stage.__name__}(...)."
                )
            if not callable(stage):
                raise TypeError(
                    f"Node `{name}` is {stage!r} of type {type(stage).__name__}, which cannot be "
                    "called; pass a function, or give its class a `__call__`."
                )
        failures = graph_failures(list(nodes), edges, sink)
        arity = [
            arity_failure(name, nodes[name], before)
            for name, before in edges.items()
            if name in nodes and not isinstance(before, str)
        ]
        raise_failures([*failures, *(failure for failure in arity if failure)])
        stages = {name: as_stage(stage) for name, stage in nodes.items()}
        return cls(stages=stages, schedule=Schedule(edges, sink))


def _check_mappings(nodes: Any, edges: Any) -> None:
    examples = {"nodes": '{"crop": crop}', "edges": '{"crop": []}'}
    for name, value in (("nodes", nodes), ("edges", edges)):
        if not isinstance(value, Mapping):
            raise TypeError(
                f"{name} is of type {type(value).__name__}; expected a dict: write "
                f"{name}={examples[name]}."
            )
    for node, before in edges.items():
        if not isinstance(before, Sequence):
            raise TypeError(
                f"The entry of node `{node}` in edges is {before!r} of type "
                f"{type(before).__name__}; expected a list of names: write {node!r}: [] to read "
                "the source."
            )


def apply(
    pipeline: Pipeline,
    batch: Any,
    *,
    key: PRNGKeyArray | None = None,
    origin: Origin | None = None,
) -> Any:
    """The output of the sink for a batch: a pytree of arrays, the leading axis being the records.

    Draws depend on `key` and on the `origin` of the records; without one, they count as the
    records 0, 1, … of epoch 0. **Errors:** those of `outputs`.
    """
    sink = pipeline.schedule.sink
    return outputs(pipeline, batch, (sink,), key=key, origin=origin)[sink]


def outputs(
    pipeline: Pipeline,
    batch: Any,
    nodes: Sequence[str],
    *,
    key: PRNGKeyArray | None = None,
    origin: Origin | None = None,
) -> dict[str, Any]:
    """The outputs of the named nodes for a batch, running no more of the graph than they need.

    **Errors:** ValueError for an unknown node, or for a stage that wants a key when none is given;
    TypeError for a stage that returns None. An error raised inside a stage names its node.
    """
    _check_nodes(nodes, pipeline.schedule)
    run = pipeline.schedule.run_for(nodes)
    _check_key(key, run, pipeline.stages)
    source = jax.tree.map(jnp.asarray, batch)
    values: dict[str, Any] = {}
    for node in run:
        before = pipeline.schedule.predecessors(node)
        inputs = [values[name] for name in before] or [source]
        values[node] = _call(node, pipeline.stages[node], inputs, key, origin or _numbered(source))
    return {node: values[node] for node in nodes}


def _call(
    node: str,
    stage: Callable[..., Any],
    inputs: Sequence[Any],
    key: PRNGKeyArray | None,
    origin: Origin,
) -> Any:
    draw = {"key": batch_key, "record_keys": record_keys}
    keys = {
        name: draw[name](key, node, origin) for name in random_arguments(stage) if key is not None
    }
    # Containers of its own: a stage that writes into its dict changes nobody else's.
    own = [jax.tree.map(lambda x: x, value) for value in inputs]
    try:
        with jax.named_scope(node):
            output = stage(*own, **keys)
    except Exception as error:
        error.add_note(f"This happened in node `{node}` ({type_name(stage)}).")
        raise
    if output is None:
        raise TypeError(
            f"Node `{node}` returned None; expected a batch, a pytree of arrays. Is a `return` "
            "missing?"
        )
    strange = [x for x in jax.tree.leaves(output) if not isinstance(x, _ARRAYS)]
    if strange:
        raise TypeError(
            f"Node `{node}` returned a {type(strange[0]).__name__} in its output; expected a "
            "batch, a pytree of arrays. Return arrays alone."
        )
    return output


def _numbered(batch: Any) -> Origin:
    leaves = jax.tree.leaves(batch)
    return Origin.numbered(leaves[0].shape[0] if leaves and leaves[0].ndim else 0)


def _check_nodes(nodes: Sequence[str], schedule: Schedule) -> None:
    if isinstance(nodes, str):
        raise TypeError(f"nodes is the string {nodes!r}; expected a list of names: [{nodes!r}].")
    unknown = [node for node in nodes if node not in schedule.order]
    if unknown:
        raise ValueError(
            f"There is no node {listed(unknown)}. {suggestion(unknown[0], schedule.order)}"
        )


def _check_key(
    key: PRNGKeyArray | None, run: Sequence[str], stages: Mapping[str, Callable[..., Any]]
) -> None:
    drawing = [node for node in run if random_arguments(stages[node], required=True)]
    if key is None and drawing:
        raise ValueError(
            f"The nodes {listed(drawing)} draw random numbers, but no key was given; pass "
            "key=jax.random.key(0)."
        )
