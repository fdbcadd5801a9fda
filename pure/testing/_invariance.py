"""Whether a batch is the same however it is asked for, and a record whatever batch it stands in.

Rows of one batch are run again: against their order, some alone, beside other records, without a
program. How a batch is read is not known here.
"""

import dataclasses
from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray, PyTree

from .._flow._batching import Batching, Cursor
from .._flow._stream import Stream
from .._graph._evaluate import evaluate, outputs
from .._graph._pipeline import Pipeline
from .._graph._stage import random_arguments, type_name
from .._loop import check_given, step
from .._loop import epoch as epoch_in_memory
from .._loop import scan as scan_in_memory
from .._random._origin import Origin
from .._text import listed
from ..host._loops import epoch as epoch_on_the_host
from ..host._loops import scan as scan_on_the_host
from ._compared import Difference, difference, is_key, numbers
from ._read import on_one_device, read, records, some
from ._report import Report, Seen, check_names, check_parts, counted, fail, graph_name, joined

_FEW = 4  # records that are run without a program
_Rows: TypeAlias = Int[np.ndarray, "_"]
_Outputs: TypeAlias = dict[str, PyTree]


def check_invariance(
    pipeline: Pipeline[Any, Any],
    stream: Stream[Any],
    key: PRNGKeyArray | None = None,
    *,
    batches: int = 3,
    mixes: Sequence[str] | None = None,
) -> Report:
    """Whether `step`, `for`, `scan` and `outputs` give the same batches, and each record the same
    whatever batch it stands in.

    The first `batches` are gone through in every way, and the first of them again. Then its rows
    are run against their order, a few of them alone, and those without a program, twice.

    - `key`: the seed of the draws, where a stage draws.
    - `mixes`: the nodes that mean to read other records of their batch, as `mixup` does. They, and
      what reads them, are not compared by record. None finds them, and tells; `()` allows none.

    **Errors:** AssertionError with the smallest batch, the first node, record and field that
    differ; those of stages and source.
    """
    check_parts("check_invariance", pipeline, stream)
    check_given(pipeline, stream, stream.start(), key)
    if mixes is not None:
        mixes = check_names("mixes", mixes, pipeline.stages)
    told = graph_name(pipeline, stream)
    trial = _Trial(*on_one_device(stream, (pipeline, *read(stream, stream.start()), key)))
    other = on_one_device(stream, read(stream, _second(stream.batching)))
    seen = [
        *trial.without_a_program(),  # first, for it tells of a state by its node
        *trial.by_record(other, mixes),
        *_in_every_way(pipeline, stream, key, batches, told),
    ]
    return Report("check_invariance", told, tuple(seen))


def _second(batching: Batching) -> Cursor:
    place = batching.skip(0, 0, 1)
    return place if batching.length(int(place.offset)) == batching.length(0) else Cursor(0, 0)


# Every way


def _in_every_way(
    pipeline: Pipeline[Any, Any],
    stream: Stream[Any],
    key: PRNGKeyArray | None,
    batches: int,
    told: str,
) -> list[Seen]:
    start, count = stream.start(), min(batches, stream.batching.steps_per_epoch)
    whole = stream.batching.records // stream.batching.batch_size
    if stream.batching.remainder == "partial" and whole:
        count = min(count, whole)  # a short one would be a program more
    epoch = epoch_on_the_host if stream.is_hosted else epoch_in_memory
    ways: dict[str, list[PyTree]] = {}
    if not stream.is_hosted:
        ways["step"], cursor = [], start
        for _ in range(count):
            cursor, batch = step(pipeline, stream, cursor, key=key)
            ways["step"].append(batch)
    for way, many in (("for", count), ("for again", 1)):
        looped = epoch(pipeline, stream, start, key=key)
        ways[way] = [batch for _, batch in islice(looped, many)]
    if whole or stream.batching.remainder != "partial":
        ways["scan"] = _scanned(pipeline, stream, key, count)
    ways["outputs"] = [_by_outputs(pipeline, stream, key)]
    first, expected = next(iter(ways.items()))
    for way, found in list(ways.items())[1:]:
        for index, (one, another) in enumerate(zip(expected, found, strict=False)):
            if apart := difference(one, another):
                at = "" if apart.row is None else f", row {apart.row}"
                fail(
                    f"{told}, batch {index}{at}",
                    f"`{first}` gives {apart.one}{apart.where}, `{way}` {apart.other}; a stage "
                    "depends on more than its inputs, its arrays and its keys.",
                )
    return [Seen(f"{counted(count, 'batch')} by {joined([*ways])}", "the same")]


