from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import typing_extensions as te
from jaxtyping import Array, PRNGKeyArray, PyTree, Shaped

from ._batching import Pad
from ._contract import Contract, contract_of
from ._fit import Known, Part, misfits
from ._names import listed, near
from ._pipeline import Pipeline, call, output_failure
from ._schedule import raise_failures
from ._spec import spec_text, specs
from ._stage import type_name
from ._stream import Stream

_TRACED = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)


class Findings(eqx.Module):
    """What an abstract run of a graph found: the outputs of its nodes, and all that is wrong."""

    outputs: dict[str, Any]
    failures: tuple[str, ...] = eqx.field(static=True)
    cause: Exception | None = eqx.field(static=True)

    def raise_failures(self) -> None:
        """Raise one ValueError for all failures, from the first error that a stage raised."""
        raise_failures(self.failures, self.cause)


def check(pipeline: Pipeline, stream: Stream) -> dict[str, PyTree[jax.ShapeDtypeStruct]]:
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
    outputs: dict[str, Any] = findings.outputs
    return outputs


def survey(pipeline: Pipeline, stream: Stream, key: PRNGKeyArray) -> Findings:
    """Run every node on a full batch, inside a trace, and collect what does not fit."""
    batch, origin = stream.first()
    known, failures = _known(pipeline, stream, len(origin.ids))
    if stated := _source_failures(stream, batch, known):
        return Findings({}, (*failures, *stated), None)
    outputs: dict[str, Any] = {}
    doubtful: set[str] = set()
    unchecked: list[str] = []
    cause: Exception | None = None
    for node in pipeline.schedule.order:
        before = pipeline.schedule.predecessors(node)
        if any(name not in outputs for name in before):
            unchecked.append(node)
            continue
        stage, inputs = pipeline.stages[node], [outputs[name] for name in before] or [batch]
        visit = _visit(node, stage, before, inputs, known, (key, origin))
        failures += visit.misfits
        if visit.misfits or any(name in doubtful for name in before):
            doubtful.add(node)
        if visit.raised is None:
            outputs[node] = visit.output
            known = known.with_sizes(pipeline.dims, visit.bound, node)
        elif node in doubtful:
            unchecked.append(node)  # what it was given is at fault, perhaps
        else:
            failures.append(visit.raised)
            cause = cause or visit.error
    failures += _sink_failures(pipeline.schedule.sink, stream, batch, outputs)
    if unchecked:
        failures.append(f"not checked, because of the above: {listed(unchecked)}.")
    return Findings(outputs, tuple(failures), cause)


class _Visit(NamedTuple):
    output: Any
    misfits: list[str]
    bound: dict[str, Any]
    raised: str | None = None
    error: Exception | None = None


def _visit(
    node: str,
    stage: Callable[..., Any],
    before: Sequence[str],
    inputs: Sequence[Any],
    known: Known,
    draw: tuple[PRNGKeyArray, Any],
) -> _Visit:
    contract = contract_of(stage, len(inputs))
    labels = [
        f"input `{name or index}` (from {f'`{source}`' if source else 'the source'})"
        for index, ((name, _), source) in enumerate(
            zip(contract.inputs, before or [""], strict=True)
        )
    ]
    parts = [
        _part(f"node `{node}` {label}", annotation, value, contract)
        for label, (_, annotation), value in zip(labels, contract.inputs, inputs, strict=True)
    ]
    lines, bound = misfits(parts, known, contract.owner)
    try:
        output = call(node, stage, inputs, *draw)
    except Exception as error:
        given = " and ".join(
            f"{label} {spec_text(value)}" for label, value in zip(labels, inputs, strict=True)
        )
        text = f"node `{node}` ({type_name(stage)}) fails on {given}: {_reason(error, inputs)}"
        return _Visit(None, lines, bound, text, error)
    if failure := output_failure(output):
        return _Visit(None, lines, bound, f"node `{node}` {failure}")
    if not lines:  # else the output is not to blame
        parts.append(_part(f"node `{node}` output", contract.output, output, contract))
        lines, bound = misfits(parts, known, contract.owner)
    return _Visit(output, lines, bound)


def _part(label: str, annotation: Any, value: Any, contract: Contract) -> Part:
    value = specs(value)
    if not contract.per_record:
        return Part(label, annotation, value)
    if any(not spec.shape for spec in jax.tree.leaves(value)):  # the mapping itself will raise
        return Part(label, Any, value)
    record = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), value)
    return Part(f"{label}, one record,", annotation, record)


def _reason(error: Exception, inputs: Sequence[Any]) -> str:
    fields = {name: None for value in inputs if isinstance(value, dict) for name in value}
    missing = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(missing, str) and fields and missing not in fields:
        return f"there is no field `{missing}`.{near(missing, fields)}"
    if isinstance(error, AttributeError) and isinstance(error.obj, dict) and error.name in fields:
        return f'the batch is a dict: write ["{error.name}"] in place of .{error.name}'
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, _TRACED):
        text += (
            " A stage is traced: choose by jnp.where or jax.lax.cond, and compute by jnp, not np."
        )
    # Behind the notes for the user, JAX adds some on its own traceback.
    notes = [note for note in getattr(error, "__notes__", []) if note.endswith((".", "?"))]
    return " ".join([f"{type(error).__name__}: {text}", *notes])


def _known(pipeline: Pipeline, stream: Stream, batch: int) -> tuple[Known, list[str]]:
    remainder = stream.batching.remainder
    known = Known({"batch": batch}, {}, (remainder.valid,) if isinstance(remainder, Pad) else ())
    sizes = {name: size for name, size in pipeline.dims if size is not None}
    if sizes.pop("batch", batch) != batch:
        return known, [
            f"dims says that `batch` is {dict(pipeline.dims)['batch']}, but the stream hands out "
            f"{batch} records at a time; leave it out of dims."
        ]
    notes = dict.fromkeys(sizes, " as declared")
    return Known({**known.sizes, **sizes}, notes, known.free), []


def _source_failures(stream: Stream, batch: Any, known: Known) -> list[str]:
    stated = te.get_type_hints(type(stream.source).rows).get("return", Any)
    for annotation in (PyTree[Shaped[Array, "batch ..."]], stated):
        lines, _ = misfits([Part("the source", annotation, specs(batch))], known, stream.source)
        if lines:
            return lines
    return []


def _sink_failures(sink: str, stream: Stream, batch: Any, outputs: dict[str, Any]) -> list[str]:
    try:
        if sink in outputs:
            outputs[sink] = stream.marked(batch, outputs[sink])
    except TypeError as error:
        return [f"node `{sink}`: {error}"]
    return []
