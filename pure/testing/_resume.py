"""Whether a position, saved and set, gives the batches that would have come.

How a position is kept is JSON's affair; graphs and streams are taken as they are.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import jax
from jaxtyping import PRNGKeyArray, PyTree

from .._fingerprint import fingerprint
from .._flow._batching import Cursor
from .._flow._stream import Stream
from .._graph._pipeline import Pipeline
from .._loop import check_given
from .._loop import epoch as epoch_in_memory
from ..host._loops import epoch as epoch_on_the_host
from ._compared import difference
from ._report import Report, Seen, check_parts, counted, fail, graph_name, joined


def check_resume(
    pipeline: Pipeline[Any, Any],
    stream: Stream[Any],
    key: PRNGKeyArray | None = None,
    *,
    batches: int = 3,
) -> Report:
    """Whether a cursor that went through JSON gives the batches that would have come, in a pipeline
    that has run nothing yet.

    The places are those of the first `batches` of an epoch, and those about its end. Digests
    of `dagrax.pure.fingerprint` are compared too.

    **Errors:** AssertionError with the place, the batch, its row and field that fail; those of
    stages and source.
    """
    check_parts("check_resume", pipeline, stream)
    check_given(pipeline, stream, stream.start(), key)
    batching, steps = stream.batching, stream.batching.steps_per_epoch
    seed = jax.random.key(0) if key is None else key
    before = fingerprint(pipeline, stream, seed)
    places, told = [], graph_name(pipeline, stream)
    for number in _numbers(stream, batches, steps):
        place = batching.skip(0, 0, number).as_ints()
        kept = json.loads(json.dumps(place))
        went_on = _behind(pipeline, stream, number, key)
        anew = list(islice(_endless(_fresh(pipeline), stream, Cursor(*kept), key), 2))
        for index, (one, other) in enumerate(zip(went_on, anew, strict=True)):
            _judge(f"{told}, set to epoch {place[0]}, offset {place[1]}", index, one, other)
        places.append(place)
    if (after := fingerprint(pipeline, stream, seed)) != before:
        changed = [name for name, digest in before.items() if after[name] != digest]
        fail(told, f"the digest of {joined(changed)} changed while it ran; keep no state there.")
    shown = joined([f"{epoch}:{offset}" for epoch, offset in places])
    seen = (
        Seen(f"{counted(len(places), 'place')}, {shown}, through JSON", "the batches that come"),
        Seen("digests of source, order, seed and graph", "the same"),
    )
    return Report("check_resume", told, seen)


def _numbers(stream: Stream[Any], batches: int, steps: int) -> list[int]:
    first = list(range(min(batches, steps)))
    if stream.is_hosted and stream.source.order is not None:
        return first  # or all that comes before would be passed over
    return sorted({*first, steps - 1, steps})


def _behind(
    pipeline: Pipeline[Any, Any], stream: Stream[Any], number: int, key: PRNGKeyArray | None
) -> list[PyTree]:
    """The two batches from one on, as they come behind the one before it."""
    start = stream.batching.skip(0, 0, max(0, number - 1))
    return list(islice(_endless(pipeline, stream, start, key), 2 + (number > 0)))[number > 0 :]


def _fresh(pipeline: Pipeline[Any, Any]) -> Pipeline[Any, Any]:
    # Made anew from its parts: what it remembers of its calls is not among them.
    return Pipeline(dict(pipeline.stages), pipeline.schedule, pipeline.dims)


def _endless(
    pipeline: Pipeline[Any, Any], stream: Stream[Any], cursor: Cursor, key: PRNGKeyArray | None
) -> Iterator[PyTree]:
    epoch = epoch_on_the_host if stream.is_hosted else epoch_in_memory
    while True:
        for after, batch in epoch(pipeline, stream, cursor, key=key):
            cursor = after
            yield batch


def _judge(where: str, index: int, one: PyTree, other: PyTree) -> None:
    if found := difference(one, other):
        at = "" if found.row is None else f", row {found.row}"
        fail(
            where,
            f"batch {index}{at}{found.where} is {found.other}, but {found.one} where it was come "
            "to; a source, an order or a stage remembers what was asked before.",
        )
