"""The facts about a graph and its stream, from the shapes of its outputs and what its nodes hold.

Whoever knows what a node holds tells it: of a pytree the core, of a module the face.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
from jaxtyping import PyTree

from .._flow._batching import Pad
from .._flow._stream import Stream
from .._graph._pipeline import Pipeline
from .._graph._schedule import Schedule
from .._graph._stage import random_arguments, type_name
from .._sources._hosted import Hosted
from .._sources._source import AbstractSource
from .._sources._unknown import UNKNOWN
from .._text import Specs
from ._memory import (
    bytes_held,
    bytes_of,
    bytes_on_a_device,
    device_of,
    too_much,
)
from ._rows import SummaryRow, SummarySource, SummaryTotals
from ._summary import Summary


class Holding(NamedTuple):
    """What a node holds: learned arrays, by what tells them apart, and other ones.

    `draws` is what it draws by that its signature does not tell, `varies` what of it differs
    between variants.
    """

    learned: Mapping[int, PyTree]
    is_stateful: bool = False
    draws: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()


class Holdings(NamedTuple):
    """All that a pipeline holds: by its nodes, as data with their order, and what else there is.

    `source` is how a user named what is read, where it is no source of the core.
    """

    nodes: Mapping[str, Holding]
    data: PyTree
    carry: PyTree
    variants: tuple[int, ...] = ()
    varies: tuple[str, ...] = ()
    source: str | None = None


def summary_of(
    pipeline: Pipeline, stream: Stream, specs: Mapping[str, Specs], held: Holdings
) -> Summary:
    """The facts of a graph whose outputs have these `specs`, and which holds what is `held`."""
    source = SummarySource(
        name=held.source or source_name(stream.source),
        order=type(stream.order).__name__,
        output=stream.batch_spec,
        bytes_out=bytes_of(stream.batch_spec),
        is_hosted=stream.is_hosted,
    )
    rows = tuple(_rows(pipeline, specs, held.nodes))
    return Summary(source, rows, _totals(stream, source, rows, held))


def source_name(source: AbstractSource) -> str:
    """The type of a source, `DiskSource`, and of what it is a view: `Subset of ArraySource`."""
    own, whole = type(source).__name__, source.whole
    if isinstance(source, Hosted):
        return type(source.handle.source).__name__
    return own if whole is source else f"{own} of {source_name(whole)}"


def _rows(
    pipeline: Pipeline, specs: Mapping[str, Specs], nodes: Mapping[str, Holding]
) -> "list[SummaryRow]":
    schedule, rows = pipeline.schedule, []
    runs, counted = set(schedule.executed), dict[int, str]()
    chains = _chains(schedule)
    for name in schedule.order:
        stage, before, own = pipeline.stages[name], schedule.predecessors(name), nodes[name]
        new = [x for key, x in own.learned.items() if key not in counted]
        shared = dict.fromkeys(counted[key] for key in own.learned if key in counted)
        counted |= {key: name for key in own.learned if key not in counted}
        rows.append(
            SummaryRow(
                name=name,
                stage=type_name(stage),
                predecessors=before,
                output=specs[name],
                bytes_out=bytes_of(specs[name]),
                parameters=sum(x.size for x in jax.tree.leaves(new)),
                parameter_bytes=bytes_of(new),
                shared_with=tuple(shared),
                stateful=own.is_stateful,
                draws=(*random_arguments(stage, max(1, len(before))), *own.draws),
                runs="sink" if name in runs else "on demand",
                is_sink=name == schedule.sink,
                chain=chains.get(name),
                varies=own.varies,
            )
        )
    return rows


def _chains(schedule: Schedule) -> dict[str, str]:
    names = sorted((chain for chain, _ in schedule.ends), key=len)
    return {
        node: chain for chain in names for node in schedule.order if node.startswith(f"{chain}/")
    }


def _totals(
    stream: Stream, source: SummarySource, rows: Sequence[SummaryRow], held: Holdings
) -> SummaryTotals:
    batching, device = stream.batching, device_of(held.data)
    records, size, remainder = batching.records, batching.batch_size, batching.remainder
    is_known = not (stream.is_hosted and records == UNKNOWN)
    parts = 1 if stream.spread is None else stream.spread.parts
    (sink,) = [row for row in rows if row.is_sink]
    learned = [x for own in held.nodes.values() for x in own.learned.values()]
    on_it = [learned, held.carry, *([] if source.is_hosted else [held.data])]
    needed = bytes_on_a_device(on_it) + (source.bytes_out + sink.bytes_out) // parts
    data = bytes_held(held.data)
    if source.is_hosted and is_known:
        data += stream.source.size * bytes_of(stream.source.element_spec)
    return SummaryTotals(
        records=records if is_known else None,
        batch_size=size,
        remainder=remainder if isinstance(remainder, str) else _pad(remainder),
        batches=batching.steps_per_epoch if is_known else None,
        dropped=records * (remainder == "drop") % size if is_known else None,
        padded=-records * isinstance(remainder, Pad) % size if is_known else None,
        variants=held.variants,
        data_bytes=data,
        parameters=sum(row.parameters for row in rows),
        parameter_bytes=sum(row.parameter_bytes for row in rows),
        carry_bytes=bytes_held(held.carry),
        batch_bytes=source.bytes_out,
        workspace_bytes=None,
        device=device.kind,
        device_bytes=device.memory,
        needed_bytes=needed,
        warning=too_much(needed, device),
        varies=held.varies,
    )


def _pad(remainder: Pad) -> str:
    return "pad" if remainder == Pad() else f'Pad("{remainder.valid}")'
