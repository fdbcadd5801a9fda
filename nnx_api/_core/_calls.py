"""The compiled calls of a pipeline, from the host's side: one after the other, and all or nothing.

Each takes its turn, looks whether the plan still holds, runs a program on the values of the
Variables, and writes back what it has set, the position with the rest. In a trace, where a
Variable is traced, the same functions run in that trace. What they compute is in `_traced`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import flax.errors
import jax
from flax import nnx
from jax.experimental import checkify
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._foreign import refuse_foreign
from .._call._history import History
from .._call._parts import Changed, Parts, Values, any_traced, raw_value
from .._call._plan import Plan
from .._call._programs import Program
from . import _traced
from ._checked import check_trace
from ._described import described
from ._fed import check_open, feed_of
from ._kept import Kept
from ._module import PipelineCore, before_the_end, checked_position
from ._placing import come_home
from ._refusal import Refusal, refusal_of

_Out = TypeVar("_Out")
_MEND = (
    "Make the module that holds it a stage, or an attribute of a stage that is an nnx.Module; or "
    "bind it by functools.partial(f, module)."
)
_MEND_STEP = (
    "Pass the module that holds it to the step function: shared=(model,) if it is only read, "
    "modules=(model,) if it changes."
)

_LOCATED = (
    "Which node or step makes it, and of which record, is told by `with pipeline.checked():` "
    "around the call."
)


def batching(pipeline: PipelineCore[Any, Any]) -> internal.Batching:
    """The arithmetic of the pipeline's positions."""
    plan = Kept.beside(pipeline).plan
    return plan[1] if plan is not None and plan[0].holds() else pipeline._stream().batching


def settled(pipeline: PipelineCore[Any, Any]) -> dp.Cursor:
    """The pipeline's position by its proper name: where the next batch starts."""
    return batching(pipeline).settle(*pipeline.cursor)


def arrive(pipeline: PipelineCore[Any, Any]) -> None:
    """Give the position its proper name, where a loop has found that its epoch ends there."""
    with Kept.beside(pipeline).lock:
        at = pipeline.cursor
        if not at.is_traced and (now := settled(pipeline)) != at:
            pipeline._go(now)


def seek(pipeline: PipelineCore[Any, Any], epoch: object, offset: object) -> None:
    """Go to a position. **Errors:** those of `Pipeline.seek`."""
    batching = pipeline._stream().batching
    where = checked_position(epoch, offset, batching.records)
    kept = Kept.beside(pipeline)
    with kept.lock:
        pipeline._go(before_the_end(batching.settle(*where)))


def survey(pipeline: PipelineCore[Any, Any]) -> internal.Findings:
    """The shapes of all nodes' outputs and what does not fit, from a trace of its own.

    **Errors:** ValueError for what does not fit, and for a stage that reads a Variable which is no
    part of the pipeline.
    """
    drawing = [
        name
        for name, stage in pipeline.nodes.items()
        if internal.random_arguments(stage, required=True) and not pipeline._is_seeded
    ]
    if drawing:
        raise ValueError(
            f"The nodes {internal.listed(drawing)} draw random numbers, but the pipeline was made "
            "without a seed; pass rngs=nnx.Rngs(0)."
        )
    parts = Parts.of(pipeline)
    # Not `jax.jit`, whose cache would keep what was found, errors of stages among it.
    trace = jax.make_jaxpr(lambda x: _traced.survey(parts.together(x)), return_shape=True)
    program, shapes = trace(parts.values())
    findings: internal.Findings = shapes
    findings.raise_failures()
    refuse_foreign(program, parts, _places(pipeline))
    return findings


def step(pipeline: PipelineCore[Any, _Out], epoch: int | None = None) -> _Out:
    """The next batch, through the stages; with an `epoch`, StopIteration if that has ended."""
    kept = Kept.beside(pipeline)
    with kept.lock:
        check_open(kept)
        if (ready := planned(pipeline, kept)) is None:
            return _in_trace(pipeline, epoch)
        plan, batching, values = ready
        at = pipeline._known(kept, raw_value(pipeline._position))
        now, length, after = batching.turn(at)
        if epoch is not None and now.epoch != epoch:
            raise StopIteration
        if now is not at:
            pipeline._go(now)
            values = plan.parts.values()
        before_the_end(after)
        args: tuple[PyTree, ...] = ()
        if (feed := feed_of(pipeline, kept, plan.parts)) is None:
            program = plan.program(_traced.read, length)
        else:
            try:
                chunk, index = feed.take(now.as_ints())
            except internal.Ended:  # its length is known from now on
                kept.forget()
                return step(pipeline, epoch)
            program, args = plan.program(_traced.read_fed), (chunk.fed, feed.index(index))
        result, changed = run(kept, plan, program, values, args, pipeline, pipeline)
        write(kept, plan.parts, pipeline, changed, pipeline, after)
        output: _Out = result
        return output


def outputs(
    pipeline: PipelineCore[Any, Any], batch: PyTree, nodes: tuple[str, ...]
) -> dict[str, PyTree]:
    """The outputs of the nodes for the next batch or the one given; nothing is set."""
    kept = Kept.beside(pipeline)
    with kept.lock:
        if batch is None:
            check_open(kept)
        if (ready := planned(pipeline, kept)) is None:
            copy = nnx.merge(*nnx.split(pipeline))
            return _traced.outputs(copy, batch, None, nodes)
        pipeline._check_trace()
        plan, batching, values = ready
        now = batching.settle(*pipeline.cursor)
        feed = None if batch is not None else feed_of(pipeline, kept, plan.parts)
        if feed is None:
            program = plan.program(_traced.outputs, batching.length(now.offset), nodes)
            given: tuple[PyTree, ...] = (_on_device(batch),)
        else:
            try:
                chunk, index = feed.take(now.as_ints())
            except internal.Ended:
                kept.forget()
                return outputs(pipeline, batch, nodes)
            program, given = (
                plan.program(_traced.outputs_fed, nodes),
                (chunk.fed, feed.index(index)),
            )
        taps, _ = run(*(kept, plan, program, values, given, pipeline, pipeline), entry="outputs")
        return {node: taps[node] for node in nodes}  # a compiled call sorts its dicts


