"""What runs inside a compiled call, on a pipeline whose Variables are of the trace.

Each function reads Variables, calls the pure core once for each variant, and sets what came of it.
When it is compiled, and what is done with its results outside, is not known here.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Parts, Values
from .._records import Records
from .._variants import check_stacked, each_variant
from ._module import INSIDE, Modules, PipelineCore
from ._refusal import spelt
from ._shared import Shared

Everything: TypeAlias = tuple[PipelineCore[Any, Any], Modules, Modules]
# Of what the loop carries, a batch, its origin and the place behind it.
Step: TypeAlias = Callable[[PyTree, Modules, PyTree], tuple[PyTree, PyTree]]
_Body: TypeAlias = Callable[[PyTree, PyTree, dp.Origin, PyTree], tuple[PyTree, PyTree]]


def survey(pipeline: PipelineCore[Any, Any]) -> internal.Findings:
    """The shapes of every node's output, and what does not fit, without data."""

    def one(
        pipeline: PipelineCore[Any, Any], modules: Modules, carry: None
    ) -> tuple[None, internal.Findings]:
        return None, internal.survey(
            pipeline._graph(), pipeline._stream(), pipeline._seed.get_value()
        )

    found: internal.Findings = _each(one, pipeline)[1]
    return found


def read(pipeline: PipelineCore[Any, Any], length: int | None) -> PyTree:
    """The output for the next `length` records, behind which the position then stands.

    Without a length, that of any batch, in the user's own trace.
    """

    def one(
        pipeline: PipelineCore[Any, Any], modules: Modules, carry: None
    ) -> tuple[dp.Cursor, PyTree]:
        stream = pipeline._stream()
        if length is None:
            after, batch, origin = stream.take(pipeline.cursor)
        else:
            batch, origin = stream.read(pipeline.cursor, length)
            after = stream.batching.settle(origin.epochs[0], origin.offset + length)
        return after, _output(pipeline, stream, batch, origin)

    after, output = _each(one, pipeline)
    pipeline._go(after)
    return output


def read_fed(pipeline: PipelineCore[Any, Any], chunk: internal.Fed, index: PyTree) -> PyTree:
    """The output for one of some batches that were handed in, behind which the position stands."""
    fed = internal.at(chunk, index)

    def one(
        pipeline: PipelineCore[Any, Any], modules: Modules, carry: None
    ) -> tuple[PyTree, PyTree]:
        stream = pipeline._stream()
        return fed.after, _output(pipeline, stream, *internal.handed(stream, fed))

    after, output = _each(one, pipeline)
    pipeline._position.set_raw_value(after)
    return output


def outputs_fed(
    pipeline: PipelineCore[Any, Any],
    chunk: internal.Fed,
    index: PyTree,
    nodes: tuple[str, ...],
) -> dict[str, PyTree]:
    """The outputs of the nodes for one of some batches that were handed in."""
    fed = internal.at(chunk, index)

    def one(
        pipeline: PipelineCore[Any, Any], modules: Modules, carry: None
    ) -> tuple[None, dict[str, PyTree]]:
        stream = pipeline._stream()
        return None, _taps(pipeline, stream, *internal.handed(stream, fed), nodes)

    taps: dict[str, PyTree] = _each(one, pipeline)[1]
    return taps


def outputs(
    pipeline: PipelineCore[Any, Any],
    batch: PyTree,
    length: int | None,
    nodes: tuple[str, ...],
) -> dict[str, PyTree]:
    """The outputs of the nodes for the next batch, or for the `batch` given."""

    def one(
        pipeline: PipelineCore[Any, Any], modules: Modules, carry: None
    ) -> tuple[None, dict[str, PyTree]]:
        origin, stream, given = None, pipeline._stream(), batch
        if given is None and length is None:
            _, given, origin = stream.take(pipeline.cursor)
        elif given is None and length is not None:
            at = stream.batching.settle(*pipeline.cursor)
            given, origin = stream.read(at, length)
        return None, _taps(pipeline, stream, given, origin, nodes)

    taps: dict[str, PyTree] = _each(one, pipeline)[1]
    return taps


def _taps(
    pipeline: PipelineCore[Any, Any],
    stream: dp.Stream[Any],
    batch: PyTree,
    origin: dp.Origin | None,
    nodes: tuple[str, ...],
) -> dict[str, PyTree]:
    taps = dp.outputs(pipeline._graph(), batch, nodes, key=pipeline._key(), origin=origin)
    if origin is None:
        return taps
    schedule = pipeline._schedule
    return {
        name: stream.marked(batch, x) if schedule.node(name) == schedule.sink else x
        for name, x in taps.items()
    }


