from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._pipeline import Pipeline, outputs
from ._source import field_name
from ._stage import type_name
from ._stream import Stream


def describe(pipeline: Pipeline, stream: Stream, specs: Mapping[str, Any] | None = None) -> str:
    """A table of the nodes in the order in which they run: what each reads, is, and puts out.

    `specs` are the shapes of the nodes' outputs; without them, they are found for a full batch
    without reading data. A node from which the sink cannot be reached is listed as not run.
    """
    schedule, batching = pipeline.schedule, stream.batching
    ids = jax.ShapeDtypeStruct((stream.batching.batch_size,), jnp.uint32)
    batch = eqx.filter_eval_shape(stream.source.rows, ids)
    found = _found(pipeline, batch) if specs is None else specs
    head = ("source", "", type(stream.source).__name__, _spec(batch))
    rows = [
        (
            name + (" (sink)" if name == schedule.sink else ""),
            ", ".join(schedule.predecessors(name)) or "source",
            type_name(pipeline.stages[name]),
            _spec(found[name]) if name in found else "not run: it does not lead to the sink",
        )
        for name in schedule.order
    ]
    return (
        f"{batching.records} records in batches of {batching.batch_size}, "
        f"{type(stream.order).__name__}, remainder {batching.remainder!r}\n"
        + _table([("node", "reads", "stage", "output"), head, *rows])
    )


def _found(pipeline: Pipeline, batch: Any) -> dict[str, Any]:
    key = jax.eval_shape(jax.random.key, 0)
    executed = pipeline.schedule.executed
    specs: dict[str, Any] = eqx.filter_eval_shape(outputs, pipeline, batch, executed, key=key)
    return specs


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return "\n".join(lines)


def _spec(batch: Any) -> str:
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    return ", ".join(f"{field_name(path)} {x.dtype}{list(x.shape)}" for path, x in leaves).replace(
        "`", ""
    )
