"""A step function over the batches of a pipeline, from the host's side: one program, run as often
as one likes, which hands its carry on.

What a call has found, a plan and the programs of the step function, the next one finds again. What
is computed is in `_traced`; how often a user runs it is not known.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import equinox as eqx
import flax.errors
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from .._call._parts import Changed, Parts, Values, any_traced
from .._call._plan import Plan, Reading
from .._call._programs import Program
from . import _traced
from ._calls import Owned, run, write
from ._checked import check_trace
from ._fed import check_open, feed_of, needed_feed, rest
from ._kept import Kept, Planned
from ._module import Modules, PipelineCore, before_the_end
from ._placing import come_home, on_mesh_of, settle
from ._refusal import count_from, refusal_of

# A program that is run on values and what it is given: results, and what it has set.
_Call: TypeAlias = Callable[..., tuple[PyTree, Changed]]
Steps: TypeAlias = Callable[[internal.Batching, dp.Cursor], int]  # how many, from a place on


class Loop:
    """A step function with the modules and the carry that it is given.

    `name` is the method by which it was given; `again` says that it is to be run more than once.
    **Errors:** TypeError for a step function of another
    signature.
    """

    def __init__(
        self,
        name: str,
        pipeline: PipelineCore[Any, Any],
        step_fn: Callable[..., PyTree],
        modules: Modules,
        shared: Modules,
        init_carry: PyTree,
        *,
        again: bool = False,
    ):
        self._name, self._again = name, again
        self._carries = init_carry is not None
        names = [type(module).__name__ for module in (*modules, *shared)]
        self._step = internal.step_function(
            step_fn,
            (*(["carry"] if self._carries else []), *names, "batch"),
            f", or pass modules=(…) and init_carry=… to {name}",
            carries=self._carries,
        )
        self._step_fn = step_fn
        self._everything = pipeline, modules, shared
        # What is no array in a carry, an activation function say, is static.
        self._arrays: PyTree = None
        self._rest: PyTree = None
        if self._carries:
            self._arrays, self._rest = eqx.partition(init_carry, eqx.is_array_like)
        self._reading: Reading | None = None
        self._ran = 0  # steps

    @property
    def pipeline(self) -> PipelineCore[Any, Any]:
        """The pipeline whose batches these are."""
        return self._everything[0]

    def run(self, steps: Steps) -> PyTree:
        """What so many steps give, as one program, in the user's trace if there is one: `ys`, or
        `(carry, ys)`. Position, Variables and the carry of the next run are those behind them."""
        everything, kept = self._everything, Kept.beside(self._everything[0])
        pipeline, _, shared = everything
        with kept.lock:
            check_open(kept)
            planned, values = _planned(kept, everything)
            at = pipeline.cursor
            batching = pipeline._stream().batching if planned is None else planned.batching
            count = steps(batching, at)
            static = count, self._carries, batching.in_scan(at).remainder
            pipeline._check_trace()
            with _told_of_modules(shared):
                if planned is None:
                    check_trace(pipeline)
                    pipeline._warn_of_a_copy()
                    self._arrays, ys = _traced.scan(
                        everything, self._arrays, self._step, self._rest, *static
                    )
                    return self._given(ys)
                self._arrays = on_mesh_of(pipeline, internal.on_device(self._arrays))
                after = before_the_end(batching.skip(*at.as_ints(), count))
                if feed_of(pipeline, kept, planned.plan.parts, where=1) is None:
                    call = self._called(kept, planned, (_traced.scan, *static))
                    (self._arrays, ys), changed = call(values, self._arrays, steps=self._ran)
                else:
                    call = self._called(kept, planned, (_traced.scan_fed, *static[1:]))
                    way = _Way(pipeline, kept, planned.plan.parts, steps)
                    ys, changed = self._run_fed(way, call, values)
                    after, count = before_the_end(dp.Cursor(*way.place)), way.count
                write(kept, planned.plan.parts, everything, changed, pipeline, after)
                self._ran += count
                return self._given(ys)

    def _called(self, kept: Kept, planned: Planned, said: tuple[Any, ...]) -> _Call:
        """A run of a program of the step function, for values, a carry and what it is given."""

        def call(values: Values, *given: PyTree, steps: int = 0) -> tuple[PyTree, Changed]:
            reading = self._read(planned)
            count_from(planned.plan.refuse, steps)
            own = self._step, self._rest
            program = reading.program(planned.plan, said[0], own, *said[1:])
            is_new = not program.has_run
            if is_new:
                given = (self._strengthen(kept, program, values, given), *given[1:])
            everything = self._everything
            result = run(
                *(kept, planned.plan, program, values, given, everything, everything[0]),
                step_fn=self._step_fn,
                entry=self._name,
            )
            if is_new:
                reading.settle()
            return result

        return call

    def _run_fed(self, way: "_Way", call: _Call, values: Values) -> tuple[PyTree, Changed]:
        """The results of the batches on a way, some at a time; nothing is set before all have
        run."""
        arrays = self._arrays
        changed: Changed = {}
        parts: list[tuple[PyTree, int]] = []
        while way.ran < way.count:
            before = way.ran
            some = way.next()
            if some is None:
                continue
            (arrays, ys), new = call(values, arrays, *some, steps=self._ran + before)
            # One program ahead, and no more: what waits would hold its chunk.
            way.feed.wait_for(changed)
            parts.append((ys, way.ran - before))
            changed |= new
            values = [new.get(number, value) for number, value in enumerate(values)]
        self._arrays = arrays
        return internal.joined(parts, axis=len(self.pipeline._variants)), changed

    def _strengthen(
        self, kept: Kept, program: Program, values: Values, given: tuple[PyTree, ...]
    ) -> PyTree:
        # A Python number comes back as an array of a type of its own: handed on as it is, it would
        # make one more program.
        leaves, structure = jax.tree.flatten(given[0])
        again = self._again or len(given) > 1
        if again and any(jax.typeof(x).weak_type for x in leaves):
            with Owned(kept):
                returned = program.traced(values, *given).out_avals
            types = returned[: len(leaves)]  # what follows are the results
            pairs = zip(leaves, types, strict=True)
            leaves = [jnp.asarray(x, t.dtype) for x, t in pairs]
        return jax.tree.unflatten(structure, leaves)

    def _given(self, ys: PyTree) -> PyTree:
        return (eqx.combine(self._arrays, self._rest), ys) if self._carries else ys

    def _read(self, planned: Planned) -> Reading:
        # Kept by the pipeline only where it holds nothing of the user's alive.
        if self._reading is None:
            before = planned.reading
            if before is not None and before.is_of(self._step_fn, self._rest):
                self._reading = before
            else:
                self._reading = Reading(self._step_fn, self._rest, again=self._again)
                planned.reading = self._reading if self._reading.holds_nothing() else None
        return self._reading


class _Way:
    """The batches that a run is handed: from where on, how many, and how many were handed so far.

    Where a data set that is iterated over turns out to have another length, it goes on from there.
    """

    count: int
    place: tuple[int, int]
    feed: internal.Feed

    def __init__(
        self, pipeline: PipelineCore[Any, Any], kept: Kept, parts: Parts, steps: Steps
    ) -> None:
        self._pipeline, self._kept, self._parts, self._steps = pipeline, kept, parts, steps
        self._start = pipeline.cursor
        self.ran = 0
        self._look(*self._start.as_ints())

    def next(self) -> internal.Some | None:
        """Some batches; None where the rest is other now."""
        try:
            chunk, index = self.feed.take(self.place)
        except internal.Ended:
            self._kept.forget()
            rest(self._kept)
            self._look(*self.place)
            return None
        many = min(self.count - self.ran, chunk.left(index))
        self.place = [*chunk.starts, chunk.after][index + many]
        self.ran += many
        return self.feed.some(chunk, index, many)

    def _look(self, epoch: int, offset: int) -> None:
        batching = self._pipeline._stream().batching
        self._start = batching.settle(*self._start)
        batching.in_scan(self._start)
        self.count = self._steps(batching, self._start)
        self.place = batching.settle(epoch, offset).as_ints()
        self.feed = needed_feed(self._pipeline, self._kept, self._parts, where=1)


def so_many(length: int) -> Steps:
    """Steps of this number, from wherever they start."""
    return lambda batching, at: int(length)


def to_the_end(batching: internal.Batching, at: dp.Cursor) -> int:
    """The steps that are left of the epoch. **Errors:** TypeError at a traced position."""
    check_known(at, "scan(step_fn")
    return batching.steps_left(batching.settle(*at).as_ints()[1])


def check_known(at: dp.Cursor, call: str) -> None:
    """Refuse a loop to the end of the epoch at a traced position. **Errors:** TypeError."""
    if at.is_traced:
        raise TypeError(
            "length is None inside a trace (jit, scan, vmap), where it is not known how many "
            f"batches are left; pass it: pipeline.{call}, length=len(pipeline))."
        )


@contextmanager
def _told_of_modules(shared: Modules) -> Iterator[None]:
    try:
        yield
    except (flax.errors.TraceContextError, ValueError) as error:
        if isinstance(error, ValueError) and "trace level" not in str(error):
            raise
        if shared:
            error.add_note(
                "A shared module is only read; pass one that the step function changes by "
                "modules=(module,), over variants one for each, stacked by `stack`."
            )
        error.add_note(
            "If the step function closes over the module that it changes, pass the module to it: "
            "modules=(module,)."
        )
        raise


def _planned(kept: Kept, everything: _traced.Everything) -> tuple[Planned | None, Values]:
    pipeline, modules, shared = everything
    come_home(pipeline, kept)
    members = (pipeline, *modules, *shared)
    planned = kept.planned_loop(members, len(shared))
    if planned is None:
        parts = Parts.of(everything)
        if any_traced(values := parts.values()):
            return None, values
        pipeline._check_graph()
        plan = Plan(everything, parts, kept.private, refuse=refusal_of(parts, pipeline))
        planned = Planned(plan, pipeline._stream().batching)
        kept.keep_loop(members, len(shared), planned)
    values = planned.plan.parts.values()
    if planned.plan.are_traced(values):
        return None, values
    return planned, settle(pipeline, planned.plan.parts, values, everything)
