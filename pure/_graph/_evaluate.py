"""A graph, evaluated: each node once, fan-out pure.

Where batches come from is not known here; a draw is given a key and an origin.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .._checking import is_checking
from .._mesh import alike
from .._node import in_node
from .._random._keys import batch_key, check_key, record_keys
from .._random._origin import Origin
from .._static._call import called
from .._static._parts import parts_of
from .._text import listed, path_text, spec_text, suggestion
from ._frozen import told_of_frozen_draws
from ._numbers import check_numbers
from ._pipeline import In, Out, Output, Pipeline
from ._reads import reads
from ._refused import check_finite
from ._schedule import Schedule
from ._stage import Stage, random_arguments, type_name

_ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)


def apply(
    pipeline: Pipeline[In, Out],
    batch: In,
    *,
    key: PRNGKeyArray | None = None,
    origin: Origin | None = None,
) -> Out:
    """The output of the sink for a batch: a pytree of arrays, the leading axis being the records.

    Draws depend on `key` and on the `origin` of the records; without one, they count as the
    records 0, 1, … of epoch 0. **Errors:** those of `outputs`.
    """
    sink = pipeline.schedule.sink
    output: Out = outputs(pipeline, batch, (sink,), key=key, origin=origin)[sink]
    return output


def outputs(
    pipeline: Pipeline[In, Out],
    batch: In,
    nodes: Sequence[str],
    *,
    key: PRNGKeyArray | None = None,
    origin: Origin | None = None,
) -> dict[str, Output]:
    """The outputs of the named nodes for a batch, running no more of the graph than they need.

    Outside a trace it is compiled, once for all pipelines that are made from the same.
    **Errors:** ValueError for an unknown node, or for a stage that wants a key when none is given;
    TypeError for a stage that returns None, and for strings. An error in a stage names its node.
    """
    if key is not None:
        check_key("key", key)
    _check_nodes(nodes, pipeline.schedule)
    try:
        trees = [pipeline.memo.apart(pipeline), (batch, parts_of(batch, numbers=True))]
        found = called(evaluate, trees, key, origin, static=tuple(nodes), memo=pipeline.memo)
    except TypeError:
        check_numbers(batch)
        raise
    return {node: found[node] for node in nodes}


def evaluate(
    pipeline: Pipeline[In, Out],
    batch: In,
    key: PRNGKeyArray | None,
    origin: Origin | None,
    nodes: Sequence[str],
) -> dict[str, Output]:
    """`outputs` inside a trace."""
    run = pipeline.schedule.run_for(map(pipeline.schedule.node, nodes))
    if key is None:
        check_no_draws(run, pipeline)
    source = jax.tree.map(jnp.asarray, batch)
    values: dict[str, Output] = {}
    for node in run:
        before = pipeline.schedule.predecessors(node)
        inputs = [values[name] for name in before] or [source]
        rows = origin or numbered(source)
        values[node] = run_node(pipeline, node, inputs, key, rows, is_own=origin is None)
    return {node: values[pipeline.schedule.node(node)] for node in nodes}


def run_node(
    pipeline: Pipeline,
    node: str,
    inputs: Sequence[Output],
    key: PRNGKeyArray | None,
    origin: Origin,
    *,
    is_own: bool = False,
) -> Output:
    """What a node returns; what it raises names it, and so does a NaN where that is looked for.

    `is_own` says that the batch is a user's own, whose rows are no records of a source.
    """
    stage = pipeline.stages[node]
    # Before it is called: what it leaves in an object of Python is then of this trace.
    read = reads(again(node, stage, key, origin), inputs) if is_checking() else None
    try:
        output = call(node, stage, inputs, key, origin)
    except Exception as error:
        given = " and ".join(map(spec_text, inputs))
        asks = key is None and random_arguments(stage, len(inputs))
        error.add_note(
            f"This happened in node `{node}` ({type_name(stage)}), which was given {given}"
            + (", and no key: pass key=jax.random.key(0)." if asks else ".")
        )
        raise
    if failure := output_failure(output):
        raise TypeError(f"Node `{node}` {failure}")
    if is_checking():
        named = pipeline.schedule.predecessors(node)
        with in_node(node):
            check_finite(read, inputs, output, origin, named, is_own)
    return output


def again(
    node: str, stage: Stage, key: PRNGKeyArray | None, origin: Origin
) -> Callable[..., Output]:
    """What a node returns for inputs, as a function of them alone."""
    return lambda *inputs: call(node, stage, inputs, key, origin)


def call(
    node: str,
    stage: Stage,
    inputs: Sequence[Output],
    key: PRNGKeyArray | None,
    origin: Origin,
) -> Output:
    """What the stage of a node returns, called with inputs and keys of its own."""
    keys: dict[str, Output] = {}
    if key is not None:
        draw = {"key": batch_key, "record_keys": record_keys}
        asked = random_arguments(stage, len(inputs))
        keys = {name: draw[name](key, node, origin) for name in asked}
    # Containers of its own: a stage that writes into its dict changes nobody else's.
    own = [jax.tree.map(lambda x: x, value) for value in inputs]
    keys = alike(keys, own) if "record_keys" in keys else keys
    with jax.named_scope(node), in_node(node), told_of_frozen_draws(node, own):
        return stage(*own, **keys)


def output_failure(output: Output) -> str | None:
    """Why what a stage returned is no batch, if it is none."""
    if output is None:
        return "returned None; expected a batch, a pytree of arrays. Is a `return` missing?"
    for path, leaf in jax.tree_util.tree_leaves_with_path(output):
        field = f" in its field `{path_text(path)}`" if path else " in its output"
        if dataclasses.is_dataclass(leaf):
            return (
                f"returned a {type(leaf).__name__}{field}, a dataclass that is no pytree; decorate "
                "its class with @jax.tree_util.register_dataclass."
            )
        textual = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind in "OSUMm"
        if textual or not isinstance(leaf, _ARRAYS):
            kind = f"an array of {leaf.dtype}" if textual else f"a {type(leaf).__name__}"
            return (
                f"returned {kind}{field}; expected a batch, a pytree of arrays. Return arrays "
                "alone."
            )
    return None


def numbered(batch: Output) -> Origin:
    leaves = jax.tree.leaves(batch)
    return Origin.numbered(leaves[0].shape[0] if leaves and leaves[0].ndim else 0)


def _check_nodes(nodes: Sequence[str], schedule: Schedule) -> None:
    if isinstance(nodes, str):
        raise TypeError(f"nodes is the string {nodes!r}; expected a list of names: [{nodes!r}].")
    known = [*schedule.order, *dict(schedule.ends)]
    unknown = [node for node in nodes if node not in known]
    if unknown:
        raise ValueError(f"There is no node {listed(unknown)}. {suggestion(unknown[0], known)}")


def _inputs(pipeline: Pipeline, node: str) -> int:
    return max(1, len(pipeline.schedule.predecessors(node)))


def check_no_draws(run: Sequence[str], pipeline: Pipeline) -> None:
    drawing = [
        node
        for node in run
        if random_arguments(pipeline.stages[node], _inputs(pipeline, node), required=True)
    ]
    if drawing:
        raise ValueError(
            f"The nodes {listed(drawing)} draw random numbers, but no key was given; pass "
            "key=jax.random.key(0)."
        )
