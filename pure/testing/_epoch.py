"""Whether an epoch of a stream is what its order promises, by every remainder policy.

What is in a record does not matter here, but for one batch of it; stages are not known.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from .._flow._batching import Batching, Cursor, Pad, Remainder
from .._flow._fed import on_the_host, origins
from .._flow._marks import Mark, check_marks
from .._flow._shard import part_of
from .._flow._stream import Stream
from .._namespace import plain
from ._order import Visits, judge_visits
from ._read import read, records
from ._report import Report, Seen, check_stream, counted, fail, stream_name

_EPOCHS = (0, 1)
_MOST = 2**17  # positions that are looked at; of a longer epoch those of its first and last batches
_Place = tuple[int, int]
_Ids = Int[np.ndarray, "_"]


def check_epoch(stream: Stream[Any], *, shuffles: bool | None = None) -> Report:
    """Whether each epoch of `stream` has the records that its order and policy promise, once each.

    Two epochs are gone through by every policy that can be (`"partial"`, `"drop"`, `"pad"`,
    `"carry"`), batch by batch and without data, and held against the order, asked for all positions
    at once; then the first and the last batch are read.

    - `shuffles`: True for a stream whose epochs should differ, False for one whose should not; what
      they do is told in any case.

    **Errors:** AssertionError with the policy, epoch, batch and position that fail; those of order
    and source.
    """
    check_stream(stream)
    whole, name = _with(stream, stream.batching.remainder), stream_name(stream)
    promised = {epoch: _promised(name, whole, epoch) for epoch in (*_EPOCHS, _EPOCHS[-1] + 1)}
    seen: list[Seen] = []
    for policy, remainder in _policies(stream):
        told, refused = f'remainder="{policy}"', _refused(stream, remainder)
        if refused is None:
            where = f"{name}, {told}"
            seen.append(Seen(told, _walked(where, _with(stream, remainder), promised)))
        else:
            seen.append(Seen(told, f"not tried: {refused}"))
    differ = bool((promised[0] != promised[1]).any())
    if shuffles is not None and shuffles is not differ:
        found = (
            "differ, but shuffles is False" if differ else "have one order, but shuffles is True"
        )
        fail(name, f"epochs 0 and 1 {found}.")
    seen.append(Seen("another epoch", "another order" if differ else "the same order"))
    seen += _read_ends(stream)
    return Report("check_epoch", stream_name(stream), tuple(seen))


def _half(batching: Batching) -> int:
    """How many positions are looked at from each end of an epoch that is longer than both."""
    return max(_MOST // 2, 4 * batching.batch_size)


def _policies(stream: Stream[Any]) -> list[tuple[str, Remainder]]:
    own = stream.batching.remainder
    # A name that no data have.
    pad = own if isinstance(own, Pad) else Pad("valid, by check_epoch")
    return [("partial", "partial"), ("drop", "drop"), ("pad", pad), ("carry", "carry")]


def _refused(stream: Stream[Any], remainder: Remainder) -> str | None:
    if remainder == "drop" and stream.batching.batch_size > stream.batching.records:
        return "there is no whole batch"
    if isinstance(remainder, Pad):
        try:
            check_marks(stream.source.element_spec, [Mark.valid(remainder.valid)])
        except (TypeError, ValueError):
            return "a batch is no dict, and has no room for a mask"
    return None


def _with(stream: Stream[Any], remainder: Remainder) -> Stream[Any]:
    """The whole of a stream, by another policy, where NumPy reads it."""
    batching = stream.batching
    own = Stream(
        stream.source,
        None if stream.source.order is not None else stream.order,
        batch_size=batching.batch_size,
        remainder=remainder,
    )
    return on_the_host(own)


def _promised(name: str, stream: Stream[Any], epoch: int) -> _Ids:
    """The ids of an epoch, by one call, for all its positions that are looked at."""
    many, size = stream.batching.records, stream.source.size
    kind = np.uint64 if stream.is_wide else np.uint32
    half = _half(stream.batching)
    at = np.arange(many, dtype=kind) if many <= 2 * half else np.r_[0:half, many - half : many]
    positions, where = plain(at.astype(kind)), plain(np.uint32(epoch))
    order = stream.order
    with np.errstate(over="ignore"):
        ids = np.asarray(order.ids(positions, where, size))
        visits = Visits(
            ids, order.turns(positions, where, size), order.own_epochs(positions, where, size)
        )
    judge_visits(f"{name}, epoch {epoch}", visits, at, size)
    return np.asarray(stream.source.places(plain(ids))).astype(np.int64)


def _walked(told: str, stream: Stream[Any], promised: dict[int, _Ids]) -> str:
    batches = rows = 0
    for epoch in _EPOCHS:
        start: _Place = (epoch, 0)
        if stream.batching.remainder == "carry" and epoch:
            start = stream.batching.skip(0, 0, stream.batching.steps_per_epoch).as_ints()
        for length, places in _starts(stream.batching, start).items():
            ids, counts, _ = origins(stream, places, length)
            for place, own, count in zip(places, ids, counts, strict=True):
                _judge_batch(told, stream, place, own, count, promised)
            batches += len(places)
            rows += ids.size
    ends = stream.batching.records > 2 * _half(stream.batching)
    where = "at both ends of two epochs" if ends else "of two epochs"
    return f"{counted(batches, 'batch')} {where}, {counted(rows, 'record')} as promised"


def _starts(batching: Batching, start: _Place) -> dict[int, list[_Place]]:
    """The places of the batches from one to the end of its epoch, by their lengths."""
    # One fewer, for what `"drop"` leaves out behind the last.
    steps, most = batching.steps_left(start[1]), _half(batching) // batching.batch_size - 1
    numbers = range(steps) if steps <= 2 * most else [*range(most), *range(steps - most, steps)]
    found: dict[int, list[_Place]] = {}
    for number in numbers:
        place = batching.skip(*start, number).as_ints()
        found.setdefault(batching.length(place[1]), []).append(place)
    return found


def _judge_batch(
    told: str,
    stream: Stream[Any],
    place: _Place,
    ids: _Ids,
    counts: Bool[np.ndarray, "_"],
    promised: dict[int, _Ids],
) -> None:
    many, (epoch, offset) = stream.batching.records, place
    is_pad, is_carry = (
        isinstance(stream.batching.remainder, Pad),
        stream.batching.remainder == "carry",
    )
    positions = offset + np.arange(len(ids))
    laps = positions // many if is_carry else np.zeros_like(positions)
    within = positions % many
    known = np.stack([promised[e] for e in (epoch, epoch + 1) if e in promised])
    if many > 2 * (half := _half(stream.batching)):
        within = np.where(within < half, within, within - (many - 2 * half))
    expected = known[np.minimum(laps, len(known) - 1), within]
    apart = (ids != expected) | ((counts != (positions < many)) & is_pad)
    # Of a batch over several epochs what is of the first two counts.
    apart &= laps < len(known)
    if apart.any():
        row = int(apart.argmax())
        fail(
            f"{told}, epoch {epoch}",
            f"row {row} of the batch at offset {offset} is the record {ids[row]}; expected "
            f"{expected[row]}, which the order has at position {positions[row] % many}.",
        )


def _read_ends(stream: Stream[Any]) -> list[Seen]:
    batching, seen = stream.batching, []
    last = batching.skip(0, 0, batching.steps_per_epoch - 1).as_ints()
    host = on_the_host(stream)
    # What can only be iterated over may not know its end, and would be gone through for it.
    own_order = stream.is_hosted and stream.source.order is not None
    ends: dict[str, _Place] = {"the first batch": (0, 0), "the last batch": last}
    for name, place in ends.items():
        if name == "the last batch" and (own_order or place == (0, 0)):
            continue
        length = batching.length(place[1])
        if not part_of(length, stream.shard):
            continue
        batch, origin = read(stream, Cursor(place[0], place[1]))
        known = records(np.asarray(origins(host, [place], length)[2].ids)[0])
        if (found := records(origin.ids)) != known:
            row = next(i for i, (x, y) in enumerate(zip(found, known, strict=True)) if x != y)
            fail(
                f"{stream_name(stream)}, {name}",
                f"row {row} is the record {found[row]} in a program, but {known[row]} in NumPy; "
                "write the order for both alike.",
            )
        rows = int(jax.tree.leaves(batch)[0].shape[0])
        seen.append(Seen(f"{name}, read", counted(rows, "record")))
    return seen
