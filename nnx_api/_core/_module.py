"""The module around the pure core: its parts as the core takes them, and its one position.

The position is one Variable, set at once. The device has its own copy, which compiled steps move
on; what the host knows of it is kept beside, and counts only for the very array that it was kept
for. Which calls a user has is not known here.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeAlias

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import typing_extensions as te
from flax import nnx
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray, PyTree, UInt32

import dagrax.pure as dp
from dagrax.pure import internal

from .._records import Position, Records, Seed
from .._source import Source
from .._variants import one_of
from ._kept import Beside, Kept

In = te.TypeVar("In", default=PyTree)
Out = te.TypeVar("Out", default=PyTree)
Stage: TypeAlias = Callable[..., Any]
Modules: TypeAlias = tuple[nnx.Pytree, ...]
_LAST = 2**32 - 1
_CLOSED_OVER = (
    "The function that is being traced closes over a pipeline made outside it, whose position it "
    "cannot move; pass the pipeline to it as an argument: nnx.jit(f)(pipeline). (Or it merges "
    "Variables of another trace: write nnx.merge(..., copy=True).)"
)
INSIDE = (
    "The pipeline is called inside one of its own stages or step functions, where its position "
    "cannot move; use the batch that the function is given, or make a second pipeline and pass it "
    "in modules=(…)."
)


class PipelineCore(Beside, nnx.Module, Generic[In, Out]):
    """A graph of stages over a source, with a seed and a position, as Variables."""

    __slots__ = ()

    source: Source[In]
    nodes: dict[str, Any]  # modules of the user: each has attributes of its own
    _schedule: dp.Schedule
    _dims: tuple[tuple[str, int | None], ...]
    _variants: tuple[bool, ...]
    _batch_size: int
    _remainder: dp.Remainder
    _shard: internal.Shard | None
    _record_ids: str | None
    _mesh: Mesh | None
    _batch_axis: internal.BatchAxis
    _is_seeded: bool
    _is_checked: bool
    _seed: Seed
    _position: Position

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "PipelineCore[In, Out]":
        copied: PipelineCore[In, Out] = nnx.clone(self)  # see `Source`
        if memo is not None:
            memo[id(self)] = copied
        return copied

    def __bool__(self) -> bool:
        return True  # without a look at `len`, which is not always known

    # What the pure core takes

    def _graph(self) -> dp.Pipeline[In, Out]:
        return internal.with_stages(self._schedule, self.nodes, self._dims)

    def _check_graph(self) -> None:
        # A node may have been replaced since the schedule was made.
        edges, sink = dict(self._schedule.edges), self._schedule.sink
        for name, node in self.nodes.items():
            if isinstance(node, PipelineCore | list | tuple | nnx.List):
                raise TypeError(
                    f"Node `{name}` was replaced by one of type {type(node).__name__}; expected a "
                    "stage: a chain, or a graph, is told when the pipeline is made."
                )
        internal.checked_graph(self.nodes, edges, sink)

    def _stream(self, remainder: dp.Remainder | None = None) -> dp.Stream[In]:
        source, order = self._one_source().pure()
        return dp.Stream(
            source,
            order,
            batch_size=self._batch_size,
            remainder=remainder or self._remainder,
            shard=self._shard,
            record_ids=self._record_ids,
            mesh=self._mesh,
            batch_axis=self._batch_axis,
        )

    def _one_source(self) -> Source[In]:
        # Outside the map over variants, the first of them stands for all.
        source = self.source
        for own_order in self._variants:
            source = one_of(source, 0, own_order=True) if own_order else source
        return source

    def _key(self) -> PRNGKeyArray | None:
        return self._seed.get_value() if self._is_seeded else None

    # The position

    @property
    def cursor(self) -> dp.Cursor:
        """Where the next batch starts: two ints outside a trace, traced integers inside one."""
        at = self._position.get_raw_value()
        if isinstance(at, Tracer):
            return dp.Cursor(at[0], at[1])
        return self._known(Kept.beside(self), at)

    def _known(self, kept: Kept, at: UInt32[Array, "words"]) -> dp.Cursor:
        if kept.place is None or kept.place[0] is not at:
            epoch, *words = np.asarray(jax.device_get(at)).tolist()
            offset = words[0] if len(words) == 1 else words[0] * 2**32 + words[1]
            kept.place, kept.is_settled = (at, dp.Cursor(epoch, offset)), False
        return kept.place[1]

    def _go(self, cursor: dp.Cursor) -> None:
        """Set the position, once; inside a trace it may be a traced one."""
        traced = any(isinstance(x, Tracer) for x in cursor)
        words = (jnp.asarray(x, jnp.uint32) for x in cursor) if traced else ()
        at = jnp.stack(list(words)) if traced else self._placed(cursor)
        try:
            self._position.set_raw_value(at)
        except flax.errors.TraceContextError as error:
            self._tell_of_traces(error)
            raise
        if not traced:
            Kept.beside(self).place = at, cursor

    def _placed(self, cursor: dp.Cursor, *, wide: bool | None = None) -> UInt32[Array, "words"]:
        if wide is None:
            wide = len(self._position.get_raw_value()) > 2
        if self._mesh is None:
            return placed(cursor, nnx.state(self.source, Records), wide=wide)
        at: Array = jax.device_put(internal.place_words(cursor, wide=wide))
        return dp.on_mesh(at, self._mesh)

    def _check_trace(self) -> None:
        try:
            self._position.set_raw_value(self._position.get_raw_value())
        except flax.errors.TraceContextError as error:
            self._tell_of_traces(error)
            raise

    def _tell_of_traces(self, error: flax.errors.TraceContextError) -> None:
        if Kept.beside(self).is_running():
            raise TypeError(INSIDE) from None
        error.add_note(_CLOSED_OVER)

    def _warn_of_a_copy(self) -> None:
        # JAX, not flax, has put this object together: no one will see its position move.
        if Kept.beside(self).is_copy:
            internal.warn(
                "The pipeline was passed through a transform of JAX's own, such as jax.jit, which "
                "works on a copy: the position of the pipeline outside does not move, and each "
                "call reads the same batch. Use flax's transform, nnx.jit(f)(pipeline), or return "
                "the pipeline from the function."
            )

    @classmethod
    def _pytree__unflatten(cls, static: Any, node_attrs: Iterable[Any]) -> Any:
        made = super()._pytree__unflatten(static, node_attrs)
        Kept.beside(made).is_copy = True
        return made


def placed(cursor: dp.Cursor, like: PyTree, *, wide: bool = False) -> UInt32[Array, "words"]:
    """A position on the device, or on all devices over which the records are spread.

    Where there are 2**31 records or more it is `wide`: the offset has two words.
    """
    at = internal.place_words(cursor, wide=wide)
    for leaf in jax.tree.leaves(like):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
            whole = NamedSharding(sharding.mesh, PartitionSpec())
            everywhere: Array = jax.device_put(at, whole)
            return everywhere
    here: Array = jax.device_put(at)
    return here


def before_the_end(cursor: dp.Cursor) -> dp.Cursor:
    """The cursor itself. **Errors:** OverflowError for one behind the last epoch there is."""
    if cursor.epoch > _LAST:
        raise OverflowError(
            f"The pipeline has come to the end of epoch {_LAST}, the last that can be counted; "
            "nothing was moved. Go back: pipeline.seek(epoch=0)."
        )
    return cursor


def checked_position(epoch: object, offset: object, records: int) -> tuple[int, int]:
    """Epoch and offset as ints. **Errors:** TypeError for what is no int, ValueError for what is no
    epoch, or no offset among so many records."""
    checked: list[int] = []
    for name, value, most in (("epoch", epoch, 2**32), ("offset", offset, records)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(internal.valued(name, value, "an int."))
        if not 0 <= value < most:
            raise ValueError(f"{name} is {value}; expected at least 0 and less than {most}.")
        checked.append(int(value))
    return checked[0], checked[1]
