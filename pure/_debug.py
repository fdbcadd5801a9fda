"""One batch, node by node, as plain Python: what each node is given and returns, and where the
first NaN or infinity is made.

Nothing is compiled but the reading of the batch, and nothing is moved; when a node is to blame
stands in `_graph`. Loops are not known here.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Int, PRNGKeyArray, PyTree

from ._checking import in_a_trace
from ._flow._batching import Cursor, check_cursor
from ._flow._stream import Stream
from ._graph._evaluate import again, check_no_draws, numbered, run_node
from ._graph._finite import made
from ._graph._pipeline import Pipeline
from ._graph._reads import reads
from ._graph._stage import type_name
from ._random._keys import check_key
from ._random._origin import Origin, ids_of, number
from ._sources._fields import fields
from ._tables import html_table, text_table
from ._text import node_text, path_text, spec_text

if TYPE_CHECKING:  # which is imported when it is used
    from .host._ahead._feed import Feed
else:
    Feed: TypeAlias = object

_Rows: TypeAlias = Int[np.ndarray, " rows"]
_MOST = 8  # ids that are written out


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A field of a batch in numbers. Least, mean and most are those of its finite values, None
    where there are none; `nan` and `inf` are the shares of the others."""

    field: str
    spec: str
    min: float | None
    mean: float | None
    max: float | None
    nan: float
    inf: float


@dataclasses.dataclass(frozen=True)
class NodeRun:
    """A node that was run: what it was given by each node that it `reads`, and what it returned.
    `kept` are the fields that it has handed on as they were."""

    node: str
    stage: str
    reads: tuple[str, ...]
    inputs: tuple[tuple[Numbers, ...], ...]
    output: tuple[Numbers, ...]
    kept: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class NotFinite:
    """Where a NaN or an infinity is: a node, or `source`, a field, and the ids of the records (none
    where the rows are not those of the batch). `infinite` are those that hold no NaN. `source` is
    another field that was not finite there, from which it may come, `of` the node that gave it
    where there are several. `mixes` says that something of another record was not, which a node
    that mixes records spreads."""

    node: str
    field: str
    records: tuple[int, ...]
    is_nan: bool
    infinite: tuple[int, ...] = ()
    source: str | None = None
    mixes: bool = False
    of: str = ""