def scan(
    everything: Everything,
    init_carry: PyTree,
    step_fn: Callable[..., PyTree],
    static_carry: PyTree,
    length: int,
    carries: bool,
    remainder: dp.Remainder,
) -> tuple[PyTree, PyTree]:
    """The last carry, and the stacked results of `step_fn`; the position stands behind them.

    `static_carry` is what is no array in the carry.
    """
    pipeline, modules, read = everything
    shared = Shared(read)
    step = _step(step_fn, static_carry, shared, carries)

    def run(stream: dp.Stream[Any], body: _Body, start: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        length_of_batch = np.uint32(stream.batching.batch_size)

        def tick(loop: PyTree, batch: PyTree, origin: dp.Origin) -> tuple[PyTree, PyTree]:
            # One that is among its own modules stands behind the batch, as in a `for`.
            behind = stream.batching.settle(origin.epochs[0], origin.offset + length_of_batch)
            return body(loop, batch, origin, jnp.stack(behind))

        cursor, end, ys = stream.scan(tick, start, pipeline.cursor, length)
        return jnp.stack(cursor), end, ys

    after, carry, ys = _scan_each(pipeline, modules, init_carry, step, run, remainder, shared)
    shared.refuse_changed((pipeline, modules))
    pipeline._go(dp.Cursor(after[0], after[1]))
    return carry, ys


def scan_fed(
    everything: Everything,
    init_carry: PyTree,
    chunk: internal.Fed,
    start: PyTree,
    count: PyTree,
    step_fn: Callable[..., PyTree],
    static_carry: PyTree,
    carries: bool,
    remainder: dp.Remainder,
) -> tuple[PyTree, PyTree]:
    """`scan` of some batches that were handed in, from one on; there is room for more results."""
    pipeline, modules, read = everything
    shared = Shared(read)
    step = _step(step_fn, static_carry, shared, carries)

    def run(stream: dp.Stream[Any], body: _Body, carry: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        return internal.looped(stream, body, carry, chunk, start, count)

    after, carry, ys = _scan_each(pipeline, modules, init_carry, step, run, remainder, shared)
    shared.refuse_changed((pipeline, modules))
    pipeline._position.set_raw_value(after)
    return carry, ys


def _step(
    step_fn: Callable[..., PyTree], static_carry: PyTree, shared: Shared, carries: bool
) -> Step:
    def step(carry: PyTree, modules: Modules, batch: PyTree) -> tuple[PyTree, PyTree]:
        given = shared.modules()
        if carries:
            whole = eqx.combine(carry, static_carry)
            new, y = step_fn(whole, *modules, *given, batch)
        else:
            new, y = None, step_fn(*modules, *given, batch)
        shared.refuse_set(given)
        return eqx.filter(new, eqx.is_array_like), y

    return step


def _scan_each(
    pipeline: PipelineCore[Any, Any],
    modules: Modules,
    init_carry: PyTree,
    step: Step,
    run: Callable[[dp.Stream[Any], _Body, PyTree], tuple[PyTree, PyTree, PyTree]],
    remainder: dp.Remainder,
    shared: Shared,
) -> tuple[PyTree, PyTree, PyTree]:
    def one(
        pipeline: PipelineCore[Any, Any], modules: Modules, carry: PyTree
    ) -> tuple[PyTree, list[PyTree]]:
        after, *rest = _scan_one(pipeline, modules, carry, step, run, remainder, shared)
        return after, rest

    after, (carry, ys) = _each(one, pipeline, modules, init_carry)
    return after, carry, ys


def _scan_one(
    pipeline: PipelineCore[Any, Any],
    modules: Modules,
    init_carry: PyTree,
    step: Step,
    run: Callable[[dp.Stream[Any], _Body, PyTree], tuple[PyTree, PyTree, PyTree]],
    remainder: dp.Remainder,
    shared: Shared,
) -> tuple[PyTree, PyTree, PyTree]:
    everything = (pipeline, modules)
    parts = Parts.of(everything)
    values = parts.values()
    # Neither the data nor the position of this pipeline; one among the modules moves in the loop.
    outside = [isinstance(x, Records) for x in parts.leaves]
    outside[position := parts.paths.index((0, "_position"))] = True
    looped = [i for i, is_outside in enumerate(outside) if not is_outside]
    stream = pipeline._stream(remainder)
    touched: set[int] = set()

    def body(
        loop: tuple[PyTree, ...], batch: PyTree, origin: dp.Origin, behind: PyTree
    ) -> tuple[tuple[PyTree, ...], PyTree]:
        state, carry, *number = loop
        now = _with(values, [*looped, position], [*state, behind])
        pipeline, modules = parts.together(now)
        output = _output(pipeline, stream, batch, origin)
        before = Parts.of((pipeline, modules)).values() if number else now
        looked_at = [_stepped(step, parts, looped, before, carry, output, shared) for _ in number]
        new, y = step(carry, modules, output)
        internal.check_carry(carry, new)
        changed = parts.changes((pipeline, modules), now, "The step function or a stage")
        if position in changed:  # the pipeline is among its own modules, to be trained there
            raise TypeError(INSIDE)
        after = [changed.get(i, now[i]) for i in looped]
        _check_state(parts, looped, state, after)
        touched.update(changed)
        for stepped in looked_at:
            stepped.check(_held(parts, looped, after, new), y, origin, number[0])
        return (after, new, *[one + np.uint32(1) for one in number]), y

    start = [values[i] for i in looped], init_carry, *internal.counted()
    behind, (state, carry, *_), ys = run(stream, body, start)
    after = _with(values, looped, state)
    parts.write(everything, {i: after[i] for i in touched})
    return behind, carry, ys


def _output(
    pipeline: PipelineCore[Any, Any], stream: dp.Stream[Any], batch: PyTree, origin: dp.Origin
) -> PyTree:
    # As `through` of the core, but by way of `__call__`, which a subclass may override.
    output = stream.marked(batch, pipeline(batch, origin=origin))
    return internal.apart(output, origin.mark)


def _with(values: Values, places: Sequence[int], new: Sequence[PyTree]) -> Values:
    replaced = dict(zip(places, new, strict=True))
    return [replaced.get(index, value) for index, value in enumerate(values)]


def _stepped(
    step: Step,
    parts: Parts,
    places: Sequence[int],
    values: Values,
    carry: PyTree,
    batch: PyTree,
    shared: Shared,
) -> internal.Stepped:
    """The call of a step function, on modules like these around these values."""

    def again(held: dict[str, PyTree], batch: PyTree) -> tuple[dict[str, PyTree], PyTree]:
        *state, carry = held.values()
        own = parts.together(_with(values, places, state))
        new, y = step(carry, own[1], batch)
        after = Parts.of(own).values()
        return _held(parts, places, [after[i] for i in places], new), y

    now = _held(parts, places, [values[i] for i in places], carry)
    return internal.Stepped(again, now, batch, shared.named)


def _held(parts: Parts, places: Sequence[int], values: Values, carry: PyTree) -> dict[str, PyTree]:
    named = [spelt(parts.paths[i]) for i in places]
    return {**dict(zip(named, values, strict=True)), "carry": carry}


def _check_state(parts: Parts, places: Sequence[int], before: Values, after: Values) -> None:
    def named(values: Values) -> PyTree:
        paths = [parts.paths[i] for i in places]
        return nnx.from_flat_state(list(zip(paths, values, strict=True)))

    internal.check_carry(named(before), named(after), "state of (pipeline, modules)")


def _each(
    one: Callable[..., tuple[Any, Any]],
    pipeline: PipelineCore[Any, Any],
    modules: Modules = (),
    carry: PyTree = None,
) -> tuple[Any, Any]:
    if pipeline._variants:
        _check_variants(pipeline, modules, carry)
    return each_variant(one, pipeline, pipeline._variants, modules, carry)


def _check_variants(pipeline: PipelineCore[Any, Any], modules: Modules, carry: PyTree) -> None:
    seeds = jnp.shape(pipeline._seed.get_raw_value())
    if not seeds:
        raise ValueError(
            "The pipeline has variants, which it maps over by itself, but their axis is gone; call "
            "it outside nnx.vmap, or give nnx.vmap pipelines that were stacked by stack([...])."
        )
    nodes = {f"nodes[{n!r}] ({type(x).__name__})": x for n, x in pipeline.nodes.items()}
    given = {f"modules[{i}] ({type(x).__name__})": x for i, x in enumerate(modules)}
    check_stacked(seeds[0], {**nodes, **given, "init_carry": carry}, list(given))
