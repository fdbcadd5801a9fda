"""What runs inside a compiled call, on a pipeline whose Variables are of the trace."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

import dagrax.pure as dp
from dagrax.pure import internal

from ._compiled import raw, same_structure
from ._records import Records
from ._variants import each_variant


def survey(pipeline: Any) -> internal.Findings:
    """The shapes of every node's output, and what does not fit, without data."""

    def one(pipeline: Any, modules: Any, carry: Any) -> tuple[None, internal.Findings]:
        key = pipeline._seed.get_value()
        return None, internal.survey(pipeline._graph(), pipeline._stream(), key)

    findings: internal.Findings = each_variant(one, pipeline)[1]
    return findings


def read(pipeline: Any, length: int) -> Any:
    """The output for the next `length` records."""

    def one(pipeline: Any, modules: Any, carry: Any) -> tuple[None, Any]:
        stream = pipeline._stream()
        batch, origin = stream.read(pipeline.cursor, length)
        return None, stream.marked(batch, pipeline._through(batch, origin))

    return each_variant(one, pipeline)[1]


def outputs(
    pipeline: Any,
    cursor: dp.Cursor,
    batch: Any,
    length: int | None,
    nodes: tuple[str, ...],
) -> dict[str, Any]:
    """The outputs of the nodes for the next batch, or for the `batch` given."""

    def one(pipeline: Any, modules: Any, carry: Any) -> tuple[None, dict[str, Any]]:
        origin, stream, given = None, pipeline._stream(), batch
        if given is None and length is None:
            _, given, origin = stream.take(cursor)
        elif given is None and length is not None:
            given, origin = stream.read(cursor, length)
        key = pipeline._seed.get_value()
        taps = dp.outputs(pipeline._graph(), given, nodes, key=key, origin=origin)
        sink = pipeline._schedule.sink
        marks = origin is not None and sink in taps
        return None, {**taps, sink: stream.marked(given, taps[sink])} if marks else taps

    outputs: dict[str, Any] = each_variant(one, pipeline)[1]
    return outputs


def scan(
    everything: tuple[Any, ...],
    cursor: dp.Cursor,
    init_carry: Any,
    step_fn: Callable[..., Any],
    length: int,
    carries: bool,
    remainder: dp.Remainder,
) -> tuple[dp.Cursor, Any, Any]:
    """The cursor behind the batches, the last carry, and the stacked results of `step_fn`."""
    pipeline, modules, shared = everything

    def step(*arguments: Any) -> Any:
        *before, batch = arguments
        return step_fn(*before, *shared, batch)

    def one(pipeline: Any, modules: Any, carry: Any) -> tuple[dp.Cursor, Any]:
        own = (pipeline, modules)
        cursor_after, *rest = _scan_one(own, cursor, carry, step, length, carries, remainder)
        return cursor_after, rest

    after, (carry, ys) = each_variant(one, pipeline, modules, init_carry)
    return after, carry, ys


def _scan_one(
    everything: tuple[Any, tuple[nnx.Pytree, ...]],
    cursor: dp.Cursor,
    init_carry: Any,
    step_fn: Callable[..., Any],
    length: int,
    carries: bool,
    remainder: dp.Remainder,
) -> tuple[dp.Cursor, Any, Any]:
    graphdef, records, state = _parts(everything)
    stream = everything[0]._stream(remainder)
    untouched: set[Any] = set()

    def body(loop: tuple[Any, Any], batch: Any, origin: dp.Origin) -> tuple[tuple[Any, Any], Any]:
        state, carry = loop
        before = jax.tree.map(lambda x: x, state)  # the modules are about to set theirs
        data = jax.tree.map(lambda x: x, records)  # Variables of this trace
        pipeline, modules = nnx.merge(graphdef, data, state)
        output = stream.marked(batch, pipeline._through(batch, origin))
        result = internal.stepped(step_fn, *((carry,) if carries else ()), *modules, output)
        new, y = internal.pair(result) if carries else (None, result)
        internal.check_carry(carry, new)
        after, _, changed = _parts((pipeline, modules))
        same_structure(graphdef, after, "The step function or a stage")
        internal.check_carry(before, changed, "state of (pipeline, modules)")
        pairs = zip(nnx.to_flat_state(before), nnx.to_flat_state(changed), strict=True)
        untouched.update(path for (path, was), (_, now) in pairs if raw(was) is raw(now))
        return (changed, new), y

    cursor, (state, carry), ys = stream.scan(body, (state, init_carry), cursor, length)
    touched = [item for item in nnx.to_flat_state(state) if item[0] not in untouched]
    nnx.update(everything, nnx.from_flat_state(touched))
    return cursor, carry, ys


def _parts(everything: Any) -> tuple[Any, Any, Any]:
    graphdef, *states = nnx.split(everything, Records, ...)
    return graphdef, states[0], states[1]
