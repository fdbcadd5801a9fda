"""A graph of stages as a pytree: the stages' arrays are its leaves, the schedule is static.

What is wrong with a graph is told when it is made, all at once. How it runs stands in `_evaluate`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeGuard, cast

import equinox as eqx
import numpy as np
import typing_extensions as te
from jaxtyping import PyTree

from .._misused import guided
from .._static._parts import Memo
from .._text import listed, of_type
from ._schedule import Schedule, check_mappings, graph_failures, raise_failures, warn_of_idle
from ._stage import (
    Stage,
    arity_failure,
    as_stage,
    not_a_stage,
    stage_names,
)

In = te.TypeVar("In", default=PyTree)
Out = te.TypeVar("Out", default=PyTree)
Output: TypeAlias = Any  # a pytree of arrays, in containers of the stage's choice
Dims: TypeAlias = Mapping[str, int | None] | Sequence[str]
_STREAM = "a graph reads from a stream: Stream(source, order, batch_size=32)"
_MENDS = MappingProxyType(
    {
        **dict.fromkeys(("source", "batch_size", "remainder", "order", "shuffle"), _STREAM),
        **dict.fromkeys(("key", "seed", "rngs"), "a key goes to each call: step(…, key=key)"),
        **dict.fromkeys(
            ("edges", "sink"), "a graph is Pipeline.from_dag(nodes=…, edges=…, sink=…)"
        ),
        "stages": "a row of stages is Pipeline.linear([…])",
    }
)


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
    @guided("Pipeline.linear", _MENDS)
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
    @guided("Pipeline.from_dag", _MENDS)
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
        stages, schedule = checked_graph(nodes, edges, sink)
        warn_of_idle(schedule)
        return cls(stages=stages, schedule=schedule, dims=declared(dims))


def checked_graph(
    nodes: Mapping[str, Stage | Sequence[Stage]], edges: Mapping[str, Sequence[str]], sink: str
) -> tuple[dict[str, Stage], Schedule]:
    """The stages of a graph and their schedule, without a word of nodes that nobody reads.

    **Errors:** those of `Pipeline.from_dag`.
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
    return stages, schedule


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
