"""A whole graph, run on shapes: every node in turn, and all that does not fit in one error.

No data are read and nothing is compiled. How one node is judged stands in `_node`.
"""

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree, Shaped

from .._flow._batching import Pad
from .._flow._shard import part_of
from .._flow._stream import Stream
from .._graph._pipeline import Pipeline
from .._graph._schedule import raise_failures
from .._text import Specs, listed, near, specs
from ._axes import Sizes
from ._fit import Known, Part, misfits
from ._node import visit


class Findings(eqx.Module):
    """What an abstract run of a graph found: the outputs of its nodes, and all that is wrong."""

    outputs: dict[str, PyTree]
    failures: tuple[str, ...] = eqx.field(static=True)
    cause: Exception | None = eqx.field(static=True)

    def raise_failures(self) -> None:
        """Raise one ValueError for all failures, from the first error that a stage raised."""
        raise_failures(self.failures, self.cause)


def check(pipeline: Pipeline, stream: Stream) -> dict[str, Specs]:
    """The shapes and dtypes of every node's output for a full batch: no data read, no compile.

    The annotations of the stages are held against them, where there are any. An axis name means
    one size within a node; `batch`, and the `dims` of the pipeline, mean one size everywhere.

    **Errors:** a ValueError with a line for each field that does not fit, giving the node, the
    field, its annotation, the actual dtype and shape, and the sizes that the axes stand for; and
    with a line for each stage that raises, whose error is the cause.
    """
    key = jax.eval_shape(jax.random.key, 0)
    # A new function each time: JAX does not run one again that it has traced before.
    findings = eqx.filter_eval_shape(lambda *args: survey(*args), pipeline, stream, key)
    findings.raise_failures()
    outputs: dict[str, PyTree] = findings.outputs
    return outputs


def survey(pipeline: Pipeline, stream: Stream, key: PRNGKeyArray) -> Findings:
    """Run every node on a full batch, inside a trace, and collect what does not fit.

    Where the last batch of an epoch is a short one, run them on that too.
    """
    batching = stream.batching
    found = _survey(pipeline, stream, key, batching.length(0))
    short = batching.records % batching.batch_size
    if found.failures or batching.remainder != "partial" or batching.records == short or not short:
        return found
    if not part_of(short, stream.shard):  # it has no part of that one
        return found
    last = _survey(pipeline, stream, key, short)
    failures = [f"in the last batch, of {short} records: {line}" for line in last.failures]
    return Findings(found.outputs, tuple(failures), last.cause)


def _survey(pipeline: Pipeline, stream: Stream, key: PRNGKeyArray, length: int) -> Findings:
    batch, origin = stream.first(length)
    known, failures = _known(pipeline, stream, origin.ids.shape[0])
    stated, sizes = _source_failures(stream, batch, known)
    if stated:
        return Findings({}, (*failures, *stated), None)
    known = known.with_sizes(pipeline.dims, sizes, "the source")
    outputs: dict[str, PyTree] = {}
    doubtful: set[str] = set()
    unchecked: list[str] = []
    cause: Exception | None = None
    for node in pipeline.schedule.order:
        before = pipeline.schedule.predecessors(node)
        if any(name not in outputs for name in before):
            unchecked.append(node)
            continue
        stage, inputs = pipeline.stages[node], [outputs[name] for name in before] or [batch]
        found = visit(node, stage, before, inputs, known, key, origin)
        failures += found.misfits
        if found.misfits or any(name in doubtful for name in before):
            doubtful.add(node)
        known = known.with_sizes(pipeline.dims, found.sizes, f"node `{node}`")
        if found.raised is None:
            outputs[node] = found.output
        elif node not in doubtful:
            failures.append(found.raised)
            cause = cause or found.error
        elif not found.misfits:
            unchecked.append(node)  # what it was given is at fault, perhaps
    failures += _sink_failures(pipeline.schedule.sink, stream, batch, outputs)
    if not failures:
        failures += _dims_failures(pipeline, known)
    if unchecked:
        failures.append(f"not checked, because of the above: {listed(unchecked)}.")
    return Findings(outputs, tuple(failures), cause)


def _known(pipeline: Pipeline, stream: Stream, batch: int) -> tuple[Known, list[str]]:
    remainder = stream.batching.remainder
    added = (remainder.valid if isinstance(remainder, Pad) else None, stream.record_ids)
    free = tuple(name for name in added if name is not None)
    sizes = {name: size for name, size in pipeline.dims if size is not None}
    failures = []
    if sizes.pop("batch", batch) != batch:
        failures.append(
            f"dims says that `batch` is {dict(pipeline.dims)['batch']}, but the stream hands out "
            f"{batch} records at a time; leave it out of dims."
        )
    notes = dict.fromkeys(sizes, " as declared")
    return Known({"batch": batch, **sizes}, notes, free, frozenset()), failures


def _source_failures(stream: Stream, batch: PyTree, known: Known) -> tuple[list[str], Sizes]:
    sizes: Sizes = {}
    own = batch  # but for what the stream adds, of which a source knows nothing
    if isinstance(batch, dict):
        own = {name: x for name, x in batch.items() if name not in known.free}
    stated = (PyTree[Shaped[Array, "batch ..."]], batch), (stream.source.annotation, own)
    for annotation, rows in stated:
        part = Part("the source", annotation, specs(rows), given=False)
        lines, sizes = misfits([part], known, stream.source)
        if lines:
            return lines, sizes
    return [], sizes


def _sink_failures(
    sink: str, stream: Stream, batch: PyTree, outputs: dict[str, PyTree]
) -> list[str]:
    try:
        if sink in outputs:
            outputs[sink] = stream.marked(batch, outputs[sink])
    except TypeError as error:
        return [f"node `{sink}`: {error}"]
    return []


def _dims_failures(pipeline: Pipeline, known: Known) -> list[str]:
    unused = [x for x, _ in pipeline.dims if x not in known.named and x != "batch"]
    return [
        f"dims names the axis `{name}`, which no annotation does; they name "
        f"{listed(sorted(known.named))}.{near(name, known.named)}"
        for name in unused
    ]