def _on_device(batch: PyTree) -> PyTree:
    try:
        return jax.device_put(batch)
    except TypeError:
        internal.check_numbers(batch)
        raise


def check_call(
    pipeline: PipelineCore[Any, Any], batch: PyTree, key: PyTree, origin: dp.Origin | None
) -> None:
    """Refuse what a call with a batch would find at run time; nothing is set."""
    parts = Parts.of(pipeline)
    values = parts.values()
    if any_traced([*values, *jax.tree.leaves((batch, key))]):
        return check_trace(pipeline)
    internal.check_own(batch)

    def called(values: Values, batch: PyTree, key: PyTree) -> PyTree:
        return parts.together(values)(batch, key=key, origin=origin)

    with internal.checking():
        error, _ = jax.jit(checkify.checkify(called))(values, batch, key)
    Refusal(parts, pipeline)(error, values)


def planned(
    pipeline: PipelineCore[Any, Any], kept: Kept
) -> tuple[Plan, internal.Batching, Values] | None:
    """What a compiled call needs, planned anew after a change of structure; None inside a trace."""
    come_home(pipeline, kept)
    if kept.plan is None or not kept.plan[0].holds():
        parts = Parts.of(pipeline)
        if any_traced(parts.values()):
            check_trace(pipeline)
            return None
        pipeline._check_graph()
        plan = Plan(pipeline, parts, kept.private, refuse=refusal_of(parts, pipeline))
        kept.plan = plan, pipeline._stream().batching
    plan, batching = kept.plan
    values = plan.parts.values()
    if plan.are_traced(values):
        check_trace(pipeline)
        return None
    return plan, batching, values


def _in_trace(pipeline: PipelineCore[Any, _Out], epoch: int | None) -> _Out:
    if epoch is not None and settled(pipeline).epoch != epoch:
        raise StopIteration
    pipeline._warn_of_a_copy()
    output: _Out = _traced.read(pipeline, None)
    return output


def run(
    kept: Kept,
    plan: Plan,
    program: Program,
    values: Values,
    args: tuple[PyTree, ...],
    modules: PyTree,
    pipeline: PipelineCore[Any, Any],
    step_fn: Callable[..., PyTree] | None = None,
    *,
    entry: str = "step",
) -> tuple[Any, Changed]:
    """What a program returns, and what it has set, by a thread that owns the pipeline meanwhile.

    `entry` is the method that was called, to say for what something was compiled.
    """
    is_new = not program.has_run
    before, kept.owner = kept.owner, threading.get_ident()
    try:
        if is_new:
            others = [x for x in kept.plans() if x is not plan and x.holds()]
            places = _places(pipeline, step_fn)
            result = plan.first_run(modules, program, values, *args, places=places)
            for other in others:
                other.settle()
        else:
            result = program(values, *args)
    except RuntimeError as error:
        internal.note_callbacks(error, lambda: program.traced(values, *args))
        raise
    except FloatingPointError as error:  # of jax_debug_nans, which sees into no loop
        if not any("in node" in note for note in getattr(error, "__notes__", ())):
            error.add_note(_LOCATED)
        raise
    finally:
        kept.owner = before
    if is_new or program.traced_at is not None:
        _note(kept.history, entry, program, args, modules, pipeline, step_fn)
    return result


def _note(
    history: History,
    entry: str,
    program: Program,
    args: tuple[PyTree, ...],
    modules: PyTree,
    pipeline: PipelineCore[Any, Any],
    step_fn: Callable[..., PyTree] | None,
) -> None:
    began, program.traced_at = program.traced_at, None
    seconds = None if began is None else time.perf_counter() - began
    others = (*modules[1], *modules[2]) if isinstance(modules, tuple) else ()
    history.note(entry, described(pipeline, others, step_fn, program, args), seconds)


class Owned:
    """The pipeline is called by this thread meanwhile."""

    __slots__ = ("_before", "_kept")

    def __init__(self, kept: Kept):
        self._kept, self._before = kept, kept.owner

    def __enter__(self) -> None:
        self._kept.owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._kept.owner = self._before


def write(
    kept: Kept,
    parts: Parts,
    modules: PyTree,
    changed: Changed,
    pipeline: PipelineCore[Any, Any],
    after: dp.Cursor,
) -> None:
    """Write back what a program has set, after which the pipeline's place is known."""
    try:
        parts.write(modules, changed)
    except flax.errors.TraceContextError as error:
        pipeline._tell_of_traces(error)
        raise
    kept.place = raw_value(pipeline._position), after


def _places(
    pipeline: PipelineCore[Any, Any], step_fn: object = None
) -> dict[str, tuple[object, str]]:
    nodes = {
        f"node `{name}`": (internal.bare(node), _MEND) for name, node in pipeline.nodes.items()
    }
    step = {} if step_fn is None else {"the step function": (step_fn, _MEND_STEP)}
    return {**step, **nodes, "the source": (pipeline.source, _MEND)}
