import dis
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack, overload

import flax.errors
import jax
import numpy as np
import typing_extensions as te
from flax import nnx
from jax.core import Tracer
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import internal

from . import _traced
from ._compiled import Bound, Programs, is_traced, seen_in
from ._iterator import EpochIterator
from ._records import Position, Records, Seed
from ._sources import Source, draw_seed
from ._variants import each_variant, have_own_orders, one_of, stacked, unstacked
from ._watch import Watch

_CLOSED_OVER = (
    "The function that is being traced closes over a pipeline made outside it, whose position it "
    "cannot move; pass the pipeline to it as an argument: nnx.jit(f)(pipeline). (Or it merges "
    "Variables of another trace: write nnx.merge(..., copy=True).)"
)
In = te.TypeVar("In", default=Any)
Out = te.TypeVar("Out", default=Any)
_Modules = TypeVarTuple("_Modules")
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")


class _Unseen:
    """Attributes that are no part of the module: flax sees neither them nor a change of them."""

    __slots__ = ("_bound", "_origin", "_programs", "_watch")
    _bound: tuple[Bound, internal.Batching]
    _watch: Watch
    _origin: dp.Origin
    _programs: Programs


class Pipeline(_Unseen, nnx.Module, Generic[In, Out]):
    """Batches of a source, through a list of stages: an nnx.Module around `dagrax.pure`.

    `stages` run one after the other; each is any callable, an nnx.Module or a plain function, and
    is named after its type: `noise`, `noise_1`, … (`from_dag` takes names and a graph.) `rngs`
    seeds every draw (stream `pipeline`). `remainder` says what becomes of the records that do not
    fill a last batch: `"partial"`, `"drop"`, `"pad"` or `"carry"`, as in `dagrax.pure.Stream`.
    `dims` names axes that mean the same size at all nodes, as `batch` does: a list, or a dict of
    sizes.

    Every stage is run once on the shapes of a batch, without data, and held to its annotations, as
    by `dagrax.pure.check`. `Pipeline[In, Out]` tells a type checker the batches of the source and
    of the sink; what is left out is `Any`.

    `len(pipeline)` is the number of batches of an epoch that starts at offset 0. A `for` runs to
    the end of the current epoch. Parameters of the stages are leaves of `nnx.state(pipeline)`.

    **Errors:** ValueError or TypeError, before any computation, for a graph that cannot be built
    or does not fit the source, a batch size or a remainder that cannot work, and arguments of the
    wrong kind.
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        source: Source[In],
        stages: Sequence[Callable[..., Any]] | dp.Pipeline[In, Out],
        batch_size: int,
        rngs: nnx.Rngs,
        remainder: dp.Remainder = "partial",
        dims: dp.Dims = (),
    ):
        if not isinstance(source, Source):
            raise TypeError(
                f"source is of type {type(source).__name__}; expected a source: "
                "MemorySource(MemorySourceConfig(), data=…)."
            )
        if not isinstance(stages, dp.Pipeline | Sequence):
            raise TypeError(
                f"stages is of type {type(stages).__name__}; expected a list of stages: write "
                "stages=[normalize, augment]. A graph goes to Pipeline.from_dag(nodes=…, edges=…)."
            )
        graph: dp.Pipeline[In, Out] = (
            stages if isinstance(stages, dp.Pipeline) else dp.Pipeline.linear(stages)
        )
        self.source = source
        self.nodes: dict[str, Any] = nnx.data(_nodes(graph))
        self._schedule = graph.schedule
        self._dims = internal.declared(dims, graph.dims)
        self._variants: tuple[bool, ...] = ()
        self._batch_size = batch_size
        self._remainder: dp.Remainder = remainder
        self._stream()
        self._seed = Seed(draw_seed(rngs, "pipeline"))
        self._epoch, self._offset = map(Position, _scalars(dp.Cursor(0, 0)))
        self.check()

    @classmethod
    def from_dag(
        cls,
        *,
        source: Source[In],
        nodes: Mapping[str, Callable[..., Any]],
        edges: Mapping[str, Sequence[str]],
        sink: str,
        batch_size: int,
        rngs: nnx.Rngs,
        remainder: dp.Remainder = "partial",
        dims: dp.Dims = (),
    ) -> "Pipeline[In, Out]":
        """A pipeline through a graph of named stages.

        `edges` maps each node to its predecessors, whose outputs it is called with in that order;
        `[]` reads the source batch. The output is that of `sink`; a node from which the sink
        cannot be reached does not run.
        """
        return cls(
            source=source,
            stages=dp.Pipeline[In, Out].from_dag(nodes=nodes, edges=edges, sink=sink, dims=dims),
            batch_size=batch_size,
            rngs=rngs,
            remainder=remainder,
        )

    @classmethod
    def variants(cls, pipelines: Sequence["Pipeline[In, Out]"]) -> "Pipeline[In, Out]":
        """Pipelines over one source as one, which runs all of them in one program.

        It is a Pipeline like any other, but its Variables, its batches and the outputs of `scan`
        have a leading axis of variants. What may vary is the values of Variables: parameters,
        seeds, orders. The data are held once; where the order is the same in all variants, each
        batch is gathered once. Variants of variants have two such axes.

        **Errors:** ValueError for pipelines that differ in anything else, naming each place with
        both values; TypeError for anything but pipelines.
        """
        if not isinstance(pipelines, list | tuple):
            raise TypeError(
                f"pipelines is of type {type(pipelines).__name__}; expected a list of pipelines: "
                "write Pipeline.variants([pipeline_of(strength) for strength in strengths])."
            )
        for pipeline in pipelines:
            if not isinstance(pipeline, Pipeline):
                raise TypeError(
                    f"A variant is of type {type(pipeline).__name__}; expected pipelines: write "
                    "Pipeline.variants([pipeline_of(strength) for strength in strengths])."
                )
        own_order = have_own_orders(pipelines)
        together: Pipeline[In, Out] = stacked(pipelines, own_order=own_order)
        together._variants = (own_order, *together._variants)
        return together

    def unstack(self) -> list["Pipeline[In, Out]"]:
        """The variants as ordinary pipelines, each with Variables of its own.

        **Errors:** ValueError for a pipeline without variants.
        """
        if not self._variants:
            raise ValueError(
                "This pipeline has no variants; make some by Pipeline.variants([...])."
            )
        alone: list[Pipeline[In, Out]] = unstacked(self, own_order=self._variants[0])
        for pipeline in alone:
            pipeline._variants = self._variants[1:]
        return alone

    @property
    def stages(self) -> tuple[Callable[..., Any], ...]:
        """The stages, each after its predecessors."""
        return tuple(self.nodes[name] for name in self._schedule.order)

    @property
    def batch_size(self) -> int:
        """The number of records of a full batch; it may be set to another at any time."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        dp.Stream(*self._one_source().pure(), batch_size=batch_size, remainder=self._remainder)
        before, self._batch_size = self._batch_size, batch_size
        try:
            self.check()
        except ValueError:
            self._batch_size = before
            raise

    @property
    def remainder(self) -> dp.Remainder:
        """The policy for the records that do not fill a last batch; it may be set to another."""
        return self._remainder

    @remainder.setter
    def remainder(self, remainder: dp.Remainder) -> None:
        dp.Stream(*self._one_source().pure(), batch_size=self._batch_size, remainder=remainder)
        before, self._remainder = self._remainder, remainder
        try:
            self.check()
        except ValueError:
            self._remainder = before
            raise

    @property
    def cursor(self) -> dp.Cursor:
        """Where the next batch starts: two ints outside a trace, traced integers inside one."""
        values = self._epoch.get_raw_value(), self._offset.get_raw_value()
        if isinstance(values[0], Tracer) or isinstance(values[1], Tracer):
            return dp.Cursor(*values)
        return dp.Cursor(int(values[0]), int(values[1]))

    def seek(self, *, epoch: int | None = None, offset: int = 0) -> None:
        """Go to an offset, counted in records, of an epoch (the current one, if none is given).

        **Errors:** TypeError for anything but ints, and for no epoch inside a trace; ValueError for
        a negative epoch, or an offset that is not below the number of records.
        """
        cursor = self.cursor
        if epoch is None and cursor.is_traced:
            raise TypeError(
                "epoch is None inside a trace (jit, scan, vmap), where the current epoch is no "
                f"number; pass it: pipeline.seek(epoch=…, offset={offset!r})."
            )
        self._seek(cursor.epoch if epoch is None else epoch, offset)

    def _seek(self, epoch: Any, offset: Any) -> None:
        for name, value, most in (
            ("epoch", epoch, 2**32),
            ("offset", offset, len(self._one_source())),
        ):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(
                    f"{name} is {value!r} of type {type(value).__name__}; expected an int."
                )
            if not 0 <= value < most:
                raise ValueError(f"{name} is {value}; expected at least 0 and less than {most}.")
        self._go(self._stream().batching.settle(int(epoch), int(offset)))

    def checkpoint(self) -> nnx.State[Any, Any]:
        """What a checkpoint should hold: everything but the data, as it is now. `nnx.update`
        restores it. Arrays of immutable stages, such as an eqx.Module, cannot be set: they are
        left out."""
        flat = nnx.to_flat_state(nnx.state(self, nnx.Not(Records)))
        kept = [(path, leaf) for path, leaf in flat if _can_be_set(self, path, leaf)]
        # Variables of its own, which no step will move.
        copy: nnx.State[Any, Any] = jax.tree.map(lambda x: x, nnx.from_flat_state(kept))
        return copy

    def describe(self) -> str:
        """A table of the nodes as they run: what each reads, is, and puts out."""
        return dp.describe(self._graph(), self._stream(), self.check())

    def check(self) -> dict[str, PyTree[jax.ShapeDtypeStruct]]:
        """The shapes and dtypes of every node's output, as `dagrax.pure.check` gives them.

        Done at construction; worth repeating after a stage was replaced. **Errors:** a ValueError
        that lists every field of every node that does not fit.
        """
        findings: internal.Findings = Bound(self, []).spec(Programs(), _traced.survey, ())
        findings.raise_failures()
        return findings.outputs

    def __len__(self) -> int:
        return self._stream().steps_per_epoch

    def __call__(self, batch: In) -> Out:
        """The output of the sink for a batch of your own, at no cost to the position.

        Its records count as the records 0, 1, … of epoch 0 where a stage draws.
        """

        def one(pipeline: Any, modules: Any, carry: Any) -> tuple[None, Any]:
            key, origin = pipeline._seed.get_value(), self._current()
            return None, dp.apply(pipeline._graph(), batch, key=key, origin=origin)

        output: Out = each_variant(one, self)[1]
        return output

    def step(self) -> Out:
        """The next batch, through the stages, by a compiled call."""
        output: Out = self._advance()
        return output

    def __iter__(self) -> EpochIterator[Out]:
        return EpochIterator(self)

    @overload
    def outputs(self, *nodes: str) -> dict[str, Any]: ...
    @overload
    def outputs(self, *nodes: str, batch: In) -> dict[str, Any]: ...
    def outputs(self, *nodes: str, batch: Any = None) -> dict[str, Any]:
        """The outputs of the named nodes (of all that run, if none is named) for the next batch,
        or for a `batch` of your own. Neither position nor state of the stages change.

        **Errors:** TypeError for anything but names; ValueError for an unknown node.
        """
        for node in nodes:
            if not isinstance(node, str):
                raise TypeError(
                    f"A node is named by {node!r} of type {type(node).__name__}; expected its "
                    'name: write pipeline.outputs("crop", "flip").'
                )
        nodes = nodes or self._schedule.executed
        seen = seen_in(self)
        if is_traced(seen):
            return _traced.outputs(nnx.merge(*nnx.split(self)), self.cursor, batch, None, nodes)
        bound, batching = self._bind(seen)
        cursor = batching.settle(*self.cursor)
        static = batching.length(cursor.offset), nodes
        taps: dict[str, Any] = bound.run(
            self, self._kept(), _traced.outputs, static, _scalars(cursor), batch, update=False
        )
        return {node: taps[node] for node in nodes}  # a compiled call sorts its dicts

    @overload
    def scan(self, step_fn: Callable[[Out], _Y], *, length: int) -> _Y: ...
    @overload
    def scan(
        self,
        step_fn: Callable[[Unpack[_Modules], Out], _Y],
        *,
        length: int,
        modules: tuple[*_Modules],
    ) -> _Y: ...
    @overload
    def scan(
        self,
        step_fn: Callable[[_Carry, Out], tuple[_Carry, _Y]],
        *,
        length: int,
        init_carry: _Carry,
    ) -> tuple[_Carry, _Y]: ...
    @overload
    def scan(
        self,
        step_fn: Callable[[_Carry, Unpack[_Modules], Out], tuple[_Carry, _Y]],
        *,
        length: int,
        modules: tuple[*_Modules],
        init_carry: _Carry,
    ) -> tuple[_Carry, _Y]: ...
    @overload
    def scan(
        self,
        step_fn: Callable[..., _Y],
        *,
        length: int,
        modules: tuple[Any, ...] = ...,
        shared: tuple[Any, ...],
    ) -> _Y: ...
    @overload
    def scan(
        self,
        step_fn: Callable[..., tuple[_Carry, _Y]],
        *,
        length: int,
        modules: tuple[Any, ...] = ...,
        shared: tuple[Any, ...],
        init_carry: _Carry,
    ) -> tuple[_Carry, _Y]: ...
    def scan(
        self,
        step_fn: Callable[..., Any],
        *,
        length: int,
        modules: tuple[Any, ...] = (),
        shared: tuple[Any, ...] = (),
        init_carry: Any = None,
    ) -> Any:
        """`length` batches as one XLA loop; the Variables of stages and `modules` are its carry.

        `step_fn(*modules, batch) -> y` gives the stacked `ys`. With an `init_carry` that is not
        None, `step_fn(carry, *modules, batch) -> (carry, y)` gives `(carry, ys)`. `shared` are
        modules that are only read; they come after the others. The data are an operand of the
        loop. The program is kept for the next call with the same `step_fn`; what that function
        closes over is a constant of it.

        Over variants, `modules` and `init_carry` are stacked, one for each variant (see `stack`),
        `shared` modules are the same for all, and carry and `ys` have a leading axis of variants.

        **Errors:** TypeError for modules that are no tuple of modules, a step function of the
        wrong signature, a carry that changes structure, shape or dtype (naming the leaf);
        ValueError for a length below 1, and where the batches differ in shape.
        """
        internal.check_length(length)
        _check_modules("modules", modules)
        _check_modules("shared", shared)
        carries = init_carry is not None
        names = [_name(module) for module in (*modules, *shared)]
        internal.check_arguments(
            step_fn,
            (*(["carry"] if carries else []), *names, "batch"),
            ", or pass modules=(…) and init_carry=… to scan",
        )
        self._check_trace()
        everything = (self, modules, shared)
        batching, cursor = self._stream().batching, self.cursor
        seen = seen_in(everything)
        try:
            if is_traced(seen):
                after, carry, ys = _traced.scan(
                    everything, cursor, init_carry, step_fn, length, carries, self._remainder
                )
            else:
                static = step_fn, length, carries, batching.in_scan(cursor).remainder
                _, carry, ys = Bound(everything, seen).run(
                    everything, self._kept(), _traced.scan, static, _scalars(cursor), init_carry
                )
                after = batching.skip(*cursor.as_ints(), length)
        except (flax.errors.TraceContextError, ValueError) as error:
            if isinstance(error, ValueError) and "trace level" not in str(error):
                raise
            if shared:
                error.add_note(
                    "A shared module is only read; pass one that the step function changes by "
                    "modules=(module,), over variants one for each, stacked by `stack`."
                )
            error.add_note(
                "If the step function closes over the module that it changes, pass the module to "
                "it: modules=(module,)."
            )
            raise
        self._go(after)
        return ys if init_carry is None else (carry, ys)

    # Where the pure core meets the Variables: read them, one pure call, write them back.

    def _graph(self) -> dp.Pipeline[In, Out]:
        # Checked anew: a node may have been replaced.
        edges, sink = dict(self._schedule.edges), self._schedule.sink
        return dp.Pipeline[In, Out].from_dag(
            nodes=self.nodes, edges=edges, sink=sink, dims=dict(self._dims)
        )

    def _stream(self, remainder: dp.Remainder | None = None) -> dp.Stream[In]:
        source, order = self._one_source().pure()
        return dp.Stream(
            source, order, batch_size=self._batch_size, remainder=remainder or self._remainder
        )

    def _one_source(self) -> Source[In]:
        # Outside the map over variants, the first of them stands for all.
        source = self.source
        for own_order in self._variants:
            source = one_of(source, 0, own_order=True) if own_order else source
        return source

    def _current_epoch(self) -> int:
        return int(self._stream().batching.settle(*self.cursor).epoch)

    def _advance(self, epoch: int | None = None) -> Any:
        # The next batch; with an `epoch`, StopIteration if it has ended.
        if (found := self._found()) is None:
            if epoch is not None and self._current_epoch() != epoch:
                raise StopIteration
            return self._traced_step()
        bound, batching, values = found
        at = self.cursor
        now = batching.settle(*at)
        if epoch is not None and now.epoch != epoch:
            raise StopIteration
        if now != at:
            self._go(now)
            values = bound.values()
        return self._compiled_step(bound, batching, values, now)

    def _found(self) -> tuple[Bound, internal.Batching, list[Any]] | None:
        # What a compiled call needs, bound anew after a change of structure; None inside a trace.
        if (held := self._unchanged()) is None:
            if is_traced(seen := seen_in(self)):
                return None
            held = self._bind(seen)
        bound, batching = held
        values = bound.values()
        return None if bound.are_traced(values) else (bound, batching, values)

    def _unchanged(self) -> tuple[Bound, internal.Batching] | None:
        try:
            return self._bound if self._watch.unchanged() else None
        except AttributeError:  # not run yet
            return None

    def _traced_step(self) -> Any:
        def one(pipeline: Any, modules: Any, carry: Any) -> tuple[dp.Cursor, Any]:
            stream = pipeline._stream()
            cursor, batch, origin = stream.take(pipeline.cursor)
            return cursor, stream.marked(batch, pipeline._through(batch, origin))

        cursor, output = each_variant(one, self)
        self._go(cursor)
        return output

    def _compiled_step(
        self, bound: Bound, batching: internal.Batching, values: list[Any], now: dp.Cursor
    ) -> Any:
        epoch, offset = now
        length = batching.length(offset)
        try:
            output = bound.run(self, self._kept(), _traced.read, (length,), values=values)
        except flax.errors.TraceContextError as error:
            error.add_note(_CLOSED_OVER)
            raise
        after = batching.settle(epoch, offset + length)
        self._go(after, same_epoch=bool(after.epoch == epoch))
        return output

    def _through(self, batch: Any, origin: dp.Origin) -> Any:
        # By way of `__call__`, which a subclass may override and which takes a batch alone.
        object.__setattr__(self, "_origin", origin)
        try:
            return self(batch)
        finally:
            object.__delattr__(self, "_origin")

    def _current(self) -> dp.Origin | None:
        try:
            return self._origin
        except AttributeError:
            return None

    def _kept(self) -> Programs:
        try:
            return self._programs
        except AttributeError:  # new, or a copy that flax has made
            object.__setattr__(self, "_programs", Programs())
            return self._programs

    def _bind(self, seen: list[Any]) -> tuple[Bound, internal.Batching]:
        try:
            bound, batching = self._bound
            if not bound.same(seen):
                raise AttributeError
        except AttributeError:
            bound, batching = Bound(self, seen), self._stream().batching
            object.__setattr__(self, "_bound", (bound, batching))
        object.__setattr__(self, "_watch", Watch(self))
        return bound, batching

    def _check_trace(self) -> None:
        self._go(dp.Cursor(self._epoch.get_raw_value(), self._offset.get_raw_value()))

    def _go(self, cursor: dp.Cursor, *, same_epoch: bool = False) -> None:
        try:
            if not same_epoch:  # a checked write takes flax two microseconds
                self._epoch.set_raw_value(_scalar(cursor.epoch))
            self._offset.set_raw_value(_scalar(cursor.offset))
        except flax.errors.TraceContextError as error:
            error.add_note(_CLOSED_OVER)
            raise

    def _fingerprint(self) -> dict[str, str]:
        if self._variants:
            return internal.combined([alone._fingerprint() for alone in self.unstack()])
        return dp.fingerprint(self._graph(), self._stream(), self._seed.get_value())


