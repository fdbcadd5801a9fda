"""Batches that are handed in: how the host finds out which records they hold, and what a program
is given in their place.

Nothing here reads a record, and nothing runs beside; when it is done is not known.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from .._apart import apart, settled
from .._channels_last import canonical
from .._mesh import stacked
from .._namespace import Batch, Epoch, Flags, plain
from .._orders._order import AbstractOrder
from .._random._origin import Numbers, Origin
from .._sources._gather import as_gathered
from .._sources._source import AbstractSource
from ._batching import Cursor, Pad
from ._carry import check_carry
from ._stream import Stream

Count = Int[Array, ""]
_Carry = TypeVar("_Carry")
_Y = TypeVar("_Y")
_Tree = TypeVar("_Tree")


class Fed(NamedTuple):
    """A batch, or several along a leading axis: all that a program would have read itself.

    `counts` says which rows count; `after` is the place behind the batch: the words of its epoch
    and its offset.
    """

    rows: PyTree
    counts: Flags
    origin: Origin
    after: Numbers


def at(chunk: Fed, index: Count) -> Fed:
    """One of several batches."""
    one: Fed = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), chunk)
    return one


def handed(stream: Stream, fed: Fed) -> tuple[PyTree, Origin]:
    """A batch that was handed in, as `Stream.read` gives it."""
    mark, spread = fed.origin.mark, stream.spread
    apart = {
        name: settled(jnp.asarray(x), mark) if spread is None else spread.each(jnp.asarray(x))
        for name in ("ids", "turn", "own")
        if (x := getattr(fed.origin, name)) is not None
    }
    counts = jnp.asarray(fed.counts)
    if isinstance(stream.batching.remainder, Pad):
        apart["counts"] = counts if spread is None else spread.each(counts)
    origin = dataclasses.replace(fed.origin, **apart)
    rows = jax.tree.map(jnp.asarray, fed.rows)
    rows = as_gathered(rows, mark) if spread is None else spread.each(rows)
    return stream.with_marks(rows, counts, origin), origin


def looped(
    stream: Stream,
    body: Callable[[_Carry, PyTree, Origin, Numbers], tuple[_Carry, _Y]],
    carry: _Carry,
    chunk: Fed,
    start: Count | None,
    count: Count | None,
) -> tuple[Numbers, _Carry, _Y]:
    """`count` of some batches, from one on: `Stream.scan` of what was handed in.

    The number is traced: one program for any. Without `start` and `count` it is all of them, in a
    loop that knows its number of turns. The results fill the first rows of as many as the chunk has
    batches. **Errors:** those of `Stream.scan`.
    """
    many = chunk.after.shape[0]
    first = jnp.int32(0) if start is None else start

    def step(carry: _Carry, index: Count) -> tuple[_Carry, _Y]:
        fed = at(chunk, index)
        batch, origin = handed(stream, fed)
        new, y = body(carry, apart(batch, origin.mark, axes=3), origin, fed.after)
        check_carry(carry, new)
        return new, y

    shapes: _Y = jax.eval_shape(step, carry, first)[1]
    empty: _Y = jax.tree.map(lambda x: stacked(x, many), shapes)

    def tick(index: Count, state: tuple[_Carry, _Y]) -> tuple[_Carry, _Y]:
        new, y = step(state[0], first + index)
        # As a scan writes them.
        put = jax.lax.dynamic_update_index_in_dim
        return new, jax.tree.map(lambda ys, own: put(ys, own, index, 0), state[1], y)

    def turn() -> tuple[_Carry, _Y]:
        turns = many if count is None else count
        looped: tuple[_Carry, _Y] = jax.lax.fori_loop(0, turns, tick, (carry, empty))
        return looped

    carry, ys = canonical(turn)
    last = first + (many if count is None else count) - 1
    after: Array = jax.lax.dynamic_index_in_dim(jnp.asarray(chunk.after), last, keepdims=False)
    return after, carry, ys


def asks_the_host() -> bool:
    """Whether a loop that does not know its number of turns waits for the host at each of them: on
    an accelerator, where whole chunks, as most are, have a program that knows it."""
    return jax.default_backend() != "cpu"


def on_the_host(stream: Stream) -> Stream:
    """The same stream, whose arrays are NumPy's and whose order reads NumPy's."""
    order = stream.order
    if not order.reads_numpy:
        order = _Compiled(jax.device_put(order, jax.devices("cpu")[0]))
        stream = eqx.tree_at(lambda x: x.order, stream, order)
        read: Stream = eqx.tree_at(lambda x: x.source, stream, jax.tree.map(_numpy, stream.source))
        return read
    own: Stream = jax.tree.map(_numpy, stream)
    return own


def on_the_host_alone(source: AbstractSource) -> AbstractSource:
    """A source whose arrays are NumPy's."""
    own: AbstractSource = jax.tree.map(_numpy, source)
    return own


def origins(
    stream: Stream, cursors: Sequence[tuple[int, int]], length: int
) -> tuple[np.ndarray, np.ndarray, Origin]:
    """Where the records of some batches of one length are, which count, and their origins.

    The cursors are settled; the stream is one `on_the_host`.
    """
    kind = np.uint64 if stream.is_wide else np.uint32
    epoch = np.array([epoch for epoch, _ in cursors], np.uint32)
    offset = np.array([offset for _, offset in cursors], kind)
    with np.errstate(over="ignore"):  # words wrap, and NumPy warns of it where they are single
        ids, counts, origin = stream.origin(Cursor(epoch, offset), length)
    return np.asarray(ids, np.int64), np.asarray(counts), origin


def place_words(cursor: Cursor, *, wide: bool) -> np.ndarray:
    """A place as a program holds it: epoch and offset, which where it is wide has two words."""
    epoch, offset = cursor.as_ints()
    return np.array([epoch, *(divmod(offset, 2**32) if wide else [offset])], np.uint32)


class _Compiled(AbstractOrder):
    """An order that is written for JAX alone, asked from the host: compiled for the CPU."""

    reads_numpy = True
    order: AbstractOrder

    def ids(self, positions: Batch, epoch: Epoch, size: int) -> Batch:
        return cast(Batch, self._asked("ids", positions, epoch, size))

    def length(self, size: int) -> int:
        return self.order.length(size)

    def turns(self, positions: Batch, epoch: Epoch, size: int) -> Batch | None:
        return self._asked("turns", positions, epoch, size)

    def own_epochs(self, positions: Batch, epoch: Epoch, size: int) -> Batch | None:
        return self._asked("own_epochs", positions, epoch, size)

    def _asked(self, what: str, positions: Batch, epoch: Epoch, size: int) -> Batch | None:
        many = len(positions)
        whole = np.zeros(1 << max(many - 1, 0).bit_length(), np.uint32)  # few programs
        whole[:many] = positions
        with jax.default_device(jax.devices("cpu")[0]):
            found = _ask(self.order, what, plain(whole), epoch, size)
        return None if found is None else plain(np.asarray(found)[:many])


@eqx.filter_jit
def _ask(
    order: AbstractOrder, what: str, positions: Batch, epoch: Epoch, size: int
) -> Batch | None:
    asked = {"ids": order.ids, "turns": order.turns, "own_epochs": order.own_epochs}[what]
    return asked(jnp.asarray(positions), jnp.asarray(epoch), size)


def _numpy(leaf: Array | np.ndarray) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)
