"""A graph of stages as a pytree, and its evaluation: each node once, fan-out pure.

Where batches come from is not known here; a draw is given a key and an origin.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeGuard, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import typing_extensions as te
from jaxtyping import PRNGKeyArray, PyTree

from .._checking import is_checking
from .._mesh import alike
from .._node import in_node
from .._random._keys import batch_key, check_key, record_keys
from .._random._origin import Origin
from .._static._call import called
from .._static._parts import Memo, parts_of
from .._text import listed, of_type, path_text, spec_text, suggestion
from ._frozen import told_of_frozen_draws
from ._numbers import check_numbers
from ._reads import reads
from ._refused import check_finite
from ._schedule import Schedule, check_mappings, graph_failures, raise_failures, warn_of_idle
from ._stage import (
    Stage,
    arity_failure,
    as_stage,
    not_a_stage,
    random_arguments,
    stage_names,
    type_name,
)

In = te.TypeVar("In", default=PyTree)
Out = te.TypeVar("Out", default=PyTree)
Output: TypeAlias = Any  # a pytree of arrays, in containers of the stage's choice
Dims: TypeAlias = Mapping[str, int | None] | Sequence[str]
_ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)


class Pipeline(eqx.Module, Generic[In, Out]):
    """A graph of stages: a pytree whose leaves are the stages' arrays, with a static schedule.

    A stage is a callable. It is called with the outputs of its predecessors as positional
    arguments, in the order of the edges; a stage without predecessors reads the source batch. A
    stage that declares a keyword `key` gets one key for each batch, one that declares
    `record_keys` one for each record.

    `dims` are axis names that mean the same size at all nodes, as `batch` always does: a list of
    names, or a dict that gives their sizes too. Any other axis name is a node's own. `check` holds
    the annotations of the stages against the data.
    """

    stages: dict[str, Stage]
    schedule: Schedule = eqx.field(static=True)
    dims: tuple[tuple[str, int | None], ...] = eqx.field(static=True, default=())
    memo: Memo = eqx.field(static=True, default_factory=Memo, repr=False)

    def __check_init__(self) -> None:
        if set(self.stages) != set(self.schedule.order):
            raise ValueError(
                f"The stages are {listed(self.stages)}, but the schedule is one of "
                f"{listed(self.schedule.order)}; build both by Pipeline.from_dag."
            )

    @classmethod
    def linear(
        cls, stages: Sequence[Stage] | Mapping[str, Stage | Sequence[Stage]], *, dims: Dims = ()
    ) -> "Pipeline[In, Out]":
        """Stages in a row: each reads the output of the one before it; none is the identity.

        In a dict they have its names, and may be chains as in `from_dag`; in a list they are named
        after their type, and counted where one comes twice: `noise`, `noise_1`, … A draw depends on
        the name, so a stage that must draw alike in another row is named.
        """
        if isinstance(stages, str) or not isinstance(stages, Sequence | Mapping):
            raise TypeError(
                of_type("stages", stages, "a list of stages: write [normalize, augment].")
            )
        if not stages:
            stages = {"identity": _identity}
        if not isinstance(stages, Mapping):
            _check_row(stages)
            stages = dict(zip(stage_names(stages), stages, strict=True))
        nodes, schedule = stages, Schedule.linear(tuple(stages))
        return cls.from_dag(nodes=nodes, edges=dict(schedule.edges), sink=schedule.sink, dims=dims)

    @classmethod
    def from_dag(
        cls,
        *,
        nodes: Mapping[str, Stage | Sequence[Stage]],
        edges: Mapping[str, Sequence[str]],
        sink: str,
        dims: Dims = (),
    ) -> "Pipeline[In, Out]":
        """Stages in a graph: `edges` maps each node to its predecessors, `[]` reads the source.

        A node may be a list of stages, a chain under one name, by which `edges` and `sink` know it:
        its stages are the nodes `name/noise`, `name/noise_1`, …, and an empty one is the identity.

        The output of the pipeline is that of `sink`. Nodes from which it cannot be reached run for
        `outputs` alone, and are warned of. **Errors:** a ValueError that lists everything wrong
        with the graph at once; TypeError for a stage that cannot be called.
        """
        check_mappings(nodes, edges)
        within = {name: _within(name, stage) for name, stage in nodes.items()}
        flat = {name: stage for inner in within.values() for name, stage in inner.items()}
        for name, stage in flat.items():
            if isinstance(stage, type):
                raise TypeError(
                    f"Node `{name}` is the class {stage.__name__}; expected an instance of it, or "
                    f"a function: write {stage.__name__}(...)."
                )
            if not callable(stage):
                raise TypeError(not_a_stage(name, stage))
        failures = graph_failures(list(nodes), edges, sink)
        failures += _twice(within)
        arity = [
            arity_failure(inner, stage, [*within[name]][place - 1 : place] or before)
            for name, before in edges.items()
            if name in nodes and not isinstance(before, str)
            for place, (inner, stage) in enumerate(within[name].items())
        ]
        raise_failures([*failures, *(failure for failure in arity if failure)])
        stages = {name: as_stage(stage) for name, stage in flat.items()}
        chains = {name: tuple(x) for name, x in within.items() if name not in x}
        schedule = Schedule(edges, sink, chains)
        warn_of_idle(schedule)
        return cls(stages=stages, schedule=schedule, dims=declared(dims))


def declared(
    dims: Dims, before: Sequence[tuple[str, int | None]] = ()
) -> tuple[tuple[str, int | None], ...]:
    """Graph-wide axis names with their sizes, None where no size is given, after those `before`.

    **Errors:** TypeError for anything but names and ints; ValueError for what is no axis name, and
    for two sizes of one axis.
    """
    if isinstance(dims, str) or not isinstance(dims, Mapping | Sequence):
        raise TypeError(
            f"dims is {dims!r} of type {type(dims).__name__}; expected a list of axis names, "
            '["time"], or a dict of sizes, {"time": 128}.'
        )
    sizes = dims if isinstance(dims, Mapping) else dict.fromkeys(dims)
    for name, size in sizes.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f'dims names an axis {name!r}; expected one name, such as "time".')
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer)):
            raise TypeError(
                f"dims gives the axis `{name}` the size {size!r} of type {type(size).__name__}; "
                "expected an int."
            )
    known = dict(before)
    for name, size in sizes.items():
        if size is not None and known.get(name) not in (None, size):
            raise ValueError(
                f"dims gives the axis `{name}` the size {size}, but the graph was made with "
                f"{name}={known[name]}; leave one of them out."
            )
        known[name] = known.get(name) if size is None else int(size)
    return tuple(known.items())


def with_stages(
    schedule: Schedule, stages: Mapping[str, Stage], dims: tuple[tuple[str, int | None], ...] = ()
) -> Pipeline:
    """A pipeline of a graph that has been checked before, with these stages for its nodes."""
    return Pipeline({name: as_stage(stage) for name, stage in stages.items()}, schedule, dims)


def _is_chain(stage: object) -> TypeGuard[Sequence[Stage]]:
    return isinstance(stage, Sequence) and not isinstance(stage, str) and not callable(stage)


def _within(name: str, stage: Stage | Sequence[Stage]) -> dict[str, Stage]:
    """The stages of a node by their own names: of a chain, or the one."""
    if not _is_chain(stage):
        return {name: cast(Stage, stage)}
    row = stage or [_identity]
    return {f"{name}/{own}": x for own, x in zip(stage_names(row), row, strict=True)}


def _twice(within: Mapping[str, Mapping[str, Stage]]) -> list[str]:
    return [
        f"the node `{own}` has the name of a stage of the chain `{name}`; give it another."
        for name, inner in within.items()
        for own in inner
        if own != name and own in within
    ]


def _check_row(stages: Sequence[Stage]) -> None:
    for place, stage in enumerate(stages):
        if _is_chain(stage):
            raise TypeError(
                f"stages[{place}] is of type {type(stage).__name__}; expected a stage. A chain "
                'under one name stands in a dict: stages={"augment": [crop, jitter]}.'
            )


def _identity(batch: Output) -> Output:
    return batch


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
