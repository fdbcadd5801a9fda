"""One node, run on shapes: what it puts out, where it does not fit, and why it fails.

The graph around it is not known here: inputs come with the names of where they come from.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jaxtyping import PRNGKeyArray, PyTree

from .._graph._evaluate import call, output_failure
from .._graph._stage import type_name
from .._random._origin import Origin
from .._text import listed, spec_text, specs
from ._annotation import Annotation
from ._axes import Sizes
from ._contract import Contract, contract_of
from ._fit import Known, Part, misfits
from ._mistyped import fields_of, missing_name, mistyped_field, place

_TRACED = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
_LONGEST = 500


class Visit(NamedTuple):
    """What came of running a node once: its output, where it does not fit, and the sizes that it
    gives to axes; why there is no output, if there is none, and the error."""

    output: PyTree
    misfits: list[str]
    sizes: Sizes
    raised: str | None = None
    error: Exception | None = None


def visit(
    node: str,
    stage: Callable[..., object],
    before: Sequence[str],
    inputs: Sequence[PyTree],
    known: Known,
    key: PRNGKeyArray,
    origin: Origin,
) -> Visit:
    """Run a node inside a trace, and hold what goes in and what comes out to its contract."""
    try:
        contract = contract_of(stage, len(inputs))
    except TypeError as error:
        return Visit(None, [], {}, f"node `{node}`: {error}", error)
    parts = [
        _part(f"input `{name or index}` (from {source})", annotation, value, contract, given=True)
        for index, ((name, annotation), source, value) in enumerate(
            zip(contract.inputs, map(_source, before or [""]), inputs, strict=True)
        )
    ]
    lines, sizes = _misfits(node, parts, known, contract)
    try:
        output = call(node, stage, inputs, key, origin)
    except Exception as error:
        given = " and ".join(f"{part.label} {spec_text(part.value)}" for part in parts)
        where = f"node `{node}` ({type_name(stage)}) fails on {given}"
        return Visit(None, lines, sizes, f"{where}: {_reason(error, inputs)}", error)
    if failure := output_failure(output):
        return Visit(None, lines, sizes, f"node `{node}` {failure}")
    if not lines:  # else the output is not to blame
        parts.append(_part("output", contract.output, output, contract, given=False))
        lines, sizes = _misfits(node, parts, known, contract)
    return Visit(output, lines, sizes)


def _source(name: str) -> str:
    return f"`{name}`" if name else "the source"


def _misfits(
    node: str, parts: Sequence[Part], known: Known, contract: Contract
) -> tuple[list[str], Sizes]:
    lines, sizes = misfits(parts, known, contract.owner)
    return [f"node `{node}` {line}" for line in lines], sizes


def _part(
    label: str, annotation: Annotation, value: PyTree, contract: Contract, *, given: bool
) -> Part:
    value = specs(value)
    if not contract.per_record:
        return Part(label, annotation, value, given)
    if any(not spec.shape for spec in jax.tree.leaves(value)):  # the mapping itself will raise
        return Part(label, object, value, given)
    record = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), value)
    return Part(f"{label}, one record,", annotation, record, given)


def _reason(error: Exception, inputs: Sequence[PyTree]) -> str:
    if mistyped := mistyped_field(error, inputs):
        return mistyped
    fields, missing = fields_of(inputs), missing_name(error)
    if missing is not None and fields and missing not in fields:
        return (
            f"KeyError{place(error)}: '{missing}'. If a field is meant, there are {listed(fields)}."
        )
    # Behind the notes for the user, JAX adds some on its own traceback.
    notes = [note for note in getattr(error, "__notes__", []) if note.endswith((".", "?"))]
    if isinstance(error, _TRACED):
        notes.append(
            "A stage is traced, without values: choose by jnp.where or jax.lax.cond, compute by "
            "jnp in place of np, and let no shape depend on data."
        )
    said = f"{type(error).__name__}{place(error)}: {_said(error)}".rstrip(": ")
    return " ".join([said if said.endswith((".", "?", "!")) else f"{said}.", *notes])


def _said(error: Exception) -> str:
    text = str(error).strip()
    first, _, rest = text.partition("\n")
    if not rest or (not first.endswith((":", "differ.")) and len(first.split()) > 8):
        return first
    whole = " ".join(text.split())
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]} …"