def _scanned(
    pipeline: Pipeline[Any, Any], stream: Stream[Any], key: PRNGKeyArray | None, length: int
) -> list[PyTree]:
    own = stream
    if stream.batching.remainder == "partial":
        batching = stream.batching
        own = stream.with_batching(Batching(batching.records, batching.batch_size, "drop"))
    scan = scan_on_the_host if stream.is_hosted else scan_in_memory
    ys = scan(_kept, None, pipeline, own, own.start(), key=key, length=length)[2]
    ys = jax.tree.map(numbers, ys)
    return [jax.tree.map(lambda y, i=i: y[i], ys) for i in range(length)]


def _kept(carry: None, batch: PyTree) -> tuple[None, PyTree]:
    return carry, batch


def _by_outputs(
    pipeline: Pipeline[Any, Any], stream: Stream[Any], key: PRNGKeyArray | None
) -> PyTree:
    batch, origin = read(stream, stream.start())
    sink, every = pipeline.schedule.sink, pipeline.schedule.order
    found = outputs(pipeline, batch, every, key=key, origin=origin)
    return stream.marked(batch, found[sink])


# By record


class _Trial:
    """A batch of a pipeline, to be run in parts."""

    def __init__(
        self,
        pipeline: Pipeline[Any, Any],
        batch: PyTree,
        origin: Origin,
        key: PRNGKeyArray | None,
    ):
        self.pipeline, self.batch, self.origin, self.key = pipeline, batch, origin, key
        self.ids = records(origin.ids)
        self.nodes = pipeline.schedule.order

    def run(self, rows: _Rows) -> _Outputs:
        """All nodes, given these rows of the batch."""
        return self.run_on(*some(rows, self.batch, self.origin))

    def run_on(self, batch: PyTree, origin: Origin) -> _Outputs:
        """All nodes, given this batch."""
        found = outputs(self.pipeline, batch, self.nodes, key=self.key, origin=origin)
        return {name: jax.tree.map(numbers, x) for name, x in found.items()}

    def by_record(self, other: tuple[PyTree, Origin], mixes: Sequence[str] | None) -> list[Seen]:
        """Whether each record is the same in other batches, but for what mixes them."""
        every = np.arange(len(self.ids))
        whole, aside = self.run(every), set(mixes or ())
        for kept in (every[:1], every[::2]):
            beside = _beside((self.batch, self.origin), other, kept)
            aside |= self._mixing(whole, self.run_on(*beside), kept, mixes)
        for rows in (every[::-1], every[: min(_FEW, max(1, len(every) // 2))]):
            if found := self._differing(whole, every, self.run(rows), rows, aside):
                self._fail(found, rows, aside)
        without = [name for name in self.nodes if _lacks_records(whole[name], len(every))]
        compared = [
            name for name in self.nodes if not (self._is_aside(name, aside) or name in without)
        ]
        seen = []
        if compared:
            tried = f"{counted(len(every), 'record')} in reverse, and the first few alone"
            seen.append(Seen(tried, f"each record the same at {listed(compared)}"))
        if without:
            told = "not all of it has an axis of records: not compared"
            seen.append(Seen(f"what comes of {listed(without)}", told))
        if aside:
            seen.append(
                Seen(f"records beside others, at {listed(sorted(aside))}", "mixed: not compared")
            )
        return seen

    def without_a_program(self) -> list[Seen]:
        """Whether a stage is the same without a program, and twice."""
        rows = np.arange(min(_FEW, max(1, len(self.ids) // 2)))
        part, origin = some(rows, self.batch, self.origin)
        compiled = self.run(rows)
        plain = [evaluate(self.pipeline, part, self.key, origin, self.nodes) for _ in range(2)]
        for told, one, two in (
            ("run twice without a program, it gives", plain[0], plain[1]),
            ("by a program and without one, it gives", compiled, plain[0]),
        ):
            for name in self.nodes:
                if found := difference(one[name], two[name]):
                    at = "" if found.row is None else f", record {self.ids[found.row]}"
                    fail(
                        f"node `{name}` ({type_name(self.pipeline.stages[name])}){at}",
                        f"{told} {found.one} and {found.other}{found.where}; a stage keeps nothing "
                        "from call to call, and draws by its keys alone.",
                    )
        return [Seen(f"{counted(len(rows), 'record')} without a program, twice", "the same")]

    def _mixing(
        self, whole: _Outputs, beside: _Outputs, kept: _Rows, mixes: Sequence[str] | None
    ) -> set[str]:
        found = self._differing(
            whole, kept, beside, np.arange(len(self.ids)), set(mixes or ()), kept
        )
        if found is None:
            return set()
        name, _, apart = found
        if mixes is not None:
            at = "" if apart.row is None else f", record {self.ids[kept[apart.row]]}"
            fail(
                f"node `{name}` ({type_name(self.pipeline.stages[name])}){at}",
                f"beside other records it has {apart.other}{apart.where} in place of {apart.one}; "
                f"if it means to mix records, pass mixes=({name!r},).",
            )
        more = self._mixing_behind(whole, beside, kept, {name})
        return {name, *more}

    def _mixing_behind(
        self, whole: _Outputs, beside: _Outputs, kept: _Rows, aside: set[str]
    ) -> set[str]:
        # The first node of each branch that mixes.
        every = np.arange(len(self.ids))
        while found := self._differing(whole, kept, beside, every, aside, kept):
            aside = {*aside, found[0]}
        return aside

    def _differing(
        self,
        whole: _Outputs,
        first: _Rows,
        part: _Outputs,
        rows: _Rows,
        aside: set[str],
        kept: _Rows | None = None,
    ) -> tuple[str, int, Difference] | None:
        """The first node with a record of `part`, which has these `rows`, that `whole` has
        otherwise. `kept` are the places of it that are looked at."""
        places = np.arange(len(rows)) if kept is None else kept
        many, count = len(self.ids), len(rows)
        for name in self.nodes:
            if self._is_aside(name, aside):
                continue
            one = _rows(whole[name], rows[places], many)
            two = _rows(part[name], places, count)
            if one is None or two is None:
                continue  # no row for each record
            if found := difference(one, two):
                at = rows[places][found.row] if found.row is not None else 0
                return name, int(at), found
        return None

    def _is_aside(self, name: str, aside: set[str]) -> bool:
        before = set(self.pipeline.schedule.run_for([name]))
        return bool(before & aside)

    def _fail(self, found: tuple[str, int, Difference], rows: _Rows, aside: set[str]) -> None:
        # The smallest batch that shows it: its first rows, straight and reversed.
        every, whole = np.arange(len(self.ids)), None
        for many in range(2, min(len(every), _FEW) + 1):
            straight, back = self.run(every[:many]), self.run(every[:many][::-1])
            if smaller := self._apart(straight, back, many, aside):
                found, rows, whole = smaller, every[:many][::-1], every[:many]
                break
        name, at, apart = found
        stage = self.pipeline.stages[name]
        mend = "draw by `record_keys`, which are those of the records"
        if not random_arguments(stage):
            mend = "a record depends on itself, its keys and the stage's arrays alone"
        if whole is None:
            whole = every
        fail(
            f"node `{name}` ({type_name(stage)}), record {self.ids[at]}",
            f"it has {apart.one}{apart.where} in a batch of {_told(self.ids, whole)}, but "
            f"{apart.other} in one of {_told(self.ids, rows)}; {mend}.",
        )

    def _apart(
        self, straight: _Outputs, back: _Outputs, many: int, aside: set[str]
    ) -> tuple[str, int, Difference] | None:
        rows = np.arange(many)[::-1]
        for name in self.nodes:
            one, two = _rows(straight[name], rows, many), _rows(back[name], np.arange(many), many)
            if one is None or two is None or self._is_aside(name, aside):
                continue
            if found := difference(one, two):
                return name, int(rows[found.row or 0]), found
        return None


def _lacks_records(output: PyTree, many: int) -> bool:
    return any(np.shape(leaf)[:1] != (many,) for leaf in jax.tree.leaves(output))


def _rows(output: PyTree, rows: _Rows, many: int) -> PyTree | None:
    # What has no row for each record is no affair of theirs.
    own = [x for x in jax.tree.leaves(output) if np.ndim(x) and np.shape(x)[0] == many]
    if not own:
        return None
    return jax.tree.map(
        lambda x: x[rows] if np.ndim(x) and np.shape(x)[0] == many else None, output
    )


def _beside(
    one: tuple[PyTree, Origin], other: tuple[PyTree, Origin], kept: _Rows
) -> tuple[PyTree, Origin]:
    """A batch in other company: but for the rows `kept`, its records are those of another one."""
    (batch, origin), (others, its) = one, other
    many = np.shape(origin.ids)[0]
    is_kept = np.isin(np.arange(many), kept)

    def mixed(own: PyTree, another: PyTree) -> PyTree:
        if is_key(own) or not np.ndim(own) or np.shape(own)[0] != many:
            return own
        flags = is_kept.reshape(-1, *(1,) * (own.ndim - 1))
        return jnp.asarray(np.where(flags, numbers(own), numbers(another)[::-1]))

    ids, turn = mixed(origin.ids, its.ids), origin.turn
    turn = None if turn is None else mixed(turn, its.turn)
    origin = dataclasses.replace(origin, ids=ids, turn=turn)
    return jax.tree.map(mixed, batch, others), origin


def _told(ids: Sequence[int], rows: _Rows) -> str:
    shown = [ids[row] for row in rows[:_FEW]]
    more = f" and {len(rows) - _FEW} more" if len(rows) > _FEW else ""
    return f"{shown}{more}"
