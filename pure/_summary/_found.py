"""A summary of a graph and a stream of the core: what it holds, what it is, what it costs.

Nothing is compiled for it, and nothing read, but for what is asked.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._contract._check import check
from .._flow._fed import place_words
from .._flow._stream import Stream
from .._graph._pipeline import Pipeline
from .._graph._schedule import Schedule
from .._text import valued
from ._apart import apart
from ._cost import Apart, Figures, figures, shares
from ._facts import Holding, Holdings, summary_of
from ._memory import Device, too_much
from ._summary import Summary


def describe(pipeline: Pipeline, stream: Stream) -> str:
    """A table of the nodes in the order in which they run: what each reads, is, and puts out.

    It is the text of `summary`: shapes are found for a full batch without reading data.
    """
    return str(summary(pipeline, stream))


def summary(
    pipeline: Pipeline, stream: Stream, *, cost: bool = False, measure: bool = False
) -> Summary:
    """What a pipeline over a stream is, as data: a row for each node, and totals.

    Shapes are found for a full batch, of which nothing is read, and nothing is compiled.

    - `cost`: what XLA says of each node, and of the step: FLOPs, bytes touched, workspace. Each is
      compiled by itself; across nodes of one program XLA fuses, which touches fewer bytes.
    - `measure`: how long each takes, run by itself on the first batch: the median.

    **Errors:** those of `check`; TypeError for a `cost` or a `measure` that is no bool, and for
    either inside a trace.
    """
    check_asked(cost, measure)
    facts = summary_of(pipeline, stream, check(pipeline, stream), _holdings(pipeline, stream))
    if not cost and not measure:
        return facts
    own = apart(pipeline, stream, measure=measure)
    return with_figures(facts, pipeline.schedule, own, cost=cost, measure=measure)


def check_asked(cost: object, measure: object) -> None:
    """Refuse what is neither asked for nor not. **Errors:** TypeError."""
    for name, value in (("cost", cost), ("measure", measure)):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(valued(name, value, "True or False."))


def with_figures(
    facts: Summary, schedule: Schedule, apart: Apart, *, cost: bool, measure: bool
) -> Summary:
    """The facts with what the step costs that is taken apart."""
    read, nodes, step = figures(schedule, apart, cost=cost, measure=measure)
    share, totals = shares(schedule, nodes), facts.totals
    # The batch is part of the workspace.
    needed = totals.needed_bytes + max(0, (step.workspace or 0) - totals.batch_bytes)
    return Summary(
        source=dataclasses.replace(facts.source, **_named(read)),
        rows=tuple(
            dataclasses.replace(row, **_named(nodes[row.name]), share=share[row.name])
            for row in facts.rows
        ),
        totals=dataclasses.replace(
            totals,
            **_named(step),
            workspace_bytes=step.workspace,
            needed_bytes=needed,
            warning=too_much(needed, Device(totals.device, totals.device_bytes)),
        ),
    )


def _named(found: Figures) -> dict[str, Any]:
    return {"flops": found.flops, "bytes_touched": found.bytes_touched, "seconds": found.seconds}


def _holdings(pipeline: Pipeline, stream: Stream) -> Holdings:
    # A pure stage writes nothing, and what it learns are its floats.
    nodes: dict[str, Holding] = {}
    rest: list[PyTree] = []
    for name, stage in pipeline.stages.items():
        arrays = [x for x in jax.tree.leaves(stage) if isinstance(x, jax.Array | np.ndarray)]
        learned = {id(x): x for x in arrays if jnp.issubdtype(x.dtype, jnp.inexact)}
        rest += [x for x in arrays if id(x) not in learned]
        nodes[name] = Holding(learned)
    place = place_words(stream.start(), wide=stream.is_wide)
    return Holdings(nodes, (stream.source, stream.order), (rest, place))
