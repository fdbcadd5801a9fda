"""What a user calls: a pipeline of batches through stages, as an nnx.Module.

Each method says what it does and refuses what cannot work; what is done stands in `_core`, and what
is computed in `dagrax.pure`. No algorithm is here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PyTree

import dagrax.pure as dp
from dagrax.pure import host, internal

from ._closing import Closing
from ._core import _calls
from ._core._checkpoint import GUARD, checkpoint, judge
from ._core._kept import Kept
from ._core._module import In, Modules, Out, PipelineCore, Stage
from ._core._placing import move_in
from ._core._whole import whole
from ._debugging import Debugging
from ._iterator import EpochIterator
from ._loops import Loops
from ._misuse import ARRAYS, CALLS, GRAPH, PIPELINE
from ._nodes import nodes_of
from ._orders import draw_seed
from ._records import Position, Seed
from ._seen import Seen
from ._source import Source
from ._sources import MemorySource
from ._variants import each_variant, have_own_orders, stacked, unstack


class Pipeline(PipelineCore[In, Out], Loops[Out], Seen, Debugging, Closing):
    """Batches of a source, through a list of stages: an nnx.Module around `dagrax.pure`.

    `stages` run one after the other; each is any callable, an nnx.Module or a plain function, and
    is named after its type: `noise`, `noise_1`, … A dict names them, and a draw depends on the
    name: a stage put into a list renames those of its type behind it. (`from_dag` takes a graph.)
    `rngs` seeds every draw (stream `pipeline`). `remainder` says what becomes of the records that
    do not fill a last batch: `"partial"`, `"drop"`, `"pad"` or `"carry"`, as in
    `dagrax.pure.Stream`. `dims` names axes that mean the same size at all nodes, as `batch` does: a
    list, or a dict of sizes. `shard=(index, count)` gives a part of each batch, and
    `record_ids="id"` adds a field with the ids of the records, as in `dagrax.pure.Stream`.

    On a `mesh` of devices each computes its part of every batch, over `batch_axis` (the name of an
    axis, or of several). All that the source and the stages hold is then put on every device, in
    place; data that were put on that mesh, `P("data")` say, stay as they are. A mesh may be of the
    devices of several processes, which then run the same program.

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

    @internal.guided("Pipeline", PIPELINE)
    def __init__(
        self,
        *,
        source: Source[In],
        stages: Sequence[Stage] | Mapping[str, Stage | Sequence[Stage]] | dp.Pipeline[In, Out] = (),
        batch_size: int,
        rngs: nnx.Rngs | None = None,
        remainder: dp.Remainder = "partial",
        dims: dp.Dims = (),
        shard: tuple[int, int] | None = None,
        record_ids: str | None = None,
        mesh: Mesh | None = None,
        batch_axis: internal.BatchAxis = "data",
    ):
        if not isinstance(source, Source):
            pure = isinstance(source, dp.AbstractSource)
            mend = "ArraySource(source=…)" if pure else "MemorySource(MemorySourceConfig(), data=…)"
            if isinstance(source, host.AbstractHostSource):
                mend = "HostSource(source=…)"
            raise TypeError(internal.of_type("source", source, f"a source: {mend}."))
        if not isinstance(stages, dp.Pipeline | Sequence | Mapping):
            raise TypeError(
                f"{internal.of_type('stages', stages, 'a list of stages: write')} "
                "stages=[normalize, augment]. A graph goes to Pipeline.from_dag(nodes=…, edges=…)."
            )
        graph: dp.Pipeline[In, Out] = (
            stages if isinstance(stages, dp.Pipeline) else dp.Pipeline.linear(stages)
        )
        self.source = source
        self.nodes = nnx.data(nodes_of(graph))
        self._schedule = graph.schedule
        self._dims = internal.declared(dims, graph.dims)
        self._variants = ()
        self._batch_size = batch_size
        self._remainder = remainder
        self._shard, self._record_ids = shard, record_ids
        self._mesh, self._batch_axis = None, "data"
        is_wide = self._stream().is_wide
        self._is_seeded = rngs is not None
        self._is_checked = False
        self._seed = Seed(jax.random.key(0) if rngs is None else draw_seed(rngs, "pipeline"))
        start = dp.Cursor(0, 0)
        self._position = Position(self._placed(start, wide=is_wide))
        Kept.beside(self).place = self._position.get_raw_value(), start
        move_in(self, mesh, batch_axis)
        self.check()

    @classmethod
    @internal.guided("Pipeline.from_dag", GRAPH)
    def from_dag(
        cls,
        *,
        source: Source[In],
        nodes: Mapping[str, Stage | Sequence[Stage]],
        edges: Mapping[str, Sequence[str]],
        sink: str,
        batch_size: int,
        rngs: nnx.Rngs | None = None,
        remainder: dp.Remainder = "partial",
        dims: dp.Dims = (),
        shard: tuple[int, int] | None = None,
        record_ids: str | None = None,
        mesh: Mesh | None = None,
        batch_axis: internal.BatchAxis = "data",
    ) -> "Pipeline[In, Out]":
        """A pipeline through a graph of named stages.

        `edges` maps each node to its predecessors, whose outputs it is called with in that order;
        `[]` reads the source batch. The output is that of `sink`; a node from which the sink
        cannot be reached runs for `outputs` alone, and is warned of. A list of stages is a chain
        under one name, which `edges`, `sink` and `outputs` know it by; its stages are the nodes
        `name/noise`, `name/noise_1`, …, as which they draw and stand in `pipeline.nodes`.
        """
        stages, schedule = internal.checked_graph(nodes, edges, sink)
        internal.warn_of_idle(schedule)
        return cls(
            source=source,
            stages=dp.Pipeline[In, Out](stages, schedule, internal.declared(dims)),
            batch_size=batch_size,
            rngs=rngs,
            remainder=remainder,
            shard=shard,
            record_ids=record_ids,
            mesh=mesh,
            batch_axis=batch_axis,
        )

    @classmethod
    @internal.guided("Pipeline.from_arrays", ARRAYS)
    def from_arrays(
        cls,
        data: In,
        stages: Sequence[Stage] | Mapping[str, Stage | Sequence[Stage]] | dp.Pipeline[In, Out] = (),
        *,
        batch_size: int,
        shuffle: bool = False,
        rngs: nnx.Rngs | None = None,
        remainder: dp.Remainder = "partial",
        dims: dp.Dims = (),
        mesh: Mesh | None = None,
        batch_axis: internal.BatchAxis = "data",
    ) -> "Pipeline[In, Out]":
        """A pipeline over arrays, the short way: `Pipeline(source=MemorySource(data=data, …), …)`.

        `rngs` seeds the shuffle, then the stages, and may be left out where nothing draws.
        **Errors:** those of both; ValueError for what draws without a seed, by its name.
        """
        if rngs is None and shuffle is not False:
            raise ValueError(
                f"shuffle is {shuffle!r}, and draws the order of the records, but there is no "
                "seed; pass rngs=nnx.Rngs(0)."
            )
        return cls(
            source=MemorySource[In](data=data, shuffle=shuffle, rngs=rngs),
            stages=stages,
            batch_size=batch_size,
            rngs=rngs,
            remainder=remainder,
            dims=dims,
            mesh=mesh,
            batch_axis=batch_axis,
        )

    @classmethod
    @internal.guided("Pipeline.variants", {})
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
        own_order = have_own_orders([pipeline.source for pipeline in pipelines])
        if own_order and pipelines[0]._stream().is_hosted:
            raise ValueError(
                "The variants have orders of their own over a source that is read on the host, "
                "which would read each batch once for each; give all of them one order: make "
                "the source once, and all pipelines over it."
            )
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
        return unstack(self)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, each after its predecessors."""
        return tuple(self.nodes[name] for name in self._schedule.order)

    @property
    def batch_size(self) -> int:
        """The number of records of a full batch; it may be set to another at any time."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        self._become(_batch_size=batch_size)

    @property
    def remainder(self) -> dp.Remainder:
        """The policy for the records that do not fill a last batch; it may be set to another."""
        return self._remainder

    @remainder.setter
    def remainder(self, remainder: dp.Remainder) -> None:
        self._become(_remainder=remainder)

    @property
    def shard(self) -> tuple[int, int] | None:
        """Which part of each batch is handed out, `(index, count)`; it may be set to another."""
        return self._shard

    @shard.setter
    def shard(self, shard: tuple[int, int] | None) -> None:
        self._become(_shard=shard)

    @property
    def record_ids(self) -> str | None:
        """The name of the field for the ids of the records; it may be set to another."""
        return self._record_ids

    @record_ids.setter
    def record_ids(self, record_ids: str | None) -> None:
        self._become(_record_ids=record_ids)

    @internal.guided("pipeline.seek", {})
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
        _calls.seek(self, cursor.epoch if epoch is None else epoch, offset)

    def checkpoint(self) -> nnx.State[Any, Any]:
        """What a checkpoint should hold: everything but the data and an order given, as it is now,
        in arrays of its own. `nnx.update` restores it into a pipeline made alike, and refuses that
        of a pipeline with another source, order, seed or graph. Arrays of immutable stages, such as
        an eqx.Module, cannot be set: they are left out."""
        return checkpoint(self)

    def __whole__(self, state: Mapping[str, PyTree]) -> internal.Whole:
        # What `dagrax.pure.host.Checkpoints` saves, and sets.
        return whole(self, state)

    def __len__(self) -> int:
        return _calls.batching(self).known().steps_per_epoch

    def __call__(
        self, batch: In, *, key: jax.Array | None = None, origin: dp.Origin | None = None
    ) -> Out:
        """The output of the sink for a batch of your own, at no cost to the position.

        Where a stage draws, `key` is used in place of the pipeline's seed, and `origin` says which
        records these are; without one they count as the records 0, 1, … of epoch 0. In a loop give
        one of the two, or every turn draws the same. A subclass that overrides this takes both
        and passes them on: `def __call__(self, batch, **draws)`.
        """

        def one(own: PipelineCore[In, Out], modules: Modules, carry: None) -> tuple[None, Out]:
            seed = own._key() if key is None else key
            return None, dp.apply(own._graph(), batch, key=seed, origin=origin)

        if self._is_checked:
            _calls.check_call(self, batch, key, origin)
        return each_variant(one, self, self._variants)[1]

    if not TYPE_CHECKING:  # or a type checker would take any name

        def __getattr__(self, name: str) -> object:
            if name in CALLS:
                raise AttributeError(f"Pipeline has no attribute `{name}`; {CALLS[name]}.")
            return super().__getattribute__(name)  # in the words of Python

    def step(self) -> Out:
        """The next batch, through the stages, by a compiled call."""
        return _calls.step(self)

    def __iter__(self) -> EpochIterator[Out]:
        return EpochIterator(self)

    def outputs(self, *nodes: str, batch: In | None = None) -> dict[str, PyTree]:
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
        return _calls.outputs(self, batch, nodes or self._schedule.executed)

    def _become(self, **changes: object) -> None:
        # Judged as a whole before any of it counts.
        before = {name: getattr(self, name) for name in changes}
        try:
            for name, value in changes.items():
                setattr(self, name, value)
            self._stream()
            self.check()
        except (TypeError, ValueError):
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def _graph_node_set_key(self, key: Any, value: Any) -> None:
        # By which `nnx.update` sets what a pipeline has not yet: of a checkpoint, first its guard.
        if key == GUARD:
            judge(self, value)
        else:
            super()._graph_node_set_key(key, value)