@dataclasses.dataclass(frozen=True)
class Debugged:
    """A batch, run node by node: `str` is a table, which a notebook shows as one.

    `records` are the ids of its records, of `epoch`, or without an epoch the rows of a batch of
    your own; what a remainder has filled in is left out. `nodes` is what came of each, in the order
    in which they ran. `first` is where a node has first made a NaN or an infinity of finite
    numbers, None if none has; `given` are those that the batch came with.
    """

    epoch: int | None
    offset: int | None
    records: tuple[int, ...]
    nodes: tuple[NodeRun, ...]
    first: NotFinite | None
    given: tuple[NotFinite, ...] = ()

    def __str__(self) -> str:
        return f"{self._head()}\n\n{text_table(self._rows())}\n\n{self._foot()}"

    def _repr_html_(self) -> str:
        return html_table(self._head(), self._rows(), self._foot())

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it: dicts, lists, strings and numbers."""
        return dataclasses.asdict(self)

    def _head(self) -> str:
        if self.epoch is None:
            return f"{_many(len(self.records), 'row')} of the batch given"
        many = _many(len(self.records), "record")
        return f"{many} of epoch {self.epoch}, from offset {self.offset} on: {_ids(self.records)}"

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [
            ("node", "", "field", "spec", "min", "mean", "max", "NaN", "inf")
        ]
        for run in self.nodes:
            name, lines = run.node, []
            for before, given in zip(run.reads, run.inputs, strict=True):
                lines += [(f"in, of {before}", x) for x in given]
            lines += [("out", x) for x in run.output if x.field not in run.kept]
            for what, numbers in lines:
                rows.append((name, what, *_cells(numbers)))
                name = ""
            if run.kept:
                rows.append((name, "out", ", ".join(run.kept), "as given", *[""] * 5))
        return rows

    def _foot(self) -> str:
        row = "row" if self.epoch is None else "record"
        holder = "batch" if self.epoch is None else "source"
        lines = [f"The {holder} holds {_what(x, row)} already." for x in self.given]
        if self.first is not None:
            first = self.first
            of = "finite numbers" if first.source is None else "a field that was finite"
            ends = ""
            if first.mixes:
                ends = (
                    f" Of another {row} it was given some: a node that mixes {row}s spreads them."
                )
            if first.source is not None:
                field = f"field `{first.source}`" if first.source else "what it was given"
                field += f" of `{first.of}`" if first.of else ""
                ends = f" It may come from {field}, which is not finite there."
            lines.append(
                f"Node `{first.node}` is the first to make one of {of}: {_what(first, row)}.{ends}"
            )
        return "\n".join(lines or ["All numbers are finite."])


def debug(
    pipeline: Pipeline,
    stream: Stream,
    cursor: Cursor,
    *,
    key: PRNGKeyArray | None = None,
    record: int | None = None,
    batch: PyTree = None,
) -> Debugged:
    """One batch run node by node, without compilation: what each node is given and returns.

    The next batch at the cursor, with the draws that `step` would make of it; or that in which the
    `record` of this id is handed out in the epoch of the cursor, of which only this record is told;
    or a `batch` of your own, whose rows draw as the records 0, 1, … of epoch 0. A stage sees
    values, so that `print` and a debugger show them.

    **Errors:** what a stage raises, with a note of what the nodes before it gave; those of `step`;
    TypeError inside a trace; ValueError for a record that is not handed out, and for a record and a
    batch at once; for a batch that is none, those of `ArraySource`.
    """
    return debugged(pipeline, stream, cursor, key, record, batch)


def debugged(
    pipeline: Pipeline,
    stream: Stream,
    cursor: Cursor,
    key: PRNGKeyArray | None,
    record: int | None,
    batch: PyTree,
    feed: Feed | None = None,
) -> Debugged:
    """`debug`, of a stream of which something may read ahead."""
    if record is not None and batch is not None:
        raise ValueError(
            "record and batch are both given; a record is one of the source: pass one."
        )
    if key is not None:
        check_key("key", key)
    if batch is not None:
        check_own(batch)
        own = jax.tree.map(jnp.asarray, batch)
        return _told(pipeline, own, None, key, None)
    check_cursor(cursor, wide=lambda: stream.is_wide)
    if cursor.is_traced or in_a_trace():
        raise TypeError(
            "A batch is looked at inside a trace (jit, scan, vmap), where there are no values; do "
            "it outside."
        )
    from .host._ahead._look import place_of, read_at

    place, row = stream.batching.settle(*cursor.as_ints()).as_ints(), None
    if record is not None:
        place, row = place_of(stream, Cursor(*place), record)
    rows, origin = read_at(stream, place, feed)
    return _told(pipeline, rows, origin, key, row)


def check_own(batch: PyTree) -> None:
    """Refuse what is no batch. **Errors:** those of `ArraySource`, and TypeError in a trace."""
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(batch)):
        raise TypeError(
            "The batch is traced (jit, scan, vmap), where no values can be looked at; call it "
            "outside."
        )
    fields(batch)


def _told(
    pipeline: Pipeline,
    batch: PyTree,
    where: Origin | None,
    key: PRNGKeyArray | None,
    row: int | None,
) -> Debugged:
    run, origin = pipeline.schedule.executed, where or numbered(batch)
    if key is None:
        check_no_draws(run, pipeline)
    many, ids = len(origin.ids), ids_of(origin)
    counts = np.ones(many, np.bool_) if origin.counts is None else np.asarray(origin.counts)
    shown = np.flatnonzero(counts if row is None else np.arange(many) == row)
    given = _not_finite("source", (), (), batch, many, ids, shown)
    report = Debugged(
        epoch=None if where is None else int(np.asarray(where.epochs)[0]),
        offset=None if where is None else number(np.asarray(where.offset).tolist()),
        records=tuple(ids[i] for i in shown.tolist()),
        nodes=(NodeRun("source", "", (), (), _numbers(batch, many, shown)),),
        first=None,
        given=tuple(given),
    )
    values: dict[str, PyTree] = {}
    for node in run:
        before = pipeline.schedule.predecessors(node)
        inputs = [values[name] for name in before] or [batch]
        try:
            output = run_node(pipeline, node, inputs, key, origin)
        except Exception as error:
            error.add_note(f"Until there:\n{report}")
            raise
        values[node] = output
        done = NodeRun(
            node=node_text(node),
            stage=type_name(pipeline.stages[node]),
            reads=tuple(map(node_text, before)) or ("source",),
            inputs=tuple(_numbers(x, many, shown) for x in inputs),
            output=_numbers(output, many, shown),
            kept=_kept(inputs, output),
        )
        function = again(node, pipeline.stages[node], key, origin)
        bad = _not_finite(node_text(node), done.reads, inputs, output, many, ids, shown, function)
        first = report.first or next(bad, None)
        report = dataclasses.replace(report, nodes=(*report.nodes, done), first=first)
    return report


def debugged_together(reports: Sequence[Debugged]) -> Debugged:
    """Those of variants as one, whose nodes are named `crop [0]`, `crop [1]`, …"""
    named = [_named(report, index) for index, report in enumerate(reports)]
    source, *_ = reports[0].nodes
    first = next((report.first for report in named if report.first), None)
    nodes = [run for report in named for run in report.nodes[1:]]
    return dataclasses.replace(reports[0], nodes=(source, *nodes), first=first)


def _named(report: Debugged, index: int) -> Debugged:
    def name(node: str) -> str:
        return node if node == "source" else f"{node} [{index}]"

    nodes = [
        dataclasses.replace(run, node=name(run.node), reads=tuple(map(name, run.reads)))
        for run in report.nodes
    ]
    first = report.first
    if first is not None:
        of = first.of and name(first.of)
        first = dataclasses.replace(first, node=name(first.node), of=of)
    return dataclasses.replace(report, nodes=tuple(nodes), first=first)


def _not_finite(
    node: str,
    named: Sequence[str],
    inputs: Sequence[PyTree],
    output: PyTree,
    many: int,
    ids: Sequence[int],
    shown: _Rows,
    function: Callable[..., PyTree] | None = None,
) -> Iterator[NotFinite]:
    given, output = jax.tree.map(_plain, (tuple(inputs), output))
    read = None
    # Where all is clear a stage is not traced once more: it may print.
    if function is not None and not (_all_finite(given) or _all_finite(output)):
        read = reads(function, inputs)
    for found in made(given, output, many, named=named, read=read):
        rows, numbers = np.asarray(found.blamed), np.asarray(found.value)
        source, of = (found.source.field, found.source.of) if found.source else (None, "")
        if not rows.ndim:
            if rows:
                is_nan = bool(np.isnan(numbers).any())
                yield NotFinite(node, found.field, (), is_nan, source=source, of=of)
            continue
        own = [i for i in shown.tolist() if rows[i]]
        infinite = [i for i in own if not np.isnan(numbers[i]).any()]
        if own:
            records, others = (tuple(ids[i] for i in some) for some in (own, infinite))
            is_nan = len(own) > len(infinite)
            mixes = source is None and bool(found.others)
            yield NotFinite(node, found.field, records, is_nan, others, source, mixes, of)


def _all_finite(tree: PyTree) -> bool:
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return all(bool(np.isfinite(x).all()) for x in floats)


def _plain(leaf: PyTree) -> PyTree:
    # In NumPy's arrays there is nothing to compile.
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return leaf if is_key else np.asarray(leaf)


def _kept(inputs: Sequence[PyTree], output: PyTree) -> tuple[str, ...]:
    # The fields that are the very arrays that were given.
    held = {(path, id(x)) for tree in inputs for path, x in _fields(tree)}
    return tuple(path for path, x in _fields(output) if path and (path, id(x)) in held)


def _fields(tree: PyTree) -> list[tuple[str, PyTree]]:
    return [(path_text(path), x) for path, x in jax.tree_util.tree_leaves_with_path(tree)]


def _numbers(tree: PyTree, many: int, shown: _Rows) -> tuple[Numbers, ...]:
    return tuple(_numbers_of(path, x, many, shown) for path, x in _fields(tree))


def _numbers_of(field: str, leaf: PyTree, many: int, shown: _Rows) -> Numbers:
    array = _plain(leaf)
    if isinstance(array, jax.Array):
        return Numbers(field, spec_text(leaf), None, None, None, 0.0, 0.0)
    array = array[shown] if array.shape[:1] == (many,) else array
    seen = np.abs(array) if np.iscomplexobj(array) else array.astype(np.float64)
    finite = seen[np.isfinite(seen)]
    least, mean, most = (
        (float(finite.min()), float(finite.mean()), float(finite.max()))
        if finite.size
        else (None, None, None)
    )
    size = max(seen.size, 1)
    nan, inf = (float(found.sum()) / size for found in (np.isnan(seen), np.isinf(seen)))
    return Numbers(field, spec_text(array), least, mean, most, nan, inf)


def _cells(x: Numbers) -> tuple[str, ...]:
    numbers = ("" if n is None else f"{n:.4g}" for n in (x.min, x.mean, x.max))
    return (x.field, x.spec, *numbers, *map(_share, (x.nan, x.inf)))


def _share(share: float) -> str:
    if not share:
        return ""
    return "<0.1 %" if share < 0.001 else f"{100 * share:.3g} %"


def _ids(records: Sequence[int]) -> str:
    some = ", ".join(map(str, records[:_MOST]))
    return some + (f", … ({len(records)} of them)" if len(records) > _MOST else "")


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _what(x: NotFinite, row: str) -> str:
    def of(rows: Sequence[int]) -> str:
        return f" of {row}{'s' * (len(rows) > 1)} {_ids(rows)}" if rows else ""

    field = f"field `{x.field}`" if x.field else "the output"
    if not x.is_nan:
        return f"an infinity in {field}{of(x.records)}"
    nan = [record for record in x.records if record not in x.infinite]
    also = f", and an infinity{of(x.infinite)}" if x.infinite else ""
    return f"NaN in {field}{of(nan)}{also}"