def _nodes(graph: dp.Pipeline[Any, Any]) -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    for name, stage in graph.stages.items():
        # A module that is no pytree is still one to flax.
        own = stage.func if isinstance(stage, jax.tree_util.Partial) else stage
        nodes[name] = own if isinstance(own, nnx.Pytree) else stage
        if isinstance(own, Pipeline):
            raise TypeError(
                f"Node `{name}` is a Pipeline, which does not know where the records of its "
                "batches come from; put its stages into this one."
            )
        for variable, value in _closed_over(own).items():
            if isinstance(value, nnx.Pytree | nnx.Variable):
                raise ValueError(
                    f"Node `{name}` is a function that closes over `{variable}`, a "
                    f"{type(value).__name__}, which would become a constant of the program; make "
                    f"the module the stage, or write functools.partial(f, {variable})."
                )
    return nodes


def _can_be_set(module: Any, path: tuple[Any, ...], leaf: Any) -> bool:
    for name in path if not isinstance(leaf, nnx.Variable) else ():
        if not isinstance(module, nnx.Pytree | dict | list):
            return False
        module = vars(module)[str(name)] if isinstance(module, nnx.Pytree) else module[name]
    return True


def _closed_over(stage: Any) -> Mapping[str, Any]:
    if not inspect.isfunction(stage):
        return {}
    loads = {x.argval for x in dis.get_instructions(stage) if x.opname == "LOAD_GLOBAL"}
    found = {name: stage.__globals__[name] for name in loads if name in stage.__globals__}
    return {**found, **inspect.getclosurevars(stage).nonlocals}


def _scalars(cursor: dp.Cursor) -> dp.Cursor:
    return dp.Cursor(*map(_scalar, cursor))


def _scalar(x: Any) -> Any:
    return np.asarray(x, np.uint32) if isinstance(x, int) else x


def _check_modules(argument: str, modules: Any) -> None:
    wrong = not isinstance(modules, tuple) or not all(isinstance(m, nnx.Pytree) for m in modules)
    if wrong:
        raise TypeError(
            f"{argument} is of type {type(modules).__name__}"
            + (f" of {', '.join(_name(m) for m in modules)}" if isinstance(modules, tuple) else "")
            + f"; expected a tuple of nnx modules: {argument}=(model, optimizer), or (model,) for "
            "one."
        )


def _name(module: Any) -> str:
    return type(module).__name__
