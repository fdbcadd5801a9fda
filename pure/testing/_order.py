"""Whether an order is one: positions to ids in range, none twice unawares, alike however asked for.

It is asked over few records first, so that what fails is told of the smallest size. Sources and
streams are not known here.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PyTree

from .._namespace import Batch, Epoch, plain
from .._orders._order import AbstractOrder, checked_ids, positions_of
from .._text import of_type, valued
from ._report import Report, Seen, counted, fail, joined

SIZES = (1, 2, 7, 100, 70_000)
_EPOCHS = (0, 1, 5)
_MOST = 2**17  # positions that are looked at; of a longer epoch the first and the last
_ALONE = 4
_SMALL = 100  # records over which a program is tried too, where NumPy reads an order


class Visits(NamedTuple):
    """For some positions the ids, and what tells visits of one record apart."""

    ids: PyTree
    turns: PyTree | None
    own: PyTree | None


_Ask: TypeAlias = Callable[[np.ndarray, np.unsignedinteger], Visits]


def check_order(
    order: AbstractOrder, *, sizes: Sequence[int] = SIZES, shuffles: bool | None = None
) -> Report:
    """Whether `order` gives, for every position of an epoch, a record that there is.

    Ids are in range, none comes twice in an epoch unless `turns` tells the times apart; a position
    alone has the id that it has among others; a second trace gives the same; and so does NumPy,
    where the order says that it reads it.

    - `sizes`: over how many records it is asked. Those that its own `check` refuses are left out.
    - `shuffles`: True for an order that should differ from epoch to epoch, False for one that
      should not; what it does is told in any case.

    **Errors:** AssertionError with the smallest size, the first epoch and the first position that
    fail; TypeError and ValueError for sizes that are none, and for an order that is for none of the
    sizes; its own.
    """
    if not isinstance(order, AbstractOrder):
        mend = "an order: write dp.Shuffled(key); that of a source of the face is source.pure()[1]."
        raise TypeError(of_type("order", order, mend))
    fitting = _fitting(order, _checked(sizes))
    positions, differ = 0, False
    traced = {fitting[-1], max([x for x in fitting if x <= _SMALL], default=fitting[0])}
    for size in fitting:
        many, found = _over(order, size, traced=size in traced)
        positions += many * len(_EPOCHS)
        if many > 1:
            differ = bool((found[0] != found[1]).any())
    _check_shuffles(type(order).__name__, differ, shuffles)
    return Report(
        "check_order", type(order).__name__, tuple(_seen(order, fitting, positions, differ=differ))
    )


def _seen(
    order: AbstractOrder, sizes: Sequence[int], positions: int, *, differ: bool
) -> Iterator[Seen]:
    once = "visits told apart" if _tells_apart(order, sizes[0]) else "each comes once"
    yield Seen(
        f"over {_records(sizes)}, epochs {joined(_EPOCHS)}",
        f"{counted(positions, 'position')}, every id in range, {once}",
    )
    yield Seen("positions alone, and backwards", "the same ids")
    yield Seen("traced again", "the same ids")
    if order.reads_numpy:
        yield Seen("in NumPy and in JAX", "the same ids")
    yield Seen("another epoch", "another order" if differ else "the same order")


def _check_shuffles(name: str, differ: bool, shuffles: bool | None) -> None:
    if shuffles is True and not differ:
        fail(
            f"`{name}`",
            f"epochs {_EPOCHS[0]} and {_EPOCHS[1]} have one order; make use of `epoch`.",
        )
    if shuffles is False and differ:
        fail(f"`{name}`", f"epochs {_EPOCHS[0]} and {_EPOCHS[1]} differ, but shuffles is False.")


def _checked(sizes: object) -> list[int]:
    expected = "numbers of records in a list: write sizes=[{}]."
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        whole = isinstance(sizes, int) and sizes > 0
        raise TypeError(valued("sizes", sizes, expected.format(sizes if whole else 7)))
    found = list(sizes)
    if not found:
        raise ValueError(f"sizes is empty; expected {expected.format(7)}")
    for at, size in enumerate(found):
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(valued(f"sizes[{at}]", size, "a whole number of records."))
        if size < 1:
            raise ValueError(f"sizes[{at}] is {size}; expected at least 1 record.")
    return [int(size) for size in found]


def _records(sizes: Sequence[int]) -> str:
    return f"{joined(sizes)} record{'s' * ([*sizes] != [1])}"


def _fitting(order: AbstractOrder, sizes: Sequence[int]) -> list[int]:
    fitting, refused = [], None
    for size in sorted(sizes):
        try:
            order.check(size)
        except ValueError as error:
            refused = error
        else:
            fitting.append(size)
    if not fitting:
        raise ValueError(
            f"The order is for none of {_records(sizes)}; pass the number that it is for: "
            f"check_order(order, sizes=[…]). It says: {refused}"
        ) from refused
    return fitting


def _over(order: AbstractOrder, size: int, *, traced: bool) -> tuple[int, list[np.ndarray]]:
    """How many positions were looked at, and the ids of each epoch; `traced` ones too where NumPy
    gives them."""
    where = f"`{type(order).__name__}`, over {counted(size, 'record')}"
    try:
        many = positions_of(order, size)
    except (TypeError, ValueError) as error:
        fail(where, str(error), error)
    positions = some_positions(many, _MOST)
    few = positions[:: -(-len(positions) // _ALONE)]
    in_numpy, in_jax = _of_numpy(order, size), _program(order, size)
    ask, found = in_numpy if order.reads_numpy else in_jax, []
    for epoch in _EPOCHS:
        told = f"{where}, epoch {epoch}"
        visits = _asked(told, ask, positions, epoch)
        ids = np.asarray(visits.ids)
        judge_visits(told, visits, positions, size)
        for position in few if epoch == _EPOCHS[0] else ():
            one = np.array([position])
            alone = np.asarray(_asked(told, ask, one, epoch).ids)
            _judge_same(told, "alone", ids[np.searchsorted(positions, one)], alone, one)
        back = np.asarray(_asked(told, ask, positions[::-1], epoch).ids)
        _judge_same(told, "asked for backwards", ids, back[::-1], positions)
        if traced and order.reads_numpy:
            other = np.asarray(_asked(told, in_jax, positions, epoch).ids)
            _judge_same(told, "in JAX", ids, other, positions)
        found.append(ids)
    _judge_traces(f"{where}, epoch {_EPOCHS[0]}", order, size, positions, found[0])
    return len(positions), found


def _asked(told: str, ask: _Ask, positions: np.ndarray, epoch: int) -> Visits:
    try:
        return ask(positions, np.uint32(epoch))
    except _NoIds as error:
        fail(told, str(error), error)


def some_positions(many: int, most: int) -> np.ndarray:
    """All positions of an epoch, or of a long one the first and the last."""
    if many <= most:
        return np.arange(many, dtype=np.uint32)
    half = np.arange(most // 2, dtype=np.uint32)
    return np.concatenate([half, half + np.uint32(many - most // 2)])


def _program(order: AbstractOrder, size: int) -> _Ask:
    # A new one each time: JAX does not trace one again that it has traced before.
    program = eqx.filter_jit(lambda order, *where: _visits(order, size, *where))
    return lambda positions, epoch: program(order, positions, epoch)


def _of_numpy(order: AbstractOrder, size: int) -> _Ask:
    own: AbstractOrder = jax.tree.map(_words, order)

    def asked(positions: np.ndarray, epoch: np.unsignedinteger) -> Visits:
        with np.errstate(over="ignore"):
            return _visits(own, size, plain(positions), plain(epoch))

    return asked


def _visits(order: AbstractOrder, size: int, positions: Batch, epoch: Epoch) -> Visits:
    ids = order.ids(positions, epoch, size)
    try:
        checked_ids(order, ids, positions)
    except TypeError as error:
        raise _NoIds(str(error)) from error
    turns = order.turns(positions, epoch, size)
    return Visits(ids, turns, order.own_epochs(positions, epoch, size))


class _NoIds(Exception):
    """What an order gave is no array of ids."""


def _tells_apart(order: AbstractOrder, size: int) -> bool:
    position, epoch = jax.ShapeDtypeStruct((1,), np.uint32), jax.ShapeDtypeStruct((), np.uint32)
    shapes = eqx.filter_eval_shape(lambda *where: _visits(order, size, *where), position, epoch)
    return shapes.turns is not None


def _judge_traces(
    where: str, order: AbstractOrder, size: int, positions: np.ndarray, ids: np.ndarray
) -> None:
    """Run a second trace, if it reads otherwise than the first."""

    def text() -> str:
        epoch = np.uint32(_EPOCHS[0])
        traced = jax.make_jaxpr(lambda *where: _visits(order, size, *where))(positions, epoch)
        return re.sub(r"0x[0-9a-f]+", "", str(traced))

    if text() != text():
        again = _program(order, size)(positions, np.uint32(_EPOCHS[0])).ids
        _judge_same(where, "in a new trace", ids, np.asarray(again), positions)


def _words(leaf: PyTree) -> PyTree:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def judge_visits(where: str, visits: Visits, positions: np.ndarray, size: int) -> None:
    """Refuse ids out of range, and visits of a record that nothing tells apart."""
    ids = np.asarray(visits.ids).astype(np.int64)
    outside = (ids < 0) | (ids >= size)
    if outside.any():
        at = int(outside.argmax())
        fail(
            where,
            f"position {positions[at]} has the record {ids[at]}; expected one from 0 to "
            f"{size - 1}.",
        )
    columns = [np.asarray(x, np.int64) for x in visits if x is not None]
    again = _first_again(np.stack(columns, axis=1))
    if again is None:
        return
    at, before = again
    mend = "visit each once, or tell its times apart by `turns`"
    if visits.turns is not None:
        mend = f"there `turns` is {np.asarray(visits.turns)[at]} both times: count them"
    missing = np.setdiff1d(np.arange(size), ids)
    known = len(positions) >= size and len(missing)
    nowhere = f", and the record {missing[0]} nowhere" if known else ""
    fail(
        where,
        f"the record {ids[at]} stands at position {positions[before]} and again at "
        f"{positions[at]}{nowhere}, so that its draws would be alike; {mend}.",
    )


def _first_again(rows: Int[np.ndarray, "rows columns"]) -> tuple[int, int] | None:
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    before = first[inverse.reshape(-1)]
    again = before != np.arange(len(rows))
    return (int(again.argmax()), int(before[again.argmax()])) if again.any() else None


def _judge_same(
    where: str, how: str, ids: np.ndarray, others: np.ndarray, positions: np.ndarray
) -> None:
    apart = ids.astype(np.int64) != others.astype(np.int64)
    if apart.any():
        at = int(apart.argmax())
        fail(
            where,
            f"position {positions[at]} has the record {ids[at]} among others, but {others[at]} "
            f"{how}; compute each id from its position, epoch and size alone.",
        )
